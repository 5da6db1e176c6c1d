"""Fail points: named steps at which a test makes one of our own processes fail, to see what is left of a promise.

``PROCDECK_FAILPOINT=name:action:hit`` arms one; several are separated by commas. ``name`` is one of `POINTS`, ``hit``
the time at which it acts (1 is the first), and ``action`` one of

- ``error``: OSError (EIO) is raised there, as by a disk that fails,
- ``delay``: the process stands still there for `DELAY` seconds,
- ``kill``: the process ends there by SIGKILL.

Each process counts its own hits. With ``PROCDECK_FAILPOINT_DIR`` the hits of all of them are counted together, a byte
each in the file of that name there: so a launcher that was killed is not killed again when it is replaced, and who
armed the point sees that it was reached. Nothing is armed unless `arm` was called, and a point that is not armed costs
one look at an empty dictionary.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EIO
from time import sleep

from procdeck.pristine import os, signal

VARIABLE = "PROCDECK_FAILPOINT"
FOLDER = "PROCDECK_FAILPOINT_DIR"
DELAY = 2.0
"""Seconds that ``delay`` takes."""

POINTS = {
    "service.start.listening": "keepers can call, nothing is adopted yet",
    "service.import.read": "a run folder that the record does not know was read, and is not taken into it yet",
    "service.import.taken": "it is in the record",
    "service.adopt.connected": "a keeper has called, and nothing it told is believed yet",
    "service.adopt.examine": "a run folder is about to be examined",
    "service.launch.before_folder": "a launch was accepted, nothing of it is on the disk",
    "service.launch.after_folder": "its run folder is there, its record is not",
    "service.launch.recorded": "both are there, no launcher knows",
    "service.launch.before_order": "the launcher is about to be asked",
    "service.launch.ordered": "the launcher has answered, the client has not been",
    "service.launch.before_answer": "the process runs and is recorded, the client has not been answered",
    "service.commit.before": "changes are applied, and their transaction has not begun",
    "service.commit.after": "the transaction is committed, nobody was told",
    "service.entry.before_apply": "a keeper told of something, it is in its journal and not in the record",
    "service.end.before_send": "somebody asked for an end, the keeper does not know",
    "service.end.sent": "the keeper knows",
    "service.refuse.before_claim": "a process that nobody started is to be given up",
    "service.refuse.claimed": "no keeper can take it any more, its journal does not say so",
    "service.bury.before_end": "a keeper was found dead, what it left lives",
    "service.bury.ended": "what it left is ended, the process is not lost yet",
    "service.reload.ready": "a new launcher is ready beside the present one",
    "service.reload.swapped": "it has taken its place, the old one is not told to end",
    "service.delete.before_row": "a process is to be deleted",
    "service.delete.hidden": "its folder is hidden, its record is there",
    "service.delete.row_gone": "its record is gone, its folder is hidden",
    "launcher.import.before": "the launcher runs and has imported nothing",
    "launcher.ready.before": "everything is imported, the service does not know",
    "launcher.fork.before": "a keeper is about to be forked",
    "launcher.launch.taken": "a launch has come, no keeper has it",
    "launcher.launch.handed_over": "a keeper has it, the service was not answered",
    "keeper.start.received": "a keeper has a launch, and not its folder",
    "keeper.start.claimed": "it has the folder, and has written nothing",
    "keeper.start.ordered": "the child runs, and no journal says so",
    "keeper.start.recorded": "the journal has the start, the service was not told",
    "keeper.connect.before": "the service is about to be called",
    "keeper.end.received": "a command has come, nothing was done",
    "keeper.end.recorded": "the journal has it, no signal was sent",
    "keeper.end.signalled": "the signal was sent",
    "keeper.escalate.before": "the grace is over, the harder signal was not sent",
    "keeper.exit.seen": "the child is over, nothing was drained or written",
    "keeper.exit.drained": "its last output is in the log, its end is not in the journal",
    "keeper.exit.recorded": "its end is in the journal, it is not reaped",
    "keeper.exit.reaped": "it is reaped unless it left something behind, which lives",
    "keeper.sweep.before": "what it left behind is about to be ended",
    "journal.append.before": "an entry is to be written",
    "journal.append.written": "it is written, and not on the disk",
    "journal.append.synced": "it is on the disk, and nobody was told",
    "journal.rewrite.written": "after a sync that failed all entries are in a new file, and not on the disk",
    "journal.rewrite.renamed": "the new file has taken the place of the old one, the folder is not synced",
    "log.write.before": "output was read from the child, and not written",
    "log.rotate.before": "a new segment is about to be made",
    "child.run.before_target": "the child has its launch, and runs nothing of the user's",
    "child.run.returned": "the target has returned, the keeper was not told what",
}
"""Every fail point there is, and how things stand when it is reached."""

_armed: dict[str, tuple[str, int]] = {}
_hits: dict[str, int] = {}
_folder: str | None = None


def arm(text: str, folder: str | None) -> None:
    """Arm what ``text`` says, in the place of what was armed before; ``folder`` counts the hits of all processes.

    Raises ValueError when ``text`` is not of the form above.
    """
    global _folder
    _armed.clear()
    _hits.clear()
    _folder = folder or None
    for word in filter(None, text.split(",")):
        name, _, rest = word.partition(":")
        action, _, hit = rest.partition(":")
        if name not in POINTS or action not in _ACTIONS or not hit.isdigit() or int(hit) < 1:
            raise ValueError(
                f"{word!r} must be NAME:ACTION:HIT: a fail point, one of error, delay, kill, and a count from 1"
            )
        _armed[name] = (action, int(hit))


def reach(name: str) -> None:
    """The step ``name`` is reached. Raises OSError when it is armed with ``error`` and this is the hit."""
    if _armed and name in _armed:
        action, hit = _armed[name]
        if _count(name) == hit:
            _ACTIONS[action](name)


def _count(name: str) -> int:
    """The number of this hit."""
    if _folder is None:
        _hits[name] = _hits.get(name, 0) + 1
        return _hits[name]
    fd = os.open(f"{_folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, b".")
        # Behind the byte that this process appended, however many others did so at the same time.
        return os.lseek(fd, 0, os.SEEK_CUR)
    finally:
        os.close(fd)


def _error(name: str) -> None:
    raise OSError(EIO, f"fail point {name}")


def _delay(name: str) -> None:
    sleep(DELAY)


def _kill(name: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


_ACTIONS: dict[str, Callable[[str], None]] = {"error": _error, "delay": _delay, "kill": _kill}
