"""Looking at processes, and asking things of them."""

import math
import signal as signals
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from app import units
from app.cli import codes, output
from app.cli.client import JSON, Service, path_of
from app.cli.command import Cli, add_command, is_over
from app.cli.failure import Failure, Refused
from app.cli.names import every, find, title
from app.cli.output import note, print_json, say, table
from app.cli.run import START_PATIENCE, finish, show_launched
from app.cli.trees import is_alive
from app.data_folder import RUNS
from procdeck.states import ACTIVE, State

TREE_SECONDS = 10.0
"""What a process left behind has two seconds after SIGTERM; what can't be killed for longer than this is told."""
AT_ONCE = 32
"""Requests that are under way together: the service waits seconds for a keeper that does not answer, and meanwhile the
others shall not wait."""

A = TypeVar("A")
B = TypeVar("B")

Process = Annotated[str, typer.Argument(metavar="PROCESS", help="Number, name, or id (or a part of it).")]
Processes = Annotated[list[str], typer.Argument(metavar="PROCESS", help="Numbers, names, or (parts of) ids.")]
Grace = Annotated[float | None, typer.Option(metavar="SECONDS", min=0, help="Until the next harder step.")]
Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Kept in the history of the process.")]
Tree = Annotated[bool, typer.Option("--tree", help="Signal every descendant as well.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (ps, show, join, start, relaunch, stop, terminate, kill, interrupt):
        add_command(app, command)
    add_command(app, send_signal, "signal")
    add_command(app, rm)


# --- looking -----------------------------------------------------------------------------------------------------


def ps(
    cli: Cli,
    all: Annotated[bool, typer.Option("--all", "-a", help="Those that are over too.")] = False,
    state: Annotated[list[State] | None, typer.Option(help="Only those in this state; may be repeated.")] = None,
    target: Annotated[str | None, typer.Option(metavar="TARGET", help="Only those of this target.")] = None,
    search: Annotated[
        str | None, typer.Option("--search", "-s", metavar="TEXT", help="Only those that fit, over or not; see below.")
    ] = None,
) -> None:
    """List the processes that are alive or wait to be started, newest first.

    A search has words that occur in name, target or arguments, and qualifiers: target: state: outcome: exit: arg:
    label: name: by: created: started: ended: is:, as in --search 'train state:failed exit:-9 arg:lr=0.1 ended:24h'.
    Quotes keep words together, and a - before a part excludes.
    """
    states = state or ([] if all or search else sorted(ACTIVE))
    found = list(every(cli.service(), state=[str(each) for each in states], target=target, search=search or None))
    if cli.as_json:
        print_json(found)
        return
    columns = ("NO", "NAME", "STATE", "EXIT", "PID", "STARTED", "TIME", "CALL")
    table(columns, map(_row, found), right=("NO", "EXIT", "PID", "TIME"), cut="CALL")


def _row(process: JSON) -> Sequence[str]:
    return (
        str(process["number"]),
        process["name"] + (" (daemon)" if process["daemon"] else ""),
        output.state(process),
        _number(process["exitcode"]),
        _number(process["pid"] if process["is_alive"] else None),
        output.moment(process["started_at"]),
        output.seconds(process["duration"]),
        output.shortened(output.call(process)),
    )


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def show(cli: Cli, process: Process) -> None:
    """Show all that is known of a process, and its history."""
    service = cli.service()
    found = find(service, process)
    history = service.get(path_of(found["id"], "transitions"))["items"]
    if cli.as_json:
        print_json(found | {"transitions": history})
        return
    facts = [(name, text) for name, text in _facts(found) if text]
    for name, text in facts:
        say(f"{name:<14}{text}")
    say("")
    rows = [(output.moment(row["at"]), row["to"], row["actor"], _why(row)) for row in history]
    table(("AT", "STATE", "BY", "REASON"), rows, cut="REASON")
    if found["error"] and found["error"]["traceback"]:
        say("\n" + found["error"]["traceback"].rstrip())


def _facts(process: JSON) -> list[tuple[str, str]]:
    progress = process["progress"] or {}
    return [
        ("process", title(process)),
        ("id", process["id"]),
        ("call", output.call(process)),
        ("state", output.state(process)),
        ("exit code", _number(process["exitcode"]) + (f" ({process['signal']})" if process["signal"] else "")),
        ("end", process["exit_summary"] or ""),
        ("result", "" if process["result"] is None else output.compact(process["result"])),
        ("progress", f"{progress['fraction']:.0%} {progress['message'] or ''}" if progress else ""),
        ("pid", _number(process["pid"])),
        ("daemon", "yes" if process["daemon"] else ""),
        ("start method", process["start_method"]),
        ("time limit", output.seconds(process["timeout"])),
        ("created", f"{output.moment(process['created_at'])} by {process['requested_by']}"),
        ("started", output.moment(process["started_at"])),
        ("stopped", output.moment(process["stopped_at"])),
        ("ran", output.seconds(process["duration"])),
        ("CPU time", output.seconds(process["cpu_seconds"])),
        ("memory", _memory(process)),
        ("on disk", units.size(process["disk_bytes"])),
        ("log removed", units.size(process["log_start"] or None)),
        ("labels", ", ".join(f"{key}={value}" for key, value in process["labels"].items())),
        ("relaunch of", process["origin_id"] or ""),
    ]


def _memory(process: JSON) -> str:
    now, most = units.size(process["rss_bytes"]), units.size(process["max_rss_bytes"])
    return f"{now}, at most {most}" if now and most else now or (f"at most {most}" if most else "")


def _why(row: JSON) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in (row["detail"] or {}).items() if value not in (None, False))
    return "; ".join(part for part in (row["reason"], facts) if part)


# --- waiting and starting ----------------------------------------------------------------------------------------


def join(
    cli: Cli,
    process: Process,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", min=0, help="Wait no longer.")] = None,
) -> None:
    """Wait until a process is over, and end with its exit code.

    128+N if signal N ended it, 124 when --timeout was over first, 125 if the code can't be known, 126 if it was never
    started.
    """
    found = cli.wait_until_over(find(cli.service(), process)["id"], math.inf if timeout is None else timeout)
    if cli.as_json:
        print_json(found)
    if found["state"] in ACTIVE:
        note(f"{title(found)} is still {found['state']} after {timeout:g} s")
        raise typer.Exit(codes.TIME_UP)
    finish(found)


def start(cli: Cli, process: Process) -> None:
    """Start a process that was only created (`procdeck run --no-start`)."""
    service = cli.service()
    found = find(service, process)
    show_launched(cli, service.post(path_of(found["id"], "start"), patience=START_PATIENCE))


def relaunch(cli: Cli, process: Process) -> None:
    """Launch the same again, as a new process; its id on stdout."""
    service = cli.service()
    found = find(service, process)
    show_launched(cli, service.post(path_of(found["id"], "relaunch"), patience=START_PATIENCE))


# --- ending and signalling ---------------------------------------------------------------------------------------


def stop(
    cli: Cli,
    processes: Annotated[list[str] | None, typer.Argument(metavar="PROCESS", help="Numbers, names, or ids.")] = None,
    all: Annotated[bool, typer.Option("--all", help="All that live in the data folder; wait for their end.")] = False,
    grace: Grace = None,
    reason: Reason = None,
) -> None:
    """Ask processes to stop: SIGTERM if they have not after the grace, SIGKILL after another.

    `stop --all` ends every process of the data folder and waits until none is left. It needs no service: with none
    running it speaks to the keepers itself, and the next start of the service finds everything on record.
    """
    if bool(processes) == all:
        raise Failure("name the processes, or give --all", codes.USAGE)
    if all:
        _stop_all(cli, grace, reason)
    else:
        _end(cli, "stop", processes or [], {"grace": grace, "reason": reason})


def terminate(cli: Cli, processes: Processes, grace: Grace = None, reason: Reason = None, tree: Tree = False) -> None:
    """Send SIGTERM; with --grace, SIGKILL after it."""
    _end(cli, "terminate", processes, {"grace": grace, "reason": reason, "tree": tree})


def kill(cli: Cli, processes: Processes, reason: Reason = None) -> None:
    """Send SIGKILL to processes and all their descendants."""
    _end(cli, "kill", processes, {"reason": reason})


def interrupt(cli: Cli, processes: Processes, grace: Grace = None, reason: Reason = None, tree: Tree = False) -> None:
    """Send SIGINT, as Ctrl-C does; with --grace, SIGKILL after it."""
    _end(cli, "interrupt", processes, {"grace": grace, "reason": reason, "tree": tree})


def send_signal(
    cli: Cli,
    process: Process,
    signal: Annotated[str, typer.Argument(metavar="SIGNAL", help="Name or number: SIGUSR1, USR1 or 10.")],
    reason: Reason = None,
    tree: Tree = False,
) -> None:
    """Send any signal to a process."""
    _end(cli, "signal", [process], {"signal": signal_name(signal), "reason": reason, "tree": tree})


def signal_name(word: str) -> str:
    """SIGUSR1 for `SIGUSR1`, `usr1` and `10`. Raises Failure when there is no such signal."""
    try:
        if word.isdigit():
            return signals.Signals(int(word)).name
        name = word.upper()
        return signals.Signals[name if name.startswith("SIG") else f"SIG{name}"].name
    except (KeyError, ValueError):
        raise Failure(f"there is no signal {word!r}", codes.USAGE) from None


def rm(cli: Cli, processes: Processes) -> None:
    """Remove the record and the log of processes that are over."""

    def remove(service: Service, found: JSON) -> JSON:
        service.delete(path_of(found["id"]))
        return found

    _each(cli, processes, remove, lambda found: f"{title(found)}: removed")


def _end(cli: Cli, action: str, words: Iterable[str], body: JSON) -> None:
    asked = {name: value for name, value in body.items() if value not in (None, False)}

    def ask(service: Service, found: JSON) -> JSON:
        answer: JSON = service.post(path_of(found["id"], action), asked)
        return answer

    _each(cli, words, ask, lambda found: f"{title(found)}: {output.state(found)}")


def _each(cli: Cli, words: Iterable[str], do: Callable[[Service, JSON], JSON], told: Callable[[JSON], str]) -> None:
    """Do it with each; a refusal of one does not keep it from the others, nor does one that takes its time. Ends with
    the code of the first refusal."""
    service = cli.service()

    def attempt(word: str) -> tuple[str, JSON | Failure]:
        try:
            return word, do(service, find(service, word))
        except Failure as failure:
            return word, failure

    done: list[JSON] = []
    code = codes.OK
    for word, result in _side_by_side(attempt, words):
        if isinstance(result, Failure):
            if result.exit_code == codes.NO_SERVICE:
                raise result
            note(f"error: {word}: {result}")
            code = code or result.exit_code
        else:
            done.append(result)
            if not cli.as_json:
                say(told(result))
    if cli.as_json:
        print_json(done)
    raise typer.Exit(code)


def _side_by_side(do: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """``do`` of each, in their order, though many are done at a time."""
    from concurrent.futures import ThreadPoolExecutor  # the shorter commands need none

    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        yield from pool.map(do, items)
    finally:
        pool.shutdown(cancel_futures=True)


# --- ending all --------------------------------------------------------------------------------------------------


def _stop_all(cli: Cli, grace: float | None, reason: str | None) -> None:
    if cli.url is not None or cli.is_running():
        ended = _stop_all_through_service(cli, {"grace": grace, "reason": reason})
        if cli.url is None:
            _wait_for_trees(cli.settings.data_dir / RUNS, [process for process in ended if is_over(process)])
    else:
        from app.cli.offline import stop_all

        note(f"no service runs on {cli.settings.data_dir}; speaking to the keepers")
        ended = stop_all(cli.settings, grace, reason)
    _report(cli, ended)


def _stop_all_through_service(cli: Cli, body: JSON) -> list[JSON]:
    service = cli.service()
    asked = {name: value for name, value in body.items() if value is not None}
    living = list(every(service, state=sorted(map(str, ACTIVE))))
    will_end = _side_by_side(lambda process: _ask_to_stop(service, process, asked), living)
    refused = {process["id"] for process, will in zip(living, will_end, strict=True) if not will}
    return [
        service.get(path_of(process["id"])) if process["id"] in refused else cli.wait_until_over(process["id"])
        for process in living
    ]


def _ask_to_stop(service: Service, process: JSON, body: JSON) -> bool:
    """Whether it will end: it was asked, or is over already."""
    try:
        service.post(path_of(process["id"], "stop"), body)
    except Refused as refusal:
        if refusal.status != 409:
            note(f"error: {title(process)}: {refusal}")
        return refusal.status == 409
    return True


def _wait_for_trees(runs: Path, ended: list[JSON]) -> None:
    """Until the keepers have ended what the processes left behind. Raises Failure when that takes too long."""
    deadline = time.monotonic() + TREE_SECONDS
    while left := [process for process in ended if is_alive(runs / process["id"])]:
        if time.monotonic() > deadline:
            names = ", ".join(map(title, left))
            raise Failure(f"descendants of these are still alive: {names}", codes.STILL_ALIVE)
        time.sleep(0.05)


def _report(cli: Cli, ended: list[JSON]) -> None:
    alive = [process for process in ended if process["state"] in ACTIVE]
    if cli.as_json:
        print_json(ended)
    elif not ended:
        say("no process was alive")
    else:
        for process in ended:
            say(f"{title(process)}: {process['exit_summary'] or 'still ' + str(process['state'])}")
    if alive:
        raise Failure(f"still alive: {', '.join(map(title, alive))}", codes.STILL_ALIVE)
