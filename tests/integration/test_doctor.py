"""The facts that the doctor and the service look at, and looking at the service's own situation."""

import os
import sqlite3
from pathlib import Path

from app import doctor, host
from app.doctor import Level
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
