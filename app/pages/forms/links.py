"""A form as the query of a link that fills it again. Pure."""

from collections.abc import Iterator
from urllib.parse import urlencode

from app.pages.forms.fields import DEFAULT, JSON, NONE, Field, fields
from app.pages.forms.inputs import PARTS, without_secrets
from app.pages.forms.options import FRESH, OPTIONS
from app.pages.forms.reading import Typed, is_json, use_of

MAX_LINK = 6000
"""Characters of a link; what is longer some browser or proxy would cut off."""


def link_query(target: str, parameters: JSON, typed: Typed) -> str | None:
    """The query string by which `/launch` shows what is typed, without secrets; None when it is too much for a link."""
    kept = without_secrets(parameters, typed)
    given = {key: text for one in fields(parameters) for key, text in _said(one, kept)}
    for option in OPTIONS:
        text = kept.get(option, "")
        if text != FRESH.get(option, ""):
            given[option] = text
    query = urlencode({"target": target, **given})
    return query if len(query) <= MAX_LINK else None


def _said(one: Field, typed: Typed) -> Iterator[tuple[str, str]]:
    """What is typed into a field, and inside of it; nothing of what a choice has put out of sight."""
    use = use_of(one, typed)
    if use == DEFAULT:
        return
    if use == NONE:
        yield f"use-{one.name}", NONE
        return
    is_whole = not one.is_structured or is_json(one, typed)
    if f"use-{one.name}" in typed:
        yield f"use-{one.name}", use
    if is_whole:
        for part in PARTS:
            text = typed.get(f"{part}-{one.name}", "")
            # An object or a list finds its own way from JSON to its inputs.
            if text and part != "use" and not (part == "as" and one.is_structured):
                yield f"{part}-{one.name}", text
    elif one.widget == "fields":
        for member in one.members:
            yield from _said(member, typed)
    else:
        for key, text in typed.items():
            part, _, name = key.partition("-")
            if part in ("arg", "zone") and name.startswith(f"{one.name}."):
                yield key, text
