"""What was done, in words: who did what to whom, why, and what became of it; and what may be asked for. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from app import units
from app.db.activity import OURS, Entry, Group, Wanted
from app.errors import refuse
from app.lifecycle import SERVICE, Process
from procdeck.states import Outcome

JSON = dict[str, Any]

GOOD, BAD, PLAIN = "good", "bad", ""
BEGUN = "begun"
"""The result of the first note of an operation; the second tells what came of it."""


@dataclass(frozen=True, slots=True)
class Told:
    """The parts of a sentence: ``who`` ``did`` ``subject``: reason - ``result``; and how the result is to be taken,
    `GOOD`, `BAD` or `PLAIN`."""

    who: str
    did: str
    subject: str
    result: str
    tone: str = PLAIN


def told(entry: Entry) -> Told:
    """An entry in words."""
    who = f"the {entry.actor}" if entry.actor in OURS else entry.actor
    result, tone = _result(entry)
    return Told(who, _did(entry), _subject(entry), result, tone)


def sentence(entry: Entry) -> str:
    """The whole of it: ``operator asked to stop train-12: no longer needed - ended by SIGTERM after 0.8 s``."""
    words = told(entry)
    text = f"{words.who} {words.did} {words.subject}".rstrip()
    if entry.reason:
        text += f": {entry.reason}"
    return f"{text} - {words.result}" if words.result else text


def item(entry: Entry) -> JSON:
    """An entry as the API has it."""
    return {
        "number": entry.number,
        "at": entry.at.isoformat(),
        "actor": entry.actor,
        "action": entry.action,
        "subject": {"kind": entry.subject_kind, "id": entry.subject_id, "name": entry.subject_name},
        "reason": entry.reason,
        "result": told(entry).result,
        "text": sentence(entry),
        "detail": {name: value for name, value in entry.detail.items() if name != "since_creation"},
    }


# --- the verb -----------------------------------------------------------------------------------------------------

_DID = {
    "launched": "launched",
    "start": "started",
    "stop": "asked to stop",
    "terminate": "sent SIGTERM to",
    "kill": "sent SIGKILL to",
    "interrupt": "sent SIGINT to",
    "relaunch": "launched again",
    "delete": "deleted",
    "time_limit": "enforced the time limit of",
    "queued": "queued",
    "starting": "handed to a launcher:",
    "running": "began to run",
    "ended": "recorded the end of",
    "lost": "lost track of",
    "noted": "noted something of",
    "deleted": "deleted",
    "pruned": "removed",
    "reloaded": "reloaded",
    "saved": "saved",
    "signed_in": "signed in from",
    "signed_out": "signed out at",
    "sign_in": "tried to sign in from",
}


_BEGAN = {
    "stop": "began to stop",
    "terminate": "began to send SIGTERM to",
    "kill": "began to send SIGKILL to",
    "relaunch": "began to launch again",
    "delete": "began to delete",
}


def _did(entry: Entry) -> str:
    if entry.action == "signal":
        return f"sent {entry.detail.get('signal', 'a signal')} to"
    if entry.action == "launched" and entry.process is not None and entry.process.origin_id is not None:
        return "launched again"
    if entry.subject_kind == "service":
        return {"started": "started", "stopped": "ended", "renewed": "rebuilt"}.get(entry.action, entry.action)
    action = entry.action.removesuffix("_many")
    if entry.subject_kind == "operation" and entry.result == BEGUN and action in _BEGAN:
        return _BEGAN[action]
    return _DID.get(action) or action.replace("_", " ")


def _subject(entry: Entry) -> str:
    count = entry.detail.get("count")
    if entry.action == "pruned" and isinstance(count, int):
        # "finished processes", or "processes of TARGET"
        name = entry.subject_name if count != 1 else entry.subject_name.replace("processes", "process", 1)
        return f"{count:,} {name}"
    if entry.subject_kind in ("view", "preset"):
        return f"the {entry.subject_kind} {entry.subject_name}"
    if entry.subject_kind == "service":
        return "the record" if entry.action == "renewed" else ""
    if entry.subject_kind == "targets":
        return "the targets"
    return entry.subject_name or entry.subject_kind


# --- the result ---------------------------------------------------------------------------------------------------

Result = tuple[str, str]
"""The words, and the tone."""


def _result(entry: Entry) -> Result:
    if entry.result is not None:
        return _noted(entry)
    if entry.process is None or entry.action in ("queued", "starting", "running", "noted"):
        return "", PLAIN
    return _became(entry.process, entry.at, is_asked=entry.action not in ("launched", "start", "ended", "lost"))


def _became(process: Process, since: datetime, *, is_asked: bool) -> Result:
    if not process.is_over:
        return (f"still {process.state}" if is_asked else str(process.state)), PLAIN
    how, tone = _HOW[process.outcome or Outcome.LOST](process)
    if process.stopped_at is None or process.outcome is Outcome.LOST:
        return how, tone
    after = process.stopped_at - since if is_asked else timedelta(seconds=process.duration or 0.0)
    # A process that never ran took no time, and what came after its end has nothing to do with it.
    is_told = after >= timedelta() if is_asked else process.duration is not None
    return (f"{how} after {units.duration(after.total_seconds())}" if is_told else how), (PLAIN if is_asked else tone)


def _by(process: Process) -> str:
    return f"by {process.signal}" if process.signal else f"with exit code {process.exitcode}"


_HOW: Mapping[Outcome, Callable[[Process], Result]] = {
    Outcome.SUCCEEDED: lambda process: ("succeeded", GOOD),
    Outcome.FAILED: lambda process: (f"failed with exit code {process.exitcode}", BAD),
    Outcome.CRASHED: lambda process: (f"crashed by {process.signal or 'a signal'}", BAD),
    Outcome.STOPPED: lambda process: (
        "cancelled before it was started" if process.exitcode is None else f"ended {_by(process)}",
        PLAIN,
    ),
    Outcome.TIMED_OUT: lambda process: (f"ended at its time limit, {_by(process)},", BAD),
    Outcome.NOT_STARTED: lambda process: ("could not be started", BAD),
    Outcome.LOST: lambda process: ("lost: what became of it can't be known", BAD),
}


def _noted(entry: Entry) -> Result:
    detail = entry.detail
    if entry.result == "refused":
        more = detail.get("unnoted")
        return (f"refused; {more} more before that" if more else "refused"), BAD
    if entry.action == "pruned":
        return f"{units.size(detail.get('bytes', 0))} freed", PLAIN
    if entry.action == "deleted":
        outcome = detail.get("outcome")
        return (f"it had {_HAD.get(outcome, 'ended')}" if outcome else ""), PLAIN
    if entry.action == "reloaded":
        good, broken = detail.get("good", 0), detail.get("broken", 0)
        return (f"{good} good, {broken} with an error" if broken else f"{good} good"), (BAD if broken else PLAIN)
    if entry.action == "renewed":
        return f"{detail.get('processes', 0)} processes taken from the run folders", PLAIN
    if entry.action == "stopped" and detail.get("left"):
        return f"{detail['left']} left running", PLAIN
    if entry.subject_kind == "operation":
        return _operation(entry)
    return ("" if entry.result == "done" else entry.result or ""), (BAD if entry.result == "failed" else PLAIN)


_HAD = {
    "succeeded": "succeeded",
    "failed": "failed",
    "crashed": "crashed",
    "stopped": "been stopped",
    "timed_out": "reached its time limit",
    "not_started": "not been started",
    "lost": "been lost",
}


def _operation(entry: Entry) -> Result:
    detail = entry.detail
    if entry.result == BEGUN:
        return f"{detail.get('total', 0):,} in all", PLAIN
    parts = [f"{detail.get('done', 0):,} of {detail.get('total', 0):,} done"]
    parts += [f"{detail[kind]:,} {kind}" for kind in ("skipped", "failed") if detail.get(kind)]
    if left := detail.get("left"):
        by = detail.get("cancelled_by")
        parts += [f"cancelled by {by}, {left:,} never begun" if by else f"the service ended, {left:,} never begun"]
    return ", ".join(parts), (BAD if detail.get("failed") else PLAIN)


# --- what is gone -------------------------------------------------------------------------------------------------


def gone(process_id: str, note: Entry | None, together: Sequence[Entry]) -> str:
    """Why there is no process of this id, as far as can be known; empty when nothing is. ``note`` is the newest note of
    it, ``together`` are those of prunings and of operations that delete since its creation."""
    if note is not None and note.action == "deleted":
        return f"{note.subject_name} was deleted by {told(note).who} on {_day(note.at)}."
    # What came of an operation says more than what it was to do.
    known = {entry.subject_id for entry in together if entry.action != "pruned" and entry.result != BEGUN}
    within = [
        entry
        for entry in together
        if _may_hold(entry, process_id) and not (entry.result == BEGUN and entry.subject_id in known)
    ]
    named = next((entry for entry in within if process_id in entry.detail.get("ids", ())), None)
    if named is not None:
        why = f": {named.reason}" if named.action != "pruned" and named.reason else "."
        return f"It was removed by {_remover(named)} on {_day(named.at)}{why}"
    unsure = [entry for entry in within if "ids" not in entry.detail]
    if unsure:
        entry = unsure[0]
        return (
            f"By its id it was created on {_day(created_at(process_id) or entry.at)}, and may be one of the "
            f"{entry.detail.get('count', 0):,} that {_remover(entry)} removed on {_day(entry.at)}."
        )
    return ""


def _remover(entry: Entry) -> str:
    if entry.action != "pruned":
        return f"{told(entry).who}, with others,"
    return "retention" if entry.actor == SERVICE else f"a pruning of {entry.actor}"


def _may_hold(entry: Entry, process_id: str) -> bool:
    first, last = entry.detail.get("first_id"), entry.detail.get("last_id")
    # Only the first of a large pruning were looked at for these; the others were younger, or of other targets.
    is_whole = "ids" in entry.detail or entry.action != "pruned"
    return first is not None and first <= process_id and (not is_whole or process_id <= str(last))


def created_at(process_id: str) -> datetime | None:
    """The time of creation that an id of ours holds (UUID version 7, RFC 9562); None for any other text."""
    try:
        known = UUID(process_id)
    except ValueError:
        return None
    if known.version != 7 or str(known) != process_id:
        return None
    try:
        return datetime.fromtimestamp((known.int >> 80) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _day(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d at %H:%M UTC")


# --- what is asked for --------------------------------------------------------------------------------------------

MAX_SEARCH = 200
MAX_WORDS = 8
PEOPLE, EVERYBODY = "people", "everybody"


def wanted(who: str, verb: str, subject: str, search: str) -> Wanted:
    """What the query of the page and that of the API ask for; empty texts are no condition. Raises Invalid naming the
    field."""
    if who not in ("", PEOPLE, EVERYBODY):
        refuse("who", f"must be {PEOPLE} or {EVERYBODY}")
    if verb and verb not in [str(group) for group in Group]:
        refuse("verb", f"must be one of {', '.join(Group)}")
    words = tuple(search.replace("\0", "").split())
    if len(search) > MAX_SEARCH or len(words) > MAX_WORDS:
        refuse("search", f"must have at most {MAX_SEARCH} characters and {MAX_WORDS} words")
    group = Group(verb) if verb else None
    return Wanted(who != EVERYBODY, group, subject.strip().replace("\0", "")[:MAX_SEARCH], words)


def before(text: str) -> int | None:
    """The number in ``text``, None when it is empty. Raises Invalid."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        refuse("before", "must be the number of an entry")
    return int(text)
