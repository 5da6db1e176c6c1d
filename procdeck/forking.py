"""fork(2) as keepers and children are made by it: with the hooks of user code, without those of the standard library.

`os.fork` runs in the child whatever was registered with `os.register_at_fork`, and first of all `threading`'s own hook,
which renews the locks of every thread object. In a process with one thread there is nothing to renew, and its work
costs each child about 110 pages that could have stayed shared. So the launcher takes note of what is registered after
it has loaded what it needs itself (`note_hooks`), and `fork_with_hooks` runs just that. Only for processes with one
thread; nothing of the interpreter's state tells threads apart then.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from typing import Any

_fork: Callable[[], int] = ctypes.PyDLL(None, use_errno=True).fork

_before: list[Callable[[], Any]] = []
_in_parent: list[Callable[[], Any]] = []
_in_child: list[Callable[[], Any]] = []


def note_hooks() -> None:
    """From now on take note of what is registered with `os.register_at_fork`; it keeps its effect on `os.fork`, too."""
    register = os.register_at_fork

    def register_at_fork(
        *,
        before: Callable[[], Any] | None = None,
        after_in_child: Callable[[], Any] | None = None,
        after_in_parent: Callable[[], Any] | None = None,
    ) -> None:
        given = {"before": before, "after_in_child": after_in_child, "after_in_parent": after_in_parent}
        register(**{name: hook for name, hook in given.items() if hook is not None})
        for hook, noted in ((before, _before), (after_in_child, _in_child), (after_in_parent, _in_parent)):
            if hook is not None:
                noted.append(hook)

    os.register_at_fork = register_at_fork


def fork_with_hooks() -> int:
    """`os.fork` for a process with one thread: 0 in the child, its pid in the parent. Raises OSError.

    The order is that of `os.register_at_fork`: ``before`` from the last registered to the first, the others from the
    first to the last.
    """
    _run(reversed(_before))
    pid = _fork()
    _run(_in_parent if pid else _in_child)
    return _checked(pid)


def fork_bare() -> int:
    """fork(2) without any hook, for a process that will run no user code and forks once more (the keeper).

    Raises OSError.
    """
    return _checked(_fork())


def _checked(pid: int) -> int:
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return pid


def _run(hooks: Any) -> None:
    for hook in hooks:
        try:
            hook()
        except Exception:
            sys.excepthook(*sys.exc_info())  # as the interpreter does: told, and passed over
