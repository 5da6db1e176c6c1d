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
