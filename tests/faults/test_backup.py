"""A backup, made while everything runs or after a crash, and what a service on its copy says and does."""

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from app import backup
from app.settings import Settings
from procdeck import posix
from tests.faults.invariants import every, hold
from tests.service import COMMAND, HOSTILE, JSON, Service
from tests.waiting import wait_until

STABLE = ("id", "number", "name", "target", "args", "kwargs", "state", "outcome", "exitcode", "result", "error")
STABLE_TOO = ("exit_summary", "labels", "created_at", "started_at", "stopped_at", "duration", "origin_id")


def back_up(service: Service, file: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command, which needs no service."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PROCDECK_")}
    command = [str(COMMAND), "backup", str(file), *words, "--data-dir", str(service.data_dir)]
    return subprocess.run(command, cwd=service.folder, env=environ, capture_output=True, text=True, timeout=60)


@contextlib.contextmanager
def restored(file: Path, folder: Path) -> Iterator[Service]:
    """A service on what is unpacked from ``file``. It is ended by itself: `Service.close` would look for the processes
    of its ids, which are those of the original."""
    service = Service(folder, [HOSTILE])
    service.data_dir.mkdir(parents=True)
    with tarfile.open(file) as archive:
        archive.extractall(service.data_dir, filter="data")
    service.start()
    try:
        yield service
    finally:
        service.stop()


def facts(process: JSON) -> JSON:
    return {name: process[name] for name in (*STABLE, *STABLE_TOO)}


def ended_ones(service: Service) -> list[JSON]:
    launches: Sequence[tuple[str, list[object]]] = (
        ("hostile:say", ["all of it"]),
        ("hostile:steps", [3]),
        ("hostile:leave", [3]),
        ("hostile:segfault", []),
    )
    return [service.join(service.launch(target, *args, labels={"a": "b"})) for target, args in launches]


def living_ones(service: Service, truth: Path) -> list[JSON]:
    """Five: one that writes all the time, and two whose descendants could be told by nothing but marks."""
    launches: Sequence[tuple[str, list[object]]] = (
        ("hostile:tick", [str(truth)]),
        ("hostile:nap", []),
        ("hostile:deaf", []),
    )
    living = [service.launch(target, *args) for target, args in launches]
    for target, args, born in (("hostile:outsider", [], "outsider"), ("hostile:family", [7, True], "grandchild")):
        living.append(service.launch(target, *args))
        service.wait_for_log(living[-1], born)
    return living


def tree(process: JSON) -> list[int]:
    """The keeper of a process, and all below it."""
    keeper = process["detail"]["keeper_pid"]
    return [keeper, *posix.descendants(keeper)]


def identities(pids: Sequence[int]) -> dict[int, float]:
    """When each of these began: a pid alone could be another's by now."""
    return {pid: psutil.Process(pid).create_time() for pid in pids}


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("procdeck.db*")}


def test_f78_a_backup_of_all_that_runs_is_whole_and_its_copy_leaves_the_original_alone(tmp_path: Path) -> None:
    service = Service(tmp_path / "original", [HOSTILE])
    service.folder.mkdir()
    truth = tmp_path / "truth"
    try:
        service.start()
        ended = ended_ones(service)
        living = living_ones(service, truth)
        trees = identities([pid for each in living for pid in tree(each)])
        assert len(trees) >= 12  # five keepers, their five children, and two that these have
        logs = {process["id"]: service.log(process) for process in ended}

        done = back_up(service, tmp_path / "backup.tgz", "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["processes"], told["has_record"], told["has_logs"]) == (9, True, True)
        assert told["size"] == (tmp_path / "backup.tgz").stat().st_size
        assert stat.S_IMODE((tmp_path / "backup.tgz").stat().st_mode) == 0o600

        with restored(tmp_path / "backup.tgz", tmp_path / "copy") as copy:
            wait_until(lambda: all(each["state"] != "running" for each in every(copy)), 15, lambda: str(every(copy)))
            found = {process["id"]: process for process in every(copy)}
            assert len(found) == 9
            for process in ended:
                assert facts(found[process["id"]]) == facts(process)
                assert copy.log(process) == logs[process["id"]]
                assert copy.transitions(process) == service.transitions(process)
            for process in living:
                assert (found[process["id"]]["outcome"], found[process["id"]]["exitcode"]) == ("lost", None)
            written = copy.log(living[0])
            assert written
            assert truth.read_text().startswith(written)
            # And it works: numbers go on behind those of the backup.
            assert copy.join(copy.launch("hostile:say"))["number"] == 10

        assert identities(list(trees)) == trees
        assert [service.get(process)["state"] for process in living] == ["running"] * 5
        before = len(truth.read_text())
        wait_until(lambda: len(truth.read_text()) > before, 10, "it stands still")
        for process in living:
            service.post(process, "kill")
            service.join(process)
        hold(service)
    finally:
        service.close()


def test_f78_a_backup_after_a_crash_writes_nothing_into_the_data_folder(tmp_path: Path) -> None:
    """Also without the record, which is then made anew from the run folders, and without the logs."""
    service = Service(tmp_path / "original", [HOSTILE])
    service.folder.mkdir()
    try:
        service.start()
        ended = ended_ones(service)
        service.kill()
        before = digests(service.data_dir)
        assert "procdeck.db-wal" in before
        done = back_up(service, tmp_path / "backup.tar", "--no-logs")
        assert done.returncode == 0, done.stderr
        after = digests(service.data_dir)
        assert [after[name] for name in ("procdeck.db", "procdeck.db-wal")] == [
            before[name] for name in ("procdeck.db", "procdeck.db-wal")
        ]

        with tarfile.open(tmp_path / "backup.tar") as archive:
            names = archive.getnames()
        assert names[0] == "procdeck.db"
        assert not [name for name in names if name.endswith(".log") and "/log/" in name]
        assert {name.split("/")[0] for name in names} == {"procdeck.db", "runs"}
        with restored(tmp_path / "backup.tar", tmp_path / "copy") as copy:
            assert [facts(copy.get(process)) for process in ended] == [facts(process) for process in ended]

        service.start()
        assert [facts(service.get(process)) for process in ended] == [facts(process) for process in ended]
        (tmp_path / "anew").mkdir()
        with tarfile.open(tmp_path / "backup.tar") as archive, tarfile.open(tmp_path / "anew.tar", "w") as without:
            for member in archive:
                if member.name != "procdeck.db":
                    without.addfile(member, archive.extractfile(member) if member.isreg() else None)
        with restored(tmp_path / "anew.tar", tmp_path / "anew" / "copy") as copy:
            assert [facts(copy.get(process)) for process in ended] == [facts(process) for process in ended]
    finally:
        service.close()


def test_f78_what_a_backup_refuses(tmp_path: Path) -> None:
    service = Service(tmp_path / "original", [HOSTILE])
    service.folder.mkdir()
    file = tmp_path / "backup.tar"
    assert back_up(service, file).returncode == os.EX_DATAERR  # there is no such data folder
    try:
        service.start()
        process = service.join(service.launch("hostile:say"))
        inside = back_up(service, service.data_dir / "backup.tar")
        assert (inside.returncode, "inside of the data folder" in inside.stderr) == (os.EX_DATAERR, True)
        file.write_text("precious")
        refused = back_up(service, file)
        assert (refused.returncode, "there already" in refused.stderr) == (os.EX_DATAERR, True)
        assert file.read_text() == "precious"
        # What somebody has put in the place of a log must not bring the files of others into the archive.
        log, others = service.data_dir / "runs" / process["id"] / "log", tmp_path / "original" / "others"
        shutil.move(log, others)
        (others / "a.log").write_text("a secret of others\n")
        log.symlink_to(others)
        assert back_up(service, file, "--force").returncode == 0
        assert tarfile.is_tarfile(file)
        nowhere = back_up(service, tmp_path / "no" / "such" / "folder.tar")
        assert (nowhere.returncode, "could not be written" in nowhere.stderr) == (os.EX_SOFTWARE, True)
        with tarfile.open(file) as archive:
            content = b"".join(found.read() for member in archive if (found := archive.extractfile(member)))
        assert service.token.encode() not in content
        assert b"a secret of others" not in content
        assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.tar", "original"]
    finally:
        service.close()


def test_f78_a_record_elsewhere_is_said_not_to_be_in_the_backup(tmp_path: Path) -> None:
    service = Service(tmp_path, [HOSTILE])
    (service.data_dir / "runs").mkdir(parents=True)
    (tmp_path / "procdeck.toml").write_text('[server]\ndatabase_url = "postgresql://nobody@127.0.0.1:1/nothing"\n')
    done = back_up(service, tmp_path / "backup.tar")
    assert (done.returncode, "pg_dump" in done.stderr) == (0, True), done
    with tarfile.open(tmp_path / "backup.tar") as archive:
        assert archive.getnames() == ["runs"]


def test_f78_what_a_killed_backup_has_left_is_in_nobodys_way(tmp_path: Path) -> None:
    settings, file = Settings(data_dir=tmp_path / "data"), tmp_path / "backup.tar"
    (settings.data_dir / "runs").mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(settings.data_dir / "procdeck.db")) as record:
        record.execute("CREATE TABLE t (x)")
    for name in ("backup.tar.part", "backup.tar.part.db", "backup.tar.part.db-journal"):
        (tmp_path / name).write_bytes(b"half")
    summary, _ = backup.back_up(settings, file)
    assert summary.has_record
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.tar", "data"]
