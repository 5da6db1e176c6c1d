"""The keeper: one beside each process; the child's parent, and what outlives the service and the launcher.

It starts the child, stamps and appends its output, writes the journal, samples the tree, enforces the time limit,
carries out what the service asks, and ends what the child left behind. It does all of this with the service dead. One
thread, one loop over poll(2), no event loop: it lives in a process forked from a launcher that has imported user code,
so it uses only what was bound at import, before that code could patch anything, and ends by ``os._exit``.

The order of events is a contract: an entry is on the disk before it is told to anybody, unless the disk takes none (it
is then told and owed, see `Keeper._record`), and the exit record is on the disk before the child is reaped.
"""

from __future__ import annotations

import _socket
import gc
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from errno import EMFILE, ENFILE
from math import inf
from select import POLLHUP, POLLIN, POLLOUT, poll
from time import monotonic, sleep
from typing import Any, NoReturn

from procdeck import bars, failpoints, oom, posix, run_folder
from procdeck.birth import Newborn, bear
from procdeck.child import MAX_LAUNCH_BYTES
from procdeck.link import ServiceLink
from procdeck.log import LogWriter
from procdeck.pristine import os, signal
from procdeck.protocol import VERSION, Decoder, Message, ProtocolError, dump_json, encode, load_json
from procdeck.tree import Meter, fork_server_pid, kill_below, leftovers, send, signal_below
from procdeck.usage import UsageWriter

READ_BYTES = 64 * 1024
"""Of one read: a pipe's capacity (pipe(7)), unless the child has made it a larger one."""
PACKETS_A_TURN, PACKETS_AT_EXIT = 64, 1024
"""Packets taken off the side channel at most, so that a child that sends without end keeps us from nothing; and those
at its end, more than a socket holds."""
MAX_DEPTH = 100
"""Lists and objects within each other that a return value may have: what is nested more deeply can be written, and then
not be read by others, whose stacks are less empty than ours."""
PARTIAL_AFTER = 0.1
"""Seconds after which an unfinished line is written as a part: a prompt must be seen."""
LOG_HINT_EVERY = 0.04
PROGRESS_EVERY = 0.04
"""Seconds between two reports of progress to the service; of those between, the last counts."""
BARS_EVERY = 1.0
"""Seconds between two looks for a progress bar in the output."""
TRACED_EVERY = 0.05
"""Seconds between two looks at a child that has ended, and whose status a tracer (ptrace(2)) still keeps from us."""
RECONNECT_EVERY = 0.5
RETRY_EVERY = 0.5
"""Seconds until what was due at a time, and failed, is tried again: a step that was announced is not left out."""
DAEMON_GRACE = 15.0
"""Seconds that a daemonic process outlives a service that vanished without a new one coming."""
LEFTOVER_GRACE = 2.0
"""Seconds from SIGTERM to SIGKILL for what the child left behind."""
SWEEP_MIN, SWEEP_MAX = 0.02, 1.0
"""Seconds between two SIGKILLs to what is left: more each time, for one in an uninterruptible sleep may take long."""
OWED_EVERY = 1.0
"""Seconds between two tries to write journal entries that the disk did not take."""
KILL_GRACE = 2.0
"""Seconds after SIGKILL from which a child that still lives is said to be unkillable."""
RETURN_GRACE = 1.0
"""Seconds after the target's return from which a child that still lives is said to be kept alive by something else."""
SPARE_DESCRIPTORS = 3
"""Kept by each keeper for when no other is to be had: enough to write its journal and to call the service."""
MAX_TROUBLES = 200
"""Entries of this process in keeper.log at most."""
SAMPLE_MIN, SAMPLE_WATCHED_MAX, SAMPLE_MAX = 1.0, 2.0, 16.0
"""Seconds between two samples: while something changes, while somebody watches, and while nobody does."""
BUSY_READ = 0.001
"""Seconds between two reads below which the child is taken to be flooding; the keeper then lets the pipe fill a little,
see `_on_output`."""

KEEPER = "keeper"


def keep(orders: _socket.socket, foreign_fds: list[int]) -> NoReturn:
    """Be a keeper; never returns. Called in a process just forked, before it is known what for: the launch comes
    through ``orders``.

    So the fork, and the copying of pages that comes with the first steps after it, are over when the launch comes.
    ``foreign_fds`` are the launcher's own descriptors. End-of-file on ``orders`` means that the launcher is gone and
    nothing is to be done.
    """
    code = 70  # EX_SOFTWARE of sysexits.h
    try:
        # The child first: what this process writes before that fork, both would have to copy once more.
        child = _bear_ahead([orders.fileno(), *foreign_fds])
        _become_keeper(foreign_fds)
        keeper = Keeper(child)
        launch = _receive(orders)
        if launch is not None:
            _open_keeper_log(launch["folder"])
            failpoints.reach("keeper.start.received")
            lock_fd = run_folder.claim(launch["folder"])
            if lock_fd is not None:
                failpoints.reach("keeper.start.claimed")
                keeper.run(launch, lock_fd)
        code = 0
    except BaseException:
        _log_trouble(traceback.format_exc())
    finally:
        os._exit(code)


def _bear_ahead(keeper_fds: list[int]) -> Newborn | None:
    """A child that waits for its launch; None when there is no room for one. The launch that comes may find some, or
    tell why not."""
    try:
        return bear(keeper_fds)
    except OSError:
        return None


def _become_keeper(foreign_fds: list[int]) -> None:
    """A session of its own (a Ctrl-C or a killpg meant for others must not reach it), no stdio of others, default
    signals."""
    os.setsid()
    gc.disable()  # collecting would touch, and so copy, every page shared with the launcher
    for fd in foreign_fds:
        os.close(fd)
    signal.set_wakeup_fd(-1)
    posix.reset_signals()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    posix.prctl(posix.PR_SET_CHILD_SUBREAPER, 1)
    posix.set_process_name("procdeck-keeper")


def _receive(orders: _socket.socket) -> dict[str, Any] | None:
    """The launch, as the launcher passes it on; None when the launcher ended first."""
    decoder = Decoder()
    try:
        while data := orders.recv(MAX_LAUNCH_BYTES):
            for message in decoder.feed(data):
                launch: dict[str, Any] = message["spec"]
                return launch
    finally:
        orders.close()
    return None


def _open_keeper_log(folder: str) -> None:
    """Where this process's troubles go; into nothing when a full disk has no room for the file."""
    try:
        _open_log_in(folder)
    except OSError:
        return


def _open_log_in(folder: str) -> None:
    log = os.open(f"{folder}/{run_folder.KEEPER_LOG}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


_troubles = 0


def _log_trouble(text: str) -> None:
    """An entry to keeper.log, which is this process's fd 2 but for the moment in which the child is started; nothing
    after `MAX_TROUBLES` of them."""
    global _troubles
    _troubles += 1
    if _troubles > MAX_TROUBLES:
        return
    try:
        os.write(2, f"{run_folder.now_text()} {text.rstrip()}\n".encode())
    except OSError:
        return


def _wake(number: int, frame: object) -> None:
    """A signal handler that does nothing: the signal's byte in the wake-up pipe is what the loop waits for
    (`signal.set_wakeup_fd`)."""


def _as_data(error: BaseException) -> dict[str, str]:
    trouble = "".join(traceback.format_exception(error))
    return {"type": type(error).__name__, "message": str(error), "traceback": trouble}


_AFTER_EXIT = ("owed", "reconnect", "begin")
"""The timers that go on when the child is over: those that see to it that somebody learns of it."""


def _shortened(facts: dict[str, Any], why: str) -> dict[str, Any]:
    """The facts of an exit without what a target put into them."""
    left_out = f"left out: {why}"
    short = {key: value for key, value in facts.items() if key not in ("result", "progress")}
    if "result" in facts:
        short["result_omitted"] = left_out
    if "error" in facts:
        short["error"] = {**facts["error"], "message": facts["error"]["message"][:200], "traceback": f"({left_out})"}
    return short


_UNFIT = (ValueError, TypeError, RecursionError)
"""What `dump_json` raises for what is no JSON."""


def _outcome_of(message: Message) -> dict[str, Any]:
    """What a child's message says of its target's outcome: those facts alone that are ours to take from it, for the
    target can write to the channel as well. Raises KeyError, TypeError, ValueError, RecursionError."""
    outcome: dict[str, Any] = {}
    if "result" in message:
        if _is_deep(message["result"]):
            outcome["result_omitted"] = f"the return value is nested more than {MAX_DEPTH} levels deep"
        else:
            outcome["result"] = message["result"]
    if "result_omitted" in message:
        outcome["result_omitted"] = _text_in(message, "result_omitted")
    if "error" in message:
        outcome["error"] = {key: _text_in(message["error"], key) for key in ("type", "message", "traceback")}
    dump_json(outcome)  # infinity and NaN can be read, and not be written
    return outcome


def _progress_of(message: Message) -> dict[str, Any]:
    """A child's report of progress. Raises KeyError, TypeError, ValueError."""
    fraction = message["fraction"]
    if type(fraction) not in (int, float) or not 0 <= fraction <= 1:
        raise ValueError(f"{fraction!r} is no fraction")
    return {"fraction": fraction, "message": _text_in(message, "message")}


def _text_in(message: Message, key: str) -> str:
    text = message[key]
    if not isinstance(text, str):
        raise TypeError(f"{key} is no text")
    return text


def _is_deep(value: object) -> bool:
    """Whether it has more levels than `MAX_DEPTH`."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for outer in level for inner in _inside(outer)]
    return bool(level)


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


_NOT_OF_SPEC = {"folder", "socket", "code"}
"""What service and launcher add to the launch spec."""


class Keeper:
    """State of one keeper, made before it is known what for: all that can be made ready is.

    `run` returns when the child is over, its tree is gone and all is on the disk and told.
    """

    launch: dict[str, Any]
    link: ServiceLink
    journal: run_folder.Journal
    log: LogWriter
    usage: UsageWriter

    child: Newborn

    def __init__(self, spare: Newborn | None) -> None:
        self.spare = spare
        self.lock_fd = -1
        self.oom_score = oom.protect()
        self.oom_kills: int | None = None
        self.poll = poll()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.timers: dict[str, tuple[float, Callable[[], None]]] = {}
        self.streams: dict[int, str] = {}
        self.pid = 0
        self.pidfd = -1
        if spare is not None:
            self.pid = spare.process.pid or 0
            self.pidfd = os.pidfd_open(self.pid)
        self.over = False  # the exit is recorded; what may follow is the sweep
        self.ended: posix.Exit | None = None
        self.is_end_known = False  # `ended` tells all that can be known
        self.has_left = False  # something of the tree when the child was over, for all we know
        self.sweep_every = SWEEP_MIN
        self.is_abandoned = False
        self.is_reaped = False
        self.condition: str | None = None
        self.killed_at = self.returned_at = inf
        self.last_action: str | None = None
        self.outcome: dict[str, Any] = {}
        self.last_entry: run_folder.Entry | None = None
        self.progress: dict[str, Any] | None = None
        self.progress_told_at = 0.0
        self.tails: dict[str, bytes] = {}
        self.looks_for_bars = True  # until the target tells its progress itself
        self.looked_at = 0.0
        self.meter = Meter()
        self.sampled_at = ""
        self.sample_every = SAMPLE_MIN
        self.watched = False
        self.told_end = 0
        self.told_at = 0.0
        self.last_read = 0.0
        self.wake_read, self.wake_write = os.pipe()
        os.set_blocking(self.wake_read, False)
        os.set_blocking(self.wake_write, False)
        posix.set_handler(signal.SIGCHLD, _wake)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)
        self.spare_fds = [os.dup(self.wake_read) for _ in range(SPARE_DESCRIPTORS)]

    # --- life ---------------------------------------------------------------------------------------------------------

    def run(self, launch: dict[str, Any], lock_fd: int) -> None:
        """Make the child run the launch, or start another when it can't, and see it through."""
        self.launch, self.lock_fd, self.link = launch, lock_fd, ServiceLink(launch["socket"])
        self.log = LogWriter(f"{launch['folder']}/{run_folder.LOG}", launch["log_budget"])
        self.usage = UsageWriter(launch["folder"])
        self.meter.begin()
        self.began = monotonic()
        try:
            # What can't be journalled is not begun: its end could never be told.
            self.journal = run_folder.Journal(launch["folder"])
        except OSError as error:
            self._refuse(error)
        else:
            self._begin()
        while not self._is_finished():
            self._turn()
        if not self.is_reaped:
            self._reap_child()
        self._drain_output()  # the last words of what was left of the tree
        self.usage.close()
        self.link.drain()
        self.journal.close()

    def _begin(self) -> None:
        """Everything but the order is made while the child is on its way."""
        try:
            if self.spare is not None and self.spare.order(self.launch):
                self.child = self.spare
            else:
                self._bear_child()
        except Exception as error:
            self._not_started(error)
            return
        self._attend()
        if self.launch.get("timeout"):
            self._after("time_limit", self.launch["timeout"], self._time_is_up)
        self._after("sample", self.sample_every, self._sample)
        self.steps = [self._watch_exit, self._settle, self._record_start, self._connect, self._make_ready]
        self._try("begin", self._proceed)

    def _proceed(self) -> None:
        """The steps of the beginning in their order. One that fails is tried again before those behind it."""
        while self.steps:
            self.steps[0]()
            del self.steps[0]

    def _make_ready(self) -> None:
        """What there is time for once the service knows."""
        # Not ahead of the launch: a keeper may wait for hours, and the count is that of a whole control group.
        self.oom_kills = oom.kills()
        self.journal.reserve()

    def _refuse(self, error: OSError) -> None:
        """The journal can't be opened. Raises OSError when it can't with the descriptors kept for this, either; the
        service is told all the same."""
        self._free_descriptors()
        try:
            self.journal = run_folder.Journal(self.launch["folder"])
        except OSError:
            entry = {"seq": 1, "at": run_folder.now_text(), "event": "not_started", "actor": KEEPER}
            entry |= {"reason": str(error), "data": {"error": _as_data(error)}}
            if self.link.connect():
                self._greet(entry)
                self.link.drain()
            raise
        self._not_started(error)

    def _bear_child(self) -> None:
        """Start a child for this launch alone. Raises OSError, and whatever a start method may raise."""
        if self.spare is not None:
            os.close(self.pidfd)
            self.pidfd = -1
            self.spare.discard()
        own = [self.lock_fd, self.journal.fd, self.wake_read, self.wake_write, *self.spare_fds]
        oom.set_score(self.oom_score)
        try:
            self.child = bear(own, self.launch)
        finally:
            oom.protect()
        self.pid = self.child.process.pid or 0

    def _settle(self) -> None:
        """A disk that fails must not end a target that runs."""
        failpoints.reach("keeper.start.ordered")
        try:
            run_folder.settle(self.launch["folder"])
        except OSError as error:
            _log_trouble(f"the run folder could not be made durable: {error}")

    def _attend(self) -> None:
        """Watch the child's end, output and channel, and the orphans to come."""
        self.channel = self.child.channel
        self._watch(self.wake_read, self._on_sigchld)
        for fd, name in ((self.child.stdout, "stdout"), (self.child.stderr, "stderr")):
            os.set_blocking(fd, False)
            self.streams[fd] = name
            self._watch(fd, self._on_output)
        self.channel.setblocking(False)
        self._watch(self.channel.fileno(), self._on_channel)

    def _record_start(self) -> None:
        if self.journal.seq == 0:  # else it was recorded, and what came after that is tried again
            self._record("started", "launcher", None, self._start_facts())

    def _start_facts(self) -> dict[str, Any]:
        stat = posix.stat(self.pid)
        return {
            "pid": self.pid,
            "keeper_pid": os.getpid(),
            "start_ticks": stat.start_ticks if stat else None,
            "boot_id": posix.BOOT_ID,
            "code": self.launch.get("code"),
        }

    def _watch_exit(self) -> None:
        if self.pidfd < 0:
            with suppress(ProcessLookupError):
                self.pidfd = os.pidfd_open(self.pid)
        if self.pidfd >= 0 and not self._is_ours():
            os.close(self.pidfd)
            self.pidfd = -1
        if self.pidfd >= 0:
            self._watch(self.pidfd, self._on_exit)
        else:
            # Only under forkserver, whose server reaps: the child is over and gone already.
            self._after("exit", 0.0, lambda: self._on_exit(-1))

    def _is_ours(self) -> bool:
        """Whether the pid is still the child's: one of a fork server's may be reaped, and given to a stranger, before
        we hold it."""
        if self.launch["start_method"] != "forkserver":
            return True
        stat = posix.stat(self.pid)
        return stat is not None and stat.parent == fork_server_pid()

    def _not_started(self, error: Exception) -> None:
        facts = _as_data(error)
        _log_trouble(facts["traceback"])
        self._free_descriptors()
        self.over = True
        self.pid = 0
        self._record("not_started", KEEPER, str(error), {"error": facts})
        self._connect()

    def _is_finished(self) -> bool:
        return self.over and "exit" not in self.timers and "sweep" not in self.timers and not self._owes()

    def _owes(self) -> bool:
        """Whether an entry is to be written still, so that the end is known when nobody can be told.

        Not when there is no folder any more and the service was told: it has deleted the process. Nor does a process
        that was not started have anything to lose.
        """
        if not self.journal.is_behind:
            return False
        is_told = self.link.is_open and not self.link.is_behind
        return not (self.over and is_told and (self.pid == 0 or not os.path.exists(self.launch["folder"])))

    def _free_descriptors(self) -> None:
        """There is none left: use those that were kept for this."""
        while self.spare_fds:
            os.close(self.spare_fds.pop())

    def _turn(self) -> None:
        """Wait for the next event or timer, and handle all that are due."""
        if self.link.is_behind:
            self.poll.modify(self.link.fileno(), POLLIN | POLLOUT)
        now = monotonic()
        next_at = min((at for at, _ in self.timers.values()), default=now + 60)
        for fd, _ in self.poll.poll(max(0.0, next_at - now) * 1000 + 0.5):
            handler = self.handlers.get(fd)
            if handler is not None:
                self._guard(handler, fd)
        now = monotonic()
        for name, (at, action) in list(self.timers.items()):
            if at <= now and self.timers.get(name, (0, None))[1] is action:
                del self.timers[name]
                if not self._guard(action):
                    self.timers.setdefault(name, (now + RETRY_EVERY, action))

    def _guard(self, action: Callable[..., None], *args: int) -> bool:
        """Do one thing of the loop; whether it was done. Whatever goes wrong with it (no descriptor left, no memory),
        the child must not lose its keeper over it."""
        try:
            action(*args)
            return True
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (EMFILE, ENFILE):
                self._free_descriptors()
            _log_trouble(traceback.format_exc())
            sleep(0.05)  # what woke us may well wake us again at once
            return False

    def _try(self, name: str, action: Callable[[], None]) -> None:
        """Do one thing now, or by the timer ``name`` when it fails."""
        if not self._guard(action):
            self._after(name, RETRY_EVERY, action)

    def _watch(self, fd: int, handler: Callable[[int], None], events: int = POLLIN) -> None:
        self.handlers[fd] = handler
        self.poll.register(fd, events)

    def _unwatch(self, fd: int) -> None:
        self.handlers.pop(fd, None)
        self.poll.unregister(fd)

    def _after(self, name: str, seconds: float, action: Callable[[], None]) -> None:
        self.timers[name] = (monotonic() + seconds, action)

    def _record(
        self, event: str, actor: str, reason: str | None, data: dict[str, Any], short: dict[str, Any] | None = None
    ) -> None:
        """To the journal, then to the service.

        A disk that fails must not keep the keeper from its work: the service is told all the same, and the entry is
        owed until the disk has it. One that is full may still have room for ``short`` in the place of ``data``.
        """
        entry = self.journal.add(event, actor, reason, data)
        error = self._write_owed()
        if error is not None and error.errno in run_folder.FULL and short is not None:
            shorter = self.journal.amend(short)
            if self._write_owed() is None:
                entry = shorter
            else:
                self.journal.amend(data)
        if self.journal.is_behind:
            self._after("owed", OWED_EVERY, self._pay)
        else:
            self.last_entry = entry
        if event == "started":
            failpoints.reach("keeper.start.recorded")
        self.link.send(encode("entry", entry=entry))

    def _write_owed(self) -> OSError | None:
        """Write the journal entries that are owed; what kept the disk from taking them, or None."""
        error = self._settle_journal()
        if isinstance(error, FileNotFoundError) and not self.over:  # then it might be the service that removed it
            self._look_after_folder()
            error = self._settle_journal()
        if error is not None and "owed" not in self.timers:
            _log_trouble(f"the journal could not be written, and is tried again until it can: {error}")
        return error

    def _settle_journal(self) -> OSError | None:
        try:
            self.journal.settle()
        except OSError as error:
            return error
        return None

    def _pay(self) -> None:
        """Try again what the disk did not take, as long as it takes: an end that only this process knows must not be
        lost with it."""
        if not self.journal.is_behind:
            return  # another entry has taken them with it
        self._after("owed", OWED_EVERY, self._pay)
        if not self._owes():
            return
        last = self.journal.owed[-1]
        self._look_after_folder()
        if self._write_owed() is None:
            del self.timers["owed"]
            self.last_entry = last
            if self.over and not self.has_left:
                self._reap_child()

    def _look_after_folder(self) -> None:
        """Put back what somebody has removed or replaced of the run folder: a service that comes anew would not find
        the process without it."""
        folder = self.launch["folder"]
        try:
            if run_folder.is_held(folder, self.lock_fd) or self._restore_folder(folder):
                self.journal.restore()
        except OSError as error:
            _log_trouble(f"the run folder can't be restored: {error}")

    def _restore_folder(self, folder: str) -> bool:
        """Make it again; False when the one there is another keeper's, and nothing of ours may come into it."""
        if run_folder.is_kept(folder):
            return False
        run_folder.restore(folder, {key: self.launch[key] for key in self.launch.keys() - _NOT_OF_SPEC})
        lock_fd = run_folder.reclaim(folder)
        if lock_fd is None:
            return False
        os.close(self.lock_fd)
        self.lock_fd = lock_fd
        _open_keeper_log(folder)
        _log_trouble("the run folder was removed or replaced by somebody; it was made again")
        return True

    # --- output -------------------------------------------------------------------------------------------------------

    def _on_output(self, fd: int) -> None:
        if not self._read_output(fd):
            self._unwatch(fd)
            del self.streams[fd]
            os.close(fd)
        now = monotonic()
        if now - self.last_read < BUSY_READ:
            # A child that prints line after line would wake us for each of them, and pay for the waking. Its pipe holds
            # far more than it can write in this time.
            sleep(BUSY_READ)
        self.last_read = now
        self._after_output(now)

    def _read_output(self, fd: int) -> bool:
        """Move what is in the pipe to the log; False at its end."""
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return True
        if data:
            name = self.streams[fd]
            self.log.feed(name, data)
            if self.looks_for_bars:
                self.tails[name] = bars.tail(self.tails.get(name, b""), data)
        return bool(data)

    def _after_output(self, now: float) -> None:
        if self.tails and not self.over and "bars" not in self.timers:
            self._after("bars", max(0.0, self.looked_at + BARS_EVERY - now), self._look_for_bars)
        if self.log.has_unfinished and "partial" not in self.timers:
            self._after("partial", PARTIAL_AFTER, self._flush_partial)
        if self.watched and "hint" not in self.timers:
            self._after("hint", max(0.0, self.told_at + LOG_HINT_EVERY - now), self._hint)

    def _look_for_bars(self) -> None:
        """What a progress bar shows is told as progress. Now and then: bars are drawn many times a second."""
        self.looked_at = monotonic()
        for text in self.tails.values():
            progress = bars.find(text)
            if progress is not None and progress != self.progress:
                self._take_progress(progress)
        self.tails.clear()

    def _flush_partial(self) -> None:
        self.log.flush()
        self._after_output(monotonic())

    def _hint(self) -> None:
        """Tell how far the log is; whoever watches reads it from there."""
        if self.log.end > self.told_end:
            self.told_end, self.told_at = self.log.end, monotonic()
            self.link.offer(encode("log", end=self.log.end))

    def _drain_output(self) -> None:
        """What the child wrote before its end.

        As much from each as it holds now: a descendant that goes on writing must not hold us.
        """
        for fd in list(self.streams):
            for _ in range(0, posix.unread_bytes(fd), READ_BYTES):
                self._read_output(fd)
        self.log.flush()

    # --- side channel -------------------------------------------------------------------------------------------------

    def _on_channel(self, fd: int) -> None:
        self._take_packets(PACKETS_A_TURN)

    def _take_packets(self, at_most: int) -> None:
        for _ in range(at_most):
            try:
                packet = self.channel.recv(256 * 1024)
            except BlockingIOError:
                return
            except ConnectionResetError:
                # Said once, of a child that ended without having taken the pill; what it had sent can still be read.
                continue
            except OSError:
                packet = b""
            if not packet:
                self._unwatch(self.channel.fileno())
                return
            self._take(packet)

    def _take(self, packet: bytes) -> None:
        try:
            message = load_json(packet)
            kind = message["type"]
            if kind == "outcome":
                self._take_outcome(_outcome_of(message))
            elif kind == "progress":
                progress = _progress_of(message)
                self.looks_for_bars, self.tails = False, {}
                self._take_progress(progress)
        except (KeyError, *_UNFIT):
            _log_trouble("a packet on the side channel is not a message of ours; ignored")

    def _take_outcome(self, outcome: dict[str, Any]) -> None:
        self.outcome |= outcome
        self.returned_at = monotonic()
        self._after("returned", RETURN_GRACE, self._judge)

    def _take_progress(self, progress: dict[str, Any]) -> None:
        self.progress = progress
        if "progress" not in self.timers:
            wait = max(0.0, self.progress_told_at + PROGRESS_EVERY - monotonic())
            self._after("progress", wait, self._tell_progress)

    def _tell_progress(self) -> None:
        self.progress_told_at = monotonic()
        self.link.offer(encode("progress", progress=self.progress))

    # --- the end ------------------------------------------------------------------------------------------------------

    def _on_exit(self, fd: int) -> None:
        self._free_descriptors()  # nothing of what follows may fail for want of one
        # Should anything below fail, it is tried again: an exit that was seen and not recorded would never be.
        self._after("exit", 0.5, lambda: self._on_exit(-1))
        if fd >= 0:
            self._unwatch(fd)
        if not self.over:
            self._learn_end()
            if not self.is_end_known:
                self._after("exit", TRACED_EVERY, lambda: self._on_exit(-1))
                return
            self._record_exit()
        if not self.has_left:
            self._reap_child()
        failpoints.reach("keeper.exit.reaped")
        self._hint()
        self.timers = {name: timer for name, timer in self.timers.items() if name in _AFTER_EXIT}
        if self.has_left:
            self._after("sweep", 0.0, self._begin_sweep)

    def _record_exit(self) -> None:
        failpoints.reach("keeper.exit.seen")
        duration = monotonic() - self.began
        self._drain_output()
        if self.channel.fileno() in self.handlers:
            self._take_packets(PACKETS_AT_EXIT)
        self._look_for_bars()
        left = self._count_left()
        failpoints.reach("keeper.exit.drained")
        self._record_start()  # an exit without a start could not be read
        facts = self._exit_facts(self.ended, duration, left)
        try:
            dump_json(facts)
        except _UNFIT as error:
            facts = _shortened(facts, str(error))
        self._record("stopped", KEEPER, None, facts, _shortened(facts, "the disk was full"))
        self.over = True
        failpoints.reach("keeper.exit.recorded")

    def _count_left(self) -> int | None:
        """How many the child has left behind; None when that can't be told now. The sweep looks again."""
        try:
            left = len(leftovers(self.pid))
        except OSError as error:
            _log_trouble(f"what the child left behind could not be counted: {error}")
            self.has_left = True
            return None
        self.has_left = left > 0
        return left

    def _learn_end(self) -> None:
        """Find out how the child ended, and remember it: what a fork server tells of it can be read once."""
        if self.is_end_known:
            return
        try:
            self.ended = posix.peek_exit(self.pid)
            # Over, as its pidfd says, and yet nothing to wait for: whoever traces it sees its end before its parent.
            self.is_end_known = self.ended is not None
        except ChildProcessError:
            # Under forkserver the child is the server's. It tells the code through the sentinel's pipe, or nothing when
            # it died: then the code is not known, and none is invented.
            self.ended, self.is_end_known = self._forkserver_exit(), True

    def _forkserver_exit(self) -> posix.Exit | None:
        waiter = poll()
        waiter.register(self.child.process.sentinel, POLLIN | POLLHUP)
        waiter.poll(2000)
        os.set_blocking(self.child.process.sentinel, False)
        try:
            told = os.read(self.child.process.sentinel, 8)
        except OSError:
            return None
        if len(told) < 8:
            return None
        code = int.from_bytes(told, sys.byteorder, signed=True)
        return posix.Exit(code, code << 8 if code >= 0 else -code, False, {})

    def _exit_facts(self, ended: posix.Exit | None, duration: float, leftovers: int | None) -> dict[str, Any]:
        facts: dict[str, Any] = {"duration": round(duration, 6), "leftovers": leftovers, **self.outcome}
        facts["exitcode"] = ended.exitcode if ended else None
        facts["max_rss_bytes"] = self.meter.max_rss_bytes
        facts["cpu_seconds"] = self.meter.cpu_seconds
        if ended:
            usage = ended.usage
            facts |= {"wait_status": ended.wait_status, "core_dumped": ended.core_dumped, "rusage": usage}
            facts["max_rss_bytes"] = max(facts["max_rss_bytes"], int(usage.get("max_rss_bytes", 0)))
            spent = usage.get("user_seconds", 0.0) + usage.get("system_seconds", 0.0) + self.meter.reaped_seconds
            facts["cpu_seconds"] = round(max(facts["cpu_seconds"], spent), 6)
        if self._was_out_of_memory(ended):
            facts["oom_killed"] = True
            if (limit := oom.limit()) is not None:
                facts["memory_limit_bytes"] = limit
        if self.meter.sample is not None:
            facts["last_sample"] = {"at": self.sampled_at, "rss_bytes": self.meter.sample["rss_bytes"]}
        facts["log_bytes"] = self.log.end
        if self.progress:
            facts["progress"] = self.progress
        if self.log.dropped_bytes:
            facts["log_dropped_bytes"] = self.log.dropped_bytes
        return facts

    def _was_out_of_memory(self, ended: posix.Exit | None) -> bool:
        """Whether the kernel's killer is to be taken for who sent SIGKILL: nobody did here, and it ended something of
        this control group while the child lived."""
        if ended is None or ended.exitcode != -signal.SIGKILL or self.killed_at != inf or self.oom_kills is None:
            return False
        return (oom.kills() or 0) > self.oom_kills

    def _reap_child(self) -> None:
        """Let go of the child, whose end is on the disk and whose number, which is that of its group as well, is no
        longer needed to end what it has left behind."""
        if self.pid and not self.journal.is_behind:
            self.is_reaped = True
            self._reap(self.pid)

    def _group(self) -> int | None:
        """The child's process group, as long as nobody else can have its number; under forkserver the server reaps."""
        is_ours = not self.is_reaped and self.launch["start_method"] != "forkserver"
        return self.pid if is_ours else None

    def _reap(self, pid: int) -> None:
        try:
            _, _, usage = os.wait4(pid, os.WNOHANG)
            self.meter.add_reaped(usage.ru_utime + usage.ru_stime)
        except ChildProcessError:
            return

    def _judge(self) -> None:
        """Tell the service when the child's condition is another one than before."""
        condition = self._condition()
        if condition != self.condition:
            self.condition = condition
            self.link.send(encode("condition", condition=condition))

    def _condition(self) -> str | None:
        """What keeps the child from what it is expected to do: ``unkillable`` (it lives on after SIGKILL, as in an
        uninterruptible sleep), ``paused`` (stopped by a signal), ``returned`` (its target is over, and a thread or an
        exit handler is not), or nothing."""
        if self.over:
            return None
        now = monotonic()
        if self.killed_at != inf:
            return "unkillable" if now >= self.killed_at + KILL_GRACE else None
        if self._is_paused():
            return "paused"
        return "returned" if now >= self.returned_at + RETURN_GRACE else None

    def _is_paused(self) -> bool:
        stat = posix.stat(self.pid)
        return stat is not None and stat.state == "T"

    def _on_sigchld(self, fd: int) -> None:
        """The child was stopped or went on, or an orphan ended that came to us as the subreaper: reap that; never the
        child, whose status is not on the disk yet (it has its own watch)."""
        os.read(fd, 4096)
        self._judge()
        for pid in posix.children(os.getpid()):
            if pid != self.pid:
                stat = posix.stat(pid)
                if stat is not None and stat.state == "Z":
                    self._reap(pid)

    # --- what is left of the tree -------------------------------------------------------------------------------------

    def _begin_sweep(self) -> None:
        failpoints.reach("keeper.sweep.before")
        if self.launch.get("leftovers") == "keep":
            self._after("sweep", 1.0, self._wait_for_leftovers)
        elif self.last_action == "kill":
            self._sweep_kill()
        else:
            signal_below(self.pid, signal.SIGTERM)
            self._after("sweep", 0.05, self._await_sweep)
            self.sweep_kill_at = monotonic() + LEFTOVER_GRACE

    def _wait_for_leftovers(self) -> None:
        """They were asked to be kept: read their output until the last of them is gone. Not until its end: whoever else
        holds the pipe, as multiprocessing's resource tracker does, is not what was asked to be kept."""
        if leftovers(self.pid):
            self._after("sweep", 1.0, self._wait_for_leftovers)

    def _await_sweep(self) -> None:
        if leftovers(self.pid):
            if monotonic() >= self.sweep_kill_at:
                self._sweep_kill()
            else:
                self._after("sweep", 0.05, self._await_sweep)

    def _sweep_kill(self) -> None:
        """SIGKILL until nobody is left but who may not be signalled.

        One that is born while we look is met in the next round; one in an uninterruptible sleep dies when it wakes.
        """
        denied = kill_below(self.pid, self._group())
        left = set(leftovers(self.pid))
        if left - denied:
            self._after("sweep", self.sweep_every, self._sweep_kill)
            self.sweep_every = min(self.sweep_every * 2, SWEEP_MAX)
        elif left:
            _log_trouble(f"{len(left)} that the child left behind belong to another user and can't be ended")

    # --- commands -----------------------------------------------------------------------------------------------------

    def _on_command(self, message: Message) -> None:
        handler = {"end": self._end, "signal": self._signal, "watch": self._watch_log}.get(message["type"])
        try:
            if handler is not None:
                handler(message)
            elif "request" in message:  # of a newer service, which waits for an answer
                raise ValueError(f"this keeper does not know {message['type']!r}")
        except (KeyError, TypeError, ValueError, OSError) as error:
            self.link.send(encode("refused", request=message.get("request"), error=f"{type(error).__name__}: {error}"))

    def _watch_log(self, message: Message) -> None:
        self.watched = bool(message["on"])
        if self.watched:
            self.told_end = -1
            self._hint()
            self._after("sample", 0.0, self._sample)  # who watches now need not wait for the next one

    def _end(self, message: Message) -> None:
        """stop, terminate, kill or interrupt. The request is on the disk before the signal is sent."""
        if self.over:
            return
        failpoints.reach("keeper.end.received")
        action, grace = message["action"], message.get("grace")
        act = {"stop": self._stop, "terminate": self._terminate, "kill": self._kill, "interrupt": self._interrupt}[
            action
        ]
        facts = {"action": action, "grace": grace, "tree": bool(message.get("tree")), "request": message.get("request")}
        self.last_action = action
        self._record("asked", message["actor"], message.get("reason"), facts)
        failpoints.reach("keeper.end.recorded")
        act(grace, bool(message.get("tree")))
        failpoints.reach("keeper.end.signalled")

    def _stop(self, grace: float | None, tree: bool) -> None:
        """The poison pill, then SIGTERM after the grace, then SIGKILL after another."""
        grace = self.launch["grace"] if grace is None else grace
        if self._is_paused():
            self._signal_tree(signal.SIGCONT)  # else it could not even learn that it is asked
        self._swallow_pill()
        self._escalate_after("term", grace, lambda: self._escalate_term(grace))

    def _escalate_after(self, step: str, seconds: float, action: Callable[[], None]) -> None:
        """Go on to ``step``, term or kill, unless it is due sooner: asking again must put off nothing announced."""
        if self.timers.get(step, (inf, None))[0] > monotonic() + seconds:
            self._after(step, seconds, action)

    def _swallow_pill(self) -> None:
        try:
            self.channel.send(b"stop", _socket.MSG_DONTWAIT)
        except OSError:
            return  # the child has closed its end: only signals reach it

    def _escalate_term(self, grace: float) -> None:
        self._note_escalation("SIGTERM", grace)
        self._signal_tree(signal.SIGTERM)
        self._escalate_after("kill", grace, lambda: self._escalate_kill(grace))

    def _escalate_kill(self, grace: float) -> None:
        self._note_escalation("SIGKILL", grace)
        self.last_action = "kill"
        self._signal_tree(signal.SIGKILL)

    def _note_escalation(self, name: str, grace: float) -> None:
        failpoints.reach("keeper.escalate.before")
        facts = {"action": "escalate", "signal": name, "tree": True}
        self._record("asked", KEEPER, f"still alive after {grace:g} s of grace", facts)

    def _terminate(self, grace: float | None, tree: bool) -> None:
        self._deliver(signal.SIGTERM, tree)
        if grace is not None:
            self._escalate_after("kill", grace, lambda: self._escalate_kill(grace))

    def _interrupt(self, grace: float | None, tree: bool) -> None:
        self._deliver(signal.SIGINT, tree)
        if grace is not None:
            self._escalate_after("kill", grace, lambda: self._escalate_kill(grace))

    def _kill(self, grace: float | None, tree: bool) -> None:
        self._signal_tree(signal.SIGKILL)

    def _signal(self, message: Message) -> None:
        if self.over:
            return
        number = signal.Signals[message["signal"]]
        facts = {"signal": number.name, "tree": bool(message.get("tree")), "request": message.get("request")}
        self._record("signalled", message["actor"], message.get("reason"), facts)
        self._deliver(number, bool(message.get("tree")))

    def _time_is_up(self) -> None:
        limit, grace = self.launch["timeout"], self.launch["grace"]
        self._record(
            "asked", KEEPER, f"the time limit of {limit:g} s is over", {"action": "time_limit", "grace": grace}
        )
        self._signal_tree(signal.SIGTERM)
        self._escalate_after("kill", grace, lambda: self._escalate_kill(grace))

    def _deliver(self, number: signal.Signals, tree: bool) -> None:
        if tree:
            self._signal_tree(number)
        else:
            self._signal_child(number)

    def _signal_tree(self, number: signal.Signals) -> None:
        self._signal_child(number)
        # Tried again by itself: what comes before it, an entry in the journal, must not be there twice.
        self._try(f"below {number.name}", lambda: self._signal_below(number))

    def _signal_below(self, number: signal.Signals) -> None:
        if number == signal.SIGKILL:
            kill_below(self.pid, self._group())
        else:
            signal_below(self.pid, number)

    def _signal_child(self, number: signal.Signals) -> None:
        if number == signal.SIGKILL and self.killed_at == inf:
            self.killed_at = monotonic()
            self._after("unkillable", KILL_GRACE, self._judge)
        if self.pidfd >= 0 and not send(self.pidfd, number):
            _log_trouble(f"{number.name} can't be sent: the child belongs to another user")

    # --- usage --------------------------------------------------------------------------------------------------------

    def _sample(self) -> None:
        """Measure the tree; seldom while nothing happens, so that hundreds of idle processes cost next to nothing."""
        self._look_after_folder()
        self._judge()  # also of a child that is not ours, see `_peek_exit`: its stops are not told to us
        changed = self._measure()
        if self.meter.sample is not None:
            self.usage.add(self.meter.sample)
        longest = SAMPLE_WATCHED_MAX if self.watched else SAMPLE_MAX
        self.sample_every = SAMPLE_MIN if changed else min(self.sample_every * 2, longest)
        self._after("sample", self.sample_every, self._sample)
        if changed:
            self.link.offer(encode("sample", sample=self.meter.sample))

    def _measure(self) -> bool:
        self.sampled_at = run_folder.now_text()
        return self.meter.measure([self.pid, *leftovers(self.pid)])

    # --- the service --------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        failpoints.reach("keeper.connect.before")
        if self.link.is_open:  # of a try that failed on its way
            self._hang_up()
        if not self.link.connect():
            self._disconnected()
            return
        self.timers.pop("abandoned", None)
        self.is_abandoned = False
        self._watch(self.link.fileno(), self._on_service)
        self.watched = False
        self._greet(self.last_entry)
        # What the journal does not have: the service would look there in vain.
        for entry in self.journal.owed:
            self.link.send(encode("entry", entry=entry))

    def _greet(self, last_entry: run_folder.Entry | None) -> None:
        self.link.send(
            encode(
                "hello",
                version=VERSION,
                id=self.launch["id"],
                keeper_pid=os.getpid(),
                pid=self.pid,
                journal_seq=last_entry["seq"] if last_entry else 0,
                last_entry=last_entry,
                log_end=self.log.end,
                progress=self.progress,
                sample=self.meter.sample,
                condition=self.condition,
            )
        )

    def _on_service(self, fd: int) -> None:
        try:
            messages = self.link.receive()
        except (OSError, ProtocolError) as error:
            _log_trouble(f"the connection to the service broke: {error}")
            messages = None
        if messages is None:
            self._hang_up()
            self._disconnected()
            return
        for message in messages:
            self._on_command(message)
        self.poll.modify(fd, POLLIN | POLLOUT if self.link.is_behind else POLLIN)

    def _hang_up(self) -> None:
        if self.link.fileno() in self.handlers:
            self._unwatch(self.link.fileno())
        self.link.close()

    def _disconnected(self) -> None:
        """End-of-file, never a missed heartbeat: a service that is stopped or slow is not gone.

        The folder is the truth meanwhile.
        """
        if self.over and not self.journal.is_behind:
            return
        spread = os.getpid() % 16 / 64  # keepers must not all come in the same millisecond
        self._after("reconnect", RECONNECT_EVERY + spread, self._connect)
        is_alone = self.launch["daemon"] and not self.over and not self.is_abandoned
        if is_alone and "abandoned" not in self.timers:
            self._after("abandoned", DAEMON_GRACE, self._abandoned)

    def _abandoned(self) -> None:
        self.is_abandoned = True
        facts = {"action": "terminate", "grace": self.launch["grace"]}
        self._record("asked", KEEPER, f"daemonic, and the service was gone for {DAEMON_GRACE:g} s", facts)
        self._terminate(self.launch["grace"], tree=True)
