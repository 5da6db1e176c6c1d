"""What the doctor makes of facts."""

import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.health import doctor, judgements
from app.health.doctor import Folder, Level
from app.health.host import UNLIMITED, Descriptors, Disk, Kernel, Limits, Memory
from app.settings import Settings

GIB = 2**30
MIB = 2**20
FOLDER = Folder(Path("/data"), me=7, owner=7, mode=stat.S_IFDIR | 0o700)
KERNEL = Kernel(pidfd=True, subreaper=True, children_file=True, proc=True, cgroup_v2=True, cgroup_v2_writable=True)
TOLD = {"version": "1.0", "pid": 5, "alive": 2, "queued": 1, "troubles": []}


@pytest.mark.parametrize(
    ("found", "level", "said"),
    [
        (FOLDER, Level.OK, "nobody else's"),
        (replace(FOLDER, owner=None, mode=None), Level.NOTE, "at its first start"),
        (replace(FOLDER, owner=None, mode=None, parent_writable=False), Level.PROBLEM, "can't be made"),
        (replace(FOLDER, mode=stat.S_IFREG | 0o600), Level.PROBLEM, "not a folder"),
        (replace(FOLDER, owner=8), Level.PROBLEM, "belongs to user 8"),
        (replace(FOLDER, mode=stat.S_IFDIR | 0o755), Level.PROBLEM, "chmod 700 /data"),
        (replace(FOLDER, open_to_others=("token",)), Level.PROBLEM, "token"),
    ],
)
def test_the_data_folder(found: Folder, level: Level, said: str) -> None:
    finding = doctor.judge_folder(found)
    assert finding.level is level
    assert said in finding.sentence


@pytest.mark.parametrize(
    ("kind", "network", "level"),
    [
        ("ext4", None, Level.OK),
        ("nfs4", "NFS", Level.PROBLEM),
        ("9p", None, Level.WARNING),
        ("tmpfs", None, Level.WARNING),
        ("overlay", None, Level.WARNING),
    ],
)
def test_the_file_system(kind: str, network: str | None, level: Level) -> None:
    assert doctor.judge_file_system(kind, network).level is level


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ((3, 40, 1), Level.NOTE),
        ((3, 44, 5), Level.NOTE),
        ((3, 44, 6), Level.OK),
        ((3, 45, 0), Level.NOTE),
        ((3, 50, 6), Level.NOTE),
        ((3, 50, 7), Level.OK),
        ((3, 51, 2), Level.NOTE),
        ((3, 51, 3), Level.OK),
        ((3, 52, 0), Level.OK),
    ],
)
def test_the_version_of_sqlite(version: tuple[int, ...], level: Level) -> None:
    assert doctor.judge_sqlite(version).level is level


@pytest.mark.parametrize(
    ("free", "size", "full"), [(100, 100, False), (4, 100, True), (6, 100, False), (11, 4000, False)]
)
def test_how_full_a_disk_may_be(free: int, size: int, full: bool) -> None:
    disk = Disk(free * GIB, size * GIB, 10**6, 10**7)
    assert (judgements.disk_is_full(disk) is not None) == full
    assert [finding.level for finding in doctor.judge_disk(disk)] == [Level.WARNING if full else Level.OK, Level.OK]


def test_a_small_disk_is_full_with_200_mebibytes() -> None:
    said = judgements.disk_is_full(Disk(199 * MIB, GIB, 0, 0))
    assert said is not None
    assert "199.0 MiB of 1.0 GiB" in said


@pytest.mark.parametrize(
    ("free", "all_of_them", "gone"), [(0, 0, False), (999, 5000, True), (5000, 10**6, True), (10**5, 10**6, False)]
)
def test_inodes(free: int, all_of_them: int, gone: bool) -> None:
    disk = Disk(GIB, GIB, free, all_of_them)
    assert (judgements.inodes_are_gone(disk) is not None) == gone
    assert (doctor.judge_disk(disk)[1].level is Level.WARNING) == gone


@pytest.mark.parametrize(
    ("used", "most", "gone"), [(10, 1024, False), (970, 1024, True), (1024, 1024, True), (9400, 10000, False)]
)
def test_descriptors(used: int, most: int, gone: bool) -> None:
    assert (judgements.descriptors_are_gone(Descriptors(used, most)) is not None) == gone


@pytest.mark.parametrize(
    ("limits", "levels"),
    [
        (Limits(UNLIMITED, {}), (Level.OK, Level.OK)),
        (Limits(65536, {"a": 32768, "b": UNLIMITED}), (Level.OK, Level.OK)),
        (Limits(1000, {"a": 900}), (Level.WARNING, Level.WARNING)),
        (Limits(200, {"a": 50, "b": 10**6}), (Level.PROBLEM, Level.PROBLEM)),
        (Limits(10, {"a": UNLIMITED}), (Level.PROBLEM, Level.OK)),
    ],
)
def test_limits(limits: Limits, levels: tuple[Level, Level]) -> None:
    assert tuple(finding.level for finding in doctor.judge_limits(limits)) == levels


def test_the_lowest_limit_of_processes_is_named() -> None:
    finding = doctor.judge_limits(Limits(65536, {"kernel.pid_max": 32768, "pids.max": 512}))[1]
    assert "pids.max is 512" in finding.sentence
    assert "256 processes" in finding.sentence


@pytest.mark.parametrize(
    ("kernel", "levels"),
    [
        (KERNEL, [Level.OK, Level.OK]),
        (replace(KERNEL, pidfd=False), [Level.PROBLEM, Level.OK]),
        (replace(KERNEL, subreaper=False, children_file=False), [Level.PROBLEM, Level.OK]),
        (replace(KERNEL, children_file=False), [Level.NOTE, Level.OK]),
        (replace(KERNEL, cgroup_v2_writable=False), [Level.OK, Level.NOTE]),
        (replace(KERNEL, cgroup_v2=False, cgroup_v2_writable=False), [Level.OK, Level.NOTE]),
    ],
)
def test_the_kernel(kernel: Kernel, levels: list[Level]) -> None:
    assert [finding.level for finding in doctor.judge_kernel(kernel)] == levels


def test_the_path_of_the_socket() -> None:
    long = Path("/" + "x" * 200 + "/service.sock")
    assert doctor.judge_socket(long, has_proc=True).level is Level.OK
    assert doctor.judge_socket(long, has_proc=False).level is Level.PROBLEM
    assert doctor.judge_socket(Path("/data/service.sock"), has_proc=False).level is Level.OK


@pytest.mark.parametrize(
    ("now", "newest", "level"),
    [
        (1_800_000_000, 1_799_999_990, Level.OK),
        (1_800_000_000, 0, Level.OK),
        (1_800_000_000, 1_800_000_001, Level.OK),
        (1_800_000_000, 1_800_003_600, Level.WARNING),
        (3600, 0, Level.PROBLEM),
    ],
)
def test_the_clock(now: float, newest: float, level: Level) -> None:
    assert doctor.judge_clock(now, newest).level is level


def test_memory() -> None:
    assert doctor.judge_memory(Memory(4 * GIB, 8 * GIB)).level is Level.OK
    assert doctor.judge_memory(Memory(GIB // 10, 8 * GIB)).level is Level.WARNING
    assert doctor.judge_memory(Memory(50 * MIB, 128 * MIB)).level is Level.WARNING


def test_the_first_process() -> None:
    assert doctor.judge_first_process("/usr/bin/tini -- procdeck serve", 7).level is Level.OK
    assert doctor.judge_first_process("python procdeck serve", 1).level is Level.WARNING
    assert doctor.judge_first_process("", None).level is Level.OK


@pytest.mark.parametrize(
    ("changes", "size", "names"),
    [
        ({}, 500, ["settings"]),
        ({}, 20, ["retention"]),
        ({"keep_days": 30.0}, 20, ["settings"]),
        ({"no_auth": True, "keep_days": 30.0}, 20, ["no_auth"]),
        ({"host": "0.0.0.0", "keep_days": 30.0}, 20, ["host"]),
        ({"host": "0.0.0.0", "cookie_secure": True, "keep_bytes": 1}, 20, ["settings"]),
    ],
)
def test_settings(changes: dict[str, Any], size: int, names: list[str]) -> None:
    found = doctor.judge_settings(Settings(**changes), Disk(GIB, size * GIB, 0, 0))
    assert [finding.name for finding in found] == names


def test_the_service() -> None:
    [away] = doctor.judge_service(False, None, "", "1.0")
    [silent] = doctor.judge_service(True, None, "no answer", "1.0")
    [well] = doctor.judge_service(True, TOLD, "", "1.0")
    [old] = doctor.judge_service(True, TOLD, "", "1.1")
    assert [f.level for f in (away, silent, well, old)] == [Level.NOTE, Level.PROBLEM, Level.OK, Level.NOTE]
    assert "2 process(es) alive" in well.sentence
    troubled = TOLD | {"troubles": [{"key": "disk.space", "sentence": "It is full.", "since": ""}]}
    assert doctor.judge_service(True, troubled, "", "1.0")[1] == doctor.warning("disk.space", "It is full.")


def test_targets() -> None:
    well, broken = {"name": "a:b", "error": None}, {"name": "c", "error": "Traceback …\n  line\nImportError: no d\n"}
    assert [f.level for f in doctor.judge_targets([well, well])] == [Level.OK]
    assert doctor.judge_targets([]) == [doctor.judge_targets(iter(()))[0]]
    assert doctor.judge_targets([])[0].level is Level.WARNING
    found = doctor.judge_targets([well, broken])
    assert [f.level for f in found] == [Level.PROBLEM, Level.OK]
    assert found[0].sentence == "c can't be launched: ImportError: no d"
    assert [f.level for f in doctor.judge_targets([broken])] == [Level.PROBLEM]


def test_quarantine() -> None:
    assert doctor.judge_quarantine([], Path("/q")).level is Level.OK
    found = doctor.judge_quarantine(["d", "c", "b", "a"], Path("/q"))
    assert found.level is Level.PROBLEM
    assert "(a, b, c, …)" in found.sentence
