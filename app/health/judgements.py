"""What facts about this machine mean: judged the same by the service while it runs and by `procdeck doctor`. Pure."""

from app.health.host import Descriptors, Disk
from app.units import size

MEBIBYTE = 2**20
GIBIBYTE = 2**30
LEAST_FREE = 200 * MEBIBYTE
MOST_NEEDED = 10 * GIBIBYTE
"""A twentieth is asked to be free, but never more than this: a large disk is not full with a hundred GiB left."""
LEAST_INODES = 1000
LEAST_DESCRIPTORS = 64


def disk_is_full(disk: Disk) -> str | None:
    """What to say of a disk with little room; None when there is enough."""
    needed = max(LEAST_FREE, min(disk.size // 20, MOST_NEEDED))
    if disk.free >= needed:
        return None
    return (
        f"The disk of the data folder is nearly full: {size(disk.free)} of {size(disk.size)} are free. When it is "
        "full, launches are refused and output is lost: make room."
    )


def inodes_are_gone(disk: Disk) -> str | None:
    """The same for inodes, of which each process takes some ten."""
    if disk.inodes == 0 or disk.free_inodes >= max(LEAST_INODES, disk.inodes // 100):
        return None
    return (
        f"The file system of the data folder has {disk.free_inodes:,} of {disk.inodes:,} inodes left: no more files "
        "can be made soon, however much room there is. Delete old processes."
    )


def descriptors_are_gone(found: Descriptors) -> str | None:
    """What to say when a process has hardly any file descriptor left."""
    if found.most - found.open >= max(LEAST_DESCRIPTORS, found.most // 20):
        return None
    return (
        f"The service has {found.open:,} of {found.most:,} file descriptors open: connections and launches are about "
        "to be refused. Raise its limit of open files (LimitNOFILE, ulimit -n), or let some processes end."
    )
