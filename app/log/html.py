"""Lines as HTML. Everything that comes from a log is escaped; the rest is made here."""

from collections.abc import Iterable, Sequence
from html import escape

from app.log import ansi
from app.log.lines import Line

CHUNK = 500
"""Lines that stand together in one element, which the browser need not lay out while it is out of sight."""
SILENCE = 60.0
"""Seconds without output that are marked."""


def chunks(lines: Sequence[Line], target: int | None = None) -> str:
    """The lines in elements of `CHUNK`; the one at ``target`` stands out."""
    parts = [lines[at : at + CHUNK] for at in range(0, len(lines), CHUNK)]
    return "".join(f'<div class="chunk">{rows(part, target)}</div>' for part in parts)


def rows(lines: Iterable[Line], target: int | None = None) -> str:
    """The lines one after the other, with marks of silence between them."""
    return "".join(_row(line, line.offset == target) for line in lines)


def _row(line: Line, is_target: bool) -> str:
    at, time = line.offset, escape(line.time)
    classes = "l" + _CLASSES.get(line.level or 0, "") + (" se" if line.stream == "stderr" else "")
    classes += " cont" if line.is_continuation else ""
    classes += " picked" if is_target else ""
    silence = f'<div class="mark">{_spell(line.silence)} of silence</div>' if line.silence > SILENCE else ""
    return (
        f'{silence}<div id="o{at}" class="{classes}"><a class="n" href="#o{at}" tabindex="-1">{line.number}</a>'
        f'<time datetime="{time}">{time[11:23]}</time><span class="x">{ansi.html(line.raw)}</span></div>\n'
    )


_CLASSES = {10: " ld", 30: " lw", 40: " le"}


def _spell(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02} min"
    return f"{hours // 24} d {hours % 24} h"
