"""File systems of other machines, on which neither locks nor shared memory hold what this project builds on.

SQLite's WAL needs memory that all who open the database share (https://sqlite.org/wal.html), and a lock that another
host can't see would let two services work on one data folder.
"""

import ctypes
import os
from pathlib import Path

from app.startup_errors import DataFolderUnusable

NETWORK = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB",
    0x00C36400: "Ceph",
    0x5346414F: "AFS",
    0x6B414653: "AFS",
    0x73757245: "Coda",
    0x0BD00BD0: "Lustre",
    0x47504653: "GPFS",
    0x19830326: "BeeGFS",
    0xAAD7AAEA: "PanFS",
    0x7461636F: "OCFS2",
    0x01161970: "GFS2",
}
"""``f_type`` of statfs(2), and the name (linux/magic.h, and the manuals of those that are not in the kernel)."""

_STRUCT_BYTES = 256
"""More than any struct statfs takes; the type is its first word."""


def network_name(path: Path) -> str | None:
    """The name of the network file system that ``path`` is on, or would be on; None for any other. Raises OSError."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return NETWORK.get(_type_of(path))


def _type_of(path: Path) -> int:
    # os.statvfs() leaves the type out.
    libc = ctypes.CDLL(None, use_errno=True)
    found = ctypes.create_string_buffer(_STRUCT_BYTES)
    if libc.statfs(os.fsencode(path), found) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))
    return ctypes.c_ulong.from_buffer(found).value & 0xFFFFFFFF


def refuse_network(what: str, path: Path) -> None:
    """Raises `app.startup_errors.DataFolderUnusable` when ``path``, which is ``what``, is on one."""
    try:
        name = network_name(path)
    except OSError:
        return  # whoever opens it says what is wrong
    if name is not None:
        raise DataFolderUnusable(
            f"{what} {path} is on a network file system ({name}), where locks and shared memory can't be trusted: name"
            " a folder on a disk of this machine with --data-dir"
        )
