"""Section K: as PID 1 of a container, and beside another one."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from procdeck import posix
from tests.container import (
    GRACE,
    NEEDED,
    SHUTDOWN_TIMEOUT,
    Container,
    children,
    container,
    descendants,
    innermost_pid,
    namespace,
    zombies,
)
from tests.service import COMMAND, HOSTILE, Service
from tests.waiting import wait_until

pytestmark = NEEDED


def assert_was_asked_to_end(running: Container, identity: str) -> None:
    transitions = running.answer(f"/api/v1/processes/{identity}/transitions")["items"]
    [stopping] = [t for t in transitions if t["to"] == "stopping" and t["from"] != "stopping"]
    assert stopping["actor"]
    assert stopping["reason"]


def test_f108_sigterm_ends_all_processes_in_time_and_has_it_on_record(tmp_path: Path) -> None:
    with container(tmp_path) as first:
        assert first.health() == 0
        polite = first.launch_and_await_ready("wait")
        daemon = first.launch_and_await_ready("wait", daemon=True)
        deaf = first.launch_and_await_ready("deaf")
        asked = time.monotonic()
        first.signal(signal.SIGTERM)
        code = first.unshare.wait(timeout=60)
        took = time.monotonic() - asked
        assert first.health() == 1
    assert code in (0, 128 + signal.SIGTERM), first.log.read_text()
    assert took < GRACE + SHUTDOWN_TIMEOUT + 10, "longer than the compose file would wait"

    with container(tmp_path) as second:
        for identity, exitcode in ((polite, -signal.SIGTERM), (daemon, -signal.SIGTERM), (deaf, -signal.SIGKILL)):
            record = second.process(identity)
            assert (record["state"], record["outcome"], record["exitcode"]) == ("exited", "stopped", exitcode), record
            assert_was_asked_to_end(second, identity)
        assert second.answer("/api/v1/processes?state=running")["items"] == []


def test_f110_a_grace_period_that_is_too_short_leaves_on_record_what_was_asked(tmp_path: Path) -> None:
    with container(tmp_path) as first:
        deaf = first.launch_and_await_ready("deaf")
        journal = first.data / "runs" / deaf / "journal.ndjson"
        first.signal(signal.SIGTERM)
        wait_until(lambda: '"asked"' in journal.read_text(), GRACE, "nothing was written before the grace was over")
        first.kill()

    with container(tmp_path) as second:
        wait_until(lambda: second.process(deaf)["state"] == "lost", 10, "still taken for alive")
        assert second.process(deaf)["exitcode"] is None
        assert_was_asked_to_end(second, deaf)


def test_f109_orphans_are_reaped_and_no_exit_code_is_taken_for_anothers(tmp_path: Path) -> None:
    with container(tmp_path) as running:
        launched = [running.launch("orphans", 50) for _ in range(4)]
        assert [running.join(identity)["exitcode"] for identity in launched] == [7] * 4
        wait_until(lambda: not zombies(running.init), 10, lambda: f"not reaped: {zombies(running.init)}")


def test_f109_what_a_killed_keeper_leaves_is_ended_and_reaped(tmp_path: Path) -> None:
    with container(tmp_path) as running:
        identity = running.launch_and_await_ready("deaf")
        child = running.outer_pid(running.process(identity)["pid"])
        keeper, _ = descendants(running.init)[child]
        tree = {keeper, *descendants(keeper)}
        assert len(tree) >= 3, "keeper, child and grandchild"
        os.kill(keeper, signal.SIGKILL)
        wait_until(lambda: running.process(identity)["state"] == "lost", 15, "the keeper's death went unnoticed")
        assert running.process(identity)["exitcode"] is None
        wait_until(
            lambda: tree.isdisjoint(descendants(running.init)), 15, lambda: f"left of {tree}: {children(running.init)}"
        )


@contextmanager
def service_in(init: int, service: Service) -> Iterator[int]:
    """The service, started in the namespace of ``init``; its pid. It is killed at the end, its processes are not."""
    service.command = ["nsenter", "--target", str(init), "--pid", "--mount", str(COMMAND)]
    service.start()
    [pid] = posix.children(service.pid)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        service.stop()


def test_f111_a_service_in_another_namespace_uses_no_pid_of_the_first(tmp_path: Path) -> None:
    """Keepers of one namespace, adopted from another in which their numbers are other processes."""
    service = Service(tmp_path, [HOSTILE])
    try:
        with namespace() as first, namespace() as second:
            with service_in(first, service):
                commanded, orphaned = service.launch("hostile:nap"), service.launch("hostile:nap")
            with service_in(second, service):
                wait_until(
                    lambda: all(service.get(process)["rss_bytes"] for process in (commanded, orphaned)),
                    10,
                    "their keepers tell nothing",
                )
                service.post(commanded, "terminate")
                assert service.join(commanded)["exitcode"] == -signal.SIGTERM
                ours = set(descendants(second))
                # Its keeper of that namespace: the one whose number there the journal has.
                [keeper] = [pid for pid in descendants(first) if innermost_pid(pid) == orphaned["detail"]["keeper_pid"]]
                os.kill(keeper, signal.SIGKILL)
                assert service.join(orphaned)["outcome"] == "lost"
                assert service.join(service.launch("hostile:say"))["exitcode"] == 0
                gone = ours - set(descendants(second))
                assert len(gone) <= 1, "only the keeper that waited for a launch may have ended"
    finally:
        service.close()
