"""The keeper: one beside each process; the child's parent, and what outlives the service and the launcher.

It starts the child, stamps and appends its output, writes the journal, samples the tree, enforces the time limit,
carries out what the service asks, and ends what the child left behind. It does all of this with the service dead. One
thread, one loop over poll(2), no event loop: it lives in a process forked from a launcher that has imported user code,
so it uses only what was bound at import, before that code could patch anything, and ends by ``os._exit``.

The order of events is a contract: an entry is on the disk before it is told to anybody, and the exit record is on the
disk before the child is reaped.
"""

from __future__ import annotations

import _socket
import gc
import sys
import traceback
from collections.abc import Callable
from math import inf
from select import POLLHUP, POLLIN, POLLOUT, poll
from time import monotonic, sleep
from typing import Any, NoReturn

from procdeck import failpoints, posix, run_folder
from procdeck.birth import Newborn, bear
from procdeck.child import MAX_LAUNCH_BYTES
from procdeck.link import ServiceLink
from procdeck.log import LogWriter
from procdeck.pristine import os, signal
from procdeck.protocol import VERSION, Decoder, Message, ProtocolError, encode, load_json
from procdeck.tree import Meter, leftovers, send, signal_each

READ_BYTES = 64 * 1024
"""A pipe's capacity (pipe(7)): one read empties it."""
PARTIAL_AFTER = 0.2
"""Seconds after which an unfinished line is written as a part: a prompt must be seen."""
LOG_HINT_EVERY = 0.04
RECONNECT_EVERY = 0.5
DAEMON_GRACE = 15.0
"""Seconds that a daemonic process outlives a service that vanished without a new one coming."""
LEFTOVER_GRACE = 2.0
MAX_TROUBLES = 200
"""Tracebacks in keeper.log at most."""
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
        child = bear([orders.fileno(), *foreign_fds])
        _become_keeper(foreign_fds)
        launch = _receive(orders)
        if launch is not None:
            _open_keeper_log(launch["folder"])
            failpoints.reach("keeper.start.received")
            lock_fd = run_folder.claim(launch["folder"])
            if lock_fd is not None:
                failpoints.reach("keeper.start.claimed")
                Keeper(launch, lock_fd).run(child)
        code = 0
    except BaseException:
        _log_trouble(traceback.format_exc())
    finally:
        os._exit(code)


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
    log = os.open(f"{folder}/{run_folder.KEEPER_LOG}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def _log_trouble(text: str) -> None:
    """A line to keeper.log, which is this process's fd 2 but for the moment in which the child is started."""
    try:
        os.write(2, f"{run_folder.now_text()} {text.rstrip()}\n".encode())
    except OSError:
        return


def _wake(number: int, frame: object) -> None:
    """A signal handler that does nothing: the signal's byte in the wake-up pipe is what the loop waits for
    (`signal.set_wakeup_fd`)."""


class Keeper:
    """State of one keeper. `run` returns when the child is over, its tree is gone and all is told."""

    def __init__(self, launch: dict[str, Any], lock_fd: int) -> None:
        self.launch = launch
        self.lock_fd = lock_fd
        self.link = ServiceLink(launch["socket"])
        self.poll = poll()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.timers: dict[str, tuple[float, Callable[[], None]]] = {}
        self.streams: dict[int, str] = {}
        self.pid = 0
        self.pidfd = -1
        self.over = False  # the exit is recorded; what may follow is the sweep
        self.last_action: str | None = None
        self.outcome: dict[str, Any] = {}
        self.last_entry: run_folder.Entry | None = None
        self.progress: dict[str, Any] | None = None
        self.meter = Meter()
        self.sample_every = SAMPLE_MIN
        self.watched = False
        self.told_end = 0
        self.told_at = 0.0
        self.last_read = 0.0
        self.troubles = 0

    # --- life ---------------------------------------------------------------------------------------------------------

    def run(self, child: Newborn) -> None:
        """Make ``child`` run the launch, or start another when it can't, and see it through."""
        # What can't be journalled is not begun: its end could never be told. All else while the child is on its way.
        self.journal = run_folder.Journal(self.launch["folder"])
        ordered = child.order(self.launch)
        self.log = LogWriter(f"{self.launch['folder']}/{run_folder.LOG}", self.launch["log_budget"])
        try:
            if not ordered:
                child.discard()
                child = bear([self.lock_fd, self.journal.fd], self.launch)
        except Exception as error:
            self._not_started(error)
            return
        self._attend(child)
        failpoints.reach("keeper.start.ordered")
        self._settle()
        self._record("started", "launcher", None, self._start_facts())
        self._connect()
        if self.launch.get("timeout"):
            self._after("time_limit", self.launch["timeout"], self._time_is_up)
        self._after("sample", self.sample_every, self._sample)
        while not self._is_finished():
            self._turn()
        self._drain_output()  # the last words of what was left of the tree
        self.link.drain()

    def _settle(self) -> None:
        """A disk that fails must not end a target that runs."""
        try:
            run_folder.settle(self.launch["folder"])
        except OSError as error:
            _log_trouble(f"the run folder could not be made durable: {error}")

    def _attend(self, child: Newborn) -> None:
        """Watch the child's end, output and channel, and the orphans to come."""
        self.began = monotonic()
        self.child, self.channel, self.pid = child.process, child.channel, child.process.pid or 0
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        posix.set_handler(signal.SIGCHLD, _wake)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self._watch(wake_read, self._on_sigchld)
        for fd, name in ((child.stdout, "stdout"), (child.stderr, "stderr")):
            os.set_blocking(fd, False)
            self.streams[fd] = name
            self._watch(fd, self._on_output)
        self.channel.setblocking(False)
        self._watch(self.channel.fileno(), self._on_channel)
        self._watch_exit()

    def _start_facts(self) -> dict[str, Any]:
        stat = posix.stat(self.pid)
        return {
            "pid": self.pid,
            "keeper_pid": os.getpid(),
            "start_ticks": stat.start_ticks if stat else None,
            "boot_id": posix.BOOT_ID,
        }

    def _watch_exit(self) -> None:
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            # Only under forkserver, whose server reaps: the child is over and gone already.
            self._after("exit", 0.0, lambda: self._on_exit(-1))
        else:
            self._watch(self.pidfd, self._on_exit)

    def _not_started(self, error: Exception) -> None:
        trouble = "".join(traceback.format_exception(error))
        _log_trouble(trouble)
        facts = {"type": type(error).__name__, "message": str(error), "traceback": trouble}
        self._record("not_started", KEEPER, str(error), {"error": facts})
        self._connect()
        self.link.drain()

    def _is_finished(self) -> bool:
        return self.over and "sweep" not in self.timers

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
                self._guard(action)

    def _guard(self, action: Callable[..., None], *args: int) -> None:
        """Do one thing of the loop. Whatever goes wrong with it (no descriptor left, no memory), the child must not
        lose its keeper over it."""
        try:
            action(*args)
        except Exception:
            self.troubles += 1
            if self.troubles <= MAX_TROUBLES:
                _log_trouble(traceback.format_exc())
            sleep(0.05)  # what woke us may well wake us again at once

    def _watch(self, fd: int, handler: Callable[[int], None], events: int = POLLIN) -> None:
        self.handlers[fd] = handler
        self.poll.register(fd, events)

    def _unwatch(self, fd: int) -> None:
        self.handlers.pop(fd, None)
        self.poll.unregister(fd)

    def _after(self, name: str, seconds: float, action: Callable[[], None]) -> None:
        self.timers[name] = (monotonic() + seconds, action)

    def _record(self, event: str, actor: str, reason: str | None, data: dict[str, Any]) -> None:
        """To the journal, then to the service.

        A full disk must not keep the keeper from its work: the service is told all the same.
        """
        try:
            entry = self.journal.append(event, actor, reason, data)
        except OSError as error:
            _log_trouble(f"the journal could not be written: {error}")
            self.journal.seq += 1
            entry = {"seq": self.journal.seq, "at": run_folder.now_text(), "event": event, "actor": actor}
            entry |= {"reason": reason, "data": data}
        self.last_entry = entry
        if event == "started":
            failpoints.reach("keeper.start.recorded")
        self.link.send(encode("entry", entry=entry))

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
            self.log.feed(self.streams[fd], data)
        return bool(data)

    def _after_output(self, now: float) -> None:
        if self.log.has_unfinished and "partial" not in self.timers:
            self._after("partial", PARTIAL_AFTER, self._flush_partial)
        if self.watched and "hint" not in self.timers:
            self._after("hint", max(0.0, self.told_at + LOG_HINT_EVERY - now), self._hint)

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

        One full pipe at most from each: a descendant that goes on writing must not hold us.
        """
        for fd in list(self.streams):
            self._read_output(fd)
        self.log.flush()

    # --- side channel -------------------------------------------------------------------------------------------------

    def _on_channel(self, fd: int) -> None:
        while True:
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
                self._unwatch(fd)
                return
            self._take(packet)

    def _take(self, packet: bytes) -> None:
        try:
            message = load_json(packet)
            kind = message.pop("type")
        except (ValueError, KeyError, AttributeError, RecursionError):
            _log_trouble("a packet on the side channel is not a message of ours; ignored")
            return
        if kind == "outcome":
            self.outcome |= message
        elif kind == "progress":
            self.progress = message
            self.link.offer(encode("progress", progress=message))

    # --- the end ------------------------------------------------------------------------------------------------------

    def _on_exit(self, fd: int) -> None:
        if self.over:
            return
        # Should anything below fail, it is tried again: an exit that was seen and not recorded would never be.
        self._after("exit", 0.5, lambda: self._on_exit(-1))
        ended = self._peek_exit()
        failpoints.reach("keeper.exit.seen")
        if fd >= 0:
            self._unwatch(fd)
        duration = monotonic() - self.began
        self._drain_output()
        if self.channel.fileno() in self.handlers:
            self._on_channel(self.channel.fileno())
        left = leftovers(self.pid)
        failpoints.reach("keeper.exit.drained")
        self._record("stopped", KEEPER, None, self._exit_facts(ended, duration, len(left)))
        self.over = True
        failpoints.reach("keeper.exit.recorded")
        self._reap(self.pid)
        failpoints.reach("keeper.exit.reaped")
        self._hint()
        self.timers.clear()
        if left:
            self._begin_sweep()

    def _peek_exit(self) -> posix.Exit | None:
        try:
            return posix.peek_exit(self.pid)
        except ChildProcessError:
            # Under forkserver the child is the server's. It tells the code through the sentinel's pipe, or nothing when
            # it died: then the code is not known, and none is invented.
            return self._forkserver_exit()

    def _forkserver_exit(self) -> posix.Exit | None:
        waiter = poll()
        waiter.register(self.child.sentinel, POLLIN | POLLHUP)
        waiter.poll(2000)
        os.set_blocking(self.child.sentinel, False)
        try:
            told = os.read(self.child.sentinel, 8)
        except OSError:
            return None
        if len(told) < 8:
            return None
        code = int.from_bytes(told, sys.byteorder, signed=True)
        return posix.Exit(code, code << 8 if code >= 0 else -code, False, {})

    def _exit_facts(self, ended: posix.Exit | None, duration: float, leftovers: int) -> dict[str, Any]:
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
        facts["log_bytes"] = self.log.end
        if self.progress:
            facts["progress"] = self.progress
        if self.log.dropped_bytes:
            facts["log_dropped_bytes"] = self.log.dropped_bytes
        return facts

    def _reap(self, pid: int) -> None:
        try:
            _, _, usage = os.wait4(pid, os.WNOHANG)
            self.meter.add_reaped(usage.ru_utime + usage.ru_stime)
        except ChildProcessError:
            return

    def _on_sigchld(self, fd: int) -> None:
        """Reap the orphans that came to us as the subreaper; never the child, whose status is not on the disk yet (it
        has its own watch)."""
        os.read(fd, 4096)
        for pid in posix.children(os.getpid()):
            if pid != self.pid or self.over:
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
            signal_each(leftovers(self.pid), signal.SIGTERM)
            self._after("sweep", 0.05, self._await_sweep)
            self.sweep_kill_at = monotonic() + LEFTOVER_GRACE

    def _wait_for_leftovers(self) -> None:
        """They were asked to be kept: read their output until the last of them is gone."""
        if leftovers(self.pid) or self.streams:
            self._after("sweep", 1.0, self._wait_for_leftovers)

    def _await_sweep(self) -> None:
        if leftovers(self.pid):
            if monotonic() >= self.sweep_kill_at:
                self._sweep_kill()
            else:
                self._after("sweep", 0.05, self._await_sweep)

    def _sweep_kill(self) -> None:
        """SIGKILL until nobody is left.

        One that is born while we look is met in the next round; one in an uninterruptible sleep dies when it wakes.
        """
        left = leftovers(self.pid)
        if left:
            signal_each(left, signal.SIGKILL)
            self._after("sweep", 0.02, self._sweep_kill)

    # --- commands -----------------------------------------------------------------------------------------------------

    def _on_command(self, message: Message) -> None:
        handler = {"end": self._end, "signal": self._signal, "watch": self._watch_log}.get(message["type"])
        if handler is None:
            return
        try:
            handler(message)
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
            send(self.pidfd, number)

    def _signal_tree(self, number: signal.Signals) -> None:
        send(self.pidfd, number)
        signal_each(leftovers(self.pid), number)

    # --- usage --------------------------------------------------------------------------------------------------------

    def _sample(self) -> None:
        """Measure the tree; seldom while nothing happens, so that hundreds of idle processes cost next to nothing."""
        changed = self._measure()
        longest = SAMPLE_WATCHED_MAX if self.watched else SAMPLE_MAX
        self.sample_every = SAMPLE_MIN if changed else min(self.sample_every * 2, longest)
        self._after("sample", self.sample_every, self._sample)
        if changed:
            self.link.offer(encode("sample", sample=self.meter.sample))

    def _measure(self) -> bool:
        return self.meter.measure(os.getpid(), [self.pid, *leftovers(self.pid)])

    # --- the service --------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        failpoints.reach("keeper.connect.before")
        if not self.link.connect():
            self._disconnected()
            return
        self.timers.pop("abandoned", None)
        self._watch(self.link.fileno(), self._on_service)
        self.watched = False
        self.link.send(
            encode(
                "hello",
                version=VERSION,
                id=self.launch["id"],
                keeper_pid=os.getpid(),
                pid=self.pid,
                journal_seq=self.journal.seq,
                last_entry=self.last_entry,
                log_end=self.log.end,
                progress=self.progress,
                sample=self.meter.sample,
            )
        )

    def _on_service(self, fd: int) -> None:
        try:
            messages = self.link.receive()
        except (OSError, ProtocolError) as error:
            _log_trouble(f"the connection to the service broke: {error}")
            messages = None
        if messages is None:
            self._unwatch(fd)
            self.link.close()
            self._disconnected()
            return
        for message in messages:
            self._on_command(message)
        self.poll.modify(fd, POLLIN | POLLOUT if self.link.is_behind else POLLIN)

    def _disconnected(self) -> None:
        """End-of-file, never a missed heartbeat: a service that is stopped or slow is not gone.

        The folder is the truth meanwhile.
        """
        if self.over:
            return
        spread = os.getpid() % 16 / 64  # keepers must not all come in the same millisecond
        self._after("reconnect", RECONNECT_EVERY + spread, self._connect)
        if self.launch["daemon"] and "abandoned" not in self.timers:
            self._after("abandoned", DAEMON_GRACE, self._abandoned)

    def _abandoned(self) -> None:
        facts = {"action": "terminate", "grace": self.launch["grace"]}
        self._record("asked", KEEPER, f"daemonic, and the service was gone for {DAEMON_GRACE:g} s", facts)
        self._terminate(self.launch["grace"], tree=True)
