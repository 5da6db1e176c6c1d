"""The facts that the doctor and the service look at, and looking at the service's own situation."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from app.health import doctor, host
from app.health.doctor import Level
from app.settings import Settings


def test_the_record_is_looked_at_without_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "procdeck.db"
    assert doctor.quick_check(path) is None
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (x)")
    connection.executemany("INSERT INTO t VALUES (?)", [(os.urandom(4096),) for _ in range(50)])
    connection.commit()
    assert doctor.quick_check(path) == "ok", "while somebody has it open"
    connection.close()
    assert doctor.quick_check(path) == "ok"
    assert [entry.name for entry in tmp_path.iterdir()] == ["procdeck.db"]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    result = doctor.quick_check(path)
    assert result != "ok"
    assert doctor.judge_record(result).level is Level.PROBLEM


def test_facts_of_this_machine(tmp_path: Path) -> None:
    """They can be had, and are plausible."""
    assert 0 < host.disk(tmp_path).free <= host.disk(tmp_path).size
    assert host.mount_type(Path("/proc/self")) == "proc"
    found = host.descriptors()
    assert 3 <= found.open <= found.most
    assert host.limits().tasks["kernel.pid_max"] > 100
    assert 0 < host.memory().available <= host.memory().size
    assert host.kernel().pidfd
    assert host.can_allocate(tmp_path) is True
    assert host.can_allocate(Path("/proc")) is None
    (tmp_path / "new").touch()
    assert host.newest_file([tmp_path]) == (tmp_path / "new").stat().st_mtime
    assert host.newest_file([tmp_path / "nowhere"]) == 0


def test_every_check_is_made_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    findings = list(doctor.examine_machine(Settings(data_dir=tmp_path / "data")))
    assert findings[0].level is Level.NOTE
    assert {"data folder", "disk", "inodes", "sqlite", "record", "kernel", "open files", "clock"} <= {
        f.name for f in findings
    }
    assert all(finding.sentence.endswith((".", "them.")) for finding in findings)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("fact", ["disk", "mount_type", "can_allocate", "kernel", "limits", "memory", "newest_file"])
def test_a_fact_that_cannot_be_read_is_a_problem_and_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fact: str
) -> None:
    settings = Settings(data_dir=tmp_path)

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    count = len({finding.name for finding in doctor.examine_machine(settings)})
    monkeypatch.setattr(host, fact, fail)
    findings = list(doctor.examine_machine(settings))
    assert [f.sentence for f in findings if "Can't be looked at" in f.sentence] == [
        "Can't be looked at: [Errno 5] Input/output error"
    ]
    assert len(findings) >= count - 2


def test_below_a_folder_that_cannot_be_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root can enter any, so the refusal is made up."""
    folder, look = tmp_path / "closed" / "data", Path.stat

    def stat(path: Path, **more: bool) -> os.stat_result:
        if path.is_relative_to(tmp_path / "closed") and path != tmp_path / "closed":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return look(path, **more)

    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(Path, "stat", stat)
    found = {finding.name: finding for finding in doctor.examine_machine(Settings(data_dir=folder))}
    assert found["data folder"].level is Level.PROBLEM
    assert "Permission denied" in found["data folder"].sentence
    assert found["kernel"].level is not Level.PROBLEM


def test_a_database_elsewhere_is_looked_at_too(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    elsewhere.write_bytes(b"no database" * 1000)
    settings = Settings(data_dir=tmp_path, database_url=f"sqlite:///{elsewhere}")
    found = {finding.name: finding for finding in doctor.examine_machine(settings)}
    assert found["record"].level is Level.PROBLEM
    assert "procdeck rebuild" in found["record"].sentence
