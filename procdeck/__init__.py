"""What user code imports: `target` registers a function; inside it `progress` and `stop_requested` talk to the keeper.

Importing this package costs next to nothing: what a running process needs is loaded when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from procdeck.registry import target

if TYPE_CHECKING:
    from procdeck.child import progress, stop_requested

__all__ = ["progress", "stop_requested", "target"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from procdeck import child

    return getattr(child, name)
