"""Pages: what ran when, as a chart."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from app import timeline, units
from app.db.store import Run, Store
from app.deps import StoreDep, SupervisorDep
from app.errors import Invalid
from app.pages import words
from app.pages.render import page, process_url
from app.pages.targets import launchable
from app.timeline import Bar, Range, Row, Span
from procdeck.states import Outcome

router = APIRouter(include_in_schema=False)

MOST = 3000
"""Processes that are read for a page one by one; of a range with more they are counted."""
BUDGET = 2.0
"""Seconds after which counting ends; what it did not come to is marked."""
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
    year: int

    @property
    def told(self) -> str:
        """The whole text."""
        until = ""
        if self.end != self.begin:
            same_day = self.begin.date() == self.end.date()
            until = f" to {self.end:%H:%M:%S}" if same_day else f" to {_told(self.end, self.year)}"
        return self.text.replace(WHEN, f"{_told(self.begin, self.year)}{until} UTC")


def _told(at: datetime, year: int) -> str:
    return f"{timeline.day(at, year)} {at:%H:%M:%S}"


@dataclass(frozen=True, slots=True)
class Ran:
    """What ran in a range; ``is_counted``: many at a time, and what ended before ``since`` is not among it."""

    spans: list[Span]
    is_counted: bool = False
    since: datetime | None = None

    @property
    def count(self) -> int:
        """How many processes."""
        return sum(span.count for span in self.spans)


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
    ran = Ran([]) if error else await run_in_threadpool(_read, store, within, asked.target or None)
    may_by_process = not ran.is_counted and (bool(asked.target) or ran.count <= BY_PROCESS_UP_TO)
    by_process = asked.by == "process" and may_by_process
    most = MAX_OF_TARGET if by_process else timeline.MAX_ROWS
    chart = timeline.chart(ran.spans, within, now, by_process=by_process, most=most, is_counted=ran.is_counted)
    return page(
        request,
        "timeline/page.html",
        status=422 if error else 200,
        asked=asked,
        error=error,
        within=within,
        is_now=bool(within.name),
        is_ahead=within.begin >= now,
        refresh_after=_refresh_after(within),
        chart=chart,
        rows=[
            (row, _row_url(row, asked, by_process), [_drawn(bar, asked, now) for bar in row.bars]) for row in chart.rows
        ],
        by_process=by_process,
        may_by_process=may_by_process,
        was_refused=asked.by == "process" and not may_by_process,
        shown_one_by_one=MOST if asked.target else BY_PROCESS_UP_TO,
        count=ran.count,
        is_counted=ran.is_counted,
        since=ran.since,
        since_place=max(within.place(ran.since), 0.0) if ran.since else None,
        links=_links(asked, within, now),
        ranges=_RANGE_WORDS,
        statuses=timeline.statuses_of(ran.spans),
        targets=launchable(supervisor),
        length=units.span(round(within.asked.total_seconds())),
        json_url=None,
    )


def _refresh_after(within: Range) -> int | None:
    """Seconds after which a range that ends now is drawn anew though nothing happened: the time goes on. The shorter
    ones are drawn anew with what happens as well."""
    return min(max(round(within.asked.total_seconds() / 1000), 5), 300) if within.name else None


_RANGE_WORDS = {"1h": "1 hour", "6h": "6 hours", "24h": "24 hours", "7d": "7 days"}


def _read(store: Store, within: Range, target: str | None) -> Ran:
    """What ran in the range: one by one, or counted if there is too much of it. Blocks."""
    runs = store.spans(within.begin, within.end, target, MOST + 1)
    if len(runs) <= MOST:
        return Ran(_spans(runs))
    found = store.counted(within.begin, within.end, target, MOST, BUDGET)
    counted = [
        Span(heap.id, heap.name, heap.target, heap.first, heap.end, heap.status, heap.count, heap.last)
        for heap in found.heaps
    ]
    return Ran(_spans(found.runs) + counted, is_counted=True, since=found.since)


def _spans(runs: Iterable[Run]) -> list[Span]:
    """Runs as spans; what never ran is where it ended."""
    return [
        Span(run.id, run.name, run.target, began, run.stopped_at, str(run.outcome or run.state))
        for run in runs
        if (began := run.started_at or run.stopped_at) is not None
    ]


def _row_url(row: Row, asked: Asked, by_process: bool) -> str:
    if by_process:
        return process_url(row.key)
    return asked.url(target=row.key, by="process")


def _drawn(bar: Bar, asked: Asked, now: datetime) -> DrawnBar:
    begin, end = bar.begin, bar.end(now)
    length = units.duration((end - begin).total_seconds())
    if bar.count == 1:
        span = bar.spans[0]
        if span.status == Outcome.NOT_STARTED:
            text = f"{span.name}: {words.status_word(span.status)}, it never ran, {WHEN}"
        else:
            text = f"{span.name}: {words.status_word(span.status)}, {WHEN}, {length}{' so far' if bar.is_open else ''}"
        return DrawnBar(bar, process_url(span.id), text, begin, end, now.year)
    told = ", ".join(f"{count:,} {words.status_word(status).lower()}" for status, count in bar.statuses)
    text = f"{bar.count:,} processes of {bar.spans[0].target}: {told}; {WHEN}, {length}"
    # A little more than they took, so that none of them is cut off.
    room = max((end - begin) * 0.02, timedelta(seconds=1))
    during = Range(begin - room, end + room)
    if during.length < timeline.SHORTEST:
        during = during.zoomed(timeline.SHORTEST / during.length)
    url = asked.during(during, target=bar.spans[0].target, by="process")
    return DrawnBar(bar, url, text, begin, end, now.year)


def _links(asked: Asked, within: Range, now: datetime) -> list[Link]:
    """Earlier, later and zooming. None of them leads to more of the future than the present moment."""
    later = within.moved(0.5)
    is_later = not within.name and within.end < now
    later_url = _until_now(asked, within, now) if later.end >= now else asked.during(later)
    return [
        Link("Earlier", "left", asked.during(within.moved(-0.5))),
        Link("Later", "right", later_url if is_later else ""),
        Link("Zoom in", "", _zoomed(asked, within, now, 0.5) if within.asked >= 2 * timeline.SHORTEST else ""),
        Link("Zoom out", "", _zoomed(asked, within, now, 2) if within.asked < timeline.LONGEST else ""),
    ]


def _zoomed(asked: Asked, within: Range, now: datetime, factor: float) -> str:
    """Around the middle; what ends about now goes on to do so, and so does what would go beyond it."""
    ends_now = within.name or abs(within.end - now) <= timeline.AHEAD * within.length
    other = within.zoomed(factor)
    if ends_now or other.end > now:
        return asked.named(Range.until(now, within.asked * factor).name)
    return asked.during(other)


def _until_now(asked: Asked, within: Range, now: datetime) -> str:
    """The range of this length that ends now, and goes on with the time; the usual one if it is about that."""
    for name, length in timeline.RANGES.items():
        if -0.01 < within.length / length - 1 < timeline.AHEAD + 0.01:
            return asked.named(name)
    return asked.named(Range.until(now, within.length).name)
