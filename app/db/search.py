"""Looking for processes, newest first, in a bounded time however many there are.

A condition that an index answers in the order of the numbers is a source of candidates; the one with the fewest leads,
and the others are checked on its candidates. Where even those are many they are looked at in stretches of numbers, the
newest first, until enough are found or the time is over: then the search can be continued from there.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from time import monotonic
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    cast,
    exists,
    false,
    func,
    not_,
    or_,
    select,
    true,
    union_all,
)
from sqlmodel import SQLModel

import app.db.models  # noqa: F401  the tables
from app.bulk import Chosen
from app.lifecycle import PROCESS_FIELDS, Process
from app.search import EVERYTHING, WORD, Part, Search
from procdeck.states import ACTIVE, ALIVE, FINAL, Outcome, State

_process = SQLModel.metadata.tables["process"]
_label = SQLModel.metadata.tables["label"]

FEW = 5000
"""Candidates that are looked at in one go."""
MOST_KEYS = 50
"""Values of one index that are looked up one by one."""
MOST_TARGETS = 2000
"""Targets that are compared with a pattern; with more of them the record itself is."""
FIRST_STRETCH = 2000
"""Candidates in the first stretch."""
MOST_CHECKED = 20_000
"""Candidates at most in a stretch of which the arguments have to be read; SQLite takes no more than 32,766 numbers."""
CLOCK_SLACK = timedelta(hours=1)
"""By so much the clock may have been set back: numbers and times of creation have one order but for that."""

NOT_OVER = tuple(state for state in State if state not in FINAL)
LIVING = tuple(state for state in State if state in ALIVE)
"""Those that are not over and may have started."""

Rows = Callable[[Select[Any]], Sequence[Sequence[Any]]]
Condition = ColumnElement[bool]
Check = Callable[[Mapping[str, Any]], bool]
"""A condition on the spec of a process."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which processes to list: all conditions hold together, an empty one holds always.

    ``labels`` are (key, value), where value None means any; ``q`` are words that all occur in name, target or
    arguments.
    """

    states: Sequence[State] = ()
    outcomes: Sequence[Outcome] = ()
    target: str | None = None
    name: str | None = None
    labels: Sequence[tuple[str, str | None]] = ()
    q: str = ""
    search: Search = EVERYTHING


@dataclass(frozen=True, slots=True)
class Found:
    """Processes, newest first. ``next`` is the number below which the others are, None when there are none.

    ``searched_back_to`` is when the last process that was looked at was recorded, if the time was over before all were.
    """

    items: list[Process]
    next: int | None = None
    searched_back_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Key:
    """A condition that an index answers: an equality, with numbers in their order, or where it is said a range."""

    number: ColumnElement[int]
    condition: Condition


@dataclass(frozen=True, slots=True)
class _Rule:
    """One condition of a search.

    ``sql`` holds of what is meant, and perhaps of more: then ``check`` tells. ``keys`` are equalities of which one
    holds exactly when ``sql`` does; ``subset`` are ranges that have all for which it holds, and perhaps others, each
    only once and in no order.
    """

    sql: Condition
    check: Check | None = None
    keys: Sequence[_Key] | None = None
    subset: Sequence[_Key] | None = None


@dataclass(slots=True)
class _Plan:
    """``lead`` gives the candidates, None: all are. ``few``: so few that they are looked at in one go."""

    lead: _Rule | None
    rest: list[Condition]
    checks: list[Check]
    few: bool = False
    floor: int = 0


class Finder:
    """One look for what ``wanted`` says; ``rows`` runs a query. Blocks."""

    def __init__(self, rows: Rows, wanted: Filter, now: datetime | None = None) -> None:
        self._rows = rows
        self._now = now or datetime.now(UTC)
        self._floor = 0
        self._rules = [*self._of_filter(wanted), *self._of_search(wanted.search)]
        self._exact = self._numbers_of_words(wanted.search)

    # --- answers -----------------------------------------------------------------------------------------------------

    def page(self, limit: int, below: int | None, budget: float | None) -> Found:
        """At most ``limit`` processes with numbers lower than ``below``; ``budget`` are seconds, None for ever."""
        plan = self._plan(below)
        exact: list[Process] = []
        others: list[Condition] = []
        if self._exact:
            # On the first page, and none of these on a later one; those that it had no room for come in their order.
            of_lead = [] if plan.lead is None else [plan.lead.sql]
            exact = self._look(plan, [_process.c.number.in_(self._exact), *of_lead], limit)
            others = [_process.c.number.not_in([process.number for process in exact])]
            if below is None:
                limit -= len(exact)
            else:
                exact = []
        found: list[Process] = []
        deadline = None if budget is None else monotonic() + budget
        for candidates, left_below in self._stretches(plan, below, limit + 1):
            found += self._look(plan, [candidates, *others], limit + 1 - len(found))
            if len(found) > limit:
                following = found[limit - 1].number if limit else found[0].number + 1
                return Found(exact + found[:limit], following)
            if left_below is not None and deadline is not None and monotonic() > deadline:
                return Found(exact + found, left_below, self._created(left_below))
        return Found(exact + found)

    def count(self, at_most: int, budget: float | None) -> tuple[int, bool]:
        """How many there are, and whether that is exact: it is not when there are more than ``at_most``, or the time
        was over."""
        plan = self._plan(None)
        deadline = None if budget is None else monotonic() + budget
        count = 0
        for candidates, left_below in self._stretches(plan, None, at_most + 1):
            count += self._tally(plan, candidates, at_most + 1 - count)
            if count > at_most:
                return at_most, False
            if left_below is not None and deadline is not None and monotonic() > deadline:
                return count, False
        return count, True

    def brief(self, at_most: int, budget: float | None = None) -> list[Chosen]:
        """The first ``at_most`` processes; `page` reads all of each, and takes ten times as long. Raises TimeoutError
        when ``budget`` seconds are over before all were looked at; None is for ever."""
        deadline = None if budget is None else monotonic() + budget
        plan = self._plan(None)
        found: list[Chosen] = []
        if self._exact:
            of_lead = [] if plan.lead is None else [plan.lead.sql]
            found += self._briefly(plan, [_process.c.number.in_(self._exact), *of_lead], at_most)
        for candidates, left_below in self._stretches(plan, None, at_most):
            found += self._briefly(plan, [candidates, *self._not_exact()], at_most - len(found))
            if len(found) >= at_most:
                break
            if left_below is not None and deadline is not None and monotonic() > deadline:
                raise TimeoutError(f"not all were looked at within {budget:g} s")
        return found

    def _briefly(self, plan: _Plan, candidates: Sequence[Condition], limit: int) -> list[Chosen]:
        conditions = [*candidates, *plan.rest]
        if plan.checks:
            conditions = [_process.c.number.in_(self._checked(plan, candidates, limit))]
        query = select(_process.c.id, _process.c.name, _process.c.state).where(*conditions)
        rows = self._rows(query.order_by(_process.c.number.desc()).limit(limit))
        return [Chosen(*row) for row in rows]

    def _tally(self, plan: _Plan, candidates: Condition, at_most: int) -> int:
        if plan.checks:
            return len(self._checked(plan, [candidates], at_most))
        numbers = select(_process.c.number).where(candidates, *plan.rest).limit(at_most).subquery()
        count: int = self._rows(select(func.count()).select_from(numbers))[0][0]
        return count

    def _look(self, plan: _Plan, candidates: Sequence[Condition], limit: int) -> list[Process]:
        conditions = [*candidates, *plan.rest]
        if plan.checks:
            conditions = [_process.c.number.in_(self._checked(plan, candidates, limit))]
        query = select(*_COLUMNS).where(*conditions).order_by(_process.c.number.desc()).limit(limit)
        return [Process(*row) for row in self._rows(query)]

    def _checked(self, plan: _Plan, candidates: Sequence[Condition], limit: int) -> list[int]:
        """The numbers of the first candidates for which all holds."""
        query = select(_process.c.number, _process.c.spec).where(*candidates, *plan.rest)
        rows = self._rows(query.order_by(_process.c.number.desc()))
        held = (number for number, spec in rows if all(check(spec) for check in plan.checks))
        return list(islice(held, limit))

    def _not_exact(self) -> list[Condition]:
        return [_process.c.number.not_in(self._exact)] if self._exact else []

    def _created(self, number: int) -> datetime | None:
        query = select(_process.c.created_at).where(_process.c.number >= number).order_by(_process.c.number).limit(1)
        rows = self._rows(query)
        return rows[0][0] if rows else None

    # --- how it is looked for ----------------------------------------------------------------------------------------

    def _plan(self, below: int | None) -> _Plan:
        leads = [rule for rule in self._rules if rule.keys is not None or rule.subset is not None]
        checks = [rule.check for rule in self._rules if rule.check is not None]
        if len(self._rules) == 1 and leads and leads[0].keys is not None:
            return _Plan(leads[0], [], checks, floor=self._floor)
        lead, count = None, FEW
        for rule in leads:
            found = self._estimate(rule, below)
            if found < count:
                lead, count = rule, found
        few = lead is not None
        lead = lead or next((rule for rule in leads if rule.keys is not None), None)
        rest = [rule.sql for rule in self._rules if rule is not lead or rule.keys is None]
        return _Plan(lead, rest, checks, few, self._floor)

    def _estimate(self, rule: _Rule, below: int | None) -> int:
        """How many candidates a rule gives, at most `FEW`."""
        numbers = _union([branch.limit(FEW) for branch in _branches(rule, self._floor, below)])
        count: int = self._rows(select(func.count()).select_from(numbers.limit(FEW).subquery()))[0][0]
        return count

    def _stretches(self, plan: _Plan, below: int | None, enough: int) -> Iterator[tuple[Condition, int | None]]:
        """(a condition on the number, the number below which candidates are left or None), the newest first."""
        number, floor = _process.c.number, plan.floor
        if plan.lead is not None and (plan.few or not (plan.rest or plan.checks)):
            branches = _branches(plan.lead, floor, below)
            if not plan.few:
                branches = [branch.order_by(branch.selected_columns[0].desc()).limit(enough) for branch in branches]
            yield _among(plan.lead, branches), None
            return
        if plan.lead is None and not plan.rest:
            yield _between(number, floor, below), None
            return
        size = FIRST_STRETCH
        until = self._last() + 1 if below is None else below
        while until > floor:
            began = monotonic()
            low = max(self._low(plan.lead, floor, until, size), floor)
            is_last = low <= max(floor, 1)
            yield _among(plan.lead, _branches(plan.lead, low, until)), None if is_last else low
            if is_last:
                return
            until = low
            size = _next_size(size, monotonic() - began)
            if plan.checks:
                size = min(size, MOST_CHECKED)

    def _low(self, lead: _Rule | None, floor: int, until: int, size: int) -> int:
        """The lowest number of the next ``size`` candidates."""
        if lead is None:
            return until - size
        branches = _branches(lead, floor, until)
        ordered = [branch.order_by(branch.selected_columns[0].desc()).limit(size) for branch in branches]
        numbers = _union(ordered).subquery()
        query = select(numbers.c[0]).order_by(numbers.c[0].desc()).offset(size - 1).limit(1)
        rows = self._rows(query)
        return rows[0][0] if rows else floor

    def _last(self) -> int:
        last: int | None = self._rows(select(func.max(_process.c.number)))[0][0]
        return last or 0

    # --- what is looked for ------------------------------------------------------------------------------------------

    def _of_filter(self, wanted: Filter) -> Iterator[_Rule]:
        if wanted.states:
            yield _states(wanted.states)
        if wanted.outcomes:
            yield _outcomes(wanted.outcomes)
        if wanted.target is not None:
            yield _equal("target", [wanted.target])
        if wanted.name is not None:
            yield _equal("name", [wanted.name])
        for key, value in wanted.labels:
            yield self._label(key, value)
        for word in wanted.q.split():
            yield _Rule(_contains(word))

    def _of_search(self, search: Search) -> Iterator[_Rule]:
        for kind, rule in _ALTERNATIVES.items():
            if parts := search.of(kind):
                yield rule(self, parts)
        for part in search.parts:
            if part.excluded:
                yield self._excluded(part)
            elif part.kind not in _ALTERNATIVES:
                yield self._single(part)

    def _excluded(self, part: Part) -> _Rule:
        if part.kind in ("state", "is"):
            states = _states_of(part)
            if states is not None:
                return _states([state for state in State if state not in states])
        rule = _ALTERNATIVES[part.kind](self, (part,)) if part.kind in _ALTERNATIVES else self._single(part)
        if rule.check is not None:
            return _Rule(_NO_CONDITION, _negated(rule.check))
        return _Rule(not_(func.coalesce(rule.sql, false())))

    def _single(self, part: Part) -> _Rule:
        if part.kind == WORD:
            return _word(part)
        if part.kind == "arg":
            return _argument(part)
        if part.kind == "label":
            return self._label(part.key or "", part.value)
        if part.kind == "is":
            return _is(part)
        return self._within(part)

    def _within(self, part: Part) -> _Rule:
        since = self._now - part.within
        if part.kind == "created":
            if not part.excluded:
                self._floor = max(self._floor, self._first_since(since - CLOCK_SLACK))
            return _Rule(_process.c.created_at >= since)
        ended = _Key(_unindexed_number(), _process.c.stopped_at >= since)
        if part.kind == "ended":
            return _Rule(_process.c.stopped_at >= since, subset=[ended])
        # What started since then has ended since then, or lives.
        living = _Key(_process.c.number, _process.c.state.in_(LIVING))
        return _Rule(_process.c.started_at >= since, subset=[ended, living])

    def _first_since(self, since: datetime) -> int:
        """A number below which everything was recorded before ``since``."""
        low, high = 0, self._last() + 1
        while low < high:
            middle = (low + high) // 2
            query = select(_process.c.number, _process.c.created_at).where(_process.c.number >= middle)
            rows = self._rows(query.order_by(_process.c.number).limit(1))
            if rows and rows[0][1] < since:
                low = rows[0][0] + 1
            else:
                high = middle
        return low

    def _label(self, key: str, value: str | None) -> _Rule:
        has = [_label.c.process_id == _process.c.id, _label.c.key == key]
        if value is not None:
            return _Rule(exists().where(*has, _label.c.value == value), keys=[_label_key(key, value)])
        values = self._distinct(_label.c.value, MOST_KEYS, _label.c.key == key)
        keys = None if len(values) > MOST_KEYS else [_label_key(key, each) for each in values]
        return _Rule(exists().where(*has), keys=keys)

    def targets(self, parts: Sequence[Part]) -> _Rule:
        """Processes of one of these targets."""
        if not all(":" in (part.value or "") and not part.is_prefix for part in parts):
            known = self._distinct(_process.c.target, MOST_TARGETS)
            if len(known) > MOST_TARGETS:
                return _Rule(or_(*(_target_like(part) for part in parts)))
            return _equal("target", [name for name in known if any(is_target(name, part) for part in parts)])
        return _equal("target", [part.value or "" for part in parts])

    def _distinct(self, column: ColumnElement[str], most: int, *where: Condition) -> list[str]:
        """The different values of a column, found by stepping through an index that begins with it (and with what
        ``where`` compares); one more than ``most`` when there are more."""
        first = select(func.min(column).label("value")).where(*where)
        steps = first.cte("steps", recursive=True)
        following = select(func.min(column)).where(*where, column > steps.c.value).scalar_subquery()
        steps = steps.union_all(select(following).where(steps.c.value.is_not(None)))
        rows = self._rows(select(steps.c.value).where(steps.c.value.is_not(None)).limit(most + 1))
        return [row[0] for row in rows]

    def _numbers_of_words(self, search: Search) -> list[int]:
        numbers = [part.number for part in search.of(WORD) if part.number is not None]
        ids = [part.id for part in search.of(WORD) if part.id is not None]
        if not (numbers or ids):
            return []
        query = select(_process.c.number).where(or_(_process.c.number.in_(numbers), _process.c.id.in_(ids)))
        return [row[0] for row in self._rows(query)]


def _next_size(size: int, took: float) -> int:
    """How many candidates to look at next, when ``size`` of them took so many seconds: some 30 ms of them."""
    if took < 0.015:
        return size * 2
    return max(size // 2, FIRST_STRETCH) if took > 0.06 else size


# --- candidates --------------------------------------------------------------------------------------------------


def _branches(rule: _Rule | None, low: int, below: int | None) -> list[Select[Any]]:
    """Queries for the numbers of a rule's candidates from ``low`` on, without any twice."""
    number = _process.c.number
    if rule is None:
        return [select(number).where(_between(number, low, below))]
    keys = (rule.subset if rule.keys is None else rule.keys) or [_Key(number, false())]
    return [select(key.number).where(key.condition, _between(key.number, low, below)) for key in keys]


def _union(queries: Sequence[Select[Any]]) -> Select[Any]:
    """All that any of ``queries`` gives, which have one column; each keeps its own order and limit."""
    if len(queries) == 1:
        return queries[0]
    wrapped = [select(query.subquery().c[0].label("number")) for query in queries]
    return select(union_all(*wrapped).subquery().c[0])


def _among(lead: _Rule | None, branches: Sequence[Select[Any]]) -> Condition:
    if lead is None:
        (only,) = branches
        assert only.whereclause is not None
        return only.whereclause
    return _process.c.number.in_(_union(branches))


def _between(number: ColumnElement[int], low: int, below: int | None) -> Condition:
    conditions = [number >= low] if low > 0 else []
    return and_(*conditions, *([number < below] if below is not None else []), _NO_CONDITION)


# --- rules -------------------------------------------------------------------------------------------------------


def plain(name: str) -> ColumnElement[str]:
    """The text of a column for a comparison that shall not choose an index: the candidates are chosen already."""
    return cast(_process.c[name], _process.c.name.type)


def _unindexed_number() -> ColumnElement[int]:
    """The number beside a range that chooses the index: it would be compared instead, since most of all rows have it
    in their order."""
    return cast(_process.c.number, _process.c.number.type)


def _equal(name: str, values: Sequence[str]) -> _Rule:
    keys = [_Key(_process.c.number, _process.c[name] == value) for value in values]
    return _Rule(plain(name).in_([str(value) for value in values]), keys=keys if len(keys) <= MOST_KEYS else None)


def _states(states: Sequence[State]) -> _Rule:
    return _equal("state", states)


def _outcomes(outcomes: Sequence[Outcome]) -> _Rule:
    return _equal("outcome", outcomes)


def _label_key(key: str, value: str) -> _Key:
    return _Key(_label.c.number, and_(_label.c.key == key, _label.c.value == value))


def _state_rule(_finder: Finder, parts: Sequence[Part]) -> _Rule:
    values = {part.value for part in parts}
    states = [state for state in State if state in values]
    outcomes = [outcome for outcome in Outcome if outcome in values and outcome not in _STATES]
    by_state, by_outcome = _states(states), _outcomes(outcomes)
    if not outcomes or not states:
        return by_state if states else by_outcome
    # Each process once: what has an outcome is in none of the states before the end.
    if not set(states) & FINAL:
        return _Rule(or_(by_state.sql, by_outcome.sql), keys=[*(by_state.keys or ()), *(by_outcome.keys or ())])
    return _Rule(or_(by_state.sql, by_outcome.sql))


_STATES = frozenset(map(str, State))


def _outcome_rule(_finder: Finder, parts: Sequence[Part]) -> _Rule:
    values = {part.value for part in parts}
    return _outcomes([outcome for outcome in Outcome if outcome in values])


def _exit_rule(_finder: Finder, parts: Sequence[Part]) -> _Rule:
    code = _process.c.exitcode
    compared = {"=": code.__eq__, "<": code.__lt__, "<=": code.__le__, ">": code.__gt__, ">=": code.__ge__}
    return _Rule(or_(*(compared[sign](value) for sign, value in (part.comparison for part in parts))))


def _name_rule(_finder: Finder, parts: Sequence[Part]) -> _Rule:
    if not any(part.is_prefix for part in parts):
        return _equal("name", [part.value or "" for part in parts])
    return _Rule(or_(*(_text_is("name", part) for part in parts)))


def _by_rule(_finder: Finder, parts: Sequence[Part]) -> _Rule:
    return _Rule(or_(*(_text_is("requested_by", part) for part in parts)))


def _text_is(name: str, part: Part) -> Condition:
    value = part.value or ""
    return _begins(plain(name), value) if part.is_prefix else plain(name) == value


def _begins(text: ColumnElement[str], beginning: str) -> Condition:
    """Whether ``text`` begins so; unlike LIKE, which ignores case on one of the databases."""
    return func.substr(text, 1, len(beginning)) == beginning


def is_target(name: str, part: Part) -> bool:
    """Whether a part of the kind `target` means the target of this name."""
    value, short = part.value or "", name.rpartition(":")[2]
    return name.startswith(value) or short.startswith(value) if part.is_prefix else value in (name, short)


def _target_like(part: Part) -> Condition:
    value, target = part.value or "", plain("target")
    short = _process.c.target.contains(f":{value}", autoescape=True)
    if part.is_prefix:
        return or_(_begins(target, value), short)
    return or_(target == value, and_(short, func.substr(target, func.length(target) - len(value)) == f":{value}"))


def _states_of(part: Part) -> frozenset[State] | None:
    """The states that a part of the kind `state` or `is` means; None when it means something else."""
    if part.kind == "is":
        return _CONDITIONS.get(part.value or "")
    return frozenset({State(part.value)}) if part.value in _STATES else None


_CONDITIONS = {"alive": ALIVE, "active": ACTIVE, "over": FINAL}


def _is(part: Part) -> _Rule:
    states = _states_of(part)
    if states is not None:
        return _states([state for state in State if state in states])
    if part.value == "daemon":
        return _Rule(_process.c.daemon)
    is_relaunch = _process.c.origin_id.is_not(None)
    return _Rule(is_relaunch, subset=[_Key(_unindexed_number(), is_relaunch)])


def _word(part: Part) -> _Rule:
    conditions = [_contains(part.value or "")]
    if part.number is not None:
        conditions.append(_process.c.number == part.number)
    if part.id is not None:
        conditions.append(_process.c.id == part.id)
    return _Rule(or_(*conditions))


def _contains(text: str) -> Condition:
    return _process.c.search.contains(text.casefold(), autoescape=True)


def _negated(check: Check) -> Check:
    return lambda spec: not check(spec)


# --- arguments ---------------------------------------------------------------------------------------------------


def arguments_text(spec: Mapping[str, Any]) -> str:
    """The arguments in the spec of a process, as they are searched."""
    return json.dumps([spec.get("args", []), spec.get("kwargs", {})], ensure_ascii=False)


def _argument(part: Part) -> _Rule:
    if part.key is None:
        text = (part.value or "").casefold()
        return _Rule(_contains(text), lambda spec: text in arguments_text(spec).casefold())
    is_name = not (_is_place(part.key) or "." in part.key)
    lead = f"{_json_text(part.key)}: " if is_name else ""
    sql = or_(*(_contains(lead + form) for form in _beginnings(part)))
    return _Rule(sql, lambda spec: has_argument(spec, part))


def _is_place(key: str) -> bool:
    return key.isascii() and key.isdigit() and len(key) < 10


def _json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _beginnings(part: Part) -> list[str]:
    """How the JSON of every value that ``part`` means may begin."""
    value = part.value or ""
    text = _json_text(value)[:-1]
    if part.is_prefix:
        return [text, value]
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return [text, value]
    if isinstance(parsed, (dict, list)):
        return [""]  # there are many ways to write it
    is_number = isinstance(parsed, (int, float)) and not isinstance(parsed, bool)
    if is_number and (abs(parsed) >= _LARGEST_PLAIN or parsed != parsed):
        return [""]
    return [text, _json_text(int(parsed) if is_number and parsed == int(parsed) else parsed)]


_LARGEST_PLAIN = 10**15
"""From here on a number may be written in more than one way."""


def has_argument(spec: Mapping[str, Any], part: Part) -> bool:
    """Whether the argument of the name or the place ``part.key`` has the value of ``part``. A name may lead on into a
    value: ``model.depth``."""
    args, kwargs = spec.get("args", []), spec.get("kwargs", {})
    key = part.key or ""
    found = _inner(kwargs, key)
    if _is_place(key) and int(key) < len(args):
        found.append(args[int(key)])
    return any(_is_value(value, part) for value in found)


def _inner(value: Any, path: str) -> list[Any]:
    if not isinstance(value, dict):
        return []
    found = [value[path]] if path in value else []
    first, dot, rest = path.partition(".")
    return found + (_inner(value.get(first), rest) if dot else [])


def _is_value(value: Any, part: Part) -> bool:
    wanted = (part.value or "").casefold()
    text = (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).casefold()
    if part.is_prefix:
        return text.startswith(wanted)
    return text == wanted or (not isinstance(value, str) and _is_same_json(value, part.value or ""))


def _is_same_json(value: Any, text: str) -> bool:
    try:
        other = json.loads(text)
    except (ValueError, RecursionError):
        return False
    # True is 1 to Python, not to JSON.
    return value == other and isinstance(value, bool) == isinstance(other, bool)


_COLUMNS = [_process.c[name] for name in PROCESS_FIELDS]
_NO_CONDITION: Condition = true()

_ALTERNATIVES: dict[str, Callable[[Finder, Sequence[Part]], _Rule]] = {
    "state": _state_rule,
    "outcome": _outcome_rule,
    "target": Finder.targets,
    "exit": _exit_rule,
    "name": _name_rule,
    "by": _by_rule,
}
"""The kinds of which a process has one value: several parts of them are alternatives."""
