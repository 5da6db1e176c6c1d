"""Progress bars in the output of a process, as tqdm draws them::

    epoch 3:  62%|██████▏   | 62/100 [00:12<00:07,  5.10it/s, loss=0.3]

Pure; and without `re`, which a keeper would load for nothing else.
"""

from __future__ import annotations

TAIL_BYTES = 2048
"""How much of the output's end is looked at: several bars, each as wide as a terminal."""
MAX_MESSAGE = 200

_UNITS = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def tail(before: bytes, chunk: bytes) -> bytes:
    """The end of an output of which ``before`` was the end until ``chunk`` came."""
    if len(chunk) >= TAIL_BYTES:
        return chunk[-TAIL_BYTES:]
    return (before + chunk)[-TAIL_BYTES:]


def find(text: bytes) -> dict[str, object] | None:
    """The last bar in ``text`` that tells how much is done and of how much, as progress: ``fraction`` (0 to 1) and
    ``message``; None when there is none.

    Of bars below each other the first one counts: those further down begin anew again and again. tqdm goes back up
    behind each of them (``ESC [ A``).
    """
    at = text.rfind(b"%|")
    while at >= 0:
        start = max(text.rfind(b"\r", 0, at), text.rfind(b"\n", 0, at)) + 1
        line, below = _line(text[start:])
        if not below and (progress := parse(line)) is not None:
            return progress
        at = text.rfind(b"%|", 0, start)
    return None


def _line(text: bytes) -> tuple[str, bool]:
    """The line at the start of ``text``, and whether the cursor goes back up behind it."""
    ends = [at for end in (b"\r", b"\n", b"\x1b[A") if (at := text.find(end)) >= 0]
    end = min(ends, default=len(text))
    return text[:end].decode(errors="replace"), text[end : end + 3] == b"\x1b[A"


def parse(line: str) -> dict[str, object] | None:
    """The progress that one line of output tells, None when it is no bar, or one without a total."""
    head, mark, rest = line.partition("%|")
    description, percent = _split_percent(head)
    _, bar_end, figures = rest.partition("|")
    if not mark or not bar_end or percent is None:
        return None
    counts, bracket, times = figures.strip().partition(" [")
    done, slash, total = counts.partition("/")
    if not slash or not bracket or _number(done) is None or _number(total) is None:
        return None
    words = [f"{done.strip()}/{total.strip()}", *_times(times.partition("]")[0])]
    message = ", ".join(words)
    if description:
        message = f"{description}: {message}"
    return {"fraction": _fraction(done, total, percent), "message": message[:MAX_MESSAGE]}


def _split_percent(head: str) -> tuple[str, int | None]:
    """The description and the number in front of the percent sign."""
    start = len(head)
    while start > 0 and head[start - 1].isascii() and head[start - 1].isdigit():
        start -= 1
    digits = head[start:]
    if not 1 <= len(digits) <= 3 or int(digits) > 100:
        return "", None
    if start > 0 and head[start - 1] not in " :":
        return "", None
    return "".join(c for c in head[:start] if c.isprintable()).strip().removesuffix(":").strip(), int(digits)


def _fraction(done: str, total: str, percent: int) -> float:
    """As exact as the two numbers are; by the percentage when they say something else, for that is what is drawn."""
    n, m = _number(done), _number(total)
    if n is not None and m is not None and m > 0 and abs(100 * n / m - percent) <= 1.5:
        return round(min(1.0, n / m), 4)
    return percent / 100


def _number(text: str) -> float | None:
    """``62``, ``1.20M``, ``3k``; with a unit behind it (``12.0MB``) as well."""
    text = text.strip()
    end = 0
    while end < len(text) and text[end] in "0123456789.":
        end += 1
    try:
        number = float(text[:end])
    except ValueError:
        return None
    return number * _UNITS.get(text[end : end + 1], 1.0)


def _times(text: str) -> list[str]:
    """Of ``00:12<00:07, 5.10it/s, loss=0.3``: the rate, how long it takes still, and what the program has added."""
    spent, rate, *more = [part.strip() for part in text.split(",")] + [""]
    _, _, left = spent.partition("<")
    words = [rate] if rate and not rate.startswith("?") else []
    if left and "?" not in left and left.strip("0:"):
        words.append(f"{left} left")
    return [*words, *(word for word in more if word)]
