"""The list of processes as its address has it: which are wanted, and the addresses that lead on from there. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from app.db.store import Filter
from app.errors import refuse
from app.search import EVERYTHING, Part, Search, parse, words
from procdeck.states import ACTIVE, Outcome, State

PAGE_SIZES = (25, 50, 100)
PAGE_ROWS = 50
MAX_TRAIL = 100
"""Pages back to which "Newer" knows the way; from further on it leads to the newest page."""

STARTED = {"1h": "in the last hour", "24h": "in the last 24 hours", "7d": "in the last 7 days", "30d": "in 30 days"}
"""The ranges that are offered, as the search has them, in words."""

SORTS = {"started": "Started", "took": "Took", "cpu": "CPU", "memory": "Memory"}
"""What processes can be ordered by: the greatest first, or with a `-` last."""
RECORDED = ("started", "took")
"""What is known of those that are over as well: what any few can be ordered by. The others are of active processes."""

PARAMETERS = frozenset(
    {"view", "search", "q", "target", "state", "started", "sort", "size", "cursor", "trail", "saved", "operation"}
)
"""What `Listing.of` reads."""

Counts = tuple[Mapping[State, int], Mapping[Outcome, int]]
"""How many processes there are in each state, and of each outcome."""


@dataclass(frozen=True, slots=True)
class Tab:
    """Processes grouped by what they mean to the reader."""

    key: str
    word: str
    states: tuple[State, ...] = ()
    outcomes: tuple[Outcome, ...] = ()

    def count(self, counts: Counts) -> int:
        """How many processes are under this tab."""
        by_state, by_outcome = counts
        if self.outcomes:
            return sum(by_outcome.get(outcome, 0) for outcome in self.outcomes)
        return sum(number for state, number in by_state.items() if not self.states or state in self.states)


ALL = Tab("all", "All")
TABS = (
    Tab("active", "Active", states=tuple(state for state in State if state in ACTIVE | {State.CREATED})),
    Tab(
        "failed",
        "Failed",
        outcomes=(Outcome.FAILED, Outcome.CRASHED, Outcome.TIMED_OUT, Outcome.NOT_STARTED, Outcome.LOST),
    ),
    Tab("stopped", "Stopped", outcomes=(Outcome.STOPPED,)),
    Tab("succeeded", "Succeeded", outcomes=(Outcome.SUCCEEDED,)),
    ALL,
)
_TABS = {tab.key: tab for tab in TABS}

STATUSES = (*(str(state) for state in TABS[0].states), *(str(outcome) for outcome in Outcome))
"""What `?state=` may be: one word for a state before the end, or for an outcome after it."""


class Chip(NamedTuple):
    """A condition that holds, and the address of the list without it."""

    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What the query string of the list asks for.

    ``started``, one of `STARTED`, is no part of ``search``, and is searched for with it; ``trail`` are the cursors of
    the pages before this one; ``saved`` is the id of the view that this began with, ``operation`` of the operation
    whose processes are shown, and then no other condition holds.
    """

    tab: Tab = ALL
    search: Search = EVERYTHING
    target: str = ""
    state: str = ""
    started: str = ""
    sort: str = ""
    size: int = PAGE_ROWS
    cursor: str = ""
    trail: tuple[str, ...] = ()
    saved: str = ""
    operation: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Listing":
        """Read a query string; what it does not know it leaves alone. Raises Invalid naming the parameter."""
        tab, state, sort = query.get("view", ALL.key) or ALL.key, query.get("state", ""), query.get("sort", "")
        search, started = _searched(query), query.get("started", "")
        size = query.get("size", "") or str(PAGE_ROWS)
        _check("view", tab, _TABS)
        _check("state", state, ("", *STATUSES))
        _check("started", started, ("", *STARTED))
        _check("sort", sort.removeprefix("-"), ("", *SORTS))
        _check("size", size, [str(size) for size in PAGE_SIZES])
        trail = tuple(place for place in query.get("trail", "").split(".") if place)
        search, started = _range(search, started)
        cursor = query.get("cursor", "")
        trail = trail[-MAX_TRAIL:]
        if operation := query.get("operation", ""):
            return cls(size=int(size), cursor=cursor, trail=trail, operation=operation)
        listing = cls(
            # A state says more than a tab: both together would mostly be empty.
            tab=ALL if state else _TABS[tab],
            search=search,
            target=query.get("target", ""),
            state=state,
            started=started,
            sort=sort,
            size=int(size),
            cursor=cursor,
            trail=trail,
            saved=query.get("saved", ""),
        )
        _ = listing.searched  # with the range it may be too long
        return listing

    @classmethod
    def of_string(cls, query: str) -> "Listing":
        """Read a query string as it stands in an address. Raises Invalid."""
        return cls.of(dict(parse_qsl(query)))

    @property
    def is_filtered(self) -> bool:
        """Whether more than a tab was chosen: the counts of the tabs do not hold then."""
        return bool(self.search.parts or self.target or self.state or self.started or self.operation)

    @property
    def is_first(self) -> bool:
        return not self.cursor

    @property
    def is_active(self) -> bool:
        """Whether all that is asked for is active, and so in memory."""
        return bool(self.states) and set(self.states) <= set(TABS[0].states)

    @property
    def is_sortable(self) -> bool:
        """Whether the order that is asked for is one of these processes, if there are not too many of them."""
        return bool(self.sort) and (self.is_active or self.sort.removeprefix("-") in RECORDED)

    @property
    def is_sorted(self) -> bool:
        """Whether the order is another than the newest first."""
        return self.is_sortable

    @property
    def states(self) -> tuple[State, ...]:
        chosen = tuple(state for state in TABS[0].states if state == self.state)
        return chosen or self.tab.states

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        chosen = tuple(outcome for outcome in Outcome if outcome == self.state)
        return chosen or self.tab.outcomes

    @property
    def searched(self) -> Search:
        """All that is searched for: what was typed, and the range that was chosen."""
        return self.search.plus("started", self.started) if self.started else self.search

    def filter(self) -> Filter:
        """The same as a condition on the record."""
        return Filter(self.states, self.outcomes, self.target or None, search=self.searched)

    def said(self) -> str:
        """The conditions in words."""
        if self.operation:
            return "what one operation touched"
        parts = [self.tab.word] if self.tab is not ALL else []
        parts += [self.state.replace("_", " ").capitalize()] if self.state else []
        parts += [f"target {self.target}"] if self.target else []
        parts += [f"started {STARTED[self.started]}"] if self.started else []
        parts += [f"search {self.search.text}"] if self.search.parts else []
        return ", ".join(parts) or "all processes"

    # --- addresses ---------------------------------------------------------------------------------------------------

    def conditions(self) -> dict[str, str]:
        """What makes this list the one that it is, as the parameters of its address: not how much of it is shown, nor
        which part."""
        given = {
            "view": "" if self.tab is ALL else self.tab.key,
            "search": self.search.text,
            "target": self.target,
            "state": self.state,
            "started": self.started,
            "sort": self.sort if self.is_sortable else "",
            "operation": self.operation,
        }
        return {name: value for name, value in given.items() if value}

    def query(self) -> str:
        """`conditions` as a query string: what a view keeps. Two lists of the same processes have the same."""
        return urlencode(self.conditions())

    def url(self) -> str:
        """The address of this page of the list."""
        place = {
            "size": "" if self.size == PAGE_ROWS else str(self.size),
            "cursor": self.cursor,
            "trail": ".".join(self.trail),
            "saved": self.saved,
        }
        query = urlencode(self.conditions() | {name: value for name, value in place.items() if value})
        return f"/processes?{query}" if query else "/processes"

    def hidden(self, *shown: str) -> dict[str, str]:
        """What a form has to carry along besides the inputs of these names."""
        kept = self.conditions() | {"size": "" if self.size == PAGE_ROWS else str(self.size), "saved": self.saved}
        return {name: value for name, value in kept.items() if value and name not in shown}

    def first(self) -> "Listing":
        """The same from its beginning."""
        return replace(self, cursor="", trail=())

    def under(self, tab: Tab) -> "Listing":
        """The same search under another tab."""
        return replace(self.first(), tab=tab, state="", operation="")

    def unsorted(self) -> "Listing":
        """The same from its beginning, the newest first."""
        return replace(self.first(), sort="")

    def tab_url(self, tab: Tab) -> str:
        """The address of `under`."""
        return self.under(tab).url()

    def size_url(self, size: int) -> str:
        """The same in pages of another size."""
        return replace(self.first(), size=size).url()

    def sort_url(self, sort: str) -> str:
        """The same in another order; once more turns it around."""
        return replace(self.first(), sort=f"-{sort}" if self.sort == sort else sort).url()

    def without(self, name: str) -> str:
        """The same without one of its conditions."""
        return replace(self.first(), **{name: ""}).url()  # type: ignore[arg-type]

    def without_part(self, part: Part) -> str:
        """The same without one part of the search."""
        return replace(self.first(), search=self.search.minus(part)).url()

    def chips(self) -> list[Chip]:
        """The conditions that hold, besides the tab; each part of the search is one."""
        chips = [Chip(part.text, self.without_part(part)) for part in self.search.parts]
        if self.target:
            chips.append(Chip(f"target: {self.target}", self.without("target")))
        if self.state:
            chips.append(Chip(f"state: {self.state.replace('_', ' ')}", self.without("state")))
        if self.started:
            chips.append(Chip(f"started {STARTED[self.started]}", self.without("started")))
        if self.operation:
            chips.append(Chip("touched by one operation", self.without("operation")))
        return chips

    def older_url(self, cursor: str) -> str:
        """The next page: `cursor` is what the store gave for it."""
        trail = (*self.trail, self.cursor)[-MAX_TRAIL:] if self.cursor else ()
        return replace(self, cursor=cursor, trail=trail).url()

    def newer_url(self) -> str:
        """The page before this one; the newest when the way back is not known."""
        *trail, cursor = self.trail or ("",)
        return replace(self, cursor=cursor, trail=tuple(trail)).url()

    def api_url(self) -> str:
        """The same list from the API; of an operation, what tells the ids of its processes."""
        if self.operation:
            return f"/api/v1/operations/{quote(self.operation, safe='')}"
        pairs = [("state", str(state)) for state in self.states]
        pairs += [("outcome", str(outcome)) for outcome in self.outcomes]
        pairs += [
            ("target", self.target),
            ("search", self.searched.text),
            ("cursor", "" if self.is_sorted else self.cursor),
        ]
        pairs += [("limit", str(self.size) if self.size != PAGE_ROWS else "")]
        query = urlencode([(name, value) for name, value in pairs if value])
        return f"/api/v1/processes?{query}" if query else "/api/v1/processes"


def unknown(names: Iterable[str], *more: str) -> list[str]:
    """Those of the names of parameters that mean nothing to a list; ``more`` are known besides."""
    return sorted({name for name in names if name not in PARAMETERS and name not in more})


def _searched(query: Mapping[str, str]) -> Search:
    search = parse(query.get("search", ""))
    # What old addresses call q are words, whatever they look like.
    given = query.get("q", "")
    return parse(f"{search.text} {words(given).text}") if given else search


def _range(search: Search, started: str) -> tuple[Search, str]:
    """The range, which may stand in the search, and the rest of that."""
    parts = search.of("started")
    if not started and len(parts) == 1 and parts[0].value in STARTED:
        started = str(parts[0].value)
    if started:
        for part in parts:
            search = search.minus(part)
    return search, started


def _check(field: str, value: str, known: Mapping[str, object] | Sequence[str]) -> None:
    if value not in known:
        refuse(field, f"must be one of {', '.join(filter(None, known))}")
