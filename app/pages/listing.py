"""The list of processes as its address has it: which are wanted, and the addresses that lead on from there. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from app.db.store import Filter
from app.errors import Invalid
from procdeck.states import ACTIVE, Outcome, State

PAGE_ROWS = 50
MAX_TRAIL = 100
"""Pages back to which "Newer" knows the way; from further on it leads to the newest page."""
MAX_WORDS = 500

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


@dataclass(frozen=True, slots=True)
class Listing:
    """What the query string of the list asks for. `trail` are the cursors of the pages before this one."""

    tab: Tab = ALL
    q: str = ""
    target: str = ""
    state: str = ""
    cursor: str = ""
    trail: tuple[str, ...] = ()

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Listing":
        """Read a query string; what it does not know it leaves alone. Raises Invalid."""
        tab, state = query.get("view", ALL.key) or ALL.key, query.get("state", "")
        if tab not in _TABS:
            _refuse("view", f"must be one of {', '.join(_TABS)}")
        if state and state not in STATUSES:
            _refuse("state", f"must be one of {', '.join(STATUSES)}")
        words = query.get("q", "").strip()
        if len(words) > MAX_WORDS:
            _refuse("q", f"must have at most {MAX_WORDS} characters")
        trail = tuple(cursor for cursor in query.get("trail", "").split(".") if cursor)
        return cls(
            # A state says more than a tab: both together would mostly be empty.
            tab=ALL if state else _TABS[tab],
            q=words.replace("\0", ""),
            target=query.get("target", ""),
            state=state,
            cursor=query.get("cursor", ""),
            trail=trail[-MAX_TRAIL:],
        )

    @property
    def is_filtered(self) -> bool:
        """Whether more than a tab was chosen: the counts of the tabs do not hold then."""
        return bool(self.q or self.target or self.state)

    @property
    def is_first(self) -> bool:
        return not self.cursor

    @property
    def states(self) -> tuple[State, ...]:
        chosen = tuple(state for state in TABS[0].states if state == self.state)
        return chosen or self.tab.states

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        chosen = tuple(outcome for outcome in Outcome if outcome == self.state)
        return chosen or self.tab.outcomes

    def filter(self) -> Filter:
        """The same as a condition on the record."""
        return Filter(states=self.states, outcomes=self.outcomes, target=self.target or None, q=self.q)

    # --- addresses ---------------------------------------------------------------------------------------------------

    def url(self) -> str:
        """The address of this page of the list."""
        given = {
            "view": "" if self.tab is ALL else self.tab.key,
            "q": self.q,
            "target": self.target,
            "state": self.state,
            "cursor": self.cursor,
            "trail": ".".join(self.trail),
        }
        query = urlencode({name: value for name, value in given.items() if value})
        return f"/processes?{query}" if query else "/processes"

    def tab_url(self, tab: Tab) -> str:
        """The same search under another tab."""
        return replace(self, tab=tab, state="", cursor="", trail=()).url()

    def without(self, name: str) -> str:
        """The same without one of its conditions."""
        return replace(self, cursor="", trail=(), **{name: ""}).url()  # type: ignore[arg-type]

    def older_url(self, cursor: str) -> str:
        """The next page: `cursor` is what the store gave for it."""
        trail = (*self.trail, self.cursor)[-MAX_TRAIL:] if self.cursor else ()
        return replace(self, cursor=cursor, trail=trail).url()

    def newer_url(self) -> str:
        """The page before this one; the newest when the way back is not known."""
        *trail, cursor = self.trail or ("",)
        return replace(self, cursor=cursor, trail=tuple(trail)).url()

    def api_url(self) -> str:
        """The same list from the API."""
        pairs = [("state", str(state)) for state in self.states]
        pairs += [("outcome", str(outcome)) for outcome in self.outcomes]
        pairs += [(name, getattr(self, name)) for name in ("target", "q", "cursor")]
        query = urlencode([(name, value) for name, value in pairs if value])
        return f"/api/v1/processes?{query}" if query else "/api/v1/processes"


def _refuse(field: str, message: str) -> None:
    raise Invalid(f"{field} {message}.", errors=[{"field": field, "message": message}])
