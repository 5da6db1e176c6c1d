"""Pages: what ran when, as a chart."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from app import timeline
from app.activity_view import took
from app.db.store import Store
from app.deps import StoreDep, SupervisorDep
from app.errors import Invalid
from app.pages import words
from app.pages.render import page, process_url
from app.pages.targets import launchable
from app.timeline import Bar, Range, Row, Span

router = APIRouter(include_in_schema=False)

MOST = 5000
"""Processes that are read for a page; of a range with more the newest are shown."""
BY_PROCESS_UP_TO = 50
"""Processes of all targets up to which each may have a row of its own."""
MAX_OF_TARGET = 200
"""Rows when each process of one target has its own."""
MAX_TARGET = 500
WHEN = "{when}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the query string asks for; ``begin`` and ``end`` are its ``from`` and ``to``."""

    range: str = ""
    begin: str = ""
    end: str = ""
    target: str = ""
    by: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Asked":
        """Read a query string; what it does not know it leaves alone."""
        given = {name: query.get(name, "").strip() for name in ("range", "from", "to", "target", "by")}
        target = given["target"].replace("\0", "")[:MAX_TARGET]
        return cls(given["range"], given["from"], given["to"], target, given["by"])

    def url(self, **changes: str) -> str:
        """The address of the page with changes."""
        wanted = replace(self, **changes)
        given = {
            "range": "" if wanted.begin or wanted.end or wanted.range == timeline.DEFAULT else wanted.range,
            "from": wanted.begin,
            "to": wanted.end,
            "target": wanted.target,
            "by": "" if wanted.by == "target" else wanted.by,
        }
        query = urlencode({name: value for name, value in given.items() if value})
        return f"/timeline?{query}" if query else "/timeline"

    def named(self, name: str) -> str:
        """The same for one of the ranges that end now."""
        return self.url(range=name, begin="", end="")

    def during(self, within: Range, **changes: str) -> str:
        """The same for another range."""
        return self.url(range="", begin=timeline.stamp(within.begin), end=timeline.stamp(within.end), **changes)


@dataclass(frozen=True, slots=True)
class Link:
    """A way to another range; without an address it is off. ``icon`` is empty when the word is all."""

    word: str
    icon: str
    url: str


@dataclass(frozen=True, slots=True)
class DrawnBar:
    """A bar with where it leads and what it says. In ``text`` `WHEN` stands for the times, which a browser shows in its
    own zone; ``told`` has them in UTC."""

    bar: Bar
    url: str
    text: str
    begin: datetime
    end: datetime

    @property
    def told(self) -> str:
        """The whole text."""
        same_day = self.begin.date() == self.end.date()
        until = f"{self.end:%H:%M:%S}" if same_day else f"{self.end.day} {self.end:%b %H:%M:%S}"
        return self.text.replace(WHEN, f"{self.begin.day} {self.begin:%b %H:%M:%S} to {until} UTC")


@router.get("/timeline")
async def show_timeline(request: Request, supervisor: SupervisorDep, store: StoreDep) -> Response:
    """What ran in a range of time; all of what is asked for stands in the query string."""
    now = datetime.now(UTC)
    asked = Asked.of(request.query_params)
    error = None
    try:
        within = timeline.range_of(asked.range, asked.begin, asked.end, now)
        if asked.by not in ("", "target", "process"):
            raise Invalid("by must be target or process.", errors=[{"field": "by", "message": "target or process"}])
    except Invalid as refusal:
        error = refusal.detail
        within = timeline.range_of("", "", "", now)
    found = [] if error else await run_in_threadpool(_read, store, within, asked.target or None)
    spans = found[:MOST]
    may_by_process = bool(asked.target) or len(spans) <= BY_PROCESS_UP_TO
    by_process = asked.by == "process" and may_by_process
    most = MAX_OF_TARGET if by_process else timeline.MAX_ROWS
    chart = timeline.chart(spans, within, now, by_process=by_process, most=most)
    return page(
        request,
        "timeline/page.html",
        status=422 if error else 200,
        asked=asked,
        error=error,
        within=within,
        is_now=bool(within.name),
        refresh_after=_REFRESH_AFTER.get(within.name),
        chart=chart,
        rows=[
            (row, _row_url(row, asked, by_process), [_drawn(bar, asked, now) for bar in row.bars]) for row in chart.rows
        ],
        by_process=by_process,
        may_by_process=may_by_process,
        was_refused=asked.by == "process" and not may_by_process,
        count=len(spans),
        is_cut=len(found) > MOST,
        most=MOST,
        links=_links(asked, within, now),
        ranges=_RANGE_WORDS,
        statuses=_statuses(spans),
        targets=launchable(supervisor),
        length=took(within.length.total_seconds()),
        json_url=None,
    )


_REFRESH_AFTER = {"1h": 5, "6h": 20, "24h": 60, "7d": 300}
"""Seconds after which a range that ends now is drawn anew though nothing happened: the time goes on. The shorter ones
are drawn anew with what happens as well."""
_RANGE_WORDS = {"1h": "1 hour", "6h": "6 hours", "24h": "24 hours", "7d": "7 days"}


def _read(store: Store, within: Range, target: str | None) -> list[Span]:
    """What ran in the range, at most one more than is shown. Blocks."""
    return [
        Span(run.id, run.name, run.target, run.started_at, run.stopped_at, str(run.outcome or run.state))
        for run in store.spans(within.begin, within.end, target, MOST + 1)
        if run.started_at is not None
    ]


def _statuses(spans: Iterable[Span]) -> list[tuple[str, int]]:
    return Bar(0, 0, list(spans)).statuses


def _row_url(row: Row, asked: Asked, by_process: bool) -> str:
    if by_process:
        return process_url(row.key)
    return asked.url(target=row.key, by="process")


def _drawn(bar: Bar, asked: Asked, now: datetime) -> DrawnBar:
    begin, end = bar.begin, bar.end(now)
    length = took((end - begin).total_seconds())
    if bar.count == 1:
        span = bar.spans[0]
        text = f"{span.name}: {words.status_word(span.status)}, {WHEN}, {length}{' so far' if bar.is_open else ''}"
        return DrawnBar(bar, process_url(span.id), text, begin, end)
    told = ", ".join(f"{count} {words.status_word(status).lower()}" for status, count in bar.statuses)
    text = f"{bar.count} processes of {bar.spans[0].target}: {told}; {WHEN}, {length}"
    # A little more than they took, so that none of them is cut off.
    room = max((end - begin) * 0.02, timedelta(seconds=1))
    during = Range(begin - room, end + room)
    if during.length < timeline.SHORTEST:
        during = during.zoomed(timeline.SHORTEST / during.length)
    url = asked.during(during, target=bar.spans[0].target, by="process")
    return DrawnBar(bar, url, text, begin, end)


def _links(asked: Asked, within: Range, now: datetime) -> list[Link]:
    """Earlier, later and zooming. What would show nothing but the future is off."""
    later = within.moved(0.5)
    is_later = not within.name and within.end < now
    later_url = _until_now(asked, within, now) if later.end >= now else asked.during(later)
    closer, wider = within.zoomed(0.5), within.zoomed(2)
    if within.name:
        # What ends now is looked at closer towards its end, not towards its middle.
        length = timeline.RANGES[within.name]
        closer, wider = Range(now - length / 2, now), Range(now - length * 2, now)
    return [
        Link("Earlier", "left", asked.during(within.moved(-0.5))),
        Link("Later", "right", later_url if is_later else ""),
        Link("Zoom in", "", asked.during(closer) if closer.length >= timeline.SHORTEST < within.length else ""),
        Link("Zoom out", "", asked.during(wider) if within.length < timeline.LONGEST else ""),
    ]


def _until_now(asked: Asked, within: Range, now: datetime) -> str:
    """The range of this length that ends now: by its name if it has one, so that it goes on with the time."""
    for name, length in timeline.RANGES.items():
        if -0.01 < within.length / length - 1 < timeline.AHEAD + 0.01:
            return asked.named(name)
    return asked.during(Range(now - within.length, now))
