"""Pages: who did what, why, and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from app import activity_view
from app.activity_view import EVERYBODY, PEOPLE, Told, told
from app.db.activity import BY_US, OURS, Entry, Group, entries
from app.deps import StoreDep
from app.errors import Invalid
from app.pages.render import page, process_url, target_url

router = APIRouter(include_in_schema=False)

PAGE_ROWS = 50

GROUPS: Mapping[Group, str] = {
    Group.LAUNCHES: "Launches",
    Group.REQUESTS: "Asked to end, signals",
    Group.ENDS: "Ends",
    Group.STARTS: "Steps of a start",
    Group.REMOVALS: "Deletions",
    Group.SAVED: "Targets, views, presets",
    Group.SIGN_INS: "Sign-ins",
    Group.SERVICE: "The service",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the query string of the page asks for."""

    who: str = PEOPLE
    verb: str = ""
    subject: str = ""
    search: str = ""
    before: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Asked":
        """Read a query string; what it does not know it leaves alone."""
        given = {name: query.get(name, "").strip() for name in ("who", "verb", "subject", "search", "before")}
        if given["verb"] in BY_US:
            given["who"] = EVERYBODY  # people do nothing of that
        return cls(**given | {"who": given["who"] or PEOPLE})

    @property
    def is_filtered(self) -> bool:
        """Whether anything was chosen beside who."""
        return bool(self.verb or self.subject or self.search)

    def query(self) -> str:
        """The query string that asks for the same."""
        given = {
            "who": "" if self.who == PEOPLE else self.who,
            "verb": self.verb,
            "subject": self.subject,
            "search": self.search,
            "before": self.before,
        }
        text = urlencode({name: value for name, value in given.items() if value})
        return f"?{text}" if text else ""

    def url(self, **changes: str) -> str:
        """The address of the page with changes, from its newest entries unless these say otherwise."""
        return f"/activity{replace(self, **{'before': ''} | changes).query()}"


@dataclass(frozen=True, slots=True)
class Row:
    """An entry as the page shows it."""

    entry: Entry
    told: Told
    url: str

    @property
    def is_ours(self) -> bool:
        """Whether nobody did it but the service, a launcher or a keeper."""
        return self.entry.actor in OURS


@router.get("/activity")
async def show_activity(request: Request, store: StoreDep) -> Response:
    """Who did what, newest first; all of what is asked for stands in the query string."""
    asked = Asked.of(request.query_params)
    error, found = None, None
    try:
        wanted = activity_view.wanted(asked.who, asked.verb, asked.subject, asked.search)
        before = activity_view.before(asked.before)
    except Invalid as refusal:
        error = refusal.detail
    else:
        found = await run_in_threadpool(entries, store, wanted, PAGE_ROWS, before)
    rows = [_row(entry) for entry in found.items] if found else []
    return page(
        request,
        "activity/page.html",
        status=422 if error else 200,
        asked=asked,
        error=error,
        rows=rows,
        searched_to=found.searched_to.isoformat() if found and found.searched_to else None,
        next_url=asked.url(before=str(found.next)) if found and found.next is not None else None,
        subject_name=_subject_name(asked, rows),
        groups=GROUPS,
        json_url=None if error else f"/api/v1/activity{asked.query()}",
    )


def _row(entry: Entry) -> Row:
    return Row(entry, told(entry), _url(entry))


def _subject_name(asked: Asked, rows: list[Row]) -> str:
    names = (row.entry.subject_name for row in rows if row.entry.subject_id == asked.subject)
    return next(names, asked.subject)


def _url(entry: Entry) -> str:
    """The page of what it was done to, empty when there is none."""
    if entry.subject_kind == "process":
        return process_url(entry.subject_id) if entry.process is not None else ""
    if entry.subject_kind == "target":
        return target_url(entry.subject_name)
    if entry.subject_kind == "operation":
        return f"/operations/{quote(entry.subject_id, safe='')}"
    if entry.subject_kind == "view" and entry.action == "saved":
        return f"/processes?{entry.detail.get('query', '')}"
    if entry.subject_kind == "preset" and entry.action == "saved":
        return f"/launch?{urlencode({'target': entry.detail.get('target', ''), 'preset': entry.subject_id})}"
    return "/targets" if entry.subject_kind == "targets" else ""
