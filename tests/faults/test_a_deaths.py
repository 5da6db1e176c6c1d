"""Section A: our own processes die, hang or are replaced, and nothing is lost and nothing invented."""

import os
import re
import shutil
import signal
import statistics
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest

from procdeck import posix, protocol
from tests.acceptance.sse import Reader
from tests.deployment import ROOT
from tests.faults.inject import paused
from tests.faults.invariants import every, hold
from tests.runtime import is_alive
from tests.service import COMMAND, HOSTILE, JSON, Service
from tests.waiting import wait_until

IN_TRUTH = "end\n"
"""The last line that `tick_until` writes to its own file."""


class Talkers:
    """Processes that print, each with a file that tells what it printed, and that end when their group is let go: one
    in ``groups`` belongs to each."""

    def __init__(self, service: Service, count: int, groups: int = 2) -> None:
        self.service = service
        self.folder = service.folder
        self.groups = groups
        self.processes = [self.launch(number) for number in range(count)]

    def launch(self, number: int) -> JSON:
        """The request that starts this one; repeated it gives the same process."""
        arguments = {"path": str(self.truth(number)), "gate": str(self.gate(number % self.groups)), "code": number}
        key = {"Idempotency-Key": f"talker {number}"}
        return self.service.launch("hostile:tick_until", kwargs=arguments, headers=key)

    def truth(self, number: int) -> Path:
        return self.folder / f"truth.{number}"

    def gate(self, group: int) -> Path:
        return self.folder / f"gate.{group}"

    def of(self, group: int) -> list[JSON]:
        """The processes of a group."""
        return self.processes[group :: self.groups]

    def let_go(self, group: int) -> None:
        """Let one group end, and wait until it has and is recorded: only then a keeper reaps."""
        self.gate(group).touch()
        pids = [process["pid"] for process in self.of(group)]
        wait_until(lambda: all(posix.stat(pid) is None for pid in pids), 20, "they do not end")

    def check(self) -> None:
        """All are over, each with its own code, and each log is exactly what the child says it printed."""
        ended = [self.service.join(process) for process in self.processes]
        assert [process["exitcode"] for process in ended] == list(range(len(ended)))
        assert {process["outcome"] for process in ended[1:]} == {"failed"}
        for number, process in enumerate(self.processes):
            told = self.truth(number).read_text()
            assert told.endswith(IN_TRUTH)
            assert self.service.log(process) == told


def gone(*pids: int) -> Callable[[], bool]:
    """A condition: none of these runs any more."""
    return lambda: not any(map(is_alive, pids))


def by_id(service: Service) -> dict[str, JSON]:
    """All processes."""
    return {process["id"]: process for process in every(service)}


def keeper_of(process: JSON) -> int:
    pid: int = process["detail"]["keeper_pid"]
    return pid


def told_pid(service: Service, process: JSON, word: str) -> int:
    """The pid that the process prints behind ``word``."""
    service.wait_for_log(process, f"{word} ")
    found = re.search(rf"{word} (\d+)\n", service.log(process))
    assert found
    return int(found[1])


def starts(path: Path) -> int:
    """How often `count` was run with this path."""
    return len(path.read_text().splitlines()) if path.exists() else 0


@contextmanager
def serving(service: Service) -> Iterator[Service]:
    """The service, started; nothing of it is left behind."""
    try:
        yield service.start()
    finally:
        service.close()


# --- the service ----------------------------------------------------------------------------------------------------


def test_f01_a_hundred_talking_processes_outlive_the_service(hostile: Service) -> None:
    talkers = Talkers(hostile, 100, groups=5)
    hostile.kill()
    killed_at = datetime.now(UTC)
    talkers.let_go(0)
    started_at = datetime.now(UTC)
    hostile.start()

    def is_known() -> bool:
        known = by_id(hostile)
        return all(
            known[process["id"]]["state"] == ("running" if number % 5 else "exited")
            for number, process in enumerate(talkers.processes)
        )

    wait_until(is_known, 5, lambda: f"{[process['state'] for process in every(hostile)]}")
    assert [again["pid"] for again in every(hostile)] == [process["pid"] for process in talkers.processes[::-1]]
    for process in talkers.of(0):
        assert killed_at < datetime.fromisoformat(hostile.get(process)["stopped_at"]) < started_at
    hold(hostile)

    for group in range(1, 5):
        talkers.let_go(group)
    talkers.check()
    for number in (0, 1):  # one that ended meanwhile, one that lived on
        again = talkers.launch(number)
        assert again["id"] == talkers.processes[number]["id"]
    assert len(hold(hostile)) == 100


def test_f01_a_kill_in_the_middle_of_many_launches_neither_loses_nor_doubles_one(hostile: Service) -> None:
    """Requests are under way when it is killed; each, repeated with its key, gives one process, started once."""
    counts = [hostile.folder / f"started.{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        cut = [pool.submit(try_launch, hostile, path) for path in counts]
        wait_until(lambda: any(path.exists() for path in counts), 10, "nothing was started")
        hostile.kill()
        early = {path: told for path, future in zip(counts, cut, strict=True) if (told := future.result()) is not None}
    hostile.start()
    processes = {path: try_launch(hostile, path) for path in counts}
    for path, process in processes.items():
        assert process is not None
        assert path not in early or early[path]["id"] == process["id"]
        assert hostile.join(process)["outcome"] in ("succeeded", "not_started")
        assert starts(path) == (hostile.get(process)["outcome"] == "succeeded")
    assert len(hold(hostile)) == len(counts)


def test_f01_a_hundred_and_fifty_are_adopted_with_what_they_cost_before(hostile: Service) -> None:
    processes = [hostile.launch("hostile:nap")]  # the first makes the client that the threads share
    with ThreadPoolExecutor(8) as pool:
        processes += pool.map(lambda _: hostile.launch("hostile:nap"), range(149))
    keepers = {keeper_of(process) for process in processes}
    before, memory = counted(hostile, keepers), resident(hostile.pid)
    for _ in range(2):
        hostile.kill()
        hostile.start()
        wait_until(lambda: connected(hostile) == 150, 30, lambda: f"only {connected(hostile)} came back")
    after = counted(hostile, keepers)
    assert after["descriptors of keepers"] == before["descriptors of keepers"]
    assert after["descriptors of the service"] <= before["descriptors of the service"]
    assert resident(hostile.pid) < memory + 8 * 2**20
    assert {process["pid"] for process in every(hostile)} == {process["pid"] for process in processes}
    hold(hostile)


def try_launch(service: Service, path: Path) -> JSON | None:
    """Launch `count` with the path as key; None when the service is gone before it answers."""
    headers = {"Authorization": f"Bearer {service.token}", "Idempotency-Key": str(path)}
    body = {"target": "hostile:count", "args": [str(path)]}
    try:
        answer = httpx.post(f"{service.url}/api/v1/processes", json=body, headers=headers, timeout=30)
    except httpx.TransportError:
        return None
    assert answer.status_code in (200, 201), answer.text
    process: JSON = answer.json()
    return process


@pytest.mark.parametrize(
    ("point", "started"),
    [
        pytest.param("service.launch.recorded", 0, id="f02"),
        pytest.param("service.launch.ordered", 1, id="f03-ordered"),
        pytest.param("service.launch.before_answer", 1, id="f03-unanswered"),
    ],
)
def test_f02_f03_a_launch_that_a_kill_cut_off_is_the_same_when_it_is_repeated(
    tmp_path: Path, point: str, started: int
) -> None:
    path = tmp_path / "started"
    service = Service(tmp_path, [HOSTILE], environ={"PROCDECK_FAILPOINT": f"{point}:kill:1"})
    with serving(service):
        assert try_launch(service, path) is None, "it was answered"
        service.kill()
        service.environ = {}
        service.start()
        [known] = every(service)
        again = try_launch(service, path)
        assert again is not None
        assert again["id"] == known["id"]
        ended = service.join(again)
        assert (ended["outcome"], ended["exitcode"]) == (("succeeded", 0) if started else ("not_started", None))
        assert starts(path) == started
        assert started or "ended before it could be started" in ended["exit_summary"]
        hold(service)


def test_f05_a_stopped_service_is_not_a_dead_one(hostile: Service) -> None:
    """Keepers write on, and hold nothing back in memory for who does not read; nobody is told that it is gone."""
    daemon = hostile.launch("hostile:nap", daemon=True)
    truths = [hostile.folder / f"truth.{number}" for number in range(3)]
    gate = hostile.folder / "gate"
    talkers = [hostile.launch("hostile:tick_until", str(truth), str(gate), 0.0005) for truth in truths]
    keepers = [keeper_of(process) for process in (daemon, *talkers)]
    reader = Reader(hostile, f"/processes/{talkers[0]['id']}/log/stream")
    wait_until(lambda: all(truth.stat().st_size > 1000 for truth in truths), 20, "they do not print")
    before = [resident(pid) for pid in keepers]
    sizes = [truth.stat().st_size for truth in truths]
    with paused(hostile.pid):
        grown = [size + 20_000 for size in sizes]  # some thousand lines: seconds
        wait_until(
            lambda: all(truth.stat().st_size > size for truth, size in zip(truths, grown, strict=True)),
            30,
            "they were held up",
        )
        for pid, was in zip(keepers, before, strict=True):
            assert resident(pid) < was + 2 * 2**20
    assert hostile.get(daemon)["state"] == "running"
    gate.touch()
    for process, truth in zip(talkers, truths, strict=True):
        assert hostile.join(process)["exitcode"] == 0
        assert hostile.log(process) == truth.read_text()
    reader.join()
    assert reader.log_text == truths[0].read_text()
    assert len(hostile.transitions(daemon)) == len(hostile.transitions(talkers[0])) - 1
    hold(hostile)


def resident(pid: int) -> int:
    """Resident memory in bytes."""
    stat = posix.stat(pid)
    assert stat is not None
    return stat.rss_bytes


def test_f12_everything_of_ours_is_killed_at_once(hostile: Service) -> None:
    """A power failure of user space: what ran is lost, and is not run again."""
    over = hostile.join(hostile.launch("hostile:say", "over", 3))
    count = hostile.folder / "started"
    hostile.join(hostile.launch("hostile:count", str(count)))
    running = [hostile.launch("hostile:nap") for _ in range(150)]
    running += [hostile.launch("hostile:family", kwargs={"wait": True}), hostile.launch("hostile:outsider")]
    descendants = [told_pid(hostile, running[-2], "grandchild"), told_pid(hostile, running[-1], "outsider")]
    hostile.post(running[0], "stop")
    everything = {hostile.pid, *posix.descendants(hostile.pid), *hostile.tree_pids(), *descendants}
    # Stopped first, for at once is what it is about: a keeper must not see its child end.
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in everything:
            os.kill(pid, number)
    hostile.kill()
    hostile.start()
    processes = by_id(hostile)
    for process in running:
        lost = hostile.join(process)
        assert (lost["state"], lost["outcome"], lost["exitcode"]) == ("lost", "lost", None)
    assert processes[over["id"]]["exitcode"] == 3
    assert starts(count) == 1
    assert len(hold(hostile)) == len(running) + 2
    assert hostile.join(hostile.launch("hostile:say"))["exitcode"] == 0


def test_f14_a_second_service_on_the_same_data_is_refused(hostile: Service, tmp_path: Path) -> None:
    process = hostile.launch("hostile:nap")
    second = Service(tmp_path, [HOSTILE])
    second.output = tmp_path / "second.out"
    code, said = second.refusal()
    assert code == os.EX_TEMPFAIL
    assert "is in use by another service" in said
    assert hostile.url in said
    assert "Traceback" not in said
    assert hostile.get(process)["state"] == "running"
    assert hostile.join(hostile.launch("hostile:say"))["exitcode"] == 0
    hold(hostile)


def test_f15_ctrl_c_and_a_signal_to_its_group_reach_the_service_alone(tmp_path: Path) -> None:
    user, terminal = os.openpty()
    # A session leader without a terminal gets the first one that it opens (tty_ioctl(4)).
    command = ["sh", "-c", 'exec "$@" <"$0"', os.ttyname(terminal), str(COMMAND)]
    service = Service(tmp_path, [HOSTILE], ["--on-exit", "leave"], command=command)
    try:
        with serving(service):
            process = service.launch("hostile:nap")
            os.write(user, b"\x03")
            wait_until(gone(service.pid), 15, "Ctrl-C did not reach the service")
            assert service.stop() == 0
            service.start()
            assert service.get(process)["state"] == "running"
            os.killpg(service.pid, signal.SIGKILL)
            service.kill()
            service.start()
            assert service.get(process)["state"] == "running"
            assert len(service.transitions(process)) == 4
            hold(service)
    finally:
        os.close(user)
        os.close(terminal)


RESTARTS = 50


@pytest.mark.timeout(400)
def test_f16_fifty_restarts_in_a_row_leave_everything_as_it_was(tmp_path: Path) -> None:
    with serving(Service(tmp_path, [HOSTILE], ["--on-exit", "leave"])) as service:
        processes = [service.launch("hostile:nap") for _ in range(30)]
        keepers = {keeper_of(process) for process in processes}
        footprints = []
        for number in range(RESTARTS):
            if number % 2:
                service.stop()
            else:
                service.kill()
            # As a rule it is ended again while its launcher still imports.
            service.start(ready=number in (1, RESTARTS - 1))
            wait_until(lambda: connected(service) == len(keepers), 10, lambda: f"only {connected(service)} came back")
            if number == 1:
                first = counted(service, keepers)
            footprints.append(resident(service.pid))

        def has_not_grown() -> bool:
            return all(count <= first[what] for what, count in counted(service, keepers).items())

        wait_until(has_not_grown, 10, lambda: f"{counted(service, keepers)}, and before {first}")
        early, late = statistics.median(footprints[5:10]), statistics.median(footprints[-5:])
        assert late < early + 8 * 2**20, f"resident memory went from {early} to {late} bytes"
        starts_of = [[row["from"] for row in service.transitions(process)].count("starting") for process in processes]
        assert starts_of == [1] * len(processes)
        hold(service)


def connected(service: Service) -> int:
    """How many keepers are connected."""
    headers = {"Authorization": f"Bearer {service.token}"}
    found = re.search(
        r"^procdeck_keepers_connected (\S+)", httpx.get(f"{service.url}/metrics", headers=headers).text, re.M
    )
    assert found
    return int(float(found[1]))


def counted(service: Service, keepers: set[int]) -> dict[str, int]:
    """What must not grow: descriptors and threads, processes, memory of the keepers in steps of a megabyte."""
    main, ours = psutil.Process(service.pid), [psutil.Process(pid) for pid in keepers]
    return {
        "descriptors of keepers": sum(keeper.num_fds() for keeper in ours),
        "threads of keepers": sum(keeper.num_threads() for keeper in ours),
        "memory of keepers": max(resident(pid) for pid in keepers) // 2**20,
        "processes": len(service.tree_pids()) + len(main.children(recursive=True)),
        "descriptors of the service": main.num_fds(),
    }


# --- the launcher ---------------------------------------------------------------------------------------------------


def test_f06_talking_processes_outlive_the_launcher(hostile: Service) -> None:
    talkers = Talkers(hostile, 50)
    old = hostile.launcher_pids
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    talkers.let_go(0)
    # The next launch waits for the next launcher, and works.
    assert hostile.join(hostile.launch("hostile:say"))["exitcode"] == 0
    assert not set(old) & set(hostile.launcher_pids)
    assert {hostile.get(process)["state"] for process in talkers.of(1)} == {"running"}
    talkers.let_go(1)
    talkers.check()
    hold(hostile)


def test_f06_launches_survive_the_deaths_of_launchers(hostile: Service) -> None:
    counts = [hostile.folder / f"started.{number}" for number in range(12)]
    processes = []
    for number, path in enumerate(counts):
        if number % 4 == 1:
            for pid in hostile.launcher_pids:
                os.kill(pid, signal.SIGKILL)
        processes.append(hostile.launch("hostile:count", str(path)))
    assert [hostile.join(process)["outcome"] for process in processes] == ["succeeded"] * 12
    assert [starts(path) for path in counts] == [1] * 12
    hold(hostile)


@pytest.mark.parametrize("point", ["launcher.launch.taken", "launcher.launch.handed_over"])
def test_f07_a_launcher_killed_in_the_middle_of_a_launch_starts_it_once(tmp_path: Path, point: str) -> None:
    hits = tmp_path / "hits"
    hits.mkdir()
    environ = {"PROCDECK_FAILPOINT": f"{point}:kill:1", "PROCDECK_FAILPOINT_DIR": str(hits)}
    with serving(Service(tmp_path, [HOSTILE], environ=environ)) as service:
        process = service.launch("hostile:count", str(tmp_path / "started"))
        assert service.join(process)["outcome"] == "succeeded"
        wait_until(lambda: (hits / point).stat().st_size == 2, 15, "no other launcher was asked")
        assert starts(tmp_path / "started") == 1
        hold(service)


def test_f17_a_launcher_that_hangs_delays_nothing_else_and_starts_nothing_late(tmp_path: Path) -> None:
    with serving(Service(tmp_path, [HOSTILE], ["--start-timeout", "1"])) as service:
        running, count = service.launch("hostile:until_stopped"), tmp_path / "started"
        with paused(*service.launcher_pids):
            refused = service.join(service.launch("hostile:count", str(count)))
            assert (refused["outcome"], refused["exitcode"]) == ("not_started", None)
            assert "launcher of environment 'default' did not answer within 1 s" in refused["exit_summary"]
            service.wait_for_log(running, "waiting")
            service.post(running, "stop")
            assert service.join(running)["exitcode"] == 0
            assert "launcher default" in troubles(service)
        # It takes what was sent to it in its order: when this one is over, so is what it makes of the first.
        assert service.join(service.launch("hostile:say"))["exitcode"] == 0
        assert troubles(service) == []
        hold(service)
        assert starts(count) == 0


# --- the keeper -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize(("target", "word"), [("family", "grandchild"), ("outsider", "outsider")])
def test_f08_a_killed_keeper_takes_its_tree_with_it(hostile: Service, target: str, word: str, method: str) -> None:
    kwargs = {"wait": True} if target == "family" else {}
    process = hostile.launch(f"hostile:{target}", kwargs=kwargs, start_method=method)
    other = hostile.launch("hostile:nap")
    descendant = told_pid(hostile, process, word)
    os.kill(keeper_of(process), signal.SIGKILL)

    lost = hostile.join(process)
    assert (lost["state"], lost["outcome"], lost["exitcode"], lost["is_alive"]) == ("lost", "lost", None, False)
    assert "keeper was killed" in lost["exit_summary"]
    assert lost["detail"]["ended"] >= 1
    wait_until(gone(process["pid"], descendant), 5, "some of its tree lives on")
    assert hostile.get(other)["state"] == "running"
    last = hostile.transitions(process)[-1]
    assert (last["to"], last["actor"]) == ("lost", "service")
    hold(hostile)


@pytest.mark.parametrize(
    ("point", "known"),
    [
        pytest.param("keeper.exit.seen:kill:1", False, id="f09"),
        pytest.param("journal.append.before:kill:2", False, id="f10-before"),
        pytest.param("journal.append.written:kill:2", True, id="f10-written"),
        pytest.param("journal.append.synced:kill:2", True, id="f10-synced"),
    ],
)
def test_f09_f10_a_keeper_killed_around_the_exit_record_leaves_a_whole_one_or_none(
    tmp_path: Path, point: str, known: bool
) -> None:
    """The second entry of each journal is the exit record."""
    with serving(Service(tmp_path, [HOSTILE], environ={"PROCDECK_FAILPOINT": point})) as service:
        over = service.join(service.launch("hostile:say", "hello", 7))
        ends = (over["state"], over["outcome"], over["exitcode"])
        assert ends == (("exited", "failed", 7) if known else ("lost", "lost", None))
        hold(service)


def test_f11_service_and_keeper_killed_together(hostile: Service) -> None:
    process = hostile.launch("hostile:family", kwargs={"wait": True})
    descendant = told_pid(hostile, process, "grandchild")
    os.kill(keeper_of(process), signal.SIGKILL)
    hostile.kill()
    hostile.start()
    lost = hostile.join(process)
    assert (lost["state"], lost["outcome"], lost["exitcode"]) == ("lost", "lost", None)
    wait_until(gone(process["pid"], descendant), 5, "some of its tree lives on")
    hold(hostile)


# --- in the middle of a stop ----------------------------------------------------------------------------------------


def stopping(service: Service, grace: float) -> JSON:
    """A process that does not heed the stop it was asked for."""
    process = service.launch("hostile:deaf", grace=grace)
    service.wait_for_log(process, "deaf")
    assert service.post(process, "stop", reason="enough")["state"] == "stopping"
    return process


def test_f112_a_stop_goes_on_without_the_service(hostile: Service) -> None:
    process = stopping(hostile, grace=0.5)
    hostile.kill()
    wait_until(gone(process["pid"]), 10, "the keeper forgot the stop")
    hostile.start()
    ended = hostile.join(process)
    assert (ended["exitcode"], ended["outcome"]) == (-9, "stopped")
    assert next(row["reason"] for row in hostile.transitions(process) if row["to"] == "stopping") == "enough"
    hold(hostile)


def test_f112_a_stop_goes_on_under_the_next_service(hostile: Service) -> None:
    process = stopping(hostile, grace=2)
    hostile.kill()
    hostile.start()
    ended = hostile.join(process)
    assert (ended["exitcode"], ended["outcome"]) == (-9, "stopped")
    hold(hostile)


def test_f113_service_and_keeper_killed_in_the_middle_of_a_stop(hostile: Service) -> None:
    process = stopping(hostile, grace=30)
    os.kill(keeper_of(process), signal.SIGKILL)
    hostile.kill()
    hostile.start()
    lost = hostile.join(process)
    assert (lost["state"], lost["outcome"], lost["exitcode"]) == ("lost", "lost", None)
    assert not is_alive(process["pid"])
    answer = hostile.client.post(f"/processes/{process['id']}/relaunch")
    assert answer.status_code == 201, answer.text
    hostile.wait_for_log(answer.json(), "deaf")
    hold(hostile)


# --- other releases -------------------------------------------------------------------------------------------------


class Release:
    """A release of ours that speaks another version of the protocol and says things that this one does not know."""

    PARTS = ("app", "procdeck", "templates", "static", "alembic", "examples")

    def __init__(self, folder: Path, version: int) -> None:
        for part in self.PARTS:
            shutil.copytree(ROOT / part, folder / part)
        with (folder / "procdeck" / "protocol.py").open("a") as module:
            module.write(LATER_PROTOCOL.format(version=version))
        with (folder / "procdeck" / "run_folder.py").open("a") as module:
            module.write(LATER_JOURNAL)
        self.command = [sys.executable, "-P", "-m", "app"]
        self.environ = {"PYTHONPATH": str(folder)}


LATER_PROTOCOL = '''

VERSION = {version}
_encode_as_before = encode


def encode(type_, **fields):
    """Each message has a field that is not known elsewhere, and a message of an unknown type follows it."""
    more = _encode_as_before(type_, **fields, later=[1]) if type_ != "launch" else _encode_as_before(type_, **fields)
    return more + _encode_as_before("later", request=0, of=type_)
'''
LATER_JOURNAL = '''

_add_as_before = Journal.add


def _add(self, event, actor, reason, data):
    """A field that is not known elsewhere, and behind the start and the end an event that is not."""
    entry = _add_as_before(self, event, actor, reason, data | {"later": True})
    if event in ("started", "stopped"):
        _add_as_before(self, "later", actor, None, {"what": event})
    return entry


Journal.add = _add
'''


def use(service: Service, release: Release | None) -> None:
    """From its next start on the service is of this release; None: of ours."""
    service.command = release.command if release else [str(COMMAND)]
    service.environ = release.environ if release else {}


@pytest.mark.parametrize("ours_is_first", [True, False])
def test_f114_processes_pass_from_one_release_to_the_next_and_back(tmp_path: Path, ours_is_first: bool) -> None:
    other = Release(tmp_path / "other", protocol.VERSION + 1)
    first, second = (None, other) if ours_is_first else (other, None)
    service = Service(tmp_path, [HOSTILE])
    use(service, first)
    with serving(service):
        gate = tmp_path / "gate"
        meanwhile = service.launch("hostile:wait_for_file", str(gate), 9)
        stopped, signalled = service.launch("hostile:until_stopped"), service.launch("hostile:on_usr1")
        daemon = service.launch("hostile:nap", daemon=True)
        processes = [meanwhile, stopped, signalled, daemon]
        service.wait_for_log(signalled, "ready")
        service.kill()
        gate.touch()
        wait_until(gone(meanwhile["pid"]), 10, "it does not end")
        use(service, second)
        service.start()
        assert service.join(meanwhile)["exitcode"] == 9
        service.wait_for_log(stopped, "waiting")
        service.post(stopped, "stop")
        assert service.join(stopped)["result"] == "stopped politely"
        service.post(signalled, "signal", signal="SIGUSR1")
        assert service.join(signalled)["exitcode"] == 0
        assert service.get(daemon)["state"] == "running"
        service.kill()
        use(service, first)
        service.start()
        service.post(daemon, "terminate")
        assert service.join(daemon)["exitcode"] == -15
        before = {process["id"]: service.transitions(process) for process in hold(service)}
        for process in processes:
            notes = [row for row in service.transitions(process) if row["from"] == row["to"]]
            assert len(notes) >= (not ours_is_first)
        # The folders alone tell the same.
        service.stop()
        for file in service.data_dir.glob("procdeck.db*"):
            file.unlink()
        service.start()
        assert {process["id"] for process in hold(service)} == set(before)
        assert [service.get(process)["exitcode"] for process in processes] == [9, 0, 0, -15]


def test_f114_a_release_too_far_away_is_told_and_loses_nothing(tmp_path: Path) -> None:
    service = Service(tmp_path, [HOSTILE])
    use(service, Release(tmp_path / "other", protocol.VERSION + 2))
    with serving(service):
        gate = tmp_path / "gate"
        ends, killed = service.launch("hostile:wait_for_file", str(gate), 9), service.launch("hostile:nap")
        service.kill()
        use(service, None)
        service.start()
        wait_until(lambda: "protocol" in troubles(service), 10, "nothing is said of it")
        for process in (ends, killed):
            answer = service.client.post(f"/processes/{process['id']}/stop")
            assert answer.status_code == 503
            assert "of a release too far from this one" in answer.json()["detail"]
            assert f"pid {process['pid']}" in answer.json()["detail"]
        gate.touch()
        assert service.join(ends)["exitcode"] == 9
        assert "found" in service.log(ends)
        os.kill(killed["pid"], signal.SIGTERM)
        assert service.join(killed)["exitcode"] == -15
        wait_until(lambda: "protocol" not in troubles(service), 10, "it is still said when it is over")
        hold(service)


def troubles(service: Service) -> list[str]:
    """The keys of what is wrong with the service as a whole."""
    return [trouble["key"] for trouble in service.client.get("/service").json()["troubles"]]
