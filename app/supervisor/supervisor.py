"""The supervisor: launches processes, follows what their keepers tell, and answers for their state.

All state of processes that are not over is held here, in one thread and changed without waiting in between, so that no
two changes can race. What happens to a process is applied to it at once (`app.lifecycle`), saved in the group commit of
the writer, and only then published and answered: nobody is told what a crash could take back.
"""

import asyncio
import contextlib
import itertools
import logging
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app import arguments, lifecycle
from app.db.store import Renewed, Store, delete_process
from app.db.tally import Tally
from app.errors import AppError, Conflict, FieldError, Invalid, NotFound, RecordUnavailable, Unavailable
from app.health.troubles import Troubles
from app.lifecycle import Event, Process
from app.metrics import Metrics
from app.retention import Limits
from app.settings import OnExit, Settings
from app.supervisor import deletion, usage
from app.supervisor.activity import Activity
from app.supervisor.background import Background, first
from app.supervisor.broadcaster import Broadcaster
from app.supervisor.catalogue import Catalogue
from app.supervisor.changes import Changes
from app.supervisor.connection import KeeperConnection
from app.supervisor.engine import LauncherSilent, LocalEngine, NotStarted
from app.supervisor.evidence import Evidence
from app.supervisor.keyed import Keyed
from app.supervisor.launchers import LauncherConfig
from app.supervisor.launches import Launch, Request, again, digest_of, spec_of
from app.supervisor.ledger import Ledger, Live
from app.supervisor.log_budget import LogBudget
from app.supervisor.operations import Operations
from app.supervisor.pulse import Pulse
from app.supervisor.record import Record
from app.supervisor.recovery import event_of_entry, process_of_spec
from app.supervisor.retention import Pruned, Retention
from app.version import VERSION as RELEASE
from procdeck import failpoints
from procdeck.protocol import VERSION, Message
from procdeck.states import ACTIVE, State

logger = logging.getLogger("procdeck.supervisor")

RECONCILE_EVERY = 3.0
"""Seconds between two comparisons of the record with the run folders."""
BURIALS_AT_ONCE = 4
ANSWER_WITHIN = 5.0
"""Seconds that a keeper may take to carry out a command."""
FULL_FOR = 5
"""Seconds after which who found the queue full is told to try again."""
FOREIGN = "protocol"
"""The trouble of keepers of a release too far from ours."""
_BEFORE_RUNNING = (State.CREATED, State.QUEUED, State.STARTING)

JSON = dict[str, Any]


class Supervisor:
    """Our side of all keepers. Made by `create_app`, which starts and stops it with the service.

    ``renewed`` says that ``store`` is new, in the place of a database that was damaged.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        configs: Sequence[LauncherConfig],
        metrics: Metrics,
        troubles: Troubles,
        renewed: Renewed | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.catalogue = Catalogue(settings.commands, [config.name for config in configs])
        self.engine = LocalEngine(settings, configs, self, self._on_catalogue, self._on_keeper_exit)
        self._background = Background()
        self._ledger = Ledger(store, self._background, self._on_over)
        self.activity = Activity(store)
        self.retention = Retention(store, self.engine.folders, self._delete_unnoted, troubles)
        self._log_budget = LogBudget(settings.log_budget_total, self.engine.folders, store, self._ledger.lives, metrics)
        self.catalogue_changed = Pulse()
        self.operations = Operations(self, self._background)
        self.stopping = False
        self.metrics = metrics
        self.troubles = troubles
        self._renewed = renewed
        self._last_number = store.last_number()
        self.record = Record(store, self.engine.runs, self._ledger, troubles, lambda: self._last_number, self._go_on)
        self._requests = itertools.count(1)
        self._waiting: dict[Live, None] = {}
        """Who waits to be started, in this order."""
        self._launcherless: dict[str, deque[tuple[Live, float]]] = {}
        """Who waits for the launcher of an environment, and since when (of the loop's clock), the longest first."""
        self._arriving: set[Live] = set()
        """Who will wait as soon as it is recorded, and has a place in the queue already."""
        self._keys = Keyed()
        self._burying: set[str] = set()
        self._sweeping: dict[str, Process] = {}
        """Those that are over, and whose keepers end what they left behind."""
        # Threads of their own, so that remains which do not die keep nobody from reading a log or the record.
        self._burials = ThreadPoolExecutor(BURIALS_AT_ONCE, "burial")
        self._deleting: set[str] = set()
        self._starting: set[str] = set()
        """Those that were only created, and are about to be taken up."""

    @property
    def broadcaster(self) -> Broadcaster:
        """What streams of events read."""
        return self._ledger.broadcaster

    @property
    def changes(self) -> Changes:
        """What pages that stay up to date look at."""
        return self._ledger.broadcaster.changes

    @property
    def tally(self) -> Tally:
        """How many processes there are of each kind, at no cost."""
        return self.store.tally

    # --- life of the service ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Adopt what lives, learn what ended meanwhile, start the launchers. Raises `app.errors.StartupError`."""
        self.record.tell_renewed_to(self._note_renewed)
        await self.record.begin(self._renewed)
        await self._count()
        await deletion.finish_all(self.store, self.engine.folders)
        lives = [self._ledger.open(process) for process in await self._active()]
        await self.engine.start()
        for live in lives:
            # Who waited for room or for a launcher when the last service ended goes on waiting.
            is_waiting = live.process.state is State.QUEUED
            if is_waiting and not await asyncio.to_thread(self.engine.is_claimed, live.process.id):
                self._enqueue(live)
        await self._reconcile()
        self._background.spawn(self._until_done(self._end_orphans))
        self._background.spawn(self._keep_reconciling())
        self._background.spawn(self.record.watch())
        self._background.spawn(self.retention.run(Limits.of(self.settings), self._retention_pruned))
        self._background.spawn(self._log_budget.run())
        self._background.spawn(self.activity.service("started", {"version": RELEASE}))

    def _note_renewed(self, renewed: Renewed, taken: int) -> None:
        self._background.spawn(self.activity.renewed(lifecycle.SERVICE, renewed.why, taken, renewed.kept))

    async def _active(self) -> list[Process]:
        """What the record has as not over, save what was never started."""
        active = await asyncio.to_thread(self.store.active)
        self._last_number = max(self._last_number, await asyncio.to_thread(self.store.last_number))
        return [process for process in active if process.state is not State.CREATED]

    async def _go_on(self) -> None:
        """Processes were put into the record past the ledger: learn what came to pass meanwhile."""
        unseen = [process.id for process in await self._active() if process.id not in self._ledger.lives]
        # Once more: one that ended while all were read was let go of, and the record has it as over by now.
        for process in await asyncio.to_thread(self.store.active_of, unseen):
            self._ledger.open(process)
        for live in self._ledger.lives.values():
            if not live.is_new:
                self._background.spawn(self._catch_up(live, live.last_told))
        self._on_over()  # some may have been put there as over
        await self._reconcile()

    def stop_launching(self) -> None:
        """The service is about to end: take no more launches and end every stream."""
        self.stopping = True
        self._ledger.broadcaster.close()
        for live in self._ledger.lives.values():
            live.log_grew.fire()
            live.changed.fire()

    async def shut_down(self, hurry: asyncio.Event) -> None:
        """Do what ``on_exit`` says about the processes that are alive, then let go of keepers and launchers; ``hurry``
        cuts the waiting short."""
        self.stopping = True
        await self.operations.close()
        deadline = self.settings.shutdown_timeout
        if self.settings.on_exit is OnExit.TERMINATE:
            deadline += self.settings.grace
        await self._end_for_exit()
        waited_for = self._awaited_at_exit()
        if waited_for:
            names = ", ".join(live.process.name for live in waited_for[:10]) + (" …" if len(waited_for) > 10 else "")
            logger.warning("waiting up to %g s for %d process(es): %s", deadline, len(waited_for), names)
            await first(self._all_over(waited_for), hurry.wait(), asyncio.sleep(deadline))
        left = [live for live in self._ledger.lives.values() if live.process.is_alive]
        if left:
            logger.warning("%d process(es) go on without the service; the next start adopts them", len(left))
        await self.activity.service("stopped", {"version": RELEASE, "left": len(left)})
        await self._background.cancel()
        self._burials.shutdown(wait=False, cancel_futures=True)
        await self.engine.close()

    async def _end_for_exit(self) -> None:
        """Daemonic processes end with the service; the others only if the settings say so."""
        everybody = self.settings.on_exit is OnExit.TERMINATE
        ends = [live for live in self._ledger.lives.values() if everybody or live.process.daemon]
        reason = "the service is ending"
        asks = (
            self.end(live.process.id, "terminate", lifecycle.SERVICE, grace=self._grace(live), reason=reason, tree=True)
            for live in ends
        )
        await asyncio.gather(*asks, return_exceptions=True)

    def _grace(self, live: Live) -> float:
        return min(float(live.process.spec["grace"]), self.settings.grace)

    def _awaited_at_exit(self) -> list[Live]:
        waits = self.settings.on_exit is not OnExit.LEAVE
        return [
            live for live in self._ledger.lives.values() if live.process.is_alive and (waits or live.process.daemon)
        ]

    async def _all_over(self, lives: Iterable[Live]) -> None:
        for live in lives:
            await live.until(_is_over)

    # --- launching ----------------------------------------------------------------------------------------------------

    async def create(
        self, launch: Launch, actor: str, key: str | None = None, *, wait_in_queue: bool = True
    ) -> tuple[Process, bool]:
        """Create a process, and start it unless told otherwise; (the process, False when the idempotency key gave one
        made before).

        Returns when the process runs, or after some seconds when it waits for its launcher or, unless
        ``wait_in_queue`` is False, for room. Raises Invalid (422) naming the fields, NotFound for an unknown target,
        Conflict for a broken one, Unavailable while the service ends.
        """
        if key is None:
            return await self._create(launch, Request(actor), wait_in_queue), True
        request = Request(actor, key, digest_of(launch))
        async with self._keys.alone(key):
            before = await asyncio.to_thread(self.store.get_by_idempotency_key, key)
            if before is None:
                return await self._create(launch, request, wait_in_queue), True
        if before.request_hash != request.digest:
            message = f"was used for process {before.id} with another request"
            wrong = FieldError(field="Idempotency-Key", message=message)
            raise Invalid("This Idempotency-Key belongs to another request.", errors=[wrong])
        return self._present(before), False

    async def _create(self, launch: Launch, request: Request, wait_in_queue: bool) -> Process:
        if self.stopping:
            raise Unavailable("The service is ending; it takes no launches.")
        entry = self._launchable(launch)
        began = asyncio.get_running_loop().time()
        self._last_number += 1
        spec = spec_of(launch, entry, self._last_number, request, self.settings)
        live = self._ledger.open_new(process_of_spec(spec))
        # Shielded: a client that hangs up must not leave half a launch.
        await asyncio.shield(self._background.task(self._bring_up_in_step(live, launch.start)))
        if launch.start:
            self.metrics.launches.inc()
            is_waited_for = wait_in_queue or live.saved.state is not State.QUEUED
            if is_waited_for and await self._until_started(live):
                self.metrics.launch_seconds.observe(asyncio.get_running_loop().time() - began)
        failpoints.reach("service.launch.before_answer")
        return live.saved

    def _launchable(self, launch: Launch) -> JSON:
        """The catalogue entry of the target, when it can be launched with these arguments."""
        entry = self.catalogue.get(launch.target)
        if entry is None and self.engine.environments_unheard():
            raise Unavailable("The targets are still being imported.", retry_after=1)
        if entry is None or entry["kind"] == "module":
            detail = f"There is no target {launch.target!r}." if entry is None else str(entry["error"])
            raise Invalid(detail, errors=[{"field": "target", "message": _unknown(launch.target, entry)}])
        if entry.get("error"):
            raise Conflict(f"The target {launch.target!r} can't be launched: {entry['error']}")
        wrong = arguments.check(entry, launch.args, launch.kwargs)
        if wrong:
            errors = [FieldError(field=error.field, message=error.message) for error in wrong]
            raise Invalid(f"The arguments do not fit {launch.target}{entry['signature']}.", errors=errors)
        return entry

    async def _bring_up_in_step(self, live: Live, start: bool) -> None:
        try:
            async with self.record.in_step():
                await self._bring_up(live, start)
        except RecordUnavailable:
            self._ledger.close(live)
            raise

    async def _bring_up(self, live: Live, start: bool) -> None:
        """Record a new process, and launch it.

        It is in the record and has its folder before it can be launched: after a crash it is known.
        """
        at_once = start and self._may_start(live)
        if start and not at_once:
            self._keep_place(live)
        if start:
            self._ledger.apply(live, Event("queued", _now(), live.process.requested_by))
        if at_once:
            self._ledger.apply(live, Event("starting", _now(), lifecycle.SERVICE))
        try:
            await self._ledger.insert(live, partial(self.engine.create, live.process))
        except (OSError, SQLAlchemyError, RecordUnavailable) as error:
            self._arriving.discard(live)
            self._ledger.close(live)
            await self._undo(live)
            raise Unavailable(f"The launch could not be recorded, so nothing was started: {error}") from error
        failpoints.reach("service.launch.recorded")
        if at_once:
            self._begin_launch(live)
        elif start:
            self._enqueue(live)
        else:
            self._ledger.close(live)

    async def _undo(self, live: Live) -> None:
        # The folder first, and whatever becomes of the record: one that stays comes back with the next start.
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self.engine.delete, live.process.id)
        with contextlib.suppress(OSError, SQLAlchemyError, RecordUnavailable):
            await self.store.writer.run(partial(delete_process, process_id=live.process.id))

    def _may_start(self, live: Live) -> bool:
        environment = live.process.environment
        before = itertools.chain(self._waiting, self._arriving)
        is_behind = any(other.process.environment == environment for other in before)
        return not is_behind and self.engine.is_ready(environment) and self._room() > 0

    def _room(self) -> int:
        """How many more may be alive. Counts them all."""
        most = self.settings.max_processes
        return most - self.alive_count() if most else sys.maxsize

    def _keep_place(self, live: Live) -> None:
        """Keep a place in the queue for a process that has yet to be recorded. Raises Unavailable, and lets go of the
        process, when the queue is full."""
        most = self.settings.max_queued
        if 0 < most <= self.queued_count():
            self._ledger.close(live)
            raise Unavailable(
                f"{most} processes wait to be started, and no more may: nothing was started.", retry_after=FULL_FOR
            )
        self._arriving.add(live)

    def _enqueue(self, live: Live) -> None:
        self._arriving.discard(live)
        self._waiting[live] = None
        environment = live.process.environment
        is_first = environment not in self._launcherless
        self._launcherless.setdefault(environment, deque()).append((live, asyncio.get_running_loop().time()))
        if is_first:
            self._background.spawn(self._start_when_ready(environment))

    async def _start_when_ready(self, environment: str) -> None:
        """Wait for the launcher of an environment, for all who need it; each fails for whom it comes too late."""
        launcherless = self._launcherless[environment]
        try:
            while launcherless:
                live, since = launcherless[0]
                try:
                    await self.engine.wait_ready(environment, since)
                    break
                except NotStarted as error:
                    launcherless.popleft()
                    self._background.spawn(self._fail(live, str(error)))
        finally:
            del self._launcherless[environment]
        self._start_waiting()

    def _on_over(self) -> None:
        self.retention.over.fire()
        self._start_waiting()

    def _start_waiting(self) -> None:
        """Start queued processes in their order while there is room, passing over those whose launcher is not ready."""
        if self.stopping or not self._waiting:
            return
        room = self._room()
        ready = {name for name in self.engine.environments if self.engine.is_ready(name)}
        for live in list(self._waiting):
            if room <= 0:
                return
            if live.process.state is State.QUEUED:
                if live.process.environment not in ready:
                    continue
                self._ledger.apply(live, Event("starting", _now(), lifecycle.SERVICE))
                self._begin_launch(live)
                room -= 1
            del self._waiting[live]

    def _begin_launch(self, live: Live) -> None:
        live.is_launching = True  # before anything else can run and take it for forgotten
        self._background.spawn(self._launch(live))

    async def _launch(self, live: Live) -> None:
        silent = _silent(live.process.environment)
        try:
            failpoints.reach("service.launch.before_order")
            await self.engine.launch(live.process)
            self.troubles.clear(silent)
            failpoints.reach("service.launch.ordered")
            # The keeper has it, but takes the folder and speaks to us a moment later: until then it is not to be given
            # up.
            await self._until_started(live)
        except NotStarted as error:
            if isinstance(error, LauncherSilent):
                self.troubles.report(silent, f"Launches fail: {error}. Reloading the targets starts another.")
            await self._fail(live, str(error))
        finally:
            live.is_launching = False

    async def _fail(self, live: Live, reason: str) -> None:
        await self._refuse(live, lifecycle.SERVICE, reason, {"error": _failure(reason), "message": reason})

    async def _refuse(self, live: Live, actor: str, reason: str | None, data: JSON) -> None:
        """End a process that no keeper has; nothing happens when one takes it first. Its journal has it before the
        record, as with all that keepers tell."""
        was = live.process.state
        if was not in (State.QUEUED, State.STARTING):
            return
        try:
            entry = await asyncio.to_thread(self.engine.refuse, live.process.id, actor, reason, data | {"was": was})
        except OSError as error:
            logger.warning("the end of %s can't be written into its run folder: %s", live.process.id, error)
            self._ledger.apply(live, Event("not_started", _now(), actor, reason, data))
        else:
            if entry is not None:
                self._learn(live, entry)

    async def start_process(self, process_id: str, actor: str) -> Process:
        """Start a process that was only created. Raises NotFound, Conflict (409) unless it is created."""
        live = await self._to_be_started(process_id)
        if not self._may_start(live):
            self._keep_place(live)
        self._ledger.apply(live, Event("queued", _now(), actor))
        self._enqueue(live)
        self.metrics.launches.inc()
        await self._until_started(live)
        return live.saved

    async def _to_be_started(self, process_id: str) -> Live:
        # Between reading it and taking it up it must not be deleted: one of two who want different things is refused.
        if process_id in self._deleting:
            raise NotFound(f"There is no process {process_id!r} any more.")
        if process_id in self._starting:
            raise Conflict(f"The process {process_id} is being started already.")
        self._starting.add(process_id)
        try:
            process = await self.get(process_id)
        finally:
            self._starting.discard(process_id)
        if process.state is not State.CREATED:
            raise Conflict(f"{process.name} can't be started: it is {process.state}.")
        if self.stopping:
            raise Unavailable("The service is ending; it takes no launches.")
        live = self._ledger.open(process)
        if live.process.state is not State.CREATED:
            raise Conflict(f"{process.name} can't be started: it is {live.process.state}.")
        return live

    async def _until_started(self, live: Live) -> bool:
        """Wait until it runs, or can't be started, or some seconds have passed; whether it was in time."""
        try:
            async with asyncio.timeout(self.settings.start_timeout):
                await live.until(lambda process: process.state not in _BEFORE_RUNNING)
        except TimeoutError:
            return False
        return True

    async def relaunch(
        self, process_id: str, actor: str, key: str | None = None, *, wait_in_queue: bool = True
    ) -> Process:
        """Launch a new process with the same spec, once for each idempotency key; see `create`."""
        process = await self.get(process_id)
        return (await self.create(again(process), actor, key, wait_in_queue=wait_in_queue))[0]

    # --- asking -------------------------------------------------------------------------------------------------------

    async def get(self, process_id: str) -> Process:
        """The process as recorded, with progress as last told. Raises NotFound."""
        live = self._ledger.lives.get(process_id)
        if live is not None and not live.is_new:
            return live.saved
        process = await asyncio.to_thread(self.store.get, process_id)
        if process is None:
            raise NotFound(f"There is no process {process_id!r}.")
        return process

    def sample(self, process_id: str) -> JSON | None:
        """The last measurement of a living process: cpu_percent, cpu_seconds, rss_bytes, max_rss_bytes, processes,
        threads, open_files, state."""
        live = self._ledger.lives.get(process_id)
        return live.sample if live else None

    def recent_cpu(self, process_id: str) -> list[float]:
        """The CPU use that was measured last, oldest first: percent of one core, at most 60 figures; none of a process
        that is over."""
        live = self._ledger.lives.get(process_id)
        return list(live.recent_cpu) if live else []

    def usage_now(self) -> tuple[float, int]:
        """What all living processes use together, as last measured: percent of one core, bytes of memory."""
        samples = [live.sample for live in self._ledger.lives.values() if live.sample and live.process.is_alive]
        return sum(sample["cpu_percent"] for sample in samples), sum(sample["rss_bytes"] for sample in samples)

    async def usage(self, process_id: str) -> usage.Usage:
        """What it used over its life, as far as it was measured. Raises NotFound."""
        process = await self.get(process_id)
        points = await asyncio.to_thread(usage.read, self.engine.folder(process_id))
        if process.is_alive and self.engine.is_connected(process_id):
            points = usage.gone_on(points, self.sample(process_id), _now())
        return usage.summed_up(points, process.started_at)

    def condition(self, process_id: str) -> str | None:
        """What keeps a living process from what is expected of it, as its keeper sees it: paused, unkillable, returned;
        None when nothing does."""
        live = self._ledger.lives.get(process_id)
        return live.condition if live else None

    def _present(self, process: Process) -> Process:
        live = self._ledger.lives.get(process.id)
        return live.saved if live is not None and not live.is_new else process

    def refresh(self, processes: Iterable[Process]) -> list[Process]:
        """The same processes with what has been told since they were read from the record (progress)."""
        return [self._present(process) for process in processes]

    def alive_count(self) -> int:
        """How many processes are alive."""
        return sum(live.process.is_alive for live in self._ledger.lives.values())

    def queued_count(self) -> int:
        """How many processes wait to be started, or are about to."""
        return len(self._arriving) + sum(live.process.state is State.QUEUED for live in self._waiting)

    def place_in_queue(self, process_id: str) -> int:
        """The how-manieth it is of those that wait to be started, from 1; 0 when it does not wait."""
        waiting = (live.process.id for live in self._waiting if live.process.state is State.QUEUED)
        return next((place for place, found in enumerate(waiting, 1) if found == process_id), 0)

    async def join(self, process_id: str, timeout: float | None) -> Process:
        """Wait until the process is over or ``timeout`` seconds have passed; the process either way.

        Raises NotFound, Conflict when never started.
        """
        process = await self.get(process_id)
        if process.state is State.CREATED:
            raise Conflict(f"{process.name} can't be joined: it was never started.")
        live = self._ledger.lives.get(process_id)
        if live is None:
            return await self.get(process_id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await live.until(lambda process: process.is_over or self.stopping)
        return live.saved

    # --- ending -------------------------------------------------------------------------------------------------------

    async def end(
        self,
        process_id: str,
        action: str,
        actor: str,
        *,
        grace: float | None = None,
        reason: str | None = None,
        tree: bool = False,
    ) -> Process:
        """stop, terminate, kill or interrupt; the process once the request is recorded and the signal sent.

        Raises NotFound, Conflict (409) when it was never started or is over, Unavailable when its keeper can't be
        reached.
        """
        live = await self._to_be_commanded(process_id)
        if live.process.state is State.QUEUED:
            await self._refuse(live, actor, reason, {"action": action, "error": None})
            if live.process.is_over:
                await live.until(_is_over)
                return live.saved
        fields = {"action": action, "actor": actor, "grace": grace, "reason": reason, "tree": tree}
        return await self._command(live, "end", fields)

    async def signal(self, process_id: str, name: str, actor: str, *, reason: str | None, tree: bool) -> Process:
        """Send a signal by its name; see `end` for what it raises."""
        live = await self._to_be_commanded(process_id)
        return await self._command(live, "signal", {"signal": name, "actor": actor, "reason": reason, "tree": tree})

    async def _to_be_commanded(self, process_id: str) -> Live:
        process = await self.get(process_id)
        live = self._ledger.lives.get(process_id)
        if process.state is State.CREATED and (live is None or live.process.state is State.CREATED):
            raise Conflict(f"{process.name} was never started.")
        if live is None or live.process.is_over:
            raise Conflict(_already_over(live.process if live else process))
        return live

    async def _command(self, live: Live, type_: str, fields: JSON) -> Process:
        """Send a command to the keeper and wait until what it did is recorded."""
        request = next(self._requests)
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        live.requests[request] = answer
        try:
            failpoints.reach("service.end.before_send")
            async with asyncio.timeout(ANSWER_WITHIN):
                while not self.engine.send(live.process.id, type_, request=request, **fields):
                    if live.process.is_over:
                        raise Conflict(_already_over(live.process))
                    if live.process.id in self.engine.foreign_versions:
                        raise Unavailable(
                            f"The keeper of {live.process.name} is of a release too far from this one and can't be"
                            f" commanded; a signal to pid {live.process.pid} from the command line reaches the process."
                        )
                    await live.changed.wait(0.2)  # its keeper is starting, or on its way back to us
                failpoints.reach("service.end.sent")
                await answer
        except TimeoutError:
            raise Unavailable(f"The keeper of {live.process.name} does not answer.", retry_after=5) from None
        finally:
            live.requests.pop(request, None)
        return live.saved

    async def delete(self, process_id: str, actor: str | None) -> None:
        """Remove the record and the run folder. Raises NotFound, Conflict (409) while it is alive or waits to be.

        Without an actor there is no note of it: who deletes many tells of all in one.
        """
        process = await self.get(process_id)
        live = self._ledger.lives.get(process_id)
        if process.state in ACTIVE or (live is not None and not live.saved.is_over):
            raise Conflict(f"{process.name} can't be deleted: it is {process.state}.")
        if process_id in self._starting or process_id in self._deleting:
            what = "started" if process_id in self._starting else "deleted"
            raise Conflict(f"{process.name} can't be deleted: it is being {what}.")
        self._deleting.add(process_id)  # before anything else can run and start it
        # Shielded: a client that hangs up must not leave half a process.
        await asyncio.shield(self._background.task(self._delete_and_note(process, actor)))

    async def _delete_unnoted(self, process_id: str) -> None:
        await self.delete(process_id, None)

    async def _delete_and_note(self, process: Process, actor: str | None) -> None:
        process_id = process.id
        try:
            async with self.record.in_step():
                await deletion.delete(self.store, self.engine.folders, process_id)
                self._ledger.lives.pop(process_id, None)
            self.changes.removed(process_id)
        finally:
            self._deleting.discard(process_id)
        if actor is not None:
            detail = {"number": process.number, "target": process.target, "outcome": process.outcome}
            await self.activity.note(
                actor,
                "deleted",
                subject_kind="process",
                subject_id=process_id,
                subject_name=process.name,
                detail=detail,
            )

    async def prune(self, limits: Limits, target: str | None, *, dry_run: bool, actor: str) -> Pruned:
        """Remove the finished processes that ``limits`` do not keep, see `Retention.prune`."""
        pruned = await self.retention.prune(limits, target=target, dry_run=dry_run)
        if not dry_run:
            self._count_pruned(pruned)
            await self.activity.pruned(actor, pruned, target)
        return pruned

    def _retention_pruned(self, pruned: Pruned) -> None:
        self._count_pruned(pruned)
        self._background.spawn(self.activity.pruned(lifecycle.SERVICE, pruned))

    def _count_pruned(self, pruned: Pruned) -> None:
        if pruned.count:
            self.metrics.pruned.inc(pruned.count)
            logger.info("removed %d finished process(es), %d bytes: see keep_*", pruned.count, pruned.bytes)

    # --- what keepers tell --------------------------------------------------------------------------------------------

    def keeper_connected(self, connection: KeeperConnection, hello: Message) -> None:
        """A keeper is there, anew or again."""
        failpoints.reach("service.adopt.connected")
        self.engine.connected(connection)
        process_id = connection.process_id or ""
        live = self._ledger.lives.get(process_id)
        if not connection.is_understood:
            self._tell_foreign()
        if live is None:
            return
        if not connection.is_understood:
            self._background.spawn(self._check(live))
            return
        self._take_news(live, hello)
        live.log_end = max(live.log_end, hello["log_end"])
        last = hello.get("last_entry")
        if last is not None:
            self._take_entry(live, last)
        if live.log_readers:
            self.engine.watch_log(process_id, True)
        live.changed.fire()

    def keeper_said(self, process_id: str, message: Message) -> None:
        """A message of a keeper."""
        live = self._ledger.lives.get(process_id)
        if live is None:
            return
        kind = message["type"]
        self._log_budget.heard(process_id)
        if kind == "entry":
            self._take_entry(live, message["entry"])
        elif kind in ("sample", "progress", "condition"):
            self._take_news(live, message)
        elif kind == "log":
            self._count_log(live, message["end"])
            live.log_grew.fire()
        elif kind == "refused":
            self._refused(live, message)

    def _take_news(self, live: Live, message: Message) -> None:
        """Measurements and progress: shown while the process lives, recorded with its end."""
        self.changes.measured(live.process.id)
        if message.get("sample"):
            live.sample = message["sample"]
            live.recent_cpu.append(live.sample.get("cpu_percent", 0.0))
        if "condition" in message:
            live.condition = message["condition"]
        if message.get("progress"):
            live.process = replace(live.process, progress=message["progress"])
            live.saved = replace(live.saved, progress=message["progress"])

    def _count_log(self, live: Live, end: int) -> None:
        self.metrics.log_bytes.inc(max(0, end - live.log_end))
        live.log_end = max(live.log_end, end)

    def _refused(self, live: Live, message: Message) -> None:
        answer = live.requests.get(message.get("request", 0))
        if answer is not None and not answer.done():
            error = str(message.get("error"))
            answer.set_exception(Invalid(f"The keeper refused: {error}", errors=[{"field": "", "message": error}]))

    def keeper_gone(self, connection: KeeperConnection) -> None:
        """A connection ended: because the keeper is done, was killed, or gave it up."""
        if self.engine.disconnected(connection):
            self._log_budget.gone(connection.process_id or "")
            self._end_left(connection.process_id or "")
            if not connection.is_understood:
                self._tell_foreign()
            live = self._ledger.lives.get(connection.process_id or "")
            if live is not None and not live.process.is_over and not self.stopping:
                self._background.spawn(self._check(live))

    def _tell_foreign(self) -> None:
        """Say how many keepers there are that can't be talked to; see `procdeck.protocol`."""
        versions = self.engine.foreign_versions.values()
        if not versions:
            self.troubles.clear(FOREIGN)
            return
        found = ", ".join(sorted({str(version) for version in versions}))
        self.troubles.report(
            FOREIGN,
            f"{len(versions)} process(es) were launched by a release of Procdeck too far from this one (protocol"
            f" {found}, ours is {VERSION}): their ends and logs are recorded, but they can't be ended from here.",
        )

    def _on_keeper_exit(self, process_id: str) -> None:
        """The launcher saw a keeper end: one that never spoke is noticed at once."""
        live = self._ledger.lives.get(process_id)
        if live is not None and not live.process.is_over and not self.engine.is_connected(process_id):
            live.is_launching = False
            self._background.spawn(self._check(live))

    def _take_entry(self, live: Live, entry: JSON) -> None:
        live.last_told = entry
        if entry["seq"] > live.process.journal_seq + 1:
            self._background.spawn(self._catch_up(live, entry))
        else:
            self._learn(live, entry)

    def _learn(self, live: Live, entry: JSON) -> None:
        """Apply an entry, unless it was before."""
        failpoints.reach("service.entry.before_apply")
        event = event_of_entry(entry)
        if lifecycle.is_applied(live.process, event):
            return
        request = event.data.get("request")
        if request is not None:
            live.answered.append(request)
        self._count_log(live, event.data.get("log_bytes", 0))
        self._ledger.apply(live, event)
        if event.kind == "stopped" and event.data.get("leftovers"):
            self._sweeping[live.process.id] = live.process

    # --- comparing record and run folders -----------------------------------------------------------------------------

    async def _keep_reconciling(self) -> None:
        while True:
            await asyncio.sleep(RECONCILE_EVERY)
            try:
                await self._reconcile()
                await self._count()
            except Exception:
                logger.exception("the comparison of record and run folders failed; it is tried again")

    async def _count(self) -> None:
        """Have the tally hold, if it does not."""
        with contextlib.suppress(RecordUnavailable):  # of which `record` tells; it is tried again
            await self.store.count_all()

    async def _reconcile(self) -> None:
        """Ask the run folder of every process whose keeper is not connected; save what could not be saved before."""
        checks: list[asyncio.Task[None]] = []
        for live in list(self._ledger.lives.values()):
            if live.unsaved:
                self._ledger.save(live)
            elif live.process.state in ACTIVE and not self.engine.is_connected(live.process.id):
                checks.append(self._background.task(self._check(live)))
        if not checks:
            return
        # Side by side, and no longer than until the next time: what is left of one process may take seconds to die.
        done, _ = await asyncio.wait(checks, timeout=RECONCILE_EVERY)
        for check in done:
            check.result()

    async def _catch_up(self, live: Live, told: JSON | None) -> None:
        """Apply what the journal has and we have not, then the entry ``told``: a full disk may have kept it, or one
        before it, from the journal."""
        try:
            evidence = await asyncio.to_thread(self.engine.examine, live.process.id)
        except (OSError, ValueError) as error:
            logger.warning("the run folder of %s can't be read: %s", live.process.id, error)
            return
        self._replay(live, evidence)
        if told is not None:
            self._learn(live, told)

    def _replay(self, live: Live, evidence: Evidence) -> None:
        for entry in evidence.entries:
            self._learn(live, entry)

    async def _check(self, live: Live) -> None:
        """Find out what became of a process whose keeper does not speak to us."""
        process_id = live.process.id
        if process_id in self._burying:
            return
        self._burying.add(process_id)
        try:
            evidence = await asyncio.to_thread(self.engine.examine, process_id)
            self._replay(live, evidence)
            if live.process.is_over and not evidence.is_kept:
                self._end_left(process_id)
            if live.process.is_over or evidence.is_kept:
                return
            if live.is_new or live.is_launching or live in self._waiting:
                return
            if evidence.is_missing and await asyncio.to_thread(self.engine.is_child_alive, live.process):
                return  # its keeper lives then, and will call
            # A folder that is gone has no claim either; one that ran is not waiting for anybody.
            if evidence.is_claimed or live.process.state not in (State.QUEUED, State.STARTING):
                await self._bury(live, evidence.damage)
            else:
                await self._give_up(live)
        except OSError as error:
            # Out of descriptors or memory, or a disk in trouble: that says nothing of the process.
            logger.warning("the run folder of %s can't be read (it will be tried again): %s", process_id, error)
        finally:
            self._burying.discard(process_id)

    async def _give_up(self, live: Live) -> None:
        """No keeper took it: the service that was to launch it ended first."""
        words = await asyncio.to_thread(self.engine.last_words, live.process.id)
        why = f": {words}" if words is not None else ""
        await self._fail(live, f"the service, or its keeper, ended before it could be started{why}")

    async def _bury(self, live: Live, damage: str | None) -> None:
        """Its keeper is dead and left no exit record, or none that can be read.

        End what is left of its tree, then say that it is lost; no exit code is invented.
        """
        failpoints.reach("service.bury.before_end")
        ended = await self._sweep(live.process)
        failpoints.reach("service.bury.ended")
        if live.process.state is State.QUEUED:
            # No keeper was asked for: it was claimed by a service that was killed in the middle of `_refuse`.
            reason = "the service ended while it took the process off the queue"
            self._ledger.apply(
                live, Event("not_started", _now(), lifecycle.SERVICE, reason, {"error": _failure(reason)})
            )
        else:
            await self._lose(live, await self._why_ended(live, damage), ended=ended)

    async def _why_ended(self, live: Live, damage: str | None) -> str:
        if damage is not None:
            return f"its keeper ended, and {damage}"
        # One that got no further than this may have said what it lacked.
        is_early = live.process.state is State.STARTING
        words = await asyncio.to_thread(self.engine.last_words, live.process.id) if is_early else None
        return "its keeper was killed" if words is None else f"its keeper ended: {words}"

    def _end_left(self, process_id: str) -> None:
        """The keeper of a process that is over has gone. It was killed, perhaps, while it ended what was left."""
        process = self._sweeping.pop(process_id, None)
        if process is not None and not self.stopping:
            self._background.spawn(self._until_done(partial(self._end_remains, process)))

    async def _end_orphans(self) -> None:
        """End what lives of processes that are over, and whose keepers were killed while no service was there."""
        for process_id in await asyncio.to_thread(self.engine.orphaned):
            process = await asyncio.to_thread(self.store.get, process_id)
            if process is not None and process.is_over:
                await self._end_remains(process)

    async def _until_done(self, work: Callable[[], Awaitable[None]]) -> None:
        """Try until it can be done: out of descriptors, or with the record away, nobody can tell what lives."""
        while True:
            try:
                await work()
            except (OSError, AppError) as error:
                logger.warning("what killed keepers left can't be looked for (it will be tried again): %s", error)
                await asyncio.sleep(RECONCILE_EVERY)
            else:
                return

    async def _end_remains(self, process: Process) -> None:
        if process.spec.get("leftovers") == "keep":
            return
        if ended := await self._sweep(process):
            logger.warning("%s left %d behind when its keeper was killed; they are ended", process.name, ended)

    async def _sweep(self, process: Process) -> int:
        """End what is left of a process whose keeper is dead by now; how many there were."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._burials, self.engine.end_remains, process, monotonic())

    async def _lose(self, live: Live, why: str, **data: Any) -> None:
        if live.process.state in (State.STARTING, State.RUNNING, State.STOPPING):
            message = f"{why}; what became of the process can't be known"
            self._ledger.apply(live, Event("lost", _now(), lifecycle.SERVICE, message, data))

    # --- logs ---------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def log_followed(self, process_id: str) -> AsyncIterator[Live | None]:
        """While the context lasts the keeper tells of new output; gives the process's `Live`, or None when it is
        over."""
        live = self._ledger.lives.get(process_id)
        if live is None:
            yield None
            return
        live.log_readers += 1
        if live.log_readers == 1:
            self.engine.watch_log(process_id, True)
        try:
            yield live
        finally:
            live.log_readers -= 1
            if live.log_readers == 0:
                self.engine.watch_log(process_id, False)

    # --- targets ------------------------------------------------------------------------------------------------------

    def _on_catalogue(self, environment: str, entries: list[JSON]) -> None:
        self.catalogue.replace(environment, entries)
        self.catalogue_changed.fire()
        self.changes.touched("targets")
        self.troubles.clear(_silent(environment))
        self._start_waiting()  # whom the launcher before this one kept waiting by its end

    async def reload_targets(self, actor: str) -> list[JSON]:
        """Start new launchers in place of the present ones; the catalogue after that.

        Processes that run keep their code.
        """
        await asyncio.gather(*(env.reload() for env in self.engine.environments.values()))
        items = self.catalogue.items()
        broken = sum(bool(entry.get("error")) for entry in items)
        await self.activity.note(
            actor,
            "reloaded",
            subject_kind="targets",
            subject_id="",
            subject_name="targets",
            detail={"good": len(items) - broken, "broken": broken},
        )
        return items


def _silent(environment: str) -> str:
    """The trouble of a launcher that does not answer."""
    return f"launcher {environment}"


def _failure(reason: str) -> JSON:
    """The error of a process that could not be launched."""
    return {"type": "NotStarted", "message": reason, "traceback": ""}


def _unknown(target: str, entry: JSON | None) -> str:
    return "is not a registered target" if entry is None else "is a module that could not be imported"


def _already_over(process: Process) -> str:
    """What is told to who came too late."""
    code = f", exit code {process.exitcode}" if process.exitcode is not None else ""
    ago = "" if process.stopped_at is None else f" {max(0.0, (_now() - process.stopped_at).total_seconds()):.0f} s ago"
    return f"{process.name} is over already: {process.outcome}{code}{ago}."


def _now() -> datetime:
    return datetime.now(UTC)


def _is_over(process: Process) -> bool:
    return process.is_over
