"""The error tree, and the one place where an error becomes a response.

    AppError                 any refusal of a request; the class says the meaning, the docstring explains it
      BadRequest        400  InvalidJSON
      Unauthorized      401
      Forbidden         403
      NotFound          404
      Conflict          409
      TooLarge          413
      UnsupportedMedia  415
      MisdirectedRequest 421
      Invalid           422
      TooManyRequests   429
      InternalError     500
      Unavailable       503  RecordUnavailable
    StartupError             the service can't start: see `app.startup_errors`

Routes raise these and never build an error response themselves. What clients get is a problem detail
(RFC 9457, https://www.rfc-editor.org/rfc/rfc9457), or a page when a browser asks for one.
"""

import json
import logging
import math
import secrets
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, NoReturn, TypedDict

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from app.answers import HTMLAnswer, JSONAnswer
from app.startup_errors import BadConfig as BadConfig
from app.startup_errors import DatabaseDamaged as DatabaseDamaged
from app.startup_errors import DatabaseTooNew as DatabaseTooNew
from app.startup_errors import DataFolderInUse as DataFolderInUse
from app.startup_errors import DataFolderUnusable as DataFolderUnusable
from app.startup_errors import PortInUse as PortInUse
from app.startup_errors import StartupError as StartupError

log = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"

MAX_JSON_DEPTH = 64
"""Arrays and objects inside each other in one body; far more than a target's arguments may have."""

MAX_FIELD_ERRORS = 100
"""How many field errors one problem lists, so that a small request can't ask for a huge answer."""


class FieldError(TypedDict):
    """What is wrong with one field; `field` is the path of names in the request, such as `kwargs.width`."""

    field: str
    message: str


class AppError(Exception):
    """A refusal of a request. Use a subclass; `detail` is a sentence for the person who asked."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "error"
    title: ClassVar[str] = "Error"

    def __init__(
        self, detail: str, *, errors: Iterable[FieldError] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})


class BadRequest(AppError):
    """The request can't be understood: it breaks HTTP, JSON or the framing of this API."""

    status, slug, title = 400, "bad-request", "Bad request"


class InvalidJSON(BadRequest):
    """The body is not JSON as RFC 8259 has it, or beyond the limits of this service."""

    slug, title = "invalid-json", "Invalid JSON"


class Unauthorized(AppError):
    """No valid bearer token and no valid session came with the request."""

    status, slug, title = 401, "unauthorized", "Not signed in"

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer", **(headers or {})})


class Forbidden(AppError):
    """The request is understood and refused; asking again in the same way will not help."""

    status, slug, title = 403, "forbidden", "Forbidden"


class NotFound(AppError):
    """There is no such thing (any more)."""

    status, slug, title = 404, "not-found", "Not found"


class Conflict(AppError):
    """The thing exists, but its state does not allow what was asked."""

    status, slug, title = 409, "conflict", "Conflict"


class TooLarge(AppError):
    """The body is larger than the service takes."""

    status, slug, title = 413, "too-large", "Body too large"


class UnsupportedMedia(AppError):
    """The body is not in a format that the service reads."""

    status, slug, title = 415, "unsupported-media", "Unsupported media type"


class MisdirectedRequest(AppError):
    """The request names a host that this service does not answer for."""

    status, slug, title = 421, "misdirected-request", "Misdirected request"


class Invalid(AppError):
    """The request is well formed, but some of its values are wrong; `errors` names them."""

    status, slug, title = 422, "invalid", "Invalid values"


def refuse(field: str, message: str, called: str = "") -> NoReturn:
    """Raise Invalid for one field; ``message`` goes on after its name, or after what it is ``called`` in a sentence."""
    raise Invalid(f"{called or field} {message}.", errors=[FieldError(field=field, message=message)])


class TooManyRequests(AppError):
    """Too many attempts; `Retry-After` says how many seconds to wait."""

    status, slug, title = 429, "too-many-requests", "Too many requests"

    def __init__(self, detail: str, *, retry_after: float) -> None:
        super().__init__(detail, headers={"Retry-After": str(math.ceil(retry_after))})


class InternalError(AppError):
    """A fault of the service itself; `request_id` finds the traceback in its log."""

    status, slug, title = 500, "internal-error", "Internal error"

    def __init__(self, request_id: str) -> None:
        super().__init__(f"The service failed to answer. Its log has the cause under the id {request_id}.")
        self.request_id = request_id


class Unavailable(AppError):
    """The service can't do this now (starting, stopping or full); `Retry-After` says when to ask again, in seconds."""

    status, slug, title = 503, "unavailable", "Unavailable"

    def __init__(self, detail: str, *, retry_after: float = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(math.ceil(retry_after))})


class RecordUnavailable(Unavailable):
    """The database can't be read or written now: locked by another program, full, gone, or being made again. What runs
    goes on, and what happens to it is kept in the run folders.

    ``is_damage``: this will not pass by itself; the database has to be made again.
    """

    slug, title = "record-unavailable", "Record unavailable"

    def __init__(self, detail: str, *, is_damage: bool = False, retry_after: float = 2) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.is_damage = is_damage


def problem_types() -> tuple[type[AppError], ...]:
    """Every kind of problem that clients can meet, by status: what the page under /docs lists."""
    # Those without a name of their own are told as what they are a kind of.
    kinds = {kind for kind in _subclasses(AppError) if "slug" in vars(kind)}
    return tuple(sorted(kinds, key=lambda kind: (kind.status, kind.slug)))


def _subclasses(kind: type[AppError]) -> set[type[AppError]]:
    direct = kind.__subclasses__()
    return {*direct, *(below for child in direct for below in _subclasses(child))}


def problem(error: AppError) -> dict[str, Any]:
    """`error` as a problem detail: type, title, status and detail; `errors` only if there are any."""
    body: dict[str, Any] = {
        "type": f"/docs#problem-{error.slug}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
    }
    if error.errors:
        body["errors"] = error.errors
    if isinstance(error, InternalError):
        body["request_id"] = error.request_id
    return body


# --- from an error to a response ---------------------------------------------------------------------------------

ErrorPage = Callable[[Request, Mapping[str, Any]], str]
"""Makes the HTML of an error page from a problem detail, which for it also has the seconds to wait as `retry_after`, if
there are any. The status and the headers are set here."""

_API = ("/api/", "/docs/", "/ui/")
_API_PATHS = frozenset({"/api", "/docs", "/metrics", "/openapi.json", "/healthz", "/readyz"})


def is_api(path: str) -> bool:
    """Whether machines ask for this path, a page's script among them; everything else is a page or belongs to one."""
    return path in _API_PATHS or path.startswith(_API)


def wants_html(path: str, accept: str) -> bool:
    """Whether an answer should be a page. /docs is both: a page in a browser, an address of the API elsewhere."""
    return "text/html" in accept and (path == "/docs" or not is_api(path))


def error_response(request: Request, error: AppError, page: ErrorPage | None) -> Response:
    """`error` as the client wants it: a page if a browser asked for one (and `page` is given), else JSON."""
    return _problem_response(request, problem(error), error.headers, page)


def failure_response(request: Request, error: Exception, page: ErrorPage | None) -> Response:
    """Log an error that nobody expected, and tell the client under which id; never what it says."""
    request_id = secrets.token_hex(8)
    log.error("request %s failed: %s %s", request_id, request.method, request.scope["path"], exc_info=error)
    return error_response(request, InternalError(request_id), page)


def _problem_response(
    request: Request, body: dict[str, Any], headers: Mapping[str, str] | None, page: ErrorPage | None
) -> Response:
    if page is not None and wants_html(request.scope["path"], request.headers.get("accept", "")):
        try:
            return HTMLAnswer(page(request, body | _seconds_to_wait(headers or {})), body["status"], headers)
        except Exception:
            log.exception("the error page can't be made; sending the problem as JSON")
    return JSONAnswer(body, body["status"], headers, PROBLEM_JSON)


def _seconds_to_wait(headers: Mapping[str, str]) -> dict[str, int]:
    seconds = headers.get("Retry-After", "")
    return {"retry_after": int(seconds)} if seconds.isdigit() else {}


def install_error_handlers(app: FastAPI, page: ErrorPage | None = None) -> None:
    """Make `app` answer every error with a problem detail, or with `page` where a browser asks for HTML."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, AppError)
        return error_response(request, error, page)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return error_response(request, _invalid(error.errors()), page)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        body = _http_problem(request, error)
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = _allowed_methods(app, request.scope) or headers.get("Allow", "")
        return _problem_response(request, body, headers, page)

    async def failed(request: Request, error: Exception) -> Response:
        return failure_response(request, error, page)

    app.add_exception_handler(AppError, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, failed)


def _invalid(errors: Sequence[Any]) -> Invalid:
    # The value itself is left out: it may be a secret, and the caller has it.
    found: list[FieldError] = [
        {"field": _field(error["loc"]), "message": error["msg"]} for error in errors[:MAX_FIELD_ERRORS]
    ]
    count = len(errors)
    return Invalid(f"{count} field{' is' if count == 1 else 's are'} wrong.", errors=found)


def _field(location: Sequence[str | int]) -> str:
    """`('body', 'kwargs', 'width')` is `kwargs.width`; the place alone (`body`) stays when nothing follows it."""
    return ".".join(str(part) for part in location[1:] or location)


def _http_problem(request: Request, error: HTTPException) -> dict[str, Any]:
    title = HTTPStatus(error.status_code).phrase
    detail = error.detail
    if detail == title and error.status_code == HTTPStatus.NOT_FOUND:
        detail = f"There is nothing at {request.scope['path']}."
    elif detail == title and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.method} is not possible at {request.scope['path']}."
    return {"type": "about:blank", "title": title, "status": error.status_code, "detail": detail}


def _allowed_methods(app: FastAPI, scope: Scope) -> str:
    """All methods that some route has for the path: the framework names those of the first route only."""

    def answers(method: str) -> bool:
        return any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.routes)

    return ", ".join(m for m in ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT") if answers(m))


# --- bodies ------------------------------------------------------------------------------------------------------


def parse_json(body: bytes) -> Any:
    """The value of a JSON text in UTF-8, strictly: what one reader of the body accepts, every other one must too.

    Raises InvalidJSON, saying what and where, for broken JSON and UTF-8, NaN and Infinity (numbers too large for a
    float among them), names given twice, half surrogate pairs, integers beyond Python's 4,300 digits and nesting
    beyond `MAX_JSON_DEPTH`.
    """
    try:
        value = json.loads(
            body.decode(), parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_unique_names
        )
        _check_depth(body, value)
        _check_surrogates(body, value)
    except UnicodeDecodeError as error:
        _refuse(f"The body is not UTF-8: {error.reason} at byte {error.start}.")
    except UnicodeEncodeError:
        _refuse("The body has half of a surrogate pair (\\ud800 to \\udfff), which is not a character.")
    except json.JSONDecodeError as error:
        _refuse(f"The body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}.")
    except RecursionError:
        _refuse_depth()
    except ValueError:
        # What is left is int(): "Exceeds the limit (4300 digits) for integer string conversion".
        _refuse("The body has an integer of more than 4300 digits.")
    return value


def _refuse(detail: str) -> NoReturn:
    raise InvalidJSON(detail, errors=[{"field": "body", "message": detail}]) from None


def _refuse_depth() -> NoReturn:
    _refuse(f"The body is nested more than {MAX_JSON_DEPTH} levels deep.")


def _no_constant(name: str) -> NoReturn:
    _refuse(f"The body has {name}, which is not JSON.")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        _refuse(f"The body has the number {text[:40]}, which is too large for a float.")
    return number


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        _refuse(f"The body has the name {twice[:100]!r} twice in one object.")
    return found


def _check_depth(body: bytes, value: Any) -> None:
    if body.count(b"[") + body.count(b"{") <= MAX_JSON_DEPTH:
        return
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        level = [inner for outer in level for inner in _members(outer) if isinstance(inner, (dict, list))]
        if not level:
            return
    _refuse_depth()


def _members(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _check_surrogates(body: bytes, value: Any) -> None:
    """Raise UnicodeEncodeError for text that could be neither stored nor sent back."""
    if b"\\ud" in body or b"\\uD" in body:
        json.dumps(value, ensure_ascii=False).encode()


class StrictJSONRequest(Request):
    """A request whose body, where a route takes one, must be strict JSON and say so."""

    async def body(self) -> bytes:
        body = await super().body()
        if body and not _is_json(self.headers.get("content-type", "")):
            raise UnsupportedMedia(
                "The body must be JSON, sent with Content-Type: application/json.",
                headers={"Accept": "application/json"},
            )
        return body

    async def json(self) -> Any:
        return parse_json(await self.body())


def _is_json(content_type: str) -> bool:
    media = content_type.partition(";")[0].strip().lower()
    return media == "application/json" or (media.startswith("application/") and media.endswith("+json"))


class StrictJSONRoute(APIRoute):
    """The route class of the API: `APIRouter(route_class=StrictJSONRoute)`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            try:
                return await handle(StrictJSONRequest(request.scope, request.receive))
            except HTTPException as error:
                # FastAPI turns whatever reading the body raises into a 400 without a reason; ours is its cause.
                if isinstance(error.__cause__, AppError):
                    raise error.__cause__ from None
                raise

        return handle_strictly
