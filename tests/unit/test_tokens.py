"""The colours: what is written can be read on what it is written on, in light and in dark."""

import re

import pytest

from app.resources import resource_dir

RGB = tuple[float, float, float]

CSS = resource_dir("static").joinpath("app.css").read_text()
THEMES = ("light", "dark")

GROUNDS = ("page", "panel", "raised", "sunk", "log")
TEXTS = ("ink", "soft", "accent", "blue", "amber", "green", "red", "violet", "orange", "neutral")
TONES = ("blue", "amber", "green", "red", "violet", "orange", "neutral", "accent")
TINT = 0.14
"""The most of its own colour that a ground may have below a word of that colour."""

READABLE = 4.5
VISIBLE = 3.0
"""Of the border of a field, and of the ring around what has the focus."""


def tokens(theme: str) -> dict[str, RGB]:
    """The colours of a theme by name."""
    pattern = re.compile(r"^  --([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);$", re.M)
    return {name: rgb((light, dark)[THEMES.index(theme)]) for name, light, dark in pattern.findall(CSS)}


def rgb(colour: str) -> RGB:
    red, green, blue = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    return red, green, blue


def mixed(colour: RGB, ground: RGB, share: float) -> RGB:
    red, green, blue = (a * share + b * (1 - share) for a, b in zip(colour, ground, strict=True))
    return red, green, blue


def luminance(colour: RGB) -> float:
    """As WCAG 2 defines it: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: RGB, other: RGB) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_what_the_standard_says() -> None:
    assert contrast(rgb("#000000"), rgb("#ffffff")) == pytest.approx(21)
    assert contrast(rgb("#777777"), rgb("#ffffff")) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("text", TEXTS)
def test_text_can_be_read_on_every_ground(theme: str, text: str) -> None:
    colours = tokens(theme)
    for ground in GROUNDS:
        found = contrast(colours[text], colours[ground])
        assert found >= READABLE, f"{text} on {ground}, {theme}: {found:.2f}"


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("tone", TONES)
def test_a_colour_can_be_read_on_a_tint_of_itself(theme: str, tone: str) -> None:
    colours = tokens(theme)
    for ground in ("page", "panel", "raised"):
        tinted = mixed(colours[tone], colours[ground], TINT)
        for text in (tone, "ink", "soft"):
            found = contrast(colours[text], tinted)
            assert found >= READABLE, f"{text} on {tone} over {ground}, {theme}: {found:.2f}"


@pytest.mark.parametrize("theme", THEMES)
def test_words_on_filled_buttons_can_be_read(theme: str) -> None:
    colours = tokens(theme)
    assert contrast(colours["accent-ink"], colours["accent-fill"]) >= READABLE
    assert contrast(colours["red-ink"], colours["red"]) >= READABLE


@pytest.mark.parametrize("theme", THEMES)
def test_fields_and_the_focus_can_be_seen(theme: str) -> None:
    colours = tokens(theme)
    for ground in GROUNDS:
        assert contrast(colours["accent"], colours[ground]) >= VISIBLE, ground
    for ground in ("page", "panel", "raised"):
        assert contrast(colours["edge"], colours[ground]) >= VISIBLE, ground


def test_every_colour_is_for_both_themes() -> None:
    """Nothing but black, white and see-through is written outside of the roles."""
    root = CSS[CSS.index(":root {") : CSS.index("\n}\n")]
    assert set(tokens("light")) == set(tokens("dark"))
    assert set(re.findall(r"#[0-9a-f]{3,8}\b", CSS.replace(root, ""), re.I)) <= {"#000", "#fff"}
    used = set(re.findall(r"var\(--([\w-]+)", CSS))
    known = set(re.findall(r"--([\w-]+):", CSS))
    assert used <= known, f"not set anywhere: {used - known}"


@pytest.mark.parametrize("name", [path.name for path in sorted(resource_dir("static").glob("*.css"))])
def test_style_sheets_use_roles_that_there_are(name: str) -> None:
    text = resource_dir("static").joinpath(name).read_text()
    known = set(re.findall(r"--([\w-]+):", CSS + text))
    # What script sets is used with a fallback.
    used = set(re.findall(r"var\(--([\w-]+)\)", text))
    assert used <= known, f"{name} uses what is not set anywhere: {used - known}"


def test_no_tint_below_words_is_stronger_than_that() -> None:
    """The share of a colour in a ground, wherever one is mixed for a ground that words stand on."""
    mixes = r"background: color-mix\(in srgb, var\(--[\w-]+\) (\d+)%, (?:var\(--\w+\)|transparent)\)"
    rules = [line for line in CSS.splitlines() if "::selection" not in line]
    shares = {int(share) for share in re.findall(mixes, "\n".join(rules))}
    filled = {share for share in shares if share > 80}  # buttons under the pointer
    assert shares - filled
    assert max(shares - filled) <= TINT * 100
