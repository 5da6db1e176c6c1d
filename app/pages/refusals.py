"""What is said beside the sentence of a problem: what became of the request, and where to go from here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

from app.security.auth import login_location, safe_next

HOME = "/processes"


@dataclass(frozen=True, slots=True)
class Link:
    """Somewhere to go on; ``is_beside``: in a tab of its own."""

    href: str
    word: str
    is_beside: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """``icon`` and ``tone`` are names of the sprite and of a colour; ``again_in`` are the seconds after which the page
    asks again by itself, if it does."""

    heading: str
    advice: str
    icon: str = "info"
    tone: str = "neutral"
    links: tuple[Link, ...] = field(default=(Link(HOME, "To the processes"),))
    again_in: int | None = None
    has_details: bool = False


def explain(problem: Mapping[str, Any], method: str, path: str, back: str) -> Refusal:
    """What to say of `problem`, which `method` at `path` met.

    ``back`` is the page to go back to: what was asked for, if that was a page, else where the request came from.
    """
    status = problem["status"]
    is_reading = method in ("GET", "HEAD")
    home = Link(HOME, "To the processes")
    ways = (home,) if is_reading or back == HOME else (Link(back, "Back to the page before"), home)
    match status:
        case HTTPStatus.UNAUTHORIZED:
            return Refusal(
                "You are signed out",
                "Nothing was done. Sign in again in another tab, then reload this page: the same is sent once more.",
                "exit",
                links=(Link(login_location(HOME), "Sign in", is_beside=True),),
            )
        case HTTPStatus.FORBIDDEN:
            return Refusal("This is not allowed", _NOTHING_DONE, "warning", "orange", ways)
        case HTTPStatus.NOT_FOUND:
            return _missing(path)
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return Refusal("This is no page", "It is where a button leads. Use the button on its page.", "info")
        case HTTPStatus.CONFLICT:
            advice = "Nothing was done. It may have changed since the page was made; look at it as it is now."
            return Refusal("Not possible as things are", advice, "warning", "orange", ways)
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return Refusal("This is too much", f"{_NOTHING_DONE} {_STILL_THERE}", "warning", "orange", ways)
        case HTTPStatus.BAD_REQUEST | HTTPStatus.UNPROCESSABLE_ENTITY:
            advice = "" if is_reading else f"{_NOTHING_DONE} {_STILL_THERE}"
            return Refusal("Something in it is wrong", advice, "warning", "orange", ways)
        case HTTPStatus.TOO_MANY_REQUESTS | HTTPStatus.SERVICE_UNAVAILABLE:
            return _later(problem, is_reading, ways)
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            advice = "This is a fault of the service. Processes that run are not touched by it and go on."
            again = (Link(back, "Try again"),) if is_reading else ()
            return Refusal("Something went wrong", advice, "failed", "red", (*again, *ways), has_details=True)
    return Refusal(str(problem["title"]), "", links=ways)


_NOTHING_DONE = "Nothing was done."
_STILL_THERE = "What you entered is still there when you go back in the browser."


def _missing(path: str) -> Refusal:
    first, _, rest = path.strip("/").partition("/")
    if first == "processes" and rest:
        return Refusal(
            "This process is not here",
            "A record that is deleted, by hand or by retention, takes its log with it.",
            "trash",
            links=(
                Link(HOME, "To the processes"),
                Link("/activity?verb=removals&who=everybody", "What was deleted, and by whom"),
            ),
        )
    if first == "targets" and rest:
        advice = "No file of targets registers it under this name now. Its processes are still listed under it."
        name = rest.partition("/")[0]
        links = (
            Link("/targets", "To the targets"),
            Link(f"/processes?search={quote(f'target:{name}')}", "Its processes"),
        )
        return Refusal("This target is not here", advice, "target", links=links)
    return Refusal("There is no such page", "", "search")


def _later(problem: Mapping[str, Any], is_reading: bool, ways: tuple[Link, ...]) -> Refusal:
    seconds = problem.get("retry_after")
    is_full = problem["status"] == HTTPStatus.SERVICE_UNAVAILABLE
    heading = "Not available for the moment" if is_full else "Too many attempts"
    if is_reading:
        advice = f"This page asks again in {_seconds(seconds)}." if seconds else ""
        return Refusal(heading, advice, "clock", "amber", ways, again_in=seconds)
    wait = (
        f"Try again in {_seconds(seconds)}: reload this page, and the browser sends the same again." if seconds else ""
    )
    return Refusal(heading, f"{_NOTHING_DONE} {wait}".strip(), "clock", "amber", ways)


def _seconds(count: int) -> str:
    return "a second" if count == 1 else f"{count} seconds"


def remedy(trouble: str) -> Link | None:
    """Where something can be done about what is wrong with the service, by the key of the trouble."""
    if trouble.startswith("launcher."):
        return Link("/targets", "To the targets")
    if trouble in ("disk.space", "disk.inodes"):
        return Link("/processes?search=is%3Aover", "To the processes that are over")
    return None


def page_before(referer: str, host: str) -> str:
    """The path of this site that a request came from, by its headers; the list of processes when they do not say."""
    try:
        parts = urlsplit(referer)
    except ValueError:
        return HOME
    if not parts.netloc or parts.netloc.lower() != host.lower():
        return HOME
    path = safe_next(parts.path + (f"?{parts.query}" if parts.query else ""))
    return HOME if path == "/" else path
