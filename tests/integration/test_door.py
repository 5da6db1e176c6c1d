"""The whole door around a small application: by httpx in process, by bare ASGI messages where httpx is too polite."""

import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any

import anyio
import httpx
import pytest
from fastapi import APIRouter, FastAPI, Query, Request
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Scope

from app.errors import Conflict, StrictJSONRoute, Unavailable, install_error_handlers
from app.security.auth import Auth, Identity, MemorySessions
from app.security.middleware import MAX_BODY, SECURITY_HEADERS, secure
from app.settings import Settings

TOKEN = "pd_00c0ffee_" + "s" * 43
BEARER = {"Authorization": f"Bearer {TOKEN}"}
OWN = "http://127.0.0.1:8000"
EVIL = "https://evil.example"
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW")

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Launch(BaseModel):
    target: str
    labels: dict[str, int] = {}


def error_page(request: Request, problem: Mapping[str, Any]) -> str:
    if request.url.path == "/broken-page":
        raise RuntimeError("no template")
    return f"<h1>{problem['status']} {problem['title']}</h1>"


def make_inner() -> FastAPI:
    app = FastAPI(docs_url=None, openapi_url=None)
    install_error_handlers(app, error_page)
    api = APIRouter(prefix="/api/v1", route_class=StrictJSONRoute)

    @api.get("/processes")
    def processes(limit: Annotated[int, Query(le=500)] = 50) -> list[int]:
        return [limit]

    @api.post("/processes", status_code=201)
    def launch(launch: Launch) -> Launch:
        return launch

    @api.post("/processes/{number}/stop")
    def stop(number: int) -> None:
        raise Conflict("It is over.")

    @api.get("/busy")
    def busy() -> None:
        raise Unavailable("Stopping.", retry_after=5)

    @api.get("/fault")
    def fault() -> None:
        raise RuntimeError("hunter2")

    @api.get("/proxy")
    def proxy() -> None:
        raise HTTPException(502, "The other side is gone.")

    app.include_router(api)

    @app.api_route("/anything/{path:path}", methods=list(METHODS))
    @app.api_route("/login", methods=["GET", "POST"])
    @app.api_route("/healthz", methods=["GET", "POST"])
    async def answer(request: Request) -> Response:
        identity: Identity | None = request.state.identity
        return JSONResponse(None if identity is None else [identity.actor, identity.method])

    @app.get("/broken-page")
    def broken_page() -> None:
        raise Conflict("No.")

    @app.get("/static/app.css")
    def static() -> Response:
        return Response("a{}", headers={"Cache-Control": "max-age=3600"})

    @app.get("/docs")
    def docs() -> Response:
        return HTMLResponse("docs", headers={"Content-Security-Policy": "default-src 'self'"})

    return app


@dataclass
class Deck:
    """The application behind its door, and what a client of it needs."""

    app: ASGIApp
    auth: Auth
    client: httpx.AsyncClient

    async def sign_in(self) -> dict[str, str]:
        """A browser's headers: the cookie only."""
        cookie = self.auth.session_cookie(await self.auth.log_in(TOKEN, "127.0.0.1"))
        return {"Cookie": cookie.partition(";")[0]}


def make_deck(settings: Settings) -> Deck:
    auth = Auth(
        TOKEN,
        MemorySessions(),
        port=settings.port,
        cookie_secure=settings.cookie_secure,
        no_auth=settings.no_auth,
    )
    app = secure(make_inner(), settings, auth, error_page)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return Deck(app, auth, httpx.AsyncClient(transport=transport, base_url=OWN))


@pytest.fixture
def settings() -> Settings:
    return Settings(allowed_hosts=("deck.example.com",))


@pytest.fixture
async def deck(settings: Settings) -> AsyncIterator[Deck]:
    deck = make_deck(settings)
    async with deck.client:
        yield deck


def problem_of(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == response.status_code
    assert body["title"]
    assert body["detail"]
    return body


# --- Host --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost:8000", 200),
        ("[::1]:8000", 200),
        ("deck.example.com", 200),
        ("evil.example", 421),
        ("localhost.:8000", 421),
        ("localhost@evil.example", 421),
        ("", 400),
    ],
)
async def test_host(deck: Deck, host: str, status: int) -> None:
    response = await deck.client.get("/healthz", headers={"Host": host, **HTML})
    assert response.status_code == status
    if status != 200:
        problem_of(response)


async def test_no_host_and_two_hosts(deck: Deck) -> None:
    for hosts in ([], [b"127.0.0.1:8000"] * 2):
        sent = await exchange(deck.app, [(b"host", host) for host in hosts])
        assert sent[0]["status"] == 400


# --- where a request comes from ----------------------------------------------------------------------------------

FOREIGN: tuple[dict[str, str], ...] = (
    {"Sec-Fetch-Site": "cross-site", "Origin": EVIL},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:9999"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
    {"Origin": EVIL},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:9999"},
    {},
)
OURS: tuple[dict[str, str], ...] = (
    {"Sec-Fetch-Site": "same-origin", "Origin": OWN},
    {"Sec-Fetch-Site": "none"},
    {"Origin": OWN},
)


@pytest.mark.parametrize("method", METHODS)
async def test_only_our_own_pages_may_use_the_cookie_to_change_something(deck: Deck, method: str) -> None:
    safe = method in ("GET", "HEAD", "OPTIONS")
    cookie = await deck.sign_in()
    for source, form in product(FOREIGN, ({}, {"Content-Type": "text/plain"})):
        response = await deck.client.request(method, "/anything/x", headers={**cookie, **source, **form}, content="a=b")
        assert (response.status_code == 403) is not safe, source
    for source in OURS:
        response = await deck.client.request(method, "/anything/x", headers={**cookie, **source})
        assert response.status_code == 200, source


@pytest.mark.parametrize("method", METHODS)
async def test_a_bearer_comes_from_no_browser(deck: Deck, method: str) -> None:
    for source in (*FOREIGN, *OURS):
        response = await deck.client.request(method, "/anything/x", headers={**BEARER, **source})
        assert response.status_code == 200


@pytest.mark.parametrize("path", ["/api/v1/processes", "/login", "/nothing"])
async def test_foreign_pages_are_refused_without_a_session_too(deck: Deck, path: str) -> None:
    for source in FOREIGN[:-1]:
        assert (await deck.client.post(path, headers=source)).status_code == 403
    # Without a word about the origin there is no browser: told to sign in, but not let in to the login itself.
    assert (await deck.client.post(path)).status_code == (403 if path == "/login" else 401)


async def test_a_method_in_small_letters_is_not_taken_for_a_safe_one(deck: Deck) -> None:
    cookie = (await deck.sign_in())["Cookie"]
    sent = await exchange(deck.app, [(b"host", b"localhost:8000"), (b"cookie", cookie.encode())], "get")
    assert sent[0]["status"] == 403


async def test_behind_tls_the_origin_is_https(settings: Settings) -> None:
    deck = make_deck(Settings(allowed_hosts=settings.allowed_hosts, cookie_secure=True))
    async with deck.client:
        headers = {**await deck.sign_in(), "Host": "deck.example.com"}
        assert headers["Cookie"].startswith("__Host-procdeck=")
        for origin, status in (("https://deck.example.com", 200), ("http://deck.example.com", 403)):
            response = await deck.client.post("/anything/x", headers={**headers, "Origin": origin})
            assert response.status_code == status


@pytest.mark.parametrize("path", ["/api/v1/processes", "/metrics", "/openapi.json"])
async def test_foreign_pages_load_nothing_from_the_api(deck: Deck, path: str) -> None:
    cookie = await deck.sign_in()
    response = await deck.client.get(path, headers={**cookie, "Sec-Fetch-Site": "cross-site"})
    problem_of(response)
    assert response.status_code == 403
    response = await deck.client.get(path, headers={**cookie, "Sec-Fetch-Site": "same-origin"})
    assert response.status_code != 403


async def test_links_to_pages_may_be_followed_from_anywhere(deck: Deck) -> None:
    cookie = await deck.sign_in()
    for path in ("/anything/x", "/docs", "/healthz"):
        response = await deck.client.get(path, headers={**cookie, "Sec-Fetch-Site": "cross-site"})
        assert response.status_code == 200


# --- who asks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/v1/processes", "/api/v1/nothing", "/api", "/metrics", "/docs", "/openapi.json"])
@pytest.mark.parametrize("method", METHODS)
async def test_the_api_asks_for_a_token(deck: Deck, path: str, method: str) -> None:
    response = await deck.client.request(method, path)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    if method != "HEAD":
        problem_of(response)


async def test_token_and_session_are_let_in_and_known_by_name(deck: Deck) -> None:
    assert (await deck.client.get("/anything/x", headers=BEARER)).json() == ["operator", "token"]
    assert (await deck.client.get("/anything/x", headers=await deck.sign_in())).json() == ["operator", "session"]
    assert (await deck.client.get("/healthz")).json() is None


async def test_a_wrong_token_is_not_made_good_by_a_session(deck: Deck) -> None:
    headers = {**await deck.sign_in(), "Authorization": "Bearer wrong"}
    response = await deck.client.get("/anything/x", headers=headers)
    assert response.status_code == 401
    assert "invalid_token" in response.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/", "/login"),
        ("/processes?state=running&q=a%20b", "/login?next=/processes%3Fstate%3Drunning%26q%3Da%2520b"),
        ("//evil.example/x", "/login"),
        ("/\\evil.example", "/login"),
        ("/anything/x", "/login?next=/anything/x"),
    ],
)
async def test_a_page_sends_to_the_login_and_back(deck: Deck, path: str, location: str) -> None:
    response = await deck.client.get(httpx.URL(OWN + path), headers=HTML)
    assert (response.status_code, response.headers["location"]) == (303, location)


async def test_what_can_not_be_come_back_to_is_told_401(deck: Deck) -> None:
    form = await deck.client.post("/processes", headers={**HTML, "Sec-Fetch-Site": "same-origin"})
    assert (form.status_code, form.text) == (401, "<h1>401 Not signed in</h1>")


async def test_the_docs_are_a_page_for_browsers(deck: Deck) -> None:
    response = await deck.client.get("/docs", headers=HTML)
    assert response.headers["location"] == "/login?next=/docs"


async def test_without_auth_everybody_is_the_operator_but_foreign_pages_stay_out() -> None:
    deck = make_deck(Settings(no_auth=True))
    async with deck.client:
        assert (await deck.client.get("/anything/x")).json() == ["operator", "none"]
        assert (await deck.client.post("/anything/x")).status_code == 200
        for source in FOREIGN[:-1]:
            assert (await deck.client.post("/anything/x", headers=source)).status_code == 403
        assert (await deck.client.get("/anything/x", headers={"Host": "evil.example"})).status_code == 421


async def test_a_failing_store_is_a_fault_of_ours(
    deck: Deck, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(cookies: str) -> None:
        raise OSError("disk gone")

    monkeypatch.setattr(deck.auth, "by_cookie", fail)
    response = await deck.client.get("/api/v1/processes", headers={"Cookie": "a=b"})
    assert problem_of(response)["request_id"] in caplog.text
    assert response.status_code == 500


async def test_websockets_are_refused(deck: Deck) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await deck.app({"type": "websocket", "path": "/api/v1/events", "headers": []}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


# --- headers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api/v1/processes", BEARER),
        ("/api/v1/processes", {}),
        ("/api/v1/fault", BEARER),
        ("/nothing", {**BEARER, **HTML}),
        ("/processes", HTML),
        ("/login", {}),
        ("/healthz", {"Host": "evil.example"}),
    ],
)
async def test_every_response_has_the_security_headers(deck: Deck, path: str, headers: dict[str, str]) -> None:
    response = await deck.client.get(path, headers=headers)
    for name, value in SECURITY_HEADERS.items():
        assert response.headers.get_list(name.decode()) == [value.decode()]


async def test_a_response_may_have_its_own(deck: Deck) -> None:
    assert (await deck.client.get("/static/app.css")).headers.get_list("cache-control") == ["max-age=3600"]
    response = await deck.client.get("/docs", headers=BEARER)
    assert response.headers.get_list("content-security-policy") == ["default-src 'self'"]


# --- bodies ------------------------------------------------------------------------------------------------------


async def chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 1024):
        yield b" " * 1024


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_may_have_one_mebibyte(deck: Deck, announced: bool) -> None:
    headers = {**BEARER, "Content-Type": "application/json"}
    for size, status in ((MAX_BODY, 400), (MAX_BODY + 1024, 413)):
        content: Any = b" " * size if announced else chunks(size)
        response = await deck.client.post("/api/v1/processes", headers=headers, content=content)
        assert response.status_code == status
        problem_of(response)
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize("length", ["-1", "1e3", "9" * 30, "1048577"])
async def test_an_announced_length_is_not_read(deck: Deck, length: str) -> None:
    headers = {"host": "localhost:8000", "authorization": BEARER["Authorization"], "content-length": length}
    sent = await exchange(deck.app, [(name.encode(), value.encode()) for name, value in headers.items()])
    assert sent[0]["status"] == 413


@pytest.mark.parametrize(
    ("content", "content_type", "status", "said"),
    [
        (b'{"target": "a:b", "labels": {"width": 1}}', "application/json", 201, ""),
        (b'{"target": "a:b"}', "application/json; charset=utf-8", 201, ""),
        (b'{"target": "a:b"}', "application/vnd.deck+json", 201, ""),
        (b'{"target": "a:b"}', "application/x-www-form-urlencoded", 415, "application/json"),
        (b'{"target": "a:b"}', "text/plain", 415, "application/json"),
        (b'{"target": "a:b"}', "", 415, "application/json"),
        (b'{"target": ', "application/json", 400, "line 1, column 12"),
        (b'{"target": NaN}', "application/json", 400, "NaN"),
        (b"[" * 100_000, "application/json", 400, "levels deep"),
        (b'{"target": "\xff"}', "application/json", 400, "UTF-8"),
        (b'{"n": ' + b"1" * 5000 + b"}", "application/json", 400, "4300 digits"),
        (b'{"target": "a", "target": "b"}', "application/json", 400, "'target' twice"),
    ],
)
async def test_json_bodies(deck: Deck, content: bytes, content_type: str, status: int, said: str) -> None:
    headers = {**BEARER, "Content-Type": content_type}
    response = await deck.client.post("/api/v1/processes", headers=headers, content=content)
    assert response.status_code == status
    if said:
        assert said in problem_of(response)["detail"]


# --- errors ------------------------------------------------------------------------------------------------------


async def test_wrong_fields_are_named(deck: Deck) -> None:
    response = await deck.client.post("/api/v1/processes", headers=BEARER, json={"labels": {"width": "hush"}})
    body = problem_of(response)
    assert response.status_code == 422
    assert [error["field"] for error in body["errors"]] == ["target", "labels.width"]
    assert "hush" not in response.text
    assert body["detail"] == "2 fields are wrong."
    response = await deck.client.get("/api/v1/processes?limit=501", headers=BEARER)
    assert [error["field"] for error in problem_of(response)["errors"]] == ["limit"]
    response = await deck.client.post("/api/v1/processes", headers=BEARER)
    assert problem_of(response)["errors"] == [{"field": "body", "message": "Field required"}]


async def test_many_wrong_fields_are_not_all_listed(deck: Deck) -> None:
    labels = {str(number): "x" for number in range(1000)}
    response = await deck.client.post("/api/v1/processes", headers=BEARER, json={"labels": labels})
    body = problem_of(response)
    assert len(body["errors"]) == 100
    assert body["detail"] == "1001 fields are wrong."


@pytest.mark.parametrize(
    ("method", "path", "status", "header"),
    [
        ("POST", "/api/v1/processes/1/stop", 409, None),
        ("GET", "/api/v1/busy", 503, ("retry-after", "5")),
        ("GET", "/api/v1/nothing", 404, None),
        ("GET", "/api/v1/proxy", 502, None),
        ("PATCH", "/api/v1/processes", 405, ("allow", "GET, POST")),
        ("GET", "/api/v1/processes/1/stop", 405, ("allow", "POST")),
    ],
)
async def test_problems(deck: Deck, method: str, path: str, status: int, header: tuple[str, str] | None) -> None:
    response = await deck.client.request(method, path, headers=BEARER)
    assert response.status_code == status
    problem_of(response)
    if header:
        assert response.headers[header[0]] == header[1]


async def test_a_browser_gets_a_page_where_pages_are(deck: Deck) -> None:
    response = await deck.client.get("/nothing", headers={**BEARER, **HTML})
    assert (response.status_code, response.text) == (404, "<h1>404 Not Found</h1>")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert (await deck.client.get("/nothing", headers=BEARER)).status_code == 404
    for path, headers in (("/nothing", BEARER), ("/api/v1/nothing", {**BEARER, **HTML})):
        problem_of(await deck.client.get(path, headers=headers))


async def test_a_page_that_can_not_be_made_is_replaced(deck: Deck, caplog: pytest.LogCaptureFixture) -> None:
    response = await deck.client.get("/broken-page", headers={**BEARER, **HTML})
    assert problem_of(response)["status"] == 409
    assert "no template" in caplog.text


async def test_a_fault_is_logged_and_not_told(deck: Deck, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        response = await deck.client.get("/api/v1/fault", headers=BEARER)
    assert response.status_code == 500
    assert problem_of(response)["request_id"] in caplog.text
    assert "hunter2" in caplog.text
    assert "hunter2" not in response.text


# --- streams -----------------------------------------------------------------------------------------------------


def scope(headers: list[tuple[bytes, bytes]], method: str = "POST") -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": "/healthz",
        "raw_path": b"/healthz",
        "query_string": b"",
        "headers": headers,
    }


async def exchange(app: ASGIApp, headers: list[tuple[bytes, bytes]], method: str = "POST") -> list[Message]:
    """What `app` sends, to a client that sends no body although it said so."""
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body is not to be read")

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope(headers, method), receive, send)
    return sent


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_stream_is_passed_on_piece_by_piece_and_ends_with_its_reader(method: str) -> None:
    closed = anyio.Event()
    hung_up = anyio.Event()
    pieces: list[bytes] = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await anyio.sleep_forever()
        finally:
            closed.set()

    async def receive() -> Message:
        await hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            pieces.append(message["body"])
            hung_up.set()

    settings = Settings()
    app = secure(StreamingResponse(endless()), settings, Auth(TOKEN, MemorySessions(), port=8000))
    headers = [(b"host", b"localhost:8000"), (b"sec-fetch-site", b"same-origin"), (b"transfer-encoding", b"chunked")]
    with anyio.fail_after(5):
        await app(scope(headers, method), receive, send)
        await closed.wait()
    assert pieces[0] == b"first"


async def test_a_body_that_grows_too_large_ends_a_response_that_has_begun() -> None:
    sent: list[Message] = []

    async def echo(scope: Scope, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await receive()

    async def receive() -> Message:
        return {"type": "http.request", "body": b" " * 2**16, "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    app = secure(echo, Settings(), Auth(TOKEN, MemorySessions(), port=8000))
    headers = [(b"host", b"localhost:8000"), (b"sec-fetch-site", b"same-origin"), (b"transfer-encoding", b"chunked")]
    with pytest.raises(Exception, match="at most"):
        await app(scope(headers), receive, send)
    assert [message["type"] for message in sent] == ["http.response.start"]
