"""F: what happens to the database. The run folders are the truth: nothing that happens to it costs a process."""

import os
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cli import codes
from tests.faults import inject, invariants
from tests.service import COMMAND, HOSTILE, Service
from tests.waiting import wait_until

JSON = dict[str, Any]

NOTICED_WITHIN = 10.0
"""Seconds after which a fault must be known, and mended where it can be."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service whose targets misbehave."""
    made = Service(tmp_path, [HOSTILE], ["--on-exit", "leave"])
    try:
        yield made.start()
    finally:
        made.close()


def database(service: Service) -> Path:
    return service.data_dir / "procdeck.db"


def kept(service: Service) -> list[Path]:
    """The databases that were moved aside."""
    return [path for path in service.data_dir.glob("procdeck.db.damaged-*") if not path.name.endswith(("-wal", "-shm"))]


def histories(service: Service) -> dict[str, list[tuple[Any, ...]]]:
    """Of each process the changes of its state, without their times."""
    return {
        process["id"]: [(row["seq"], row["from"], row["to"], row["actor"]) for row in service.transitions(process)]
        for process in invariants.every(service)
    }


def is_sound(path: Path) -> bool:
    with sqlite3.connect(path) as connection:
        found = connection.execute("PRAGMA integrity_check").fetchall()
    connection.close()
    return found == [("ok",)]


def try_launch(service: Service, target: str = "hostile:say", *args: object) -> httpx.Response:
    return service.client.post("/processes", json={"target": target, "args": list(args)})


# --- F72 ----------------------------------------------------------------------------------------------------------


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program holds the database as it would for a long write."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.rollback()
        other.close()


def test_f72_a_locked_database_is_read_on_and_launches_are_refused_or_wait(service: Service) -> None:
    gate = service.folder / "gate"
    ends_meanwhile = service.launch("hostile:wait_for_file", str(gate), 4)
    with ThreadPoolExecutor(1) as pool:
        with locked(database(service)):
            late = pool.submit(try_launch, service)
            gate.touch()
            with httpx.Client() as other:
                # Nothing of this waits for the lock: the loop turns, reads go on.
                headers = {"Authorization": f"Bearer {service.token}"}
                for path in ("/healthz", "/api/v1/processes", "/metrics", f"/api/v1/processes/{ends_meanwhile['id']}"):
                    assert other.get(service.url + path, headers=headers, timeout=4).status_code == 200
            refused = late.result(30)
            assert refused.status_code == 503
            assert "locked" in refused.json()["detail"]
            assert int(refused.headers["Retry-After"]) >= 1
            invariants_of_folders = {folder.name for folder in (service.data_dir / "runs").iterdir()}
            assert invariants_of_folders == {ends_meanwhile["id"]}, "what was refused has left its folder"
            wait_until(
                lambda: "can't be written" in service.text(), NOTICED_WITHIN, lambda: f"not said: {service.text()}"
            )
        waits = pool.submit(try_launch, service)
        assert waits.result(30).status_code == 201
    assert service.join(ends_meanwhile)["exitcode"] == 4
    wait_until(lambda: "can be written again" in service.text(), NOTICED_WITHIN, "the trouble stays")
    invariants.hold(service)


# --- F73, F74: the files --------------------------------------------------------------------------------------------


def remove(path: Path) -> None:
    path.unlink()


def remove_wal(path: Path) -> None:
    path.with_name(path.name + "-wal").unlink()


def replace_by_an_old_copy(path: Path) -> None:
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


def cut(path: Path) -> None:
    os.truncate(path, 4096)


def cut_to_nothing(path: Path) -> None:
    os.truncate(path, 0)


def spoil_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(os.urandom(4096))


def copy_a_stranger_over_it(path: Path) -> None:
    stranger = path.with_name("stranger")
    with sqlite3.connect(stranger) as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()
    path.write_bytes(stranger.read_bytes())
    stranger.unlink()


WHILE_OPEN = [remove, remove_wal, replace_by_an_old_copy, cut, cut_to_nothing, spoil_header, copy_a_stranger_over_it]


def test_f73_f74_a_database_that_is_removed_replaced_cut_or_spoilt_while_open_is_made_again(tmp_path: Path) -> None:
    """One service, one fault after the other: what runs all the while is never touched, and no number comes twice."""
    service = Service(tmp_path, [HOSTILE], ["--max-processes", "2", "--start-timeout", "1"])
    try:
        service.start()
        gate = tmp_path / "gate"
        runs = service.launch("hostile:nap")
        ends = service.launch("hostile:wait_for_file", str(gate), 4, headers={"Idempotency-Key": "once"})
        waits = service.launch("hostile:say", "queued")
        service.launch("hostile:say", start=False, name="only created")
        cookies = signed_in(service)
        for round_, fault in enumerate(WHILE_OPEN, 1):
            before = histories(service)
            events = last_event(service)
            checkpoint(database(service))
            fault(database(service))
            wait_until(lambda: count_of_renewals(service) >= round_, NOTICED_WITHIN, lambda: service.text())  # noqa: B023
            wait_until(lambda: service.client.get("/processes").status_code == 200, NOTICED_WITHIN, service.text)
            assert histories(service) == before, fault.__name__
            assert last_event(service) > events
            assert service.get(runs)["pid"] == runs["pid"]
            assert service.get(waits)["state"] == "queued"
            assert is_sound(database(service))
            assert httpx.get(f"{service.url}/processes", cookies=cookies).status_code == 200, (
                "who was signed in is so no more"
            )
        assert len(kept(service)) == len(WHILE_OPEN) - 1, "only the one that was removed can't be kept"
        again = service.launch("hostile:wait_for_file", str(gate), 4, headers={"Idempotency-Key": "once"})
        assert again["id"] == ends["id"]
        gate.touch()
        assert service.join(ends)["exitcode"] == 4
        assert service.join(waits)["outcome"] == "succeeded"
        assert service.log(waits) == "queued\n"
        assert service.join(service.launch("hostile:say"))["number"] == 5
        assert sum("login?code=" in line for line in service.text().splitlines()) == 1 + len(WHILE_OPEN)
        service.post(runs, "kill")
        assert service.join(runs)["exitcode"] == -9
        invariants.hold(service)
    finally:
        service.close()


def count_of_renewals(service: Service) -> int:
    return service.text().count("It was made again from the run folders")


def signed_in(service: Service) -> dict[str, str]:
    code = service.login_link.partition("code=")[2]
    answer = httpx.post(f"{service.url}/login", data={"code": code}, headers={"Origin": service.url})
    assert answer.status_code == 303, answer.text
    return dict(answer.cookies)


def last_event(service: Service) -> int:
    with sqlite3.connect(f"file:{database(service)}?mode=ro", uri=True) as connection:
        (found,) = connection.execute("SELECT max(id) FROM transition").fetchone()
    connection.close()
    assert isinstance(found, int)
    return found


def checkpoint(path: Path) -> None:
    """Have everything in the database itself, so that what is done to that file is done to all there is."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()


def test_f73_streams_of_events_are_told_to_start_over_and_commands_are_answered(service: Service) -> None:
    process = service.launch("hostile:nap")
    told: list[str] = []
    headers = {"Authorization": f"Bearer {service.token}"}

    def listen() -> None:
        with httpx.stream("GET", f"{service.url}/api/v1/events", headers=headers, timeout=30) as stream:
            for line in stream.iter_lines():
                told.append(line)
                if line == "event: process" and "event: reset" in told:
                    return

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    wait_until(lambda: told, 5, "the stream does not begin")
    database(service).unlink()
    answer = service.client.post(f"/processes/{process['id']}/terminate")
    assert answer.status_code in (200, 503), answer.text
    wait_until(lambda: "event: reset" in told, NOTICED_WITHIN, lambda: str(told))
    wait_until(lambda: service.client.get("/processes").status_code == 200, NOTICED_WITHIN, service.text)
    assert service.join(process)["exitcode"] == -15
    service.join(service.launch("hostile:say"))
    listener.join(10)
    assert not listener.is_alive(), told
    invariants.hold(service)


def test_f73_launches_under_way_when_it_goes_are_there_or_refused(service: Service) -> None:
    truth = service.folder / "truth"
    answers: list[httpx.Response] = []
    over = threading.Event()

    def launch() -> None:
        headers = {"Authorization": f"Bearer {service.token}"}
        with httpx.Client(base_url=f"{service.url}/api/v1", headers=headers, timeout=30) as client:
            while not over.is_set():
                body = {"target": "hostile:count", "args": [str(truth)]}
                answers.append(client.post("/processes", json=body))

    threads = [threading.Thread(target=launch) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(answers) > 20, 20, "no launches")
        database(service).unlink()
        wait_until(lambda: count_of_renewals(service), NOTICED_WITHIN, service.text)
        done = len(answers)
        wait_until(lambda: sum(a.status_code == 201 for a in answers[done:]) > 5, 20, "no launches any more")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert {answer.status_code for answer in answers} <= {201, 503}
    accepted = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    known = {process["id"] for process in invariants.every(service)}
    assert accepted <= known
    for process_id in accepted:
        service.join({"id": process_id})
    assert len(truth.read_text().split()) == len(accepted), "not each was started once, and nothing that was refused"
    invariants.hold(service)


@pytest.mark.parametrize("fault", [spoil_header, cut, cut_to_nothing])
def test_f74_a_database_that_is_damaged_at_the_start_is_made_again(
    service: Service, fault: Callable[[Path], None]
) -> None:
    done = service.join(service.launch("hostile:say", "hello", 3))
    runs = service.launch("hostile:nap")
    before = histories(service)
    service.stop(signal.SIGTERM) if fault is spoil_header else service.kill()
    checkpoint(database(service))
    fault(database(service))
    service.start()
    assert histories(service) == before
    assert service.get(done)["exitcode"] == 3
    assert service.get(runs)["pid"] == runs["pid"]
    if fault is not cut_to_nothing:  # which leaves an empty database, as sound as one can be
        assert "It was made again from the run folders" in service.text()
        assert len(kept(service)) == 1
        page = httpx.get(f"{service.url}/processes", cookies=signed_in(service))
        assert "made again from the run folders" in page.text
    assert service.launch("hostile:say")["number"] == 3
    service.stop()
    service.start()
    assert len(kept(service)) <= 1, "it is made again once, not at each start"
    invariants.hold(service)


def test_f74_rebuild_makes_it_again_on_request(service: Service) -> None:
    done = service.join(service.launch("hostile:say", "hello", 3))
    runs = service.launch("hostile:nap")
    before = histories(service)
    command = [str(COMMAND), "rebuild", "--json", "--data-dir", str(service.data_dir)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == os.EX_TEMPFAIL
    assert "in use" in refused.stderr
    service.kill()
    (service.data_dir / "runs" / "strange").mkdir()
    (service.data_dir / "runs" / "strange" / "spec.json").write_text("{")
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == codes.PROBLEM, "what was not taken is not told"
    assert '"taken": 2' in made.stdout
    assert '"postponed": {}' in made.stdout
    assert "strange" in made.stdout
    assert len(kept(service)) == 1
    service.start()
    assert histories(service) == before
    assert (service.get(done)["exitcode"], service.get(runs)["pid"]) == (3, runs["pid"])
    invariants.hold(service)


# --- F75 ------------------------------------------------------------------------------------------------------------


def test_f75_no_kill_in_the_middle_of_transactions_leaves_half_of_one(service: Service) -> None:
    accepted: set[str] = set()

    def launch(times: int) -> None:
        with suppress(httpx.HTTPError):
            for _ in range(times):
                answer = try_launch(service)
                if answer.status_code == 201:
                    accepted.add(answer.json()["id"])

    for kill in range(5):
        client = service.client  # made before the threads share it
        assert client.get("/processes").status_code == 200
        threads = [threading.Thread(target=launch, args=(10,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        goal = len(accepted) + 2 + 5 * kill  # each time at another moment
        wait_until(lambda: len(accepted) >= goal, 20, "no launches")  # noqa: B023
        os.kill(service.pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
        service.kill()
        assert is_sound(database(service))
        service.start()
    assert accepted <= {process["id"] for process in invariants.hold(service)}


# --- F76 ------------------------------------------------------------------------------------------------------------


def test_f76_a_reader_that_does_not_end_is_told_of_and_the_wal_shrinks_after_it(service: Service) -> None:
    reader = sqlite3.connect(database(service), isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM process").fetchall()
    wal = database(service).with_name("procdeck.db-wal")
    try:
        # As another program would, for 64 MiB of launches take long.
        writer = sqlite3.connect(database(service), isolation_level=None)
        writer.execute("PRAGMA wal_autocheckpoint=0")
        text = "x" * 2**20
        for number in range(70):
            writer.execute("INSERT INTO counter (name, value) VALUES (?, 0)", (f"{number}{text}",))
        writer.execute("DELETE FROM counter WHERE name NOT IN ('process', 'event')")
        writer.close()
        assert wal.stat().st_size > 64 * 2**20
        wait_until(lambda: "-wal of the database has grown" in service.text(), NOTICED_WITHIN, service.text)
        assert service.join(service.launch("hostile:say"))["exitcode"] == 0
    finally:
        reader.close()
    wait_until(lambda: wal.stat().st_size < 2**20, NOTICED_WITHIN, "it does not shrink")
    invariants.hold(service)


# --- F77 ------------------------------------------------------------------------------------------------------------


def test_f77_a_database_of_a_newer_version_is_left_alone(service: Service) -> None:
    process = service.join(service.launch("hostile:say"))
    service.stop()
    with sqlite3.connect(database(service)) as connection:
        (version,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = database(service).read_bytes()
    code, said = service.refusal()
    assert code == os.EX_DATAERR
    assert "9999" in said
    assert "newer" in said
    assert database(service).read_bytes() == before
    assert kept(service) == []

    with sqlite3.connect(database(service)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    connection.close()
    assert service.start().get(process)["exitcode"] == 0


# --- F63: the disk of the database is full --------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.usefixtures("needs_root")
def test_f63_a_full_disk_of_the_database_keeps_nothing_from_running_or_being_read(tmp_path: Path) -> None:
    with inject.small_disk(tmp_path / "disk", "3m") as disk:
        service = Service(tmp_path, [HOSTILE], ["--database-url", f"sqlite:///{disk}/record.db"])
        try:
            service.start()
            gate = tmp_path / "gate"
            process = service.launch("hostile:wait_for_file", str(gate), 4)
            filler = inject.fill(disk)
            refused = until_refused(service)
            assert refused.status_code == 503
            assert "full" in refused.json()["detail"]
            assert service.get(process)["state"] == "running"
            code = service.login_link.partition("code=")[2]
            page = httpx.post(f"{service.url}/login", data={"code": code}, headers={"Origin": service.url})
            assert page.status_code == 503
            assert "full" in page.text
            wait_until(lambda: "can't be written" in service.text(), NOTICED_WITHIN, service.text)
            gate.touch()
            filler.unlink()
            assert service.join(process)["exitcode"] == 4
            page = httpx.post(f"{service.url}/login", data={"code": code}, headers={"Origin": service.url})
            assert page.status_code == 303, "the link was spent on a try that could not succeed"
            wait_until(lambda: "can be written again" in service.text(), NOTICED_WITHIN, service.text)
            assert service.join(service.launch("hostile:say"))["exitcode"] == 0
            invariants.hold(service)
        finally:
            service.close()


def until_refused(service: Service) -> httpx.Response:
    """Launch until no more can be recorded: what is free within the -wal is written first."""
    for _ in range(100):
        answer = try_launch(service)
        if answer.status_code != 201:
            return answer
        service.join(answer.json())
    raise AssertionError("launches go on, on a full disk")
