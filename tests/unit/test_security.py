import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest

from app.errors import BadRequest, DataFolderUnusable, Forbidden, MisdirectedRequest, TooManyRequests, Unauthorized
from app.security.auth import (
    Auth,
    Identity,
    LoginLimit,
    MemorySessions,
    Session,
    load_token,
    login_location,
    safe_next,
)
from app.security.middleware import HostList, check_origin, check_read, is_public, read_headers
from app.settings import Settings

TOKEN = "pd_00c0ffee_" + "s" * 43
ADDRESS = "127.0.0.1"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class FakeClock:
    """Time that passes when told to: monotonic seconds, and the same as a date."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def pass_(self, **time: float) -> None:
        self.seconds += timedelta(**time).total_seconds()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


MakeAuth = Callable[[], Auth]


@pytest.fixture
def store() -> MemorySessions:
    return MemorySessions()


@pytest.fixture
def make_auth(clock: FakeClock, store: MemorySessions) -> MakeAuth:
    return lambda: Auth(TOKEN, store, port=8000, now=clock.now, monotonic=clock.monotonic)


@pytest.fixture
def auth(make_auth: MakeAuth) -> Auth:
    return make_auth()


# --- Host and Origin ---------------------------------------------------------------------------------------------


def host_list(port: int = 8000, host: str = "127.0.0.1", *allowed: str) -> HostList:
    return HostList(Settings(host=host, port=port, allowed_hosts=allowed))


@pytest.mark.parametrize("host", [b"localhost:8000", b"LocalHost:8000", b"127.0.0.1:8000", b"[::1]:8000"])
def test_this_machines_own_names_are_answered(host: bytes) -> None:
    assert host_list().check(host) == host.lower()


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"evil.example:8000",
        b"localhost",
        b"localhost:9999",
        b"localhost.:8000",
        b"localhost@evil.example:8000",
        b"localhost:8000@evil.example",
        b"127.0.0.1:8000:8000",
        b"[::1]",
        b"[::1",
        b"127.1:8000",
        b"0.0.0.0:8000",
        b"\xff",
        b":8000",
        b"deck.example.com.evil.example",
    ],
)
def test_foreign_names_are_not(host: bytes) -> None:
    with pytest.raises(MisdirectedRequest):
        host_list(8000, "127.0.0.1", "deck.example.com").check(host)


@pytest.mark.parametrize("raw", [[], [b""], [b"localhost:8000", b"localhost:8000"], [b"localhost:8000", b"evil"]])
def test_a_host_must_be_given_exactly_once(raw: list[bytes]) -> None:
    headers = read_headers((b"host", value) for value in raw)
    with pytest.raises(BadRequest):
        host_list().check(headers.get(b"host"))


def test_configured_names_are_answered_on_any_port_or_on_theirs() -> None:
    hosts = host_list(8000, "0.0.0.0", "Deck.example.com", "other:8443", "[fd00::1]")
    for host in (b"deck.example.com", b"deck.example.com:443", b"other:8443", b"[fd00::1]:8000", b"[fd00::1]"):
        hosts.check(host)
    for host in (b"other", b"other:8000", b"0.0.0.0:8000"):
        with pytest.raises(MisdirectedRequest):
            hosts.check(host)


def test_the_address_listened_on_and_the_default_port() -> None:
    host_list(8000, "192.168.1.5").check(b"192.168.1.5:8000")
    host_list(8000, "::1").check(b"[::1]:8000")
    host_list(80).check(b"localhost")


OWN = b"http://localhost:8000"


@pytest.mark.parametrize("origin_needed", [True, False])
@pytest.mark.parametrize(
    ("site", "origin", "passes"),
    [
        (b"same-origin", None, True),
        (b"none", None, True),
        (b"same-origin", b"http://evil.example", True),  # scripts can't set Sec-Fetch-Site; the browser knows best
        (b"same-site", OWN, False),
        (b"cross-site", OWN, False),
        (b"", OWN, False),
        (b"same-origin; cross-site", OWN, False),
        (None, OWN, True),
        (None, b"http://LOCALHOST:8000", True),
        (None, b"null", False),
        (None, b"", False),
        (None, b"https://localhost:8000", False),
        (None, b"http://localhost:9999", False),
        (None, b"http://localhost", False),
        (None, b"http://127.0.0.1:8000", False),
        (None, b"http://localhost:8000.evil.example", False),
        (None, OWN + b"; " + OWN, False),
    ],
)
def test_origins(site: bytes | None, origin: bytes | None, passes: bool, origin_needed: bool) -> None:
    pairs = ((b"sec-fetch-site", site), (b"origin", origin))
    headers = {name: value for name, value in pairs if value is not None}
    if passes:
        check_origin(headers, OWN, origin_needed=origin_needed)
    else:
        with pytest.raises(Forbidden):
            check_origin(headers, OWN, origin_needed=origin_needed)


def test_without_any_word_about_the_origin() -> None:
    check_origin({}, OWN, origin_needed=False)
    with pytest.raises(Forbidden):
        check_origin({}, OWN, origin_needed=True)


def test_foreign_pages_do_not_load_from_the_api() -> None:
    refused = {
        (site, mode)
        for site, mode in product(
            (b"same-origin", b"none", b"same-site", b"cross-site"), (b"navigate", b"no-cors", b"cors")
        )
        if _refused(site, mode)
    }
    cross = {(b"cross-site", mode) for mode in (b"navigate", b"no-cors", b"cors")}
    assert refused == cross | {(b"same-site", b"no-cors"), (b"same-site", b"cors")}
    check_read({})


def _refused(site: bytes, mode: bytes) -> bool:
    try:
        check_read({b"sec-fetch-site": site, b"sec-fetch-mode": mode})
    except Forbidden:
        return True
    return False


def test_what_is_public() -> None:
    assert all(map(is_public, ("/healthz", "/readyz", "/login", "/static/app.css")))
    assert not any(map(is_public, ("/", "/static", "/login/", "/healthz/x", "/api/v1/targets", "/metrics", "/docs")))


@pytest.mark.parametrize(
    ("target", "safe"),
    [
        ("/", "/"),
        ("/processes/1?tab=log#end", "/processes/1?tab=log#end"),
        (None, "/"),
        ("", "/"),
        ("processes", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("\\\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("/x\r\nSet-Cookie: a=b", "/"),
        (" //evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/login?next=/x", "/"),
        ("/" + "x" * 2000, "/"),
    ],
)
def test_after_signing_in_one_stays_on_this_site(target: str | None, safe: str) -> None:
    assert safe_next(target) == safe


def test_the_way_to_the_login_page_remembers_where_one_was() -> None:
    assert login_location("/") == "/login"
    assert login_location("/a?b=c&d=e") == "/login?next=/a%3Fb%3Dc%26d%3De"
    assert login_location("//evil.example") == "/login"


# --- the token ---------------------------------------------------------------------------------------------------


def test_the_first_start_makes_a_private_token_and_later_ones_read_it(tmp_path: Path) -> None:
    token = load_token(tmp_path)
    path = tmp_path / "token"
    assert token.startswith("pd_")
    assert path.read_text() == token + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_token(tmp_path) == token
    assert [entry.name for entry in tmp_path.iterdir()] == ["token"]


def test_two_folders_have_two_tokens(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert load_token(tmp_path / "a") != load_token(tmp_path / "b")


def test_a_token_that_others_may_read_is_made_private(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_token(tmp_path)
    (tmp_path / "token").chmod(0o644)
    load_token(tmp_path)
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert "could be read by others" in caplog.text


@pytest.mark.parametrize("content", ["", "secret", "pd_x_y", TOKEN[:-1], TOKEN + "\nmore", "\xff"])
def test_a_file_that_is_no_token_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    with pytest.raises(DataFolderUnusable, match="does not hold a token"):
        load_token(tmp_path)


def test_a_folder_without_room_for_a_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFolderUnusable, match="can't write"):
        load_token(tmp_path / "missing")
    (tmp_path / "token").mkdir()
    with pytest.raises(DataFolderUnusable, match="can't read"):
        load_token(tmp_path)


@pytest.mark.parametrize("given", ["", TOKEN[:-1], TOKEN + "s", TOKEN.upper(), TOKEN[:-1] + "\xff", "\ud800"])
def test_only_the_token_itself_is_the_token(auth: Auth, given: str) -> None:
    assert auth.is_token(TOKEN)
    assert not auth.is_token(given)


def test_bearers(auth: Auth) -> None:
    expected = Identity("operator", "token")
    assert auth.by_bearer(f"Bearer {TOKEN}") == auth.by_bearer(f"bearer  {TOKEN} ") == expected
    assert auth.by_bearer("Basic dXNlcjpwYXNz") is None
    for wrong in ("Bearer", "Bearer ", "Bearer x", f"Bearer {TOKEN}; Bearer {TOKEN}"):
        with pytest.raises(Unauthorized) as refusal:
            auth.by_bearer(wrong)
        assert refusal.value.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_without_auth_a_stale_token_does_no_harm(store: MemorySessions) -> None:
    open_door = Auth(TOKEN, store, port=8000, no_auth=True)
    assert open_door.by_bearer("Bearer stale") is None
    assert open_door.by_bearer(f"Bearer {TOKEN}") == Identity("operator", "token")


# --- signing in --------------------------------------------------------------------------------------------------


def code_of(link: str) -> str:
    return link.partition("?code=")[2]


def cookie_of(auth: Auth, session_id: str) -> str:
    return auth.session_cookie(session_id).partition(";")[0]


@pytest.mark.anyio
async def test_a_login_link_signs_in_once(auth: Auth) -> None:
    link = auth.login_link("http://127.0.0.1:8000")
    assert link.startswith("http://127.0.0.1:8000/login?code=")
    identity = await auth.by_cookie(cookie_of(auth, await auth.log_in(code_of(link), ADDRESS)))
    assert identity is not None
    assert (identity.actor, identity.method) == ("operator", "session")
    with pytest.raises(Unauthorized):
        await auth.log_in(code_of(link), ADDRESS)


@pytest.mark.anyio
async def test_a_login_link_is_good_for_ten_minutes(auth: Auth, clock: FakeClock) -> None:
    in_time, too_late = auth.new_login_code(), auth.new_login_code()
    clock.pass_(seconds=599.9)
    await auth.log_in(in_time, ADDRESS)
    clock.pass_(seconds=0.1)
    with pytest.raises(Unauthorized):
        await auth.log_in(too_late, ADDRESS)


@pytest.mark.anyio
async def test_only_the_newest_login_links_are_kept(auth: Auth) -> None:
    codes = [auth.new_login_code() for _ in range(17)]
    with pytest.raises(Unauthorized):
        await auth.log_in(codes[0], ADDRESS)
    await auth.log_in(codes[1], ADDRESS)


@pytest.mark.anyio
async def test_the_token_signs_in_too_and_as_often_as_one_likes(auth: Auth) -> None:
    assert await auth.log_in(TOKEN, ADDRESS) != await auth.log_in(TOKEN, ADDRESS)


@pytest.mark.anyio
async def test_failed_attempts_are_limited_by_address(auth: Auth, clock: FakeClock) -> None:
    for _ in range(5):
        with pytest.raises(Unauthorized):
            await auth.log_in("guess", ADDRESS)
    with pytest.raises(TooManyRequests) as refusal:
        await auth.log_in(TOKEN, ADDRESS)
    assert refusal.value.headers == {"Retry-After": "60"}
    await auth.log_in(TOKEN, "10.0.0.7")
    clock.pass_(seconds=60)
    await auth.log_in(TOKEN, ADDRESS)


def test_the_wait_grows_and_is_forgiven_after_a_quiet_time(clock: FakeClock) -> None:
    limit = LoginLimit(clock.monotonic)
    waits = []
    for _ in range(8):
        limit.failed(ADDRESS)
        try:
            limit.check(ADDRESS)
        except TooManyRequests as refusal:
            wait = int(refusal.headers["Retry-After"])
            waits.append(wait)
            clock.pass_(seconds=wait)
    assert waits == [60, 120, 240, 300]
    clock.pass_(seconds=61)
    limit.failed(ADDRESS)
    limit.check(ADDRESS)


def test_attempts_from_everywhere_do_not_fill_the_memory(clock: FakeClock) -> None:
    limit = LoginLimit(clock.monotonic)
    for number in range(5000):
        limit.failed(str(number))
    assert len(limit._failures) == LoginLimit.ADDRESSES


# --- sessions ----------------------------------------------------------------------------------------------------


def test_cookies(store: MemorySessions) -> None:
    plain = Auth(TOKEN, store, port=8123)
    assert plain.session_cookie("x") == "procdeck_8123=x; Max-Age=604800; Path=/; HttpOnly; SameSite=Strict"
    assert plain.expired_cookie() == "procdeck_8123=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict"
    secured = Auth(TOKEN, store, port=8123, cookie_secure=True)
    expected = "__Host-procdeck=x; Max-Age=604800; Path=/; HttpOnly; SameSite=Strict; Secure"
    assert secured.session_cookie("x") == expected


@pytest.mark.anyio
async def test_a_session_is_found_among_other_cookies(auth: Auth) -> None:
    cookie = cookie_of(auth, await auth.log_in(TOKEN, ADDRESS))
    planted = "procdeck_8000=" + "x" * 43
    assert await auth.by_cookie(f"theme=dark; {planted};{cookie}; a=b")
    assert await auth.by_cookie(cookie.replace("8000", "8001")) is None
    assert await auth.by_cookie(planted) is None
    assert await auth.by_cookie("procdeck_8000=; ;=; x") is None
    assert await auth.by_cookie("; ".join([planted] * 4 + [cookie])) is None


@pytest.mark.anyio
async def test_a_session_outlives_the_service_and_its_id_is_not_stored(
    make_auth: MakeAuth, store: MemorySessions
) -> None:
    first = make_auth()
    session_id = await first.log_in(TOKEN, ADDRESS)
    assert session_id not in repr(vars(store))
    assert await make_auth().by_cookie(cookie_of(first, session_id))


@pytest.mark.anyio
async def test_a_session_ends_when_it_is_not_used_for_twelve_hours(auth: Auth, clock: FakeClock) -> None:
    cookie = cookie_of(auth, await auth.log_in(TOKEN, ADDRESS))
    clock.pass_(hours=11.9)
    identity = await auth.by_cookie(cookie)
    assert identity
    clock.pass_(hours=11.9)
    assert auth.is_current(identity)
    clock.pass_(hours=0.1)
    assert not auth.is_current(identity)
    assert await auth.by_cookie(cookie) is None


@pytest.mark.anyio
async def test_a_session_ends_after_a_week_in_any_case(auth: Auth, clock: FakeClock, store: MemorySessions) -> None:
    cookie = cookie_of(auth, await auth.log_in(TOKEN, ADDRESS))
    for _ in range(7 * 3 - 1):
        clock.pass_(hours=8)
        assert await auth.by_cookie(cookie)
    clock.pass_(hours=8)
    assert await auth.by_cookie(cookie) is None
    assert not store._sessions


@pytest.mark.anyio
async def test_a_session_in_use_is_written_once_a_minute(
    auth: Auth, clock: FakeClock, store: MemorySessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched: list[datetime] = []

    async def touch(id_hash: str, last_seen_at: datetime) -> None:
        touched.append(last_seen_at)

    monkeypatch.setattr(store, "touch", touch)
    cookie = cookie_of(auth, await auth.log_in(TOKEN, ADDRESS))
    for _ in range(12):
        clock.pass_(seconds=10)
        await auth.by_cookie(cookie)
    assert len(touched) == 2


@pytest.mark.anyio
async def test_signing_out_ends_this_session_alone(make_auth: MakeAuth) -> None:
    auth = make_auth()
    cookies = [cookie_of(auth, await auth.log_in(TOKEN, ADDRESS)) for _ in range(2)]
    first, second = [await auth.by_cookie(cookie) for cookie in cookies]
    assert first
    assert second
    await auth.log_out(first)
    assert not auth.is_current(first)
    assert auth.is_current(second)
    known = [await make_auth().by_cookie(cookie) for cookie in cookies]
    assert [identity is not None for identity in known] == [False, True]
    assert auth.is_current(Identity("operator", "token"))


@pytest.mark.anyio
async def test_signing_in_clears_away_what_is_over(auth: Auth, clock: FakeClock, store: MemorySessions) -> None:
    await auth.log_in(TOKEN, ADDRESS)
    clock.pass_(days=1)
    await auth.log_in(TOKEN, ADDRESS)
    assert len(store._sessions) == len(auth._sessions) == 1


@pytest.mark.anyio
async def test_a_session_that_ends_while_it_is_read_stays_ended(
    make_auth: MakeAuth, store: MemorySessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = make_auth()
    cookie = cookie_of(before, await before.log_in(TOKEN, ADDRESS))
    auth = make_auth()
    get = store.get

    async def get_slowly(id_hash: str) -> Session | None:
        session = await get(id_hash)
        await auth.log_out(Identity("operator", "session", id_hash))
        return session

    monkeypatch.setattr(store, "get", get_slowly)
    assert await auth.by_cookie(cookie) is None
