"""Text of a terminal as HTML: colours become classes, and everything else that would steer a terminal is dropped.

Classes: ``f0`` … ``f255`` and ``b0`` … ``b255`` for the colours of text and ground (with ``c`` and ``k``), ``fi`` and
``bi`` for the page's own ones exchanged, and ``bo di it un st``. static/ansi.css, which `stylesheet` makes, says how
they look. Nothing from the text comes into an attribute.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from html import escape

LONGEST = 20_000
LONGEST_RAW = 4 * LONGEST
"""Characters of a line that a page shows, and those that are looked at for them."""
CUT = " … (the download has the whole line)"

# Control sequences of terminals (ECMA-48): CSI, the strings (OSC, DCS, SOS, PM, APC) up to BEL or ST, those with
# intermediate bytes, and those of two characters.
ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)(?P<csi>[0-?]*[ -/]*[@-~])?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]+[0-~]?|\x1b[0-~]?"
)
CONTROLS = re.compile(r"[\x00-\x06\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Among them those that turn the direction of text: a line must not show another order than it has."""
_BEL = "\x07"


def last_part(text: str) -> str:
    """What a line comes to when each carriage return takes back what stood before it."""
    return text.rstrip("\r").rpartition("\r")[2]


def shorten(raw: str) -> str:
    """As much of a line that grows as `plain` and `html` look at."""
    return last_part(raw)[: LONGEST_RAW + 1] if len(raw) > LONGEST_RAW else raw


def plain(raw: str) -> str:
    """The line as it is shown, without colours, and no longer than a page can bear."""
    if "\x1b" not in raw and "\r" not in raw and len(raw) <= LONGEST and raw.isprintable():
        return raw
    return "".join(text for text, _ in _pieces(raw))


def searched(raw: str) -> str:
    """The line without colours, as far as words are looked for in it: further than it is shown."""
    if len(raw) <= LONGEST:
        return plain(raw)
    return "".join(text for text, _ in _pieces(raw, LONGEST_RAW) if text != CUT)


def html(raw: str) -> str:
    """The line as HTML."""
    if "\x1b" not in raw and "\r" not in raw and len(raw) <= LONGEST and raw.isprintable():
        return escape(raw, quote=False)
    return "".join(
        f'<span class="{classes}">{escape(text, quote=False)}</span>' if classes else escape(text, quote=False)
        for text, classes in _pieces(raw)
    )


def _pieces(raw: str, room: int = LONGEST) -> Iterator[tuple[str, str]]:
    """(text, classes) one after the other."""
    raw = shorten(raw)
    is_cut = len(raw) > LONGEST_RAW
    # By the last carriage return that no escape sequence holds.
    text = raw[:LONGEST_RAW]
    if "\r" in text:
        text = _after_return(text)
    style = Style()
    at = 0
    for match in ESCAPES.finditer(text):
        if piece := _visible(text[at : match.start()]):
            yield piece[:room], style.classes()
            room -= len(piece)
        if room < 0:
            break
        if (csi := match["csi"]) and csi.endswith("m"):
            style.apply(csi[:-1])
        at = match.end()
    else:
        if piece := _visible(text[at:]):
            yield piece[:room], style.classes()
            room -= len(piece)
    if is_cut or room < 0:
        yield CUT, ""


def _after_return(text: str) -> str:
    """What follows the last carriage return behind which something is to be seen, with the colours set before it."""
    parts = text.split("\r")
    while len(parts) > 1 and not _visible(ESCAPES.sub("", parts[-1])):
        parts.pop()
    colours = (
        match[0] for part in parts[:-1] for match in ESCAPES.finditer(part) if (match["csi"] or "").endswith("m")
    )
    return "".join(colours) + parts[-1]


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r", "").replace(_BEL, ""))


class Style:
    """The colours and manner of text, as SGR sequences (ECMA-48, and xterm's for more colours) have set them."""

    def __init__(self) -> None:
        self.fore: int | None = None
        self.back: int | None = None
        self.manner: set[str] = set()

    def apply(self, parameters: str) -> None:
        """Do what the parameters of one sequence say; what is not known is passed over."""
        codes = [_number(part) for part in parameters.replace(":", ";").split(";")]
        at = 0
        while at < len(codes):
            code = codes[at]
            at += 1
            if code in (38, 48):
                colour, at = _colour(codes, at)
                if colour is not None:
                    self._set(code == 38, colour)
            else:
                self._apply(code)

    def _apply(self, code: int) -> None:
        if code == 0:
            self.fore = self.back = None
            self.manner.clear()
        elif name := _MANNERS.get(code):
            self.manner.add(name)
        elif names := _NO_LONGER.get(code):
            self.manner -= names
        elif 30 <= code <= 37 or 90 <= code <= 97:
            self._set(True, code - 30 if code < 90 else code - 82)
        elif 40 <= code <= 47 or 100 <= code <= 107:
            self._set(False, code - 40 if code < 100 else code - 92)
        elif code == 39:
            self.fore = None
        elif code == 49:
            self.back = None

    def _set(self, is_fore: bool, colour: int) -> None:
        if is_fore:
            self.fore = colour
        else:
            self.back = colour

    def classes(self) -> str:
        """The classes of a span; empty for text as it always is."""
        if self.fore is None and self.back is None and not self.manner:
            return ""
        manner = self.manner - {"in"}
        fore, back = self.fore, self.back
        names: list[str] = []
        if "in" in self.manner:
            names += ["c", "fi" if back is None else f"f{back}", "k", "bi" if fore is None else f"b{fore}"]
        else:
            names += ["c", f"f{fore}"] if fore is not None else []
            names += ["k", f"b{back}"] if back is not None else []
        return " ".join([*names, *sorted(manner)])


_MANNERS = {1: "bo", 2: "di", 3: "it", 4: "un", 7: "in", 9: "st", 21: "un"}
_NO_LONGER = {22: {"bo", "di"}, 23: {"it"}, 24: {"un"}, 27: {"in"}, 29: {"st"}}


def _number(text: str) -> int:
    if not text:
        return 0
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else -1


def _colour(codes: list[int], at: int) -> tuple[int | None, int]:
    """The colour that the codes behind a 38 or 48 name, and where the next code is."""
    kind = codes[at] if at < len(codes) else -1
    if kind == 5:
        colour = codes[at + 1] if at + 1 < len(codes) else -1
        return (colour if 0 <= colour <= 255 else None), at + 2
    if kind == 2:
        rgb = codes[at + 1 : at + 4]
        is_whole = len(rgb) == 3 and all(0 <= part <= 255 for part in rgb)
        return (nearest(*rgb) if is_whole else None), at + 4
    return None, at + 1


_LEVELS = (0, 95, 135, 175, 215, 255)


def palette(number: int) -> tuple[int, int, int]:
    """Red, green and blue of one of xterm's colours 16 to 255: a cube of 216, then 24 greys."""
    if number >= 232:
        grey = 8 + 10 * (number - 232)
        return grey, grey, grey
    number -= 16
    return _LEVELS[number // 36], _LEVELS[number // 6 % 6], _LEVELS[number % 6]


@lru_cache(maxsize=1024)
def nearest(red: int, green: int, blue: int) -> int:
    """The one of those that is nearest to a colour."""

    def distance(number: int) -> int:
        r, g, b = palette(number)
        return (r - red) ** 2 + (g - green) ** 2 + (b - blue) ** 2

    return min(range(16, 256), key=distance)


def stylesheet() -> str:
    """static/ansi.css: the 240 colours. The first 16 and the rules are in static/log.css: they go with the theme."""
    rules = []
    for number in range(16, 256):
        colour = "#{:02x}{:02x}{:02x}".format(*palette(number))
        rules.append(f".f{number}{{--f:{colour}}}.b{number}{{--k:{colour}}}\n")
    return "/* The colours of terminals, made by app/log/ansi.py. */\n" + "".join(rules)
