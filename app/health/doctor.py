"""What `procdeck doctor` finds: facts are looked up (`host`, and below), judged, and said in a sentence each.

Judgements are pure and take facts; a check reads facts and judges. None of them changes anything but what `targets_of`
starts and ends again.
"""

import asyncio
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote

from app.data_folder import ADDRESS, LOCK, RECORD, RUNS, SOCKET, TOKEN
from app.db.engine import parse_url, sqlite_file
from app.health import host, judgements
from app.health.file_systems import network_name
from app.health.host import Disk, Kernel, Limits, Memory
from app.settings import Settings
from app.supervisor.imports import QUARANTINE
from app.supervisor.launchers import LauncherConfig, LauncherProcess, configs, make_runtime
from app.units import size

START_WITHIN = 30.0
"""Seconds beyond the imports that a launcher may take to be ready."""
TASKS_EACH = 2
"""Processes that one launch is: keeper and child."""
RESERVED_FILES = 128
"""Descriptors that the service needs for itself."""

JSON = Mapping[str, Any]


class Level(StrEnum):
    """How much a finding matters; only a problem makes the command fail."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, and what that means and asks for."""

    level: Level
    name: str
    sentence: str


def ok(name: str, sentence: str) -> Finding:
    return Finding(Level.OK, name, sentence)


def note(name: str, sentence: str) -> Finding:
    return Finding(Level.NOTE, name, sentence)


def warning(name: str, sentence: str) -> Finding:
    return Finding(Level.WARNING, name, sentence)


def problem(name: str, sentence: str) -> Finding:
    return Finding(Level.PROBLEM, name, sentence)


# --- the data folder ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Folder:
    """The data folder as it is: ``owner`` and ``mode`` are None when there is none yet, ``parent_writable`` says
    whether it can be made then. ``open_to_others`` are files in it that others may read or write."""

    path: Path
    me: int
    owner: int | None
    mode: int | None
    parent_writable: bool = True
    open_to_others: tuple[str, ...] = ()


def judge_folder(found: Folder) -> Finding:
    """Whether a service of ours can have it for itself."""
    name = "data folder"
    if found.owner is None or found.mode is None:
        if found.parent_writable:
            return note(name, f"{found.path} is not there yet; the service makes it at its first start.")
        return problem(name, f"{found.path} is not there and can't be made by this user: choose another, or make it.")
    if not stat.S_ISDIR(found.mode):
        return problem(name, f"{found.path} is not a folder: name another with --data-dir.")
    if found.owner != found.me:
        return problem(
            name, f"{found.path} belongs to user {found.owner} and you are {found.me}: run the service as its owner."
        )
    if found.mode & 0o077:
        return problem(
            name,
            f"{found.path} can be entered by other users of this machine (mode {stat.S_IMODE(found.mode):04o}): "
            f"chmod 700 {found.path}",
        )
    if found.open_to_others:
        return problem(
            name, f"others may read or write {', '.join(found.open_to_others)} in {found.path}: chmod 600 them."
        )
    return ok(name, f"{found.path} is there, and nobody else's.")


_FOREIGN = frozenset({"9p", "fuse.sshfs", "virtiofs"})
_MEMORY = frozenset({"tmpfs", "ramfs"})
_LAYERED = frozenset({"overlay", "aufs"})


def judge_file_system(kind: str, network: str | None) -> Finding:
    """Whether locks hold and files stay on a file system of this type; ``network`` is its name when it is another
    machine's."""
    name = "file system"
    if network is not None:
        return problem(
            name,
            f"The data folder is on a network ({network}), where neither SQLite nor our locks are safe, and the "
            "service does not start: use a local disk.",
        )
    if kind in _FOREIGN:
        return warning(
            name, f"The data folder is another system's ({kind}): locks may not hold there, use a local disk."
        )
    if kind in _MEMORY:
        return warning(name, f"The data folder is in memory ({kind}): all is gone when the machine restarts.")
    if kind in _LAYERED:
        return warning(name, "The data folder is in a container's own layer and goes with it: mount a volume there.")
    return ok(name, f"{kind}, on this machine.")


def judge_disk(disk: Disk) -> list[Finding]:
    """Room and inodes."""
    full, gone = judgements.disk_is_full(disk), judgements.inodes_are_gone(disk)
    free = f"{size(disk.free)} of {size(disk.size)} are free."
    inodes = f"{disk.free_inodes:,} of {disk.inodes:,} are free." if disk.inodes else "This file system needs none."
    return [
        warning("disk", full) if full else ok("disk", free),
        warning("inodes", gone) if gone else ok("inodes", inodes),
    ]


def judge_allocation(possible: bool | None) -> Finding:
    """Whether room can be set aside, so that a full disk can't keep an exit record from being written."""
    if possible is None:
        return note("fallocate", "Not tried: no file can be made in the data folder by this user.")
    if possible:
        return ok("fallocate", "Room for records can be set aside.")
    return warning("fallocate", "This file system can't set room aside: on a full disk an exit may not be recorded.")


# --- the record --------------------------------------------------------------------------------------------------


def judge_sqlite(version: tuple[int, ...]) -> Finding:
    """About the bug in SQLite's WAL mode that loses a transaction (https://sqlite.org/wal.html#walresetbug)."""
    text = ".".join(map(str, version))
    is_mended = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    if is_mended or version < (3, 7):
        return ok("sqlite", f"Version {text}.")
    return note(
        "sqlite",
        f"Version {text} has a bug that can damage a database in WAL mode while two connections write or checkpoint at "
        "once (mended in 3.51.3, 3.50.7, 3.44.6). The service has one connection that does, so it is not hit; open its "
        "database with other programs for reading only.",
    )


def judge_record(result: str | None) -> Finding:
    """``result`` is what quick_check says; None when there is no database."""
    if result is None:
        return ok("record", "There is none yet, or it is not in a file.")
    if result == "ok":
        return ok("record", "The database is sound.")
    return problem(
        "record",
        f"The database is damaged ({result}). The service finds that by itself when the beginning or the end of the "
        "file is gone, and not in between: stop it and run `procdeck rebuild`, which sets the database aside and makes "
        "it anew from the run folders.",
    )


def quick_check(path: Path) -> str | None:
    """What SQLite's quick_check says of the database, read only; None when there is none."""
    if not path.exists():
        return None
    # With nothing beside it nobody has it open and nothing is missing in it: then its -wal and -shm need not be made.
    is_alone = not any(path.with_name(f"{path.name}{suffix}").exists() for suffix in ("-wal", "-shm"))
    uri = f"file:{quote(str(path))}?mode=ro{'&immutable=1' if is_alone else ''}"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            return str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        return str(error)


def judge_quarantine(names: Sequence[str], folder: Path) -> Finding:
    """Run folders that could not be read and were moved aside."""
    if not names:
        return ok("quarantine", "No run folder had to be moved aside.")
    few = ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")
    return problem(
        "quarantine",
        f"{len(names)} run folder(s) could not be read and were moved to {folder} ({few}): look what is left in them, "
        "then delete them.",
    )


# --- the machine -------------------------------------------------------------------------------------------------


def judge_limits(limits: Limits) -> list[Finding]:
    """How many processes the limits allow."""
    return [_judge_open_files(limits.open_files), _judge_tasks(limits.tasks)]


def _judge_open_files(most: int) -> Finding:
    name = "open files"
    room = (most - RESERVED_FILES) // 2  # half of them for connections, half for keepers
    if most == host.UNLIMITED:
        return ok(name, "Not limited.")
    meaning = f"The limit of {most:,} allows about {max(0, room):,} processes and as many connections"
    return _judge_number(name, meaning, room, (50, 500), " (LimitNOFILE, ulimit -Hn, --ulimit nofile)")


def _judge_tasks(tasks: Mapping[str, int]) -> Finding:
    name = "processes"
    least, most = min(tasks.items(), key=lambda item: item[1], default=("", host.UNLIMITED))
    if most == host.UNLIMITED:
        return ok(name, "Not limited.")
    meaning = f"{least} is {most:,}, which allows at most {most // TASKS_EACH:,} processes without threads of their own"
    return _judge_number(name, meaning, most, (100, 1000))


def _judge_number(name: str, meaning: str, number: int, bounds: tuple[int, int], how: str = "") -> Finding:
    """Below the first of the ``bounds`` nothing much can be done, below the second not everything; ``how`` says by what
    the number is raised."""
    too_few, few = bounds
    if number < too_few:
        return problem(name, f"{meaning}: raise it{how}.")
    if number < few:
        return warning(name, f"{meaning}: raise it if you need more{how}.")
    return ok(name, f"{meaning}.")


def judge_kernel(kernel: Kernel) -> list[Finding]:
    """Features that we need, and those that only help."""
    missing = [
        text
        for has, text in (
            (kernel.pidfd, "pidfd_open (Linux 5.3)"),
            (kernel.subreaper, "PR_SET_CHILD_SUBREAPER"),
            (kernel.proc, "/proc"),
        )
        if not has
    ]
    if missing:
        found = [problem("kernel", f"{' and '.join(missing)} can't be used here, and no process can be kept without.")]
    elif not kernel.children_file:
        found = [
            note("kernel", "Without CONFIG_PROC_CHILDREN all of /proc is searched for the members of a tree: slower.")
        ]
    else:
        found = [ok("kernel", "pidfd_open, subreapers and lists of children are there.")]
    if kernel.cgroup_v2_writable:
        said = ok(
            "control groups", "Version 2, writable here. Trees are kept together by session and subreaper anyway."
        )
    else:
        why = "can't be written by this user" if kernel.cgroup_v2 else "are not mounted"
        said = note(
            "control groups",
            f"Control groups of version 2 {why}: trees are kept together by session and subreaper alone, and a memory "
            "limit holds for all processes together.",
        )
    return [*found, said]


def judge_socket(path: Path, has_proc: bool) -> Finding:
    """The address of a Unix socket has 107 bytes at most; ours is given through a descriptor of its folder."""
    length = len(os.fsencode(path))
    if length <= 107 or has_proc:
        return ok("socket path", f"{length} bytes; it may have any length, for keepers reach it through a descriptor.")
    return problem("socket path", f"{path} has more than 107 bytes, which needs /proc: choose a shorter data folder.")


def judge_clock(now: float, newest: float) -> Finding:
    """``newest`` is when the newest file was written, 0 when there is none. Seconds since 1970."""
    if now < 1_700_000_000:
        return problem(
            "clock", "The clock of this machine is years behind: set it, times in the record mean nothing else."
        )
    if newest > now + 2:
        return warning(
            "clock",
            f"The clock is {newest - now:.0f} s behind the newest file of the data folder: it was set back. Times of "
            "processes will overlap until it has caught up; states and durations do not depend on it.",
        )
    return ok("clock", "Not behind what is on the disk.")


def judge_memory(memory: Memory) -> Finding:
    """A process costs its keeper's 1.5 MB and what it needs itself."""
    text = f"{size(memory.available)} of {size(memory.size)} are available"
    if memory.available < max(64 * judgements.MEBIBYTE, memory.size // 20):
        return warning(
            "memory", f"{text}: the kernel will soon end processes to get some back (SIGKILL, exit code -9)."
        )
    return ok("memory", f"{text}.")


def judge_first_process(command: str, service_pid: int | None) -> Finding:
    """Process 1 has to reap whose parents have died."""
    if service_pid == 1:
        return warning(
            "process 1",
            "The service is process 1 of its container: nobody reaps orphans, and signals without a handler are "
            "ignored. Put an init before it (docker run --init, or tini as in our image).",
        )
    shown = Path(command.split(" ")[0]).name if command else "unknown"
    return ok("process 1", f"{shown} reaps whose parents have died.")


# --- settings ----------------------------------------------------------------------------------------------------


def judge_settings(settings: Settings, disk: Disk | None) -> list[Finding]:
    """What is allowed and perhaps not meant."""
    found = []
    if settings.no_auth:
        found.append(warning("no_auth", "Everybody on this machine may launch and end processes: leave no_auth off."))
    if not settings.listens_on_loopback and not settings.cookie_secure:
        found.append(
            warning(
                "host",
                f"The service listens on {settings.host} without TLS, so the token crosses the network for all to "
                "read: put a proxy with TLS before it and set cookie_secure.",
            )
        )
    keeps_all = settings.keep_days == 0 and settings.keep_per_target == 0 and settings.keep_bytes == 0
    if keeps_all and disk is not None and disk.size < 100 * judgements.GIBIBYTE:
        found.append(
            note(
                "retention",
                f"Finished processes are kept for ever, on a disk of {size(disk.size)}: set keep_days, "
                "keep_per_target or keep_bytes, or run `procdeck prune` now and then.",
            )
        )
    return found or [ok("settings", "Nothing questionable.")]


# --- service and targets -----------------------------------------------------------------------------------------


def judge_service(is_running: bool, told: JSON | None, error: str, version: str) -> list[Finding]:
    """``told`` is what the service answers at /service; None with ``error`` when it does not."""
    name = "service"
    if not is_running:
        return [note(name, "None runs on this data folder.")]
    if told is None:
        return [problem(name, f"One holds the data folder and does not answer: {error}")]
    facts = f"Version {told['version']}, pid {told['pid']}, {told['alive']} process(es) alive, {told['queued']} queued"
    if told["version"] != version:
        found = [note(name, f"{facts}; this command is version {version}: restart the service.")]
    else:
        found = [ok(name, f"{facts}.")]
    return found + [warning(trouble["key"], trouble["sentence"]) for trouble in told["troubles"]]


def judge_targets(entries: Iterable[JSON]) -> list[Finding]:
    """The catalogue: one finding for each entry that can't be launched, one for all others."""
    listed = list(entries)
    broken = [entry for entry in listed if entry["error"]]
    found = [
        problem("target", f"{entry['name']} can't be launched: {str(entry['error']).strip().splitlines()[-1]}")
        for entry in broken
    ]
    if not listed:
        return [warning("targets", "There are none: name modules or files whose functions can be launched.")]
    if len(listed) > len(broken):
        found.append(ok("targets", f"{len(listed) - len(broken)} can be launched."))
    return found


def offline_targets(settings: Settings, default_targets: tuple[str, ...], runtime: Path) -> list[JSON]:
    """The catalogue as launchers that are started for it tell it, with the commands of the settings left out.

    ``runtime`` is an empty folder of this process. Raises BadConfig.
    """
    launchers = configs(settings, default_targets, 1024)
    return [entry for config in launchers for entry in asyncio.run(_told_by_launcher(config, runtime))]


async def _told_by_launcher(config: LauncherConfig, folder: Path) -> list[JSON]:
    launcher = LauncherProcess(config, lambda _: None)
    try:
        await launcher.start(make_runtime(folder))
    except OSError as error:
        return [{"name": f"environment {config.name}", "error": f"{config.python} can't be run: {error}"}]
    limit = config.import_timeout * (2 * len(config.modules) + 1) + START_WITHIN
    waits = [asyncio.ensure_future(event.wait()) for event in (launcher.ready, launcher.gone)]
    try:
        await asyncio.wait(waits, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if launcher.ready.is_set():
            return list(launcher.entries)
        why = "it ended before it was ready" if launcher.gone.is_set() else f"it was not ready within {limit:g} s"
        return [{"name": f"environment {config.name}", "error": f"the launcher does not come up: {why}"}]
    finally:
        for wait in waits:
            wait.cancel()
        launcher.kill()
        await launcher.gone.wait()


# --- all of it ---------------------------------------------------------------------------------------------------


def examine_machine(settings: Settings) -> Iterator[Finding]:
    """Everything that needs neither the service nor a launcher."""
    folder = settings.data_dir
    there = _nearest(folder)
    yield from _read("data folder", lambda: [judge_folder(_folder(folder, there))])
    yield from _read("file system", lambda: [_file_system(there)])
    disk: Disk | None = None
    try:
        disk = host.disk(there)
        yield from judge_disk(disk)
    except OSError as error:
        yield _unreadable("disk", error)
    yield from _read("fallocate", lambda: [judge_allocation(host.can_allocate(there))])
    yield judge_sqlite(sqlite3.sqlite_version_info)
    yield from _read("record", lambda: [judge_record(_record_check(settings))])
    yield from _read("quarantine", lambda: [judge_quarantine(_quarantined(folder), folder / QUARANTINE)])
    yield from _read("kernel", lambda: _kernel(folder))
    yield from _read("limits", lambda: judge_limits(host.limits()))
    yield from _read("memory", lambda: [judge_memory(host.memory())])
    yield from _read("clock", lambda: [judge_clock(time.time(), host.newest_file([folder, folder / RUNS]))])
    yield from judge_settings(settings, disk)


def _read(name: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    """What a check finds; what it can't look at is a finding too."""
    try:
        return check()
    except Exception as error:  # whatever it is: who asks for a doctor has something that is broken
        return [_unreadable(name, error)]


def _unreadable(name: str, error: Exception) -> Finding:
    return problem(name, f"Can't be looked at: {error}")


def _nearest(folder: Path) -> Path:
    """The folder, or of those above it the nearest that can be looked at."""
    for path in (folder, *folder.parents):
        with suppress(OSError):
            path.stat()
            return path
    return Path("/")


def _kernel(folder: Path) -> list[Finding]:
    kernel = host.kernel()
    return [*judge_kernel(kernel), judge_socket(folder / SOCKET, kernel.proc)]


def _file_system(folder: Path) -> Finding:
    return judge_file_system(host.mount_type(folder.resolve()), network_name(folder))


def _folder(folder: Path, there: Path) -> Folder:
    try:
        found = folder.stat()
    except FileNotFoundError:
        return Folder(folder, os.geteuid(), None, None, os.access(there, os.W_OK | os.X_OK))
    private = [path for path in _private_files(folder) if path.stat().st_mode & 0o077]
    return Folder(folder, os.geteuid(), found.st_uid, found.st_mode, True, tuple(path.name for path in private))


def _private_files(folder: Path) -> list[Path]:
    names = (TOKEN, RECORD, ADDRESS, LOCK, RUNS)
    try:
        return [folder / name for name in names if (folder / name).exists()]
    except PermissionError:
        return []


def _record_check(settings: Settings) -> str | None:
    url = parse_url(settings.record_url)
    return quick_check(sqlite_file(url)) if url.get_backend_name() == "sqlite" else None


def _quarantined(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(folder / QUARANTINE)]
    except FileNotFoundError:
        return []
