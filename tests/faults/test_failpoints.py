"""Every fail point is walked: at each, once the process that reaches it is killed and once an error is raised in it.

Whatever was under way, afterwards the invariants hold, what was promised to a client is kept, and the service launches
as before.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from procdeck import failpoints, posix
from procdeck.states import FINAL
from tests.faults import invariants
from tests.service import HOSTILE, Service
from tests.waiting import wait_until

JSON = dict[str, Any]

CODE = 3
"""The exit code of the process that is watched."""
KEY = {"Idempotency-Key": "walk"}
FLAGS = ("--start-timeout", "3", "--grace", "0.3", "--no-watch")


class Walk:
    """A service in which one fail point is armed, from its first start or from the moment that the scenario arms it."""

    def __init__(self, service: Service, point: str, action: str, hit: int) -> None:
        self.service = service
        self.point = point
        self.action = action
        self.environ = {
            failpoints.VARIABLE: ",".join([*FIRST.get(point, ()), f"{point}:{action}:{hit}"]),
            failpoints.FOLDER: str(service.folder / "hits"),
        }
        self.hit = hit
        self.promised: list[str] = []
        (service.folder / "hits").mkdir()

    def start(self, *, armed: bool = True) -> None:
        """Start the service; an armed one may end of it."""
        self.service.environ = self.environ if armed else {}
        try:
            self.service.start()
        except (AssertionError, httpx.HTTPError):
            # It may end of it, and no more; its last connection is gone before it is.
            if not armed:
                raise
            wait_until(lambda: not self.service.is_running(), 5, "the service lives on, and does not answer")

    def ask(self, do: Callable[[], JSON]) -> JSON | None:
        """What the service answers; None when it died of it, or refused."""
        try:
            return do()
        except (AssertionError, httpx.HTTPError, FileNotFoundError):
            return None

    def launch(self, target: str, *args: object, **more: Any) -> JSON | None:
        """Launch, as `Service.launch` does. What is answered is promised: it has to be there ever after."""
        process = self.ask(lambda: self.service.launch(target, *args, **more))
        if process is not None:
            self.promised.append(process["id"])
        return process

    def until_reached(self) -> None:
        """Wait until the fail point has acted."""
        hits = Path(self.environ[failpoints.FOLDER]) / self.point
        wait_until(lambda: hits.exists() and hits.stat().st_size >= self.hit, 15, f"{self.point} was not reached")

    def recover(self) -> None:
        """Start the service again, without the fail point, if it ended of it."""
        if self.action == "kill" and self.point.startswith("service."):
            wait_until(lambda: not self.service.is_running(), 10, "the service lives on")
        if not self.service.is_running():
            self.start(armed=False)


Scenario = Callable[[Walk], None]


def launching(walk: Walk) -> None:
    """One launch, with a key, of a process that prints and ends with `CODE`; asked for again after the recovery."""
    service = walk.service
    truth = service.folder / "truth"

    def launch() -> JSON:
        return service.launch("hostile:tick", str(truth), 0.001, 30, CODE, labels={"walk": "yes"}, headers=KEY)

    walk.start()
    walk.ask(launch)
    walk.until_reached()
    walk.recover()
    again = launch()
    assert len(service.client.get("/processes", params={"label": "walk=yes"}).json()["items"]) == 1
    over = service.join(again)
    assert (over["exitcode"], over["outcome"]) in (
        (CODE, "failed"),
        (None, "not_started"),
        (None, "lost"),
        (1, "failed"),
    )
    if over["exitcode"] == CODE:
        invariants.output_is_whole(service, over, truth)


def honest_ends(point: str, action: str) -> set[tuple[int | None, str]]:
    """How a process may have ended that was to end with `CODE`, when this happened at ``point``."""
    ends: set[tuple[int | None, str]] = {(CODE, "failed")}
    if action == "kill" and point.startswith(("keeper.", "journal.", "log.")):
        ends.add((None, "lost"))
    if point.startswith(("service.launch.", "launcher.launch.", "launcher.fork.", "keeper.start.")):
        ends.add((None, "not_started"))
    return ends


def returning(walk: Walk) -> None:
    """A target that returns a value: what a child does of ours before and after it."""
    walk.start()
    process = walk.launch("hostile:steps")
    assert process is not None
    walk.until_reached()
    over = walk.service.join(process)
    if walk.action == "kill":
        assert (over["exitcode"], over["outcome"]) == (-9, "crashed")
    else:
        assert over["exitcode"] == (1 if walk.point == "child.run.before_target" else 0)


def ending(walk: Walk) -> None:
    """Stop a process that is deaf to everything but SIGKILL."""
    walk.start()
    process = walk.launch("hostile:deaf")
    assert process is not None
    walk.service.wait_for_log(process, "deaf")
    walk.ask(lambda: walk.service.post(process, "stop"))
    walk.until_reached()
    walk.recover()
    with suppress(AssertionError):  # 409: it is over by now
        walk.service.post(process, "stop")
    assert walk.service.join(process)["outcome"] in ("stopped", "lost")


def leaving(walk: Walk) -> None:
    """A process that leaves others behind when it ends."""
    walk.start()
    walk.launch("hostile:family")
    walk.until_reached()
    walk.recover()


def adopting(walk: Walk) -> None:
    """Start the service on a process that lives and on one whose keeper was killed meanwhile."""
    service = walk.service
    walk.start(armed=False)
    living, orphan = service.launch("hostile:nap"), service.launch("hostile:nap")
    keeper = posix.stat(orphan["pid"])
    assert keeper is not None
    service.kill()
    invariants.kill(keeper.parent)
    walk.start()
    walk.until_reached()
    walk.recover()
    wait_until(lambda: service.get(orphan)["state"] in FINAL, 10, "the orphan is not over")
    assert service.get(orphan)["outcome"] == "lost"
    assert service.get(living)["state"] == "running"
    assert service.post(living, "kill")["is_alive"] in (True, False)
    assert service.join(living)["exitcode"] == -9


def rebuilding(walk: Walk) -> None:
    """Start the service without its database."""
    service = walk.service
    walk.start(armed=False)
    over, living = service.join(service.launch("hostile:leave", CODE)), service.launch("hostile:nap")
    service.kill()
    for file in service.data_dir.glob("procdeck.db*"):
        file.unlink()
    walk.start()
    walk.until_reached()
    walk.recover()
    assert service.get(over)["exitcode"] == CODE
    assert service.get(living)["state"] == "running"


def refusing(walk: Walk) -> None:
    """Take a process off the queue."""
    service = walk.service
    service.flags += ["--max-processes", "1"]
    walk.start()
    first = walk.launch("hostile:nap")
    queued = walk.launch("hostile:say")
    assert first is not None
    assert queued is not None
    walk.ask(lambda: service.post(queued, "stop"))
    walk.until_reached()
    walk.recover()
    with suppress(AssertionError):
        service.post(queued, "stop")
    service.post(first, "kill")
    # Nobody may have heard of the stop: then it runs when there is room again.
    assert service.join(queued)["outcome"] in ("stopped", "not_started", "succeeded")


def burying(walk: Walk) -> None:
    """A keeper is killed while the service runs."""
    walk.start()
    process = walk.launch("hostile:nap")
    assert process is not None
    keeper = posix.stat(process["pid"])
    assert keeper is not None
    invariants.kill(keeper.parent)
    walk.until_reached()
    walk.recover()
    wait_until(lambda: walk.service.get(process)["state"] == "lost", 10, lambda: str(walk.service.get(process)))


def reloading(walk: Walk) -> None:
    """Replace the launcher."""
    walk.start()
    walk.launch("hostile:nap")
    walk.ask(lambda: walk.service.client.post("/targets/reload").raise_for_status().json())
    walk.until_reached()
    walk.recover()


def deleting(walk: Walk) -> None:
    """Delete a process that is over."""
    service = walk.service
    walk.start()
    process = walk.launch("hostile:say")
    assert process is not None
    service.join(process)
    walk.ask(lambda: {"status": service.client.delete(f"/processes/{process['id']}").status_code})
    walk.promised.clear()  # it may be there or not, and not by half: that is what the invariants are for
    walk.until_reached()
    walk.recover()


SCENARIOS: dict[str, Scenario] = {
    "service.start": adopting,
    "service.adopt": adopting,
    "service.import": rebuilding,
    "service.launch": launching,
    "service.commit": launching,
    "service.entry": launching,
    "service.end": ending,
    "service.refuse": refusing,
    "service.bury": burying,
    "service.reload": reloading,
    "service.delete": deleting,
    "launcher": launching,
    "keeper.start": launching,
    "keeper.connect": launching,
    "keeper.end": ending,
    "keeper.escalate": ending,
    "keeper.exit": launching,
    "keeper.sweep": leaving,
    "journal": launching,
    "log": launching,
    "child": returning,
}
"""By the beginning of a fail point's name."""
_FAILED_SYNC = ("journal.append.written:error:1",)
FIRST = {"journal.rewrite.written": _FAILED_SYNC, "journal.rewrite.renamed": _FAILED_SYNC}
"""What must have happened for a fail point to be reached at all."""
HITS = {
    "journal.append": (1, 2),
    "service.commit": (1, 2, 3),
    "service.entry": (1, 2),
    "log.write": (1, 5),
    "service.reload": (1, 2),
}
"""At which times a point acts that stands for several steps; the others at the first."""


def scenario_of(point: str) -> Scenario:
    """The scenario that reaches ``point``; a new fail point needs one."""
    found = [scenario for prefix, scenario in SCENARIOS.items() if point.startswith(prefix + ".")]
    assert len(found) == 1, f"the fail point {point} is walked by {len(found)} scenarios"
    return found[0]


def hits_of(point: str) -> tuple[int, ...]:
    return next((hits for prefix, hits in HITS.items() if point.startswith(prefix + ".")), (1,))


ALL = [(point, action, hit) for point in failpoints.POINTS for action in ("kill", "error") for hit in hits_of(point)]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path, [HOSTILE], FLAGS)
    try:
        yield service
    finally:
        service.close()


@pytest.mark.parametrize(("point", "action", "hit"), ALL, ids=[":".join(map(str, each)) for each in ALL])
def test_nothing_is_lost_at(service: Service, point: str, action: str, hit: int) -> None:
    walk = Walk(service, point, action, hit)
    scenario_of(point)(walk)
    known = {process["id"]: process for process in invariants.hold(service)}
    assert set(walk.promised) <= set(known), "a process whose launch was answered is gone"
    assert service.join(service.launch("hostile:leave", CODE))["exitcode"] == CODE
    after = {process["id"]: process for process in invariants.hold(service)}
    ends = {id_: _end(process) for id_, process in known.items() if process["state"] in FINAL}
    assert {id_: _end(after[id_]) for id_ in ends} == ends, "an end has changed"


def _end(process: JSON) -> tuple[object, ...]:
    return process["state"], process["outcome"], process["exitcode"], process["stopped_at"]
