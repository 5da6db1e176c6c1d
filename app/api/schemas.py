"""What the API takes and gives, apart from the tables; names are the contract's."""

import signal
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from procdeck.states import Outcome, State

MAX_SECONDS = 10 * 365 * 86400.0
"""Ten years: longer ones are mistakes, and would overflow a timer."""


def _no_nul(text: str) -> str:
    """Neither a C string (names, variables, folders) nor PostgreSQL's text can hold a NUL."""
    if "\0" in text:
        raise ValueError("must not hold a NUL character")
    return text


Text = Annotated[str, AfterValidator(_no_nul)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_no_nul)]
VariableName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^=\x00]+$")]
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS)]

_LEVELS = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class LaunchRequest(BaseModel):
    """A launch. What is null takes the target's own default, then the service's."""

    model_config = ConfigDict(extra="forbid", title="Launch")

    target: Name = Field(description="A name of the catalogue, `module:qualname`.", examples=["basics:worker"])
    args: list[Any] = Field(default=[], description="Positional arguments.")
    kwargs: dict[str, Any] = Field(default={}, description="Keyword arguments.")
    name: Name | None = Field(default=None, description="Default: `Process-N`, or the class's name and N.")
    daemon: bool | None = Field(default=None, description="Ended when the service ends.")
    start: bool = Field(default=True, description="False only creates it.")
    start_method: Literal["fork", "spawn", "forkserver"] = "fork"
    timeout: Annotated[float, Field(gt=0, le=MAX_SECONDS)] | None = Field(
        default=None, description="Time limit in seconds; then SIGTERM, and SIGKILL after the grace."
    )
    grace: Seconds | None = Field(default=None, description="Seconds between asking and SIGKILL.")
    env: dict[VariableName, Text] = Field(default={}, description="Environment variables, beside those of the service.")
    cwd: Text | None = Field(default=None, description="Working folder.")
    log_level: _LEVELS | None = Field(default=None, description="Level of the `multiprocessing` logger on stderr.")
    labels: dict[Name, Annotated[Text, Field(max_length=200)]] = Field(default={}, max_length=50)
    leftovers: Literal["end", "keep"] = Field(
        default="end", description="What becomes of descendants that outlive the process."
    )


class EndRequest(BaseModel):
    """How to end a process; the body may be left out."""

    model_config = ConfigDict(extra="forbid", title="End")

    grace: Seconds | None = Field(default=None, description="Seconds until the next harder step.")
    reason: Annotated[Text, Field(max_length=500)] | None = Field(default=None, description="Kept in the history.")
    tree: bool = Field(default=False, description="Signal every descendant as well.")


def _signal_name(name: str) -> str:
    if name not in signal.Signals.__members__:
        raise ValueError("must be the name of a signal, such as SIGUSR1")
    return name


class SignalRequest(BaseModel):
    """Which signal to send."""

    model_config = ConfigDict(extra="forbid", title="Signal")

    signal: Annotated[str, AfterValidator(_signal_name), Field(examples=["SIGUSR1"])]
    reason: Annotated[Text, Field(max_length=500)] | None = None
    tree: bool = False


class PruneRequest(BaseModel):
    """Which finished processes to remove. Without any limit those of the settings hold."""

    model_config = ConfigDict(extra="forbid", title="Prune")

    dry_run: bool = Field(default=False, description="Only tell which; remove nothing.")
    older_than_days: Annotated[float, Field(gt=0, le=36500)] | None = Field(
        default=None, description="Those that ended longer ago."
    )
    keep_per_target: Annotated[int, Field(ge=1, lt=2**63)] | None = Field(
        default=None, description="Keep so many of each target; the oldest go."
    )
    keep_bytes: Annotated[int, Field(ge=1, lt=2**63)] | None = Field(
        default=None, description="Keep so many bytes of run folders; the oldest go."
    )
    target: Name | None = Field(default=None, description="Only processes of this target, and only their bytes count.")


class PrunedProcess(BaseModel):
    """A process that was, or would be, removed."""

    id: str
    number: int
    name: str
    target: str
    stopped_at: datetime
    bytes: int = Field(description="What its run folder takes on the disk.")
    reason: Literal["age", "count", "bytes"]


class PruneResult(BaseModel):
    """What was removed, or would be."""

    items: list[PrunedProcess] = Field(description="The first 1000 of them.")
    count: int
    bytes: int
    dry_run: bool


class ActivitySubject(BaseModel):
    """What something was done to."""

    kind: str = Field(description="process, processes, target, targets, view, preset, operation, session, service")
    id: str = Field(description="Empty for what has no id.")
    name: str


class ActivityItem(BaseModel):
    """Something that was done."""

    number: int = Field(description="Counted together with the events: the order of both.")
    at: datetime
    actor: str = Field(description="`service` and `keeper` are ours; everyone else asked.")
    action: str = Field(examples=["launched", "stop", "deleted"])
    subject: ActivitySubject
    reason: str | None
    result: str = Field(description="What has become of it, in words; empty when there is nothing to say.")
    text: str = Field(description="All of it as a sentence.")
    detail: dict[str, Any]


class ActivityPage(BaseModel):
    """What was done, newest first."""

    items: list[ActivityItem]
    next: int | None = Field(description="For `before`, to go on; null at the end.")
    searched_back_to: datetime | None = Field(
        description="Set when the time for the search was used up before the page was full: go on with `next`."
    )


class ErrorView(BaseModel):
    """An exception as data."""

    type: str
    message: str
    traceback: str


class ProgressView(BaseModel):
    """What the target last told by `procdeck.progress`."""

    fraction: float
    message: str


class ProcessView(BaseModel):  # type: ignore[no-redef]  # its field is named as the argument of the plugin
    """A process. Times are UTC, durations seconds, sizes bytes; null is unknown or not yet."""

    model_config = ConfigDict(title="Process")

    id: str = Field(description="UUIDv7.")
    number: int
    name: str
    target: str
    kind: Literal["function", "process", "command"]
    environment: str
    args: list[Any]
    kwargs: dict[str, Any]
    daemon: bool
    start_method: str
    state: State
    outcome: Outcome | None
    is_alive: bool
    condition: Literal["paused", "unkillable", "returned"] | None = Field(
        description="While it lives: stopped by a signal; alive after SIGKILL; kept alive by something after its target"
        " has returned."
    )
    pid: int | None
    exitcode: int | None = Field(description="0, > 0, or -N for signal N.")
    signal: str | None
    exit_summary: str | None
    error: ErrorView | None
    result: Any
    progress: ProgressView | None
    created_at: datetime
    started_at: datetime | None
    stopped_at: datetime | None
    duration: float | None
    cpu_percent: float | None = Field(description="Of one core, over the last sample; the whole tree.")
    cpu_seconds: float | None
    rss_bytes: int | None
    max_rss_bytes: int | None
    log_start: int = Field(
        description="Offset of the oldest byte of its log that is kept, so: how many were removed for a budget of logs."
    )
    disk_bytes: int | None = Field(description="What its run folder takes; measured soon after the end.")
    timeout: float | None
    grace: float
    labels: dict[str, str]
    code: str | None = Field(
        description="The `fingerprint` of the target that it runs; null when its module is imported anew in each child."
    )
    origin_id: str | None = Field(description="The process of which this is a relaunch.")
    requested_by: str
    detail: dict[str, Any]


class ProcessPage(BaseModel):
    """A page of processes, newest first."""

    items: list[ProcessView]
    next: str | None = Field(description="Cursor of the next page.")
    searched_back_to: datetime | None = Field(
        description="The search took too long, and looked at what was recorded since then; `next` continues it."
    )


class TransitionView(BaseModel):
    """A change of state; a note where `from` equals `to`."""

    model_config = ConfigDict(title="Transition")

    seq: int
    at: datetime
    from_: State | None = Field(alias="from")
    to: State
    actor: str
    reason: str | None
    detail: dict[str, Any]


class TransitionList(BaseModel):
    """The history of a process, oldest first."""

    items: list[TransitionView]


class UsageFigures(BaseModel):
    """One value of each thing that is measured, over the whole life."""

    cpu_percent: float = Field(description="Of one core; the whole tree.")
    rss_bytes: int
    threads: float
    open_files: float
    processes: float


class UsagePoint(BaseModel):
    """What was used at a time. A point that stands for several measurements has the highest of each."""

    at: datetime
    cpu_percent: float = Field(description="Of one core, since the point before; the whole tree.")
    rss_bytes: int
    threads: int
    open_files: int
    processes: int


class UsageHistory(BaseModel):
    """What a process used, oldest first: at most 1000 points. Between two of them that say the same nothing changed."""

    items: list[UsagePoint]
    average: UsageFigures | None = Field(description="Over time; null when nothing was measured.")
    maximum: UsageFigures | None


class Source(BaseModel):
    """Where a target is defined."""

    file: str
    line: int


class TargetView(BaseModel):
    """What can be launched, or a module that can't be imported (kind `module`)."""

    model_config = ConfigDict(title="Target")

    name: str
    environment: str
    module: str
    doc: str
    signature: str
    parameters: dict[str, Any] = Field(description="JSON Schema of the arguments.")
    kind: Literal["function", "process", "command", "module"]
    preloaded: bool
    error: str | None
    source: Source | None
    fingerprint: str | None = Field(description="SHA-256 of the module's file as it was imported.")
    warnings: list[str]
    defaults: dict[str, Any] = Field(description="What the target itself sets for its launches.")


class TargetList(BaseModel):
    """The catalogue."""

    items: list[TargetView]


class FieldProblem(BaseModel):
    """One field that is wrong."""

    field: str
    message: str


class Problem(BaseModel):
    """Problem details of RFC 9457."""

    type: str
    title: str
    status: int
    detail: str | None = None
    errors: list[FieldProblem] = []
    request_id: str | None = None


class LogRecord(BaseModel):
    """A record of a log. `partial` ones are joined with what follows in the same stream."""

    offset: int
    time: str
    stream: Literal["stdout", "stderr"]
    text: str
    partial: bool


class LogLine(BaseModel):
    """A line of a log: its records joined, without colours and without what a carriage return took back.

    ``offset`` names it, ``number`` counts from the oldest line kept, ``level`` is guessed from the text; ``open`` when
    more of it may come.
    """

    offset: int
    number: int
    time: str
    stream: Literal["stdout", "stderr"]
    level: Literal["debug", "info", "warning", "error"] | None
    text: str
    open: bool


class LogLines(BaseModel):
    """A piece of a log. ``before`` and ``after`` lead on; ``searched_back_to`` is how far was looked when time was up
    before enough lines were found, else null."""

    items: list[LogLine]
    before: int
    after: int
    has_earlier: bool
    has_later: bool
    searched_back_to: str | None


class LogFound(BaseModel):
    """Where lines were found: the offsets of the newest 10,000, newest first, and how many there are.

    The search stops after a second at most: then ``next`` is the offset to go on ``before``, else it is null.
    """

    offsets: list[int]
    count: int
    next: int | None
    searched_back_to: str | None


class LogPage(BaseModel):
    """Records of a log and the offset to go on from; ``skipped`` bytes that were asked for are no longer kept."""

    items: list[LogRecord]
    next: int
    skipped: int


class LoginLink(BaseModel):
    """A link that signs a browser in once, within ten minutes."""

    url: str


class TroubleView(BaseModel):
    """Something that is wrong with the service as a whole, for as long as it is."""

    key: str
    sentence: str
    since: datetime


class ServiceView(BaseModel):
    """The service: since when it runs, how many processes are alive and how many wait to be started."""

    version: str
    started_at: datetime
    pid: int
    url: str
    alive: int
    queued: int
    troubles: list[TroubleView]
