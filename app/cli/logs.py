"""The log of a process on the terminal: stdout to stdout, stderr to stderr, as it was written."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, BinaryIO, Literal, NamedTuple, NoReturn

import typer

from app.cli import codes
from app.cli.client import JSON, Service, path_of
from app.cli.command import Cli, add_command
from app.cli.failure import Failure
from app.cli.names import find, title
from app.cli.output import note
from app.units import size

Stream = Literal["stdout", "stderr"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, logs)


def logs(
    cli: Cli,
    process: Annotated[str, typer.Argument(metavar="PROCESS", help="Number, name, or id (or a part of it).")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the process is over.")] = False,
    tail: Annotated[int | None, typer.Option("--tail", "-n", min=0, help="Only the last N lines.")] = None,
    stream: Annotated[Stream | None, typer.Option(help="Only one of the two.")] = None,
    times: Annotated[bool, typer.Option("--times", "-t", help="Put the time (UTC) before each line.")] = False,
) -> None:
    """Show what a process wrote: its stdout on stdout, its stderr on stderr.

    With --json each record is an object on a line of its own: time, stream, text, partial (the line goes on).
    """
    found = find(cli.service(), process)
    if tail is None and (removed := found["log_start"]):
        note(f"[{size(removed)} of older output were removed: the logs are kept within a budget]")
    writer = Writer(times=times, as_json=cli.as_json)
    if follow:
        follow_log(cli, found, writer, tail=tail, stream=stream)
        return
    with cli.service().lines(path_of(found["id"], "log"), format="cri", tail=tail, stream=stream) as lines:
        for line in lines:
            writer.write(parse_record(line))
    writer.flush()


class Record(NamedTuple):
    """A record of a log; `partial` when the line goes on in the next one of the same stream."""

    time: str
    stream: str
    partial: bool
    text: bytes


def parse_record(line: bytes) -> Record:
    """A line in the CRI format: time, stream, F or P, text."""
    time, stream, tag, text = line.removesuffix(b"\n").split(b" ", 3)
    return Record(time.decode(), stream.decode(), tag == b"P", text)


@dataclass
class Writer:
    """Puts records where they belong, in their order also when both streams are one terminal."""

    times: bool = False
    as_json: bool = False
    _at_start: dict[str, bool] = field(default_factory=lambda: {"stdout": True, "stderr": True})
    _last: str = "stdout"

    def write(self, record: Record) -> None:
        """Write one record; it may wait in a buffer until `flush`."""
        if self.as_json:
            self._out("stdout").write(_as_json(record))
            return
        if record.stream != self._last:
            self.flush()
            self._last = record.stream
        stamp = f"{record.time} ".encode() if self.times and self._at_start[record.stream] else b""
        self._out(record.stream).write(stamp + record.text + (b"" if record.partial else b"\n"))
        self._at_start[record.stream] = not record.partial

    def flush(self) -> None:
        """Make visible what was written."""
        self._out(self._last).flush()

    def _out(self, stream: str) -> BinaryIO:
        return sys.stderr.buffer if stream == "stderr" else sys.stdout.buffer


def _as_json(record: Record) -> bytes:
    import json

    told = record._asdict() | {"text": record.text.decode(errors="replace")}
    return json.dumps(told, ensure_ascii=False).encode() + b"\n"


def follow_log(
    cli: Cli, process: JSON, writer: Writer, *, tail: int | None = None, stream: Stream | None = None
) -> JSON:
    """Write the log as it grows, until the process is over; the process then.

    It goes on behind the last record seen when the service was away for a while. Ctrl-C ends the following only.
    """
    position = _Position(tail)
    try:
        while not position.ended:
            cli.patiently(lambda service: _follow(service, process["id"], stream, position, writer))
        return cli.wait_until_over(process["id"])
    except KeyboardInterrupt:
        _stop_following(process)


@dataclass
class _Position:
    """How far a log was followed: the number of the last event, or how much of what there is was asked for at first."""

    tail: int | None
    last_event_id: int | None = None
    ended: bool = False


def _follow(service: Service, process_id: str, stream: Stream | None, position: _Position, writer: Writer) -> None:
    """Write what comes on one connection. Raises Unreachable when it breaks."""
    path = path_of(process_id, "log", "stream")
    tail = position.tail if position.last_event_id is None else None
    with service.events(path, position.last_event_id, stream=stream, tail=tail) as events:
        for event in events:
            if event.name == "lines":
                for record in _records(event.data):
                    writer.write(record)
                writer.flush()
            elif event.name == "gap":
                note(f"[the log from byte {event.data['from']} to {event.data['to']} is no longer kept]")
            elif event.name == "end":
                position.ended = True
            elif event.name == "auth":
                raise Failure("the service no longer takes this token", codes.NOT_ALLOWED)
            position.last_event_id = event.id if event.id is not None else position.last_event_id


def _records(batch: list[JSON]) -> Iterator[Record]:
    for told in batch:
        yield Record(told["time"], told["stream"], told["partial"], told["text"].encode(errors="replace"))


def _stop_following(process: JSON) -> NoReturn:
    note(f"\nno longer following; {title(process)} goes on")
    note(f"  follow again:  procdeck logs -f {process['number']}")
    note(f"  end it:        procdeck stop {process['number']}")
    raise typer.Exit(codes.INTERRUPTED)
