"""Settings: one table, read once, frozen, loud when wrong.

A flag of the command line stands over an environment variable, that over procdeck.toml, that over the default. The
fields of `Settings` are the table: from them come the names of flags (`--data-dir`), variables (`PROCDECK_DATA_DIR`)
and keys (`data_dir` under `[server]`), the types, the help of the command line and the manual. Nothing else reads
`os.environ` for a setting.
"""

import difflib
import ipaddress
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast, get_args, get_type_hints
from urllib.parse import quote

from app.data_folder import RECORD
from app.startup_errors import BadConfig

CONFIG_NAME = "procdeck.toml"
PREFIX = "PROCDECK_"
WILDCARD_HOSTS = frozenset({"", "0.0.0.0", "::", "[::]", "*"})


class OnExit(StrEnum):
    """What the service does about processes that are not daemonic when it is asked to end."""

    WAIT = "wait"
    LEAVE = "leave"
    TERMINATE = "terminate"


class LogLevel(StrEnum):
    """How much the service says about itself."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


# --- values: from text (environment), from TOML and from flags ---------------------------------------------------


def _text(value: object, base: Path) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("a text")
    return value


_FLAGS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _flag(value: object, base: Path) -> bool:
    if isinstance(value, str):
        value = _FLAGS.get(value.lower())
    if not isinstance(value, bool):
        raise ValueError("true or false")  # noqa: TRY004 - whatever is wrong about a value
    return value


def _integer(value: object, base: Path) -> int:
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("a whole number")  # noqa: TRY004
    return value


def _number(value: object, base: Path) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = None
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError("a number")
    return float(value)


def _path(value: object, base: Path) -> Path:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError("a path")
    return base / Path(value).expanduser()


def _texts(value: object, base: Path) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) and item for item in value):
        raise ValueError("a list of texts")
    return tuple(value)


def _one_of(kind: type[StrEnum]) -> Callable[[object, Path], StrEnum]:
    def parse(value: object, base: Path) -> StrEnum:
        try:
            return kind(str(value).lower())
        except ValueError:
            raise ValueError("one of " + ", ".join(kind)) from None

    return parse


@dataclass(frozen=True)
class Kind:
    """A type that settings can have: its name in the manual, and its parser (value, folder of relative paths)."""

    name: str
    parse: Callable[[object, Path], object]


KINDS: Mapping[object, Kind] = {
    str: Kind("text", _text),
    str | None: Kind("text", _text),
    bool: Kind("true or false", _flag),
    int: Kind("whole number", _integer),
    float: Kind("number", _number),
    Path: Kind("path", _path),
    Path | None: Kind("path", _path),
    tuple[str, ...]: Kind("list", _texts),
    OnExit: Kind(", ".join(OnExit), _one_of(OnExit)),
    LogLevel: Kind(", ".join(LogLevel), _one_of(LogLevel)),
}


# --- the table ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class About:
    """What a field says about its setting. A secret one may also be given as `NAME_FILE`, and is never shown."""

    help: str
    at_least: float | None = None
    at_most: float | None = None
    secret: bool = False


@dataclass(frozen=True)
class Setting:
    """One row of the table, as the command line, the manual and the tests read it."""

    name: str
    type: object
    default: Any
    about: About

    @property
    def kind(self) -> Kind:
        return KINDS[self.type]

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    def parse(self, value: object, base: Path, where: str) -> object:
        """`value` as this setting's type. Raises BadConfig, naming `where` it was given."""
        try:
            parsed = self.kind.parse(value, base)
        except ValueError as error:
            _refuse(where, f"must be {error}", None if self.about.secret else value)
        if isinstance(parsed, int | float):
            if self.about.at_least is not None and parsed < self.about.at_least:
                _refuse(where, f"must be at least {self.about.at_least:g}", value)
            if self.about.at_most is not None and parsed > self.about.at_most:
                _refuse(where, f"must be at most {self.about.at_most:g}", value)
        return parsed


Variables = Mapping[str, str]


@dataclass(frozen=True)
class EnvironmentSettings:
    """`[environments.NAME]`: an interpreter, and the targets that run under it."""

    python: Annotated[str | None, About("Interpreter, 3.11 or newer; the service's own if not given.")] = None
    path: Annotated[tuple[str, ...], About("Folders put in front of sys.path.")] = ()
    targets: Annotated[tuple[str, ...], About("Modules or files whose functions can be launched.")] = ()
    env: Annotated[Variables, About("Environment variables of the processes.")] = field(default_factory=dict)
    preload: Annotated[bool, About("Import the targets once and fork; false imports them in each process.")] = True


@dataclass(frozen=True)
class CommandSettings:
    """`[commands.NAME]`: a program that is not Python, under the same keeper."""

    run: Annotated[tuple[str, ...], About("Argument list; the first is the program.")] = ()
    doc: Annotated[str, About("What the catalogue says about it.")] = ""
    cwd: Annotated[Path | None, About("Working folder.")] = None
    env: Annotated[Variables, About("Environment variables of the process.")] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """All settings. Paths are absolute; durations are seconds; sizes are bytes."""

    host: Annotated[str, About("Address to listen on; anything but loopback needs allowed_hosts.")] = "127.0.0.1"
    port: Annotated[int, About("Port to listen on; 0 takes a free one.", at_least=0, at_most=65535)] = 8000
    data_dir: Annotated[Path, About("Folder of the record, the runs and the token.")] = Path("procdeck-data")
    database_url: Annotated[
        str | None, About("SQLAlchemy URL of the record; SQLite in the data folder if not given.", secret=True)
    ] = field(default=None, repr=False)
    targets: Annotated[tuple[str, ...], About("Modules or files whose functions can be launched.")] = ()
    allowed_hosts: Annotated[
        tuple[str, ...],
        About("Names that requests may ask for: NAME with any port, or NAME:PORT; this machine's own always may."),
    ] = ()
    on_exit: Annotated[OnExit, About("What to do about processes that are not daemonic when the service ends.")] = (
        OnExit.WAIT
    )
    shutdown_timeout: Annotated[float, About("Seconds that on_exit = wait gives them.", at_least=0)] = 10.0
    grace: Annotated[float, About("Seconds between asking a process to end and ending it.", at_least=0)] = 10.0
    config: Annotated[
        Path | None, About("Configuration file; procdeck.toml of the current folder if there is one.")
    ] = None
    no_auth: Annotated[bool, About("Take everybody who can reach the port for the operator; loopback only.")] = False
    log_level: Annotated[LogLevel, About("How much the service says about itself.")] = LogLevel.INFO
    start_timeout: Annotated[float, About("Seconds a launcher may take to answer.", at_least=0.1)] = 10.0
    import_timeout: Annotated[float, About("Seconds the targets may take to be imported.", at_least=0.1)] = 30.0
    max_processes: Annotated[
        int, About("Processes alive at once, the others are queued; 0 is no limit.", at_least=0)
    ] = 0
    max_queued: Annotated[
        int, About("Processes that may wait in the queue; more are refused, 0 is no limit.", at_least=0)
    ] = 10_000
    log_budget: Annotated[int, About("Bytes of log kept of one process; the oldest go first.", at_least=65536)] = (
        100 * 2**20
    )
    log_budget_total: Annotated[
        int, About("Bytes of log kept of all processes together; the oldest go first, 0 is no limit.", at_least=0)
    ] = 10 * 2**30
    keep_days: Annotated[
        float, About("Days for which a finished process is kept; 0 is no limit.", at_least=0, at_most=36500)
    ] = 0.0
    keep_per_target: Annotated[
        int, About("Finished processes kept of each target; the oldest go first, 0 is no limit.", at_least=0)
    ] = 0
    keep_bytes: Annotated[
        int, About("Bytes kept of finished processes, logs included; the oldest go first, 0 is no limit.", at_least=0)
    ] = 0
    watch: Annotated[bool, About("Reload the targets when their files change.")] = True
    cookie_secure: Annotated[bool, About("The service is reached by HTTPS: cookies are sent only there.")] = False
    environments: Mapping[str, EnvironmentSettings] = field(default_factory=dict)
    commands: Mapping[str, CommandSettings] = field(default_factory=dict)

    @classmethod
    def load(cls, flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> "Settings":
        """The settings in force. A flag that is None or an empty list was not given. Raises BadConfig."""
        table = {row.name: row for row in settings_table()}
        from_flags = _from_flags(table, flags, cwd)
        from_environ = _from_environ(table, environ, cwd)
        config = cast(Path | None, from_flags.get("config", from_environ.get("config"))) or _find_config(cwd)
        from_file = _from_file(config, table) if config else {}
        # The default data folder is one of the current folder, like the one given by a flag.
        defaults = {"data_dir": cwd / cls.data_dir}
        settings = cls(**{**defaults, **from_file, **from_environ, **from_flags, "config": config})
        settings._check()
        return settings

    @property
    def record_url(self) -> str:
        """SQLAlchemy URL of the record."""
        return self.database_url or f"sqlite:///{quote(str(self.data_dir / RECORD))}"

    @property
    def listens_on_loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def url(self) -> str:
        """Where this machine's own browser reaches the service, without a slash at the end."""
        host = "127.0.0.1" if self.host in WILDCARD_HOSTS else self.host.strip("[]")
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def _check(self) -> None:
        """Refuse what is right by itself and wrong together."""
        for name in self.allowed_hosts:
            if "*" in name or "/" in name or "@" in name or name != name.strip():
                raise BadConfig(
                    f"allowed_hosts: {name!r} must be the name of a host, or name:port; no patterns, no URLs"
                )
        if self.listens_on_loopback:
            return
        if self.no_auth:
            raise BadConfig(f"no_auth is possible on loopback only, and host is {self.host!r}")
        if not self.allowed_hosts:
            raise BadConfig(
                f"host {self.host!r} can be reached from other machines: name the hosts that browsers and clients will "
                "ask for with --allowed-hosts, PROCDECK_ALLOWED_HOSTS or allowed_hosts in procdeck.toml"
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def settings_table(of: type = Settings) -> tuple[Setting, ...]:
    """The rows of `of` in order; tables of tables (environments, commands, env) are not rows."""
    hints = get_type_hints(of, include_extras=True)
    return tuple(
        Setting(f.name, get_args(hints[f.name])[0], f.default, get_args(hints[f.name])[1])
        for f in fields(of)
        if f.default is not MISSING
    )


# --- sources -----------------------------------------------------------------------------------------------------


def _from_flags(table: Mapping[str, Setting], flags: Mapping[str, object], cwd: Path) -> dict[str, Any]:
    given = {name: value for name, value in flags.items() if value not in (None, (), [])}
    found: dict[str, Any] = {name: table[name].parse(value, cwd, table[name].flag) for name, value in given.items()}
    return _with_paths(found, cwd)


def _from_environ(table: Mapping[str, Setting], environ: Mapping[str, str], cwd: Path) -> dict[str, Any]:
    known = {row.variable: row for row in table.values()}
    files = {row.variable + "_FILE": row for row in table.values() if row.about.secret}
    found: dict[str, Any] = {}
    # An empty variable is one that was not given: compose files write `PROCDECK_TARGETS: ${TARGETS:-}`.
    for name, value in ((n, v) for n, v in environ.items() if v and n.startswith(PREFIX)):
        if name in known:
            found[known[name].name] = known[name].parse(value, cwd, name)
        elif name in files:
            if environ.get(files[name].variable):
                raise BadConfig(f"{files[name].variable} and {name} are both given; keep one")
            found[files[name].name] = _read(cwd / value, name).strip()
        else:
            # Others may use the prefix too (fail points, links between containers): only a slip is refused.
            _refuse_slip(name, [*known, *files])
    return _with_paths(found, cwd)


def _refuse_slip(name: str, known: Iterable[str]) -> None:
    if close := difflib.get_close_matches(name, known, n=1, cutoff=0.9):
        raise BadConfig(f"{name}: there is no such variable; did you mean {close[0]}?")


def _find_config(cwd: Path) -> Path | None:
    path = cwd / CONFIG_NAME
    return path if path.exists() else None


def _read(path: Path, where: str) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadConfig(f"{where}: can't read {path}: {reason}") from error


def _from_file(path: Path, table: Mapping[str, Setting]) -> dict[str, Any]:
    try:
        document = tomllib.loads(_read(path, "configuration"))
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(f"{path}: not valid TOML: {error}") from error
    _check_keys(document, ("server", "environments", "commands"), str(path))
    rows = {name: row for name, row in table.items() if name != "config"}
    found = _rows(_table(document, "server", str(path)), rows, path, "[server]")
    for section, kind in (("environments", EnvironmentSettings), ("commands", CommandSettings)):
        found[section] = _sections(document, section, kind, path)
    return _with_paths(found, path.parent.absolute())


def _sections(
    document: Mapping[str, Any], section: str, kind: type[EnvironmentSettings | CommandSettings], path: Path
) -> dict[str, Any]:
    found = {}
    rows = {row.name: row for row in settings_table(kind)}
    tables = _table(document, section, str(path))
    for name in tables:
        where = f"[{section}.{name}]"
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
            raise BadConfig(f"{path}: {where}: a name has letters, digits, '_', '.' and '-' only")
        content = _table(tables, name, f"{path}: [{section}]")
        values = _rows({k: v for k, v in content.items() if k != "env"}, rows, path, where, also=("env",))
        values["env"] = _environment_variables(_table(content, "env", f"{path}: {where}"), f"{path}: {where}")
        if kind is CommandSettings and not values.get("run"):
            raise BadConfig(f"{path}: {where} run: must be a list of texts: the program and its arguments")
        found[name] = kind(**_with_paths(values, path.parent.absolute()))
    return found


def _rows(
    content: Mapping[str, Any], rows: Mapping[str, Setting], path: Path, where: str, also: Iterable[str] = ()
) -> dict[str, Any]:
    _check_keys(content, [*rows, *also], f"{path}: {where}")
    return {name: _toml(rows[name], value, path, where) for name, value in content.items()}


def _toml(row: Setting, value: object, path: Path, where: str) -> object:
    """TOML has types of its own, so that text is taken where text is meant only."""
    place = f"{path}: {where} {row.name}"
    if isinstance(value, str) and row.type in (bool, int, float, tuple[str, ...]):
        _refuse(place, f"must be a {row.kind.name}, not text", value)
    return row.parse(value, path.parent.absolute(), place)


def _table(content: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise BadConfig(f"{where}: {key} must be a table")
    return value


def _check_keys(content: Iterable[str], known: Iterable[str], where: str) -> None:
    for key in content:
        if key not in (allowed := tuple(known)):
            close = difflib.get_close_matches(key, allowed, n=1)
            hint = f"did you mean {close[0]}?" if close else "possible are " + ", ".join(allowed)
            raise BadConfig(f"{where}: there is no key {key!r}; {hint}")


def _environment_variables(content: Mapping[str, Any], where: str) -> Mapping[str, str]:
    for name, value in content.items():
        if not name or "=" in name or "\0" in name:
            raise BadConfig(f"{where} env: {name!r} can't be the name of a variable")
        if not isinstance(value, str) or "\0" in value:
            raise BadConfig(f"{where} env.{name}: must be a text")
    return dict(content)


def _with_paths(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """`values` with the paths among their texts made absolute: they stand relative to the `folder` of their source.

    An interpreter without a slash is left to be looked up on PATH, as a shell does; a target may be a module.
    """

    def absolute(text: str) -> str:
        return str(folder / Path(text).expanduser())

    found = dict(values)
    if "/" in (found.get("python") or ""):
        found["python"] = absolute(found["python"])
    if "path" in found:
        found["path"] = tuple(absolute(item) for item in found["path"])
    if "targets" in found:
        found["targets"] = tuple(absolute(item) if is_file_target(item) else item for item in found["targets"])
    return found


def is_file_target(target: str) -> bool:
    """Whether a target is given as a file (`jobs.py`, `folder/jobs.py`) and not as a module (`jobs`)."""
    return target.endswith(".py") or "/" in target


def _refuse(where: str, what: str, value: object) -> NoReturn:
    shown = "" if value is None else f", not {value!r}"
    raise BadConfig(f"{where}: {what}{shown}") from None
