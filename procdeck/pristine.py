"""The modules `os` and `signal` as they were before any user code was imported.

gevent and its like replace functions of the standard library, for the whole interpreter. Launcher and keeper live in
one that has imported user code, and must not be reached by that: what they use comes from here, and what they need of
`select`, `time` and `_socket` is bound by name when they are imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os as os
    import signal as signal
else:
    import os as _os
    import signal as _signal
    from types import ModuleType

    def _copy(module: ModuleType) -> ModuleType:
        copy = ModuleType(module.__name__, module.__doc__)
        copy.__dict__.update(module.__dict__)
        return copy

    os = _copy(_os)
    signal = _copy(_signal)
