"""The door: what every request passes on its way in, and every response on its way out.

`secure()` puts these layers around the application, outermost first. All are plain ASGI: they hold back no part of a
streamed response, and a client that hangs up is seen by the application at once.

    SecurityHeaders    on every response, refusals included
    Door               WebSockets, Host, who asks, where the request comes from, whether that is enough
    BodyLimit          how much may be sent

Whether a page of another site is behind a request is told by headers that scripts can't set (Sec-Fetch-Site, Origin);
methods are asked whether they are safe, never looked up in a list of unsafe ones.
"""

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import (
    AppError,
    BadRequest,
    ErrorPage,
    Forbidden,
    MisdirectedRequest,
    TooLarge,
    Unauthorized,
    error_response,
    failure_response,
    is_api,
    wants_html,
)
from app.security.auth import ANYBODY, Auth, Identity, login_location
from app.settings import WILDCARD_HOSTS, Settings

MAX_BODY = 2**20
"""Bytes of a request body."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

SECURITY_HEADERS = {
    b"content-security-policy": CONTENT_SECURITY_POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}
"""What a response gets unless it says otherwise itself (static files may be cached, /docs has its own policy)."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

PUBLIC_PATHS = frozenset({"/healthz", "/readyz", "/login"})
PUBLIC_FOLDER = "/static/"

Headers = dict[bytes, bytes]

_LOOKED_AT = frozenset(
    {
        b"host",
        b"origin",
        b"sec-fetch-site",
        b"sec-fetch-mode",
        b"authorization",
        b"cookie",
        b"content-length",
        b"transfer-encoding",
    }
)


def secure(app: ASGIApp, settings: Settings, auth: Auth, page: ErrorPage | None = None) -> ASGIApp:
    """`app` behind the door. `settings.port` must be the port that is really listened on.

    `page` renders the refusals that a browser gets to see, as it does for `install_error_handlers`.
    """
    return SecurityHeaders(Door(BodyLimit(AnsweredFailures(app), page=page), settings, auth, page))


def is_public(path: str) -> bool:
    """Whether a path is answered without asking who wants to know."""
    return path in PUBLIC_PATHS or path.startswith(PUBLIC_FOLDER)


# --- checks: no I/O, one question each ---------------------------------------------------------------------------


def read_headers(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers that the door looks at. Repeated ones are joined, and so equal nothing that is expected."""
    found: Headers = {}
    for name, value in raw:
        if name in _LOOKED_AT:
            found[name] = value if name not in found else b"%b; %b" % (found[name], value)
    return found


class HostList:
    """The hosts that this service answers for; anything else may be a foreign name that was pointed at us."""

    def __init__(self, settings: Settings) -> None:
        own = {"localhost", "127.0.0.1", "[::1]"}
        if settings.host not in WILDCARD_HOSTS:
            host = settings.host.strip("[]")
            own.add(f"[{host}]" if ":" in host else host)
        names = {name.lower() for name in settings.allowed_hosts}
        exact = {f"{name}:{settings.port}" for name in own} | names
        if settings.port == 80:
            exact |= own
        self._exact = frozenset(name.encode() for name in exact)
        self._any_port = frozenset(name.encode() for name in names)

    def check(self, host: bytes | None) -> bytes:
        """The host in lower case. Raises BadRequest and MisdirectedRequest."""
        if not host or b";" in host:
            raise BadRequest("A request must have exactly one Host header.")
        host = host.lower()
        if host not in self._exact and _without_port(host) not in self._any_port:
            shown = host[:100].decode("ascii", "backslashreplace")
            raise MisdirectedRequest(
                f"This service does not answer for the host {shown!r}. If it should, start it with --allowed-hosts."
            )
        return host


def _without_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    return name if colon and port.isdigit() else host


def check_origin(headers: Headers, own_origin: bytes, *, origin_needed: bool) -> None:
    """Refuse what a page of another site, or of another port of this host, made the browser send. Raises Forbidden.

    Without any word about the origin the sender is no browser; that is refused too if `origin_needed`.
    """
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        # "none" is the person at the address bar, or a bookmark.
        if site not in (b"same-origin", b"none"):
            raise Forbidden("Another site may not send this request.")
        return
    origin = headers.get(b"origin")
    if origin is not None:
        if origin.lower() != own_origin:
            raise Forbidden("Another site may not send this request: its Origin is not the one of this service.")
    elif origin_needed:
        raise Forbidden("A request without Origin and Sec-Fetch-Site needs the bearer token.")


def check_read(headers: Headers) -> None:
    """Refuse what a foreign page only loads, such as a stream that would take a place. Raises Forbidden."""
    site = headers.get(b"sec-fetch-site")
    if site == b"cross-site" or (site == b"same-site" and headers.get(b"sec-fetch-mode") != b"navigate"):
        raise Forbidden("Another site may not load this.")


# --- layers ------------------------------------------------------------------------------------------------------


class SecurityHeaders:
    """Adds `SECURITY_HEADERS` to every response that does not have them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers = tuple(SECURITY_HEADERS.items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                present = {name for name, _ in headers}
                headers += [pair for pair in self._headers if pair[0] not in present]
                message["headers"] = headers
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Door:
    """Lets in who may ask for what; `scope["state"]["identity"]` then tells the application who it is."""

    def __init__(self, app: ASGIApp, settings: Settings, auth: Auth, page: ErrorPage | None) -> None:
        self._app = app
        self._auth = auth
        self._page = page
        self._hosts = HostList(settings)
        # Behind a proxy that ends TLS the scheme seen here is http; the browser's Origin says https.
        self._scheme = "https" if settings.cookie_secure else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http" and (refusal := await self._admit(scope)):
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope) -> Response | None:
        """None when the request may pass, else what to answer."""
        headers = read_headers(scope["headers"])
        try:
            host = self._hosts.check(headers.get(b"host"))
        except AppError as error:
            # Never a page: under a foreign name its content would belong to whoever owns that name.
            return error_response(Request(scope), error, None)
        try:
            scope.setdefault("state", {})["identity"] = identity = await self._identify(headers)
            self._check_source(scope, headers, host, identity)
            if identity is None and not is_public(scope["path"]):
                return self._ask_to_sign_in(scope)
        except AppError as error:
            return error_response(Request(scope), error, self._page)
        except Exception as error:
            return failure_response(Request(scope), error, self._page)
        return None

    async def _identify(self, headers: Headers) -> Identity | None:
        authorization = headers.get(b"authorization")
        if authorization and (identity := self._auth.by_bearer(authorization.decode("latin-1"))):
            return identity
        cookies = headers.get(b"cookie")
        if cookies and (identity := await self._auth.by_cookie(cookies.decode("latin-1"))):
            return identity
        return ANYBODY if self._auth.no_auth else None

    def _check_source(self, scope: Scope, headers: Headers, host: bytes, identity: Identity | None) -> None:
        if identity is not None and identity.method == "token":
            return
        path = scope["path"]
        if scope["method"] in SAFE_METHODS:
            if is_api(path) and not is_public(path) and path != "/docs":
                check_read(headers)
            return
        # A browser adds a cookie by itself, and with it somebody's authority; so it does with a stranger's login form.
        # Without either there is nothing to borrow: such a request needs to be told 401, and is let in without auth.
        origin_needed = is_public(path) if identity is None else identity.method == "session"
        own_origin = f"{self._scheme or scope['scheme']}://".encode() + host
        check_origin(headers, own_origin, origin_needed=origin_needed)

    def _ask_to_sign_in(self, scope: Scope) -> Response:
        """A page sends the browser to the login page and back again; everything else is told 401."""
        request = Request(scope)
        path = scope["path"]
        is_page = not is_api(path) or wants_html(path, request.headers.get("accept", ""))
        if is_page and scope["method"] in ("GET", "HEAD"):
            return RedirectResponse(login_location(_target(scope)), 303)
        raise Unauthorized("Sign in, or send the header Authorization: Bearer TOKEN.")


def _target(scope: Scope) -> str:
    """Path and query as they were asked for."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return (path + b"?" + query if query else path).decode("latin-1")


class AnsweredFailures:
    """Takes back what Starlette raises once more after an unexpected exception was logged and answered: the server
    would log it a second time, and hang up on a client that has got a whole answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_answered = False

        async def send_and_note(message: Message) -> None:
            nonlocal is_answered
            await send(message)
            is_answered = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception:
            if not is_answered:
                raise


class BodyLimit:
    """Refuses bodies over `MAX_BODY`: by their announced length, or as soon as they grow beyond it."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY, page: ErrorPage | None = None) -> None:
        self._app = app
        self._limit = limit
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = read_headers(scope["headers"])
        length = headers.get(b"content-length")
        if b"transfer-encoding" in headers or (length is None and scope["method"] not in SAFE_METHODS):
            await self._count(scope, receive, send)
        elif length is not None and not self._fits(length):
            await self._refuse(scope, receive, send)
        else:
            # The server itself cuts the body at its announced length.
            await self._app(scope, receive, send)

    def _fits(self, length: bytes) -> bool:
        return length.isdigit() and len(length) < 20 and int(length) <= self._limit

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Without close the server would have to read the rest of the body to find the next request.
        error = TooLarge(f"A body may have {self._limit} bytes at most.", headers={"Connection": "close"})
        await error_response(Request(scope), error, self._page)(scope, receive, send)

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        received = 0
        started = False

        async def receive_within_limit() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise TooLarge(f"A body may have {self._limit} bytes at most.")
            return message

        async def send_unless_refused(message: Message) -> None:
            nonlocal started
            # What the application makes of our exception (FastAPI: a 400 without a reason) is not sent.
            if started or received <= self._limit:
                started = True
                await send(message)

        try:
            await self._app(scope, receive_within_limit, send_unless_refused)
        except Exception:
            if started or received <= self._limit:
                raise
        if received > self._limit and not started:
            await self._refuse(scope, receive, send)
