"""Pages: the jump menu, which finds processes, targets and commands by a few letters, and the list of shortcuts."""

import contextlib
import re
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from app.db.prefixes import ids_beginning, is_beginning
from app.db.store import Filter, Store
from app.deps import StoreDep, SupervisorDep
from app.errors import Invalid, NotFound
from app.lifecycle import Process
from app.pages.actions import CONFIRMED, RELAUNCH, actions
from app.pages.keys import GROUPS
from app.pages.ranking import MOST_PROCESSES, Item, rank
from app.pages.render import LIVE, page, process_url, target_url
from app.pages.words import status_word
from app.search import words
from app.security.auth import safe_next
from app.supervisor.supervisor import Supervisor

router = APIRouter(include_in_schema=False)

MAX_TYPED = 200
"""Characters that are looked at."""
WITHIN = 0.3
"""Seconds that the record may be searched: a menu that comes late is worse than one that lacks an old process."""
IN_DIALOG = "jump"
"""The value of the header by which the dialog asks for the lines alone."""

_PROCESS_PAGE = re.compile(r"/processes/([0-9a-f-]{36})(?:/|$)")
_NUMBER = re.compile(r"#?(\d{1,18})")


@router.get("/jump")
async def jump(request: Request, supervisor: SupervisorDep, store: StoreDep) -> Response:
    """What fits `q`; `at` is the page from which one asks, whose process adds what can be done with it."""
    typed = request.query_params.get("q", "").replace("\0", "")[:MAX_TYPED].strip()
    at = safe_next(request.query_params.get("at", ""))
    here = await _process_at(supervisor, at)
    items = [*_commands(here), *_targets(supervisor), *await _processes(supervisor, store, typed)]
    template = "jump/_options.html" if request.headers.get(LIVE) == IN_DIALOG else "jump/page.html"
    return page(request, template, items=rank(items, typed), typed=typed, at=at)


@router.get("/shortcuts")
async def list_shortcuts(request: Request) -> Response:
    """The keyboard shortcuts."""
    return page(request, "jump/shortcuts.html", groups=GROUPS)


# --- what there is to jump to ------------------------------------------------------------------------------------


async def _process_at(supervisor: Supervisor, at: str) -> Process | None:
    found = _PROCESS_PAGE.match(at)
    try:
        return await supervisor.get(found[1]) if found else None
    except NotFound:
        return None


def _commands(here: Process | None) -> list[Item]:
    return [*(_actions_of(here) if here else ()), *_COMMANDS]


def _actions_of(process: Process) -> list[Item]:
    """What can be done with the process of the page. Each leads to where it is asked for; none is done at once."""
    address = process_url(process.id)
    items = []
    for action in actions(process):
        if action.reason:
            continue
        if action.name in CONFIRMED:
            href = f"{address}/{action.name}"
        elif action.name == RELAUNCH:
            href = f"/launch?from={quote(process.id)}"
        else:
            href = f"{address}#actions"
        items.append(
            Item(
                "command",
                f"{action.word} {process.name}…",
                href,
                "this process",
                _ICONS.get(action.name, "right"),
                _SYNONYMS.get(action.name, ""),
                weight=8,
                is_here=True,
            )
        )
    return items


_ICONS = {"start": "play", "join": "join", "stop": "stop", "terminate": "stop", "kill": "kill", "relaunch": "again"}
_ICONS |= {"delete": "trash"}
_SYNONYMS = {
    "start": "begin run",
    "join": "wait",
    "stop": "end cancel quit abort",
    "terminate": "sigterm end abort",
    "kill": "sigkill end force",
    "interrupt": "sigint ctrl-c",
    "relaunch": "again repeat restart rerun retry run changes",
    "delete": "remove record",
}


def _command(title: str, href: str, icon: str, words: str, note: str = "") -> Item:
    return Item("command", title, href, note, icon, words, weight=3)


_COMMANDS = (
    _command("Launch a target", "/launch", "launch", "new start run process begin"),
    _command("Processes", "/processes", "list", "home all list jobs", "g p"),
    _command("Active processes", "/processes?view=active", "play", "running alive now queued"),
    _command(
        "Failed in 24 h",
        "/processes?" + urlencode({"view": "failed", "search": "ended:24h"}),
        "failed",
        "failures errors crashed today problems last hours",
    ),
    _command("Failed processes", "/processes?view=failed", "failed", "failures errors crashed problems"),
    _command("Targets", "/targets", "target", "functions catalogue reload", "g t"),
    _command("Timeline", "/timeline", "timeline", "history gantt chart when", "g i"),
    _command("Activity", "/activity", "activity", "audit log who events history", "g a"),
    _command("API", "/docs", "code", "documentation rest http swagger openapi curl help"),
    _command("Keyboard shortcuts", "/shortcuts", "keyboard", "keys help hotkeys", "?"),
    *(
        Item("command", title, icon=icon, words=f"theme colours mode appearance {words}", theme=theme, weight=1)
        for title, icon, theme, words in (
            ("Colours: dark", "moon", "dark", "night black"),
            ("Colours: light", "sun", "light", "day white"),
            ("Colours: as the system has them", "auto", "auto", "automatic"),
        )
    ),
)


def _targets(supervisor: Supervisor) -> list[Item]:
    entries = [entry for entry in supervisor.catalogue.items() if entry["kind"] != "module"]
    return [
        Item("target", entry["name"], target_url(entry["name"]), "target", "target", "function launch", weight=5)
        for entry in entries
    ]


async def _processes(supervisor: Supervisor, store: Store, typed: str) -> list[Item]:
    """Those that fit, the newest first; what can't be found in time is left out."""
    number = _NUMBER.fullmatch(typed)
    asked_for = await run_in_threadpool(_beginning, store, typed) if is_beginning(typed) else []
    found: Sequence[Process] = []
    with contextlib.suppress(Invalid):
        wanted_words = Filter(search=words(typed))
        found = (await run_in_threadpool(store.search, wanted_words, MOST_PROCESSES, None, WITHIN)).items
    known = {process.id for process in asked_for}
    every = [*asked_for, *(process for process in found if process.id not in known)]
    wanted = int(number[1]) if number else None
    return [
        _process_item(process, typed, process.id in known or process.number == wanted)
        for process in supervisor.refresh(every)
    ]


def _beginning(store: Store, typed: str) -> list[Process]:
    found = (store.get(process_id) for process_id in ids_beginning(store, typed, MOST_PROCESSES))
    return [process for process in found if process is not None]


def _process_item(process: Process, typed: str, is_asked_for: bool) -> Item:
    status = process.outcome or process.state
    return Item(
        "process",
        process.name,
        process_url(process.id),
        f"{status_word(status)} · {process.target} · #{process.number}",
        str(status),
        # It was found by what was typed, and so has that somewhere, if only in its arguments.
        f"{process.target} {process.number} {status_word(status)} {typed}",
        is_asked_for=is_asked_for,
    )
