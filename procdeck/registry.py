"""Which functions can be launched: `@target` marks them, `collect` describes them, `resolve` finds one by its name.

A target is named `module:qualname`. Registering only takes a note, so that a function which can't be launched never
breaks the import of its module: `collect` says the reason in the catalogue entry, where a person sees it.
"""

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from types import FrameType, FunctionType, ModuleType
from typing import Any, NamedTuple, TypeVar, overload

Entry = dict[str, Any]
T = TypeVar("T")

_NOTHING = object()
_LONGEST_NAME = 200


class Registration(NamedTuple):
    """One use of `@target`: the object, the module that it counts for, its name there, and the defaults of a launch."""

    obj: object
    owner: str
    qualname: str
    defaults: dict[str, Any]
    line: int


_registered: dict[tuple[str, str], Registration] = {}


@overload
def target(obj: T, /) -> T: ...
@overload
def target(
    *, name: str | None = None, daemon: bool | None = None, timeout: float | None = None, grace: float | None = None
) -> Callable[[T], T]: ...
def target(
    obj: Any = _NOTHING,
    /,
    *,
    name: str | None = None,
    daemon: bool | None = None,
    timeout: float | None = None,
    grace: float | None = None,
) -> Any:
    """Register a function or a subclass of `multiprocessing.Process`, and return the very same object.

    Use it bare, or with defaults for a launch: the `name` of the process, the `daemon` flag, the `timeout` in seconds
    after which it is ended, and the `grace` in seconds between a request to stop, SIGTERM and SIGKILL.
    """
    options = {"name": name, "daemon": daemon, "timeout": timeout, "grace": grace}
    defaults = {option: value for option, value in options.items() if value is not None}
    if obj is not _NOTHING:
        return _register(obj, defaults, sys._getframe(1))

    def decorate(obj: T) -> T:
        return _register(obj, defaults, sys._getframe(1))

    return decorate


def _register(obj: T, defaults: dict[str, Any], caller: FrameType) -> T:
    # Written at the top of a module, it counts for that module, wherever the function comes from; called by somebody's
    # own decorator or in a class body, it counts for the module of the function.
    owner = caller.f_globals.get("__name__")
    if caller.f_code.co_name != "<module>":
        owner = getattr(obj, "__module__", owner)
    qualname = getattr(obj, "__qualname__", None)
    if not isinstance(qualname, str):
        qualname = f"<{type(obj).__name__} at line {caller.f_lineno}>"
    note = Registration(obj, str(owner), qualname, defaults, caller.f_lineno)
    _registered.pop((note.owner, qualname), None)  # a second definition takes the place, and the position, of the first
    _registered[note.owner, qualname] = note
    return obj


def resolve(name: str) -> Any:
    """The object called `module:qualname`; its module is imported if it is not yet.

    Raises ValueError for a name of another form, and what the import or the attribute access raises.
    """
    module, _, qualname = name.partition(":")
    if not module or not qualname or "<" in qualname:
        raise ValueError(f"{name!r} does not name a target: it has to look like module:function")
    return _attribute(sys.modules.get(module) or importlib.import_module(module), qualname)


def collect(module: ModuleType) -> list[Entry]:
    """The catalogue entries of an imported module, in source order.

    They are what was registered with `@target`, or, if nothing was, all public functions and Process subclasses
    that the module defines.
    """
    notes = [note for note in _registered.values() if note.owner == module.__name__]
    return [_describe(module, note) for note in notes or _public(module)]


def _public(module: ModuleType) -> Iterator[Registration]:
    for name, obj in list(vars(module).items()):
        if not name.startswith("_") and _defined_in(module, obj):
            qualname = obj.__qualname__
            if qualname == name or "<" in qualname:  # anything else is a second name for something
                yield Registration(obj, module.__name__, name, {}, 0)


def _defined_in(module: ModuleType, obj: Any) -> bool:
    import inspect

    try:
        launchable = is_process_class(obj) if isinstance(obj, type) else inspect.isroutine(obj)
        return launchable and obj.__module__ == module.__name__ and isinstance(obj.__qualname__, str)
    except Exception:  # objects that stand in for others may raise anything when they are looked at
        return False


def _describe(module: ModuleType, note: Registration) -> Entry:
    entry: Entry = {
        "name": f"{module.__name__}:{note.qualname}",
        "module": module.__name__,
        "kind": "process" if is_process_class(note.obj) else "function",
        "doc": "",
        "signature": "",
        "parameters": {},
        "defaults": note.defaults,
        "source": {"file": getattr(module, "__file__", None), "line": note.line},
        "warnings": [],
        "error": None,
    }
    try:
        obj = _launched(module, note)
        entry.update(_facts(obj))
        entry["error"] = _unusable(note.defaults)
    except _Refused as refusal:
        entry["error"] = str(refusal)
    except Exception as error:  # one odd function must not hide the others
        entry["error"] = f"It can't be described: {type(error).__name__}: {error}"
    return entry


class _Refused(Exception):
    """The reason why something can't be a target, as a sentence."""


def _launched(module: ModuleType, note: Registration) -> Any:
    """What a launch will find under the name, which an outer decorator may have replaced."""
    _check_name(note.qualname, note.obj)
    try:
        obj = _attribute(module, note.qualname)
    except AttributeError:
        raise _Refused(
            f"The module {module.__name__} has no {note.qualname!r}: it was deleted, or it goes by another name."
        ) from None
    _check_kind(module, note.qualname, obj)
    return obj


def _check_name(qualname: str, obj: object) -> None:
    written = getattr(obj, "__qualname__", None)
    if not callable(obj):
        raise _Refused(f"A target must be callable, and this {type(obj).__name__} is not.")
    if not isinstance(written, str):
        raise _Refused(f"This {type(obj).__name__} has no name to import it by: write a function that calls it.")
    if written.endswith("<lambda>"):
        raise _Refused("A lambda has no name to import it by: write it as a function with def.")
    if "<locals>" in written or "<" in qualname:
        raise _Refused(
            "It is defined inside another function, so a new process could not import it: move it to the top of its "
            "module (or, if a decorator made it, use functools.wraps there)."
        )


def _check_kind(module: ModuleType, qualname: str, obj: Any) -> None:
    import inspect

    if isinstance(obj, type):
        if not is_process_class(obj):
            raise _Refused("It is a class: only functions and subclasses of multiprocessing.Process can be launched.")
        return
    if not callable(obj):
        raise _Refused(f"A target must be callable, and this {type(obj).__name__} is not.")
    holder, _, name = qualname.rpartition(".")
    if holder and isinstance(inspect.getattr_static(_attribute(module, holder), name), FunctionType):
        raise _Refused("It is a method and needs an object: make it a static method or a function of the module.")
    # Coroutine before generator: the reason shall name what the person wrote.
    if inspect.iscoroutinefunction(obj):
        raise _Refused("It is an async function: write a plain function that calls asyncio.run(...).")
    if inspect.isasyncgenfunction(obj):
        raise _Refused("It is an async generator, which does nothing when called: write a plain function.")
    if inspect.isgeneratorfunction(obj):
        raise _Refused("It is a generator (it contains yield), which does nothing when called: write a plain function.")


def _unusable(defaults: dict[str, Any]) -> str | None:
    """Why the options of `@target` can't be used, or None."""
    for option, least in (("timeout", sys.float_info.min), ("grace", 0)):
        value = defaults.get(option, least)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < float("inf"):
            return f"@target({option}={value!r}): it has to be a number of seconds{'' if least == 0 else ' above 0'}."
    name = defaults.get("name", "-")
    if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST_NAME:
        return f"@target(name=...): it has to be a text of 1 to {_LONGEST_NAME} characters."
    if not isinstance(defaults.get("daemon", False), bool):
        return "@target(daemon=...): it has to be True or False."
    return None


def _facts(obj: Any) -> Entry:
    import inspect

    from procdeck import schema

    parameters, warnings = schema.describe_parameters(obj)
    doc = obj.__doc__ if isinstance(obj.__doc__, str) else ""
    return {
        "kind": "process" if is_process_class(obj) else "function",
        "doc": inspect.cleandoc(doc),
        "signature": schema.signature_text(obj),
        "parameters": parameters,
        "source": _source(obj),
        "warnings": warnings,
    }


def _source(obj: Any) -> dict[str, Any] | None:
    import inspect

    plain = inspect.unwrap(obj)
    code = getattr(plain, "__code__", None)
    if code is not None:
        return {"file": code.co_filename, "line": code.co_firstlineno}
    try:
        return {"file": inspect.getsourcefile(plain), "line": inspect.getsourcelines(plain)[1]}
    except (OSError, TypeError):
        return None


def _attribute(module: ModuleType, qualname: str) -> Any:
    return functools.reduce(getattr, qualname.split("."), module)


def is_process_class(obj: object) -> bool:
    """Whether it is a subclass of multiprocessing's Process, of whatever start method."""
    # As long as nobody has loaded multiprocessing there is no such subclass, and loading it to ask would be a waste.
    process = sys.modules.get("multiprocessing.process")
    return process is not None and isinstance(obj, type) and issubclass(obj, process.BaseProcess)
