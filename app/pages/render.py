"""From templates to responses: the Jinja environment, what templates may call, notices across a redirect, static files.

Everything is escaped by default and a name that a template misspells raises. Pages carry no inline script and no style
attribute: the policy of the door allows neither.
"""

import binascii
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal, TypedDict
from urllib.parse import quote

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import RedirectResponse, Response

from app import units
from app.answers import HTMLAnswer
from app.health.troubles import Trouble
from app.pages import docstrings, keys, refusals, words
from app.pages.files import static as static
from app.pages.files import static_version as static_version
from app.resources import resource_dir
from app.security.auth import safe_next
from app.version import VERSION

REFERRER_POLICY = "same-origin"
"""Not `no-referrer`: with that, browsers send `Origin: null` with our own forms, and where the connection is plain HTTP
and not to this machine they send no Sec-Fetch-Site either, so that the door could not tell our forms from others'."""

LIVE = "x-live"
"""Header by which our script asks for a page again to take the changed regions from it."""

THEME_COOKIE = "theme"
Theme = Literal["light", "dark"]

FLASH_SECONDS = 30
_MAX_FLASH = 600


class Flash(TypedDict):
    """A notice for the next page; `process` is the id of the process to link to, or empty."""

    kind: Literal["good", "bad"]
    text: str
    process: str


# --- templates ---------------------------------------------------------------------------------------------------


@cache
def environment() -> Environment:
    """The environment of all templates."""
    env = Environment(
        loader=FileSystemLoader(resource_dir("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals |= {"shortcuts": keys.acts}
    env.globals |= {
        "remedy": refusals.remedy,
        "static": static,
        "version": VERSION,
        "process_url": process_url,
        "target_url": target_url,
    }
    env.filters |= {
        "brief": words.brief,
        "bytes": units.size,
        "call": words.call,
        "docstring": docstrings.html,
        "docstring_line": docstrings.first_sentence,
        "duration": words.duration,
        "pretty": words.pretty,
        "seconds": words.seconds,
        "status_word": words.status_word,
        "utc": words.utc,
    }
    return env


def process_url(process_id: str) -> str:
    """The page of a process."""
    return f"/processes/{quote(process_id, safe='', errors='backslashreplace')}"


def target_url(name: str) -> str:
    """The page of a target."""
    return f"/targets/{quote(name, safe=':', errors='backslashreplace')}"


# --- responses ---------------------------------------------------------------------------------------------------


def page(
    request: Request,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **context: Any,
) -> HTMLAnswer:
    """A page. A notice that waits for the next page is shown on it, once."""
    is_live = LIVE in request.headers
    flash = None if is_live else _read_flash(request)
    html = _render(request, template, flash=flash, is_live=is_live, **context)
    response = HTMLAnswer(html, status, {"Referrer-Policy": REFERRER_POLICY, **(headers or {})})
    if flash is not None:
        secure = request.app.state.parts.settings.cookie_secure
        response.delete_cookie(_flash_name(request), httponly=True, samesite="strict", secure=secure)
    return response


def error_page(request: Request, problem: Mapping[str, Any]) -> str:
    """The HTML of a refusal or failure. The door uses it too, when nothing else of the application was reached."""
    if request.method in ("GET", "HEAD"):
        back = _here(request)
    else:
        back = refusals.page_before(request.headers.get("referer", ""), request.headers.get("host", ""))
    refusal = refusals.explain(problem, request.method, request.scope["path"], back)
    return _render(
        request,
        "error/page.html",
        problem=problem,
        refusal=refusal,
        method=request.method,
        flash=None,
        is_live=False,
        here=back,
    )


def _render(request: Request, template: str, **context: Any) -> str:
    shared = {
        "identity": request.scope.get("state", {}).get("identity"),
        "path": request.scope["path"],
        "here": _here(request),
        "json_url": None,
        "theme": chosen_theme(request),
        "troubles": _troubles(request),
        "now": datetime.now(UTC),
    }
    return environment().get_template(template).render(shared | context)


def chosen_theme(request: Request) -> Theme | None:
    """What was chosen in this browser; None leaves it to the system. Told with the page, which so never flashes."""
    value = request.cookies.get(THEME_COOKIE)
    return "light" if value == "light" else "dark" if value == "dark" else None


def _troubles(request: Request) -> Sequence[Trouble]:
    """What is wrong with the service, for who is signed in; the door, which refuses, is outside of what knows it."""
    return request.app.state.parts.troubles.present() if "app" in request.scope else ()


def _here(request: Request) -> str:
    """The path and query of this page: where its forms come back to."""
    query = request.scope["query_string"].decode("latin-1")
    return safe_next(quote(request.scope["path"], safe="/:@-._~") + (f"?{query}" if query else ""))


def redirect(
    request: Request,
    location: str,
    text: str = "",
    *,
    kind: Literal["good", "bad"] = "good",
    process: str = "",
) -> Response:
    """Send the browser on with GET; `text`, if any, is shown on the page it comes to."""
    response = RedirectResponse(location, 303, {"Referrer-Policy": REFERRER_POLICY})
    if text:
        _write_flash(request, response, {"kind": kind, "text": text[:_MAX_FLASH], "process": process})
    return response


# --- notices -----------------------------------------------------------------------------------------------------
# In a cookie: it needs no memory here, and no URL can make a page say something.


def _flash_name(request: Request) -> str:
    name: str = request.app.state.parts.auth.cookie_name
    return f"{name}_notice"


def _write_flash(request: Request, response: Response, flash: Flash) -> None:
    value = urlsafe_b64encode(json.dumps(flash).encode()).decode()
    secure = request.app.state.parts.settings.cookie_secure
    response.set_cookie(
        _flash_name(request), value, max_age=FLASH_SECONDS, httponly=True, samesite="strict", secure=secure
    )


def _read_flash(request: Request) -> Flash | None:
    value = request.cookies.get(_flash_name(request))
    if value is None:
        return None
    try:
        found = json.loads(urlsafe_b64decode(value))
        kind: Literal["good", "bad"] = "bad" if found["kind"] == "bad" else "good"
        return {"kind": kind, "text": str(found["text"])[:_MAX_FLASH], "process": str(found["process"])[:64]}
    except (ValueError, KeyError, TypeError, binascii.Error):
        return None
