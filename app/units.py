"""Numbers as people read them. Pure."""


def size(count: float | None) -> str:
    """Bytes in powers of 1024: `512 B`, `3.1 MiB`; empty for None."""
    if count is None:
        return ""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1023.95:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"


def duration(seconds: float | None) -> str:
    """`0.84 s`, `12 s`, `2:10`, `1:02:03`, `3 d 04:05`, empty for None; static/times.js does the same for what goes on.

    What is over a second is cut off, not rounded: a process that took 59.9 s did not take a minute.
    """
    if seconds is None:
        return ""
    if seconds < 9.995:
        return f"{max(0.0, seconds):.2f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    if days:
        return f"{days} d {hours:02}:{minutes:02}"
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def span(seconds: float) -> str:
    """The length of a stretch of time that somebody chose: `45 s`, `2 min 10 s`, `3 h 5 min`, `2 d 4 h`."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for unit, size, smaller, part in (("min", 60, "s", 1), ("h", 3600, "min", 60), ("d", 86400, "h", 3600)):
        if whole < size * (24 if unit == "h" else 60) or unit == "d":
            rest = whole % size // part
            return f"{whole // size} {unit} {rest} {smaller}" if rest else f"{whole // size} {unit}"
    raise AssertionError
