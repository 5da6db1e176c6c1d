"""The one stream of a page: which of its regions to ask for again, and the lines of the log it shows.

A page has a single stream, since a browser makes few connections to one host. What it is told of changes are hints: the
page asks for its own address again, so that one way makes the first load, every refresh, and the page without script.
Lines of a log come as they are. A page that comes back refreshes once; so nothing is remembered for it meanwhile.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from app import streams
from app.deps import AuthDep, IdentityDep, MetricsDep, SupervisorDep
from app.errors import AppError, Invalid, NotFound, problem
from app.listing import TABS
from app.pages.log import log_events
from app.pages.render import static_version
from app.supervisor.changes import Changed, Changes
from app.supervisor.supervisor import Supervisor

router = APIRouter(include_in_schema=False)

EVERY = 1.0
"""Seconds between two hints of one stream, at least; and between two looks for what does not wake it, at most."""
LOOK_EVERY = 0.1
"""Seconds between two looks when what woke the stream was none of its page's."""
MAX_IDS = 200
"""Processes that one hint names."""
MAX_TOPICS = 10
PLAIN_TOPICS = frozenset({"list", "activity", "targets", "operations"})
EVERYWHERE = frozenset({"troubles"})
"""What stands on every page."""

_FAILURES = next(tab for tab in TABS if tab.key == "failed").outcomes


@dataclass(frozen=True, slots=True)
class Topics:
    """What a page shows: ``list`` is any process, the others are a few processes by their ids, or other things."""

    plain: frozenset[str] = frozenset()
    processes: frozenset[str] = frozenset()

    @classmethod
    def of(cls, text: str) -> "Topics":
        """Read `list`, `process:ID`, `activity`, `targets`, `operations`, with spaces or commas between. Raises
        Invalid."""
        given = text.replace(",", " ").split()
        ids = {topic.removeprefix("process:") for topic in given if topic.startswith("process:")}
        plain = {topic for topic in given if not topic.startswith("process:")}
        if plain - PLAIN_TOPICS or len(given) > MAX_TOPICS:
            message = f"must be at most {MAX_TOPICS} of {', '.join(sorted(PLAIN_TOPICS))}, process:ID"
            raise Invalid(f"The topics {message}.", errors=[{"field": "topics", "message": message}])
        return cls(frozenset(plain), frozenset(ids))

    def hint(self, changed: Changed, besides: Collection[str] = ()) -> dict[str, Any] | None:
        """What to tell this page of; None when nothing of it concerns the page. ``besides`` are names of other things
        that changed.

        `more` says that not all that changed is named, `more_measured` the same of what was measured: for figures alone
        a page asks less often, and only if any of its processes lives.
        """
        ids = self._of_ours(changed.moved)
        # Activity tells of changes, not of figures.
        measured = self._of_ours(changed.measured) if "list" in self.plain or self.processes else []
        touched = self.plain if changed.touched is None else {*changed.touched, *besides}
        topics = sorted((self.plain | EVERYWHERE) & touched)
        has_more, has_more_measured = (found is None or len(found) > MAX_IDS for found in (ids, measured))
        if not (ids or measured or topics or has_more or has_more_measured):
            return None
        return {
            "ids": (ids or [])[:MAX_IDS],
            "measured": (measured or [])[:MAX_IDS],
            "topics": topics,
            "more": has_more,
            "more_measured": has_more_measured,
        }

    def _of_ours(self, found: list[str] | None) -> list[str] | None:
        if "list" in self.plain or "activity" in self.plain:
            return found
        if found is None:
            return sorted(self.processes)
        return [process_id for process_id in found if process_id in self.processes]


@router.get("/ui/events")
async def stream_page(
    request: Request, supervisor: SupervisorDep, metrics: MetricsDep, auth: AuthDep, identity: IdentityDep
) -> Response:
    """Hints for the topics of a page, and the log of the process named by `log`.

    `hello` comes first and says which version of the pages this is; then `changed`, `reset`, what `log_events` tells,
    `auth` when the session has ended, and `restart` when the service ends.
    """
    query = request.query_params
    sources = [hints(supervisor, Topics.of(query.get("topics", "")))]
    if query.get("log"):
        sources.append(_log(supervisor, query["log"], query))
    events = streams.merge(*sources)
    return streams.respond(events, lambda: auth.is_current(identity), metrics.sse_clients.labels("page"))


async def hints(supervisor: Supervisor, topics: Topics) -> AsyncGenerator[bytes]:
    """What changed of the topics, at most every `EVERY` seconds, until the service ends."""
    changes, besides = supervisor.changes, Besides(supervisor)
    place = changes.place
    yield _event("hello", _now(changes))
    while not changes.closed:
        beat = changes.pulse.count
        changed, place = changes.since(place), changes.place
        hint = topics.hint(changed, besides.look())
        if changed.is_reset:
            yield _event("reset", {})
        elif hint is not None:
            yield _event("changed", hint)
        is_told = changed.is_reset or hint is not None
        await changes.closing.wait(EVERY if is_told else LOOK_EVERY, since=0)
        if not is_told:
            await changes.pulse.wait(EVERY, since=beat)
    yield streams.restart()


class Besides:
    """What is no process and tells of its changes in its own way."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._seen = self._see()

    def _see(self) -> dict[str, object]:
        return {
            "activity": self._supervisor.activity.noted.count,
            "troubles": [(trouble.key, trouble.sentence) for trouble in self._supervisor.troubles.present()],
        }

    def look(self) -> list[str]:
        """The names of what changed since the last look."""
        before, self._seen = self._seen, self._see()
        return [name for name, seen in self._seen.items() if seen != before[name]]


async def _log(supervisor: Supervisor, process_id: str, query: Mapping[str, str]) -> AsyncGenerator[bytes]:
    """The events of a log; a refusal is one as well, for the answer has begun."""
    try:
        lines = log_events(supervisor, process_id, query)
        try:
            async for frame in lines:
                yield frame
        finally:
            await lines.aclose()
    except AppError as error:
        yield _event("log-refused", problem(error))


def _event(name: str, facts: Mapping[str, Any]) -> bytes:
    return streams.event(name, json.dumps(facts, separators=(",", ":")))


# --- what a page that nobody looks at asks now and then -----------------------------------------------------------


@router.get("/ui/now")
async def now(request: Request, supervisor: SupervisorDep) -> Response:
    """How many processes have failed in this run of the service, or whether those of the topics have."""
    topics = Topics.of(request.query_params.get("topics", ""))
    facts = _now(supervisor.changes)
    if topics.processes:
        facts["failed"] = await _failed(supervisor, topics.processes)
        facts["run"] = ""  # it holds whichever service answers
    return JSONResponse(facts)


async def _failed(supervisor: Supervisor, ids: Collection[str]) -> int:
    async def has_failed(process_id: str) -> bool:
        try:
            return (await supervisor.get(process_id)).outcome in _FAILURES
        except NotFound:
            return False

    return sum(await asyncio.gather(*map(has_failed, ids)))


def _now(changes: Changes) -> dict[str, Any]:
    return {
        "version": static_version(),
        "now": datetime.now(UTC).isoformat(),
        "changed_at": changes.changed_at.isoformat(),
        "run": changes.run,
        "failed": sum(changes.ended[outcome] for outcome in _FAILURES),
    }
