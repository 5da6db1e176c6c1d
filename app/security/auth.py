"""Who asks: the operator's token, the one-time login link, and the sessions of browsers.

Secrets are random 256-bit values. Only their SHA-256 is kept and compared: nobody can search 256 bits, so that no slow
password hash is needed, and comparing hashes in constant time tells nothing about the secret.
"""

import contextlib
import hmac
import logging
import math
import os
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import quote

from app.data_folder import TOKEN
from app.errors import DataFolderUnusable, TooManyRequests, Unauthorized, Unavailable

log = logging.getLogger(__name__)

OPERATOR = "operator"
"""The one actor of an installation: who holds the token of its data folder."""

IDLE = timedelta(hours=12)
ABSOLUTE = timedelta(days=7)
"""A session ends when it was not used for `IDLE`, and at the latest `ABSOLUTE` after it began."""

TOUCH = timedelta(minutes=1)
"""A session in use is written that often at most: reading a page is no reason to write a row."""

CODE_SECONDS = 600.0
"""How long a login link is valid."""

_TOKEN = re.compile(r"pd_[0-9a-f]{8}_[A-Za-z0-9_-]{43}")
_SECRET_LENGTH = 43  # of 256 bits in base64url without padding
_MAX_CODES = 16
_MAX_COOKIES = 4

Method = Literal["token", "session", "none"]


@dataclass(frozen=True)
class Identity:
    """Who asks and how we know; `session` is the hash of the session's id."""

    actor: str
    method: Method
    session: str | None = None


ANYBODY = Identity(OPERATOR, "none")
_BY_TOKEN = Identity(OPERATOR, "token")


def utc_now() -> datetime:
    return datetime.now(UTC)


def _new_secret() -> str:
    return secrets.token_urlsafe(32)


def _hash(secret: str) -> str:
    # replace: what a stranger sends may not be text at all, which must not be an error of ours.
    return sha256(secret.encode("utf-8", "replace")).hexdigest()


# --- the token ---------------------------------------------------------------------------------------------------


def load_token(data_dir: Path) -> str:
    """The operator's token in `data_dir`, made at the first start. Raises DataFolderUnusable.

    The caller holds the lock of the data folder, so that no other service makes one at the same time.
    """
    path = data_dir / TOKEN
    try:
        return _read_token(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise DataFolderUnusable(f"can't read {path}: {error.strerror}") from error
    token = f"pd_{secrets.token_hex(4)}_{_new_secret()}"
    try:
        _write_private(path, token + "\n")
    except OSError as error:
        raise DataFolderUnusable(f"can't write {path}: {error.strerror}") from error
    return token


def _read_token(path: Path) -> str:
    with path.open(encoding="ascii", errors="replace") as file:
        mode = os.fstat(file.fileno()).st_mode
        token = file.read(256).strip()
    if not _TOKEN.fullmatch(token):
        raise DataFolderUnusable(f"{path} does not hold a token; remove it, and the next start makes a new one")
    if mode & 0o077:
        log.warning("%s could be read by others; it is private now, but remove it if somebody may have", path)
        with contextlib.suppress(OSError):
            path.chmod(0o600)
    return token


def _write_private(path: Path, text: str) -> None:
    """A file of mode 0600 that appears complete or not at all, also after a loss of power."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# --- sessions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Session:
    """A signed-in browser. The id itself is in its cookie only."""

    id_hash: str
    actor: str
    created_at: datetime
    last_seen_at: datetime

    def is_live(self, now: datetime) -> bool:
        # Times to come count as well: a clock that was years ahead for a moment must not make a session for years.
        return abs(now - self.last_seen_at) < IDLE and abs(now - self.created_at) < ABSOLUTE


class SessionStore(Protocol):
    """Where sessions outlive the service. It stores and finds; what is valid is decided by `Auth`."""

    async def create(self, session: Session) -> None: ...

    async def get(self, id_hash: str) -> Session | None: ...

    async def touch(self, id_hash: str, last_seen_at: datetime) -> None:
        """Note that the session was used; an unknown one is ignored."""

    async def delete(self, id_hash: str) -> None:
        """Forget the session; an unknown one is ignored."""

    async def purge(self, created_before: datetime, seen_before: datetime) -> None:
        """Forget the sessions that began, or were used last, before these times."""


class MemorySessions:
    """Sessions that end with the service: for tests, and for a service without a record."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    async def create(self, session: Session) -> None:
        self._sessions[session.id_hash] = session

    async def get(self, id_hash: str) -> Session | None:
        return self._sessions.get(id_hash)

    async def touch(self, id_hash: str, last_seen_at: datetime) -> None:
        if session := self._sessions.get(id_hash):
            self._sessions[id_hash] = replace(session, last_seen_at=last_seen_at)

    async def delete(self, id_hash: str) -> None:
        self._sessions.pop(id_hash, None)

    async def purge(self, created_before: datetime, seen_before: datetime) -> None:
        self._sessions = {
            key: session
            for key, session in self._sessions.items()
            if session.created_at >= created_before and session.last_seen_at >= seen_before
        }


# --- attempts ----------------------------------------------------------------------------------------------------


class LoginLimit:
    """Five failed attempts a minute from one address; each further one doubles the wait, up to five minutes."""

    FREE = 5
    WINDOW = 60.0
    LONGEST = 300.0
    ADDRESSES = 1024
    """How many addresses are remembered; the ones not heard of for longest are forgotten first."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        # address -> (failures, time of the last one, blocked until)
        self._failures: OrderedDict[str, tuple[int, float, float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Raises TooManyRequests while `address` has to wait."""
        _, _, until = self._failures.get(address, (0, 0.0, 0.0))
        if (wait := until - self._monotonic()) > 0:
            raise TooManyRequests(
                f"Too many failed attempts to sign in. Try again in {math.ceil(wait)} s.", retry_after=wait
            )

    def failed(self, address: str) -> None:
        now = self._monotonic()
        count, last, until = self._failures.pop(address, (0, now, now))
        # Forgiven after a quiet time, counted from the end of the wait: else waiting alone would forgive.
        count = 1 if now - max(last, until) > self.WINDOW else count + 1
        wait = min(self.WINDOW * 2.0 ** min(count - self.FREE, 8), self.LONGEST) if count >= self.FREE else 0.0
        self._failures[address] = (count, now, now + wait)
        if len(self._failures) > self.ADDRESSES:
            self._failures.popitem(last=False)

    def succeeded(self, address: str) -> None:
        self._failures.pop(address, None)


# --- all of it together ------------------------------------------------------------------------------------------


class Auth:
    """Tells who asks, signs browsers in and out. One per service; used from its event loop only.

    Sessions are read from `store` once and kept in memory: the service is the only writer of its data folder.
    `port` is the one that is really listened on: cookies are shared by all ports of a host (RFC 6265, 8.5), so that it
    is part of the cookie's name.
    """

    def __init__(
        self,
        token: str,
        store: SessionStore,
        *,
        port: int,
        cookie_secure: bool = False,
        no_auth: bool = False,
        now: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.no_auth = no_auth
        self.cookie_name = "__Host-procdeck" if cookie_secure else f"procdeck_{port}"
        self._cookie_prefix = self.cookie_name + "="
        self._cookie_attributes = "; Path=/; HttpOnly; SameSite=Strict" + ("; Secure" if cookie_secure else "")
        self._token_hash = _hash(token)
        self._store = store
        self._sessions: dict[str, Session] = {}
        self._ended = 0
        """Counts ends of sessions, to see whether one came between."""
        self._codes: dict[str, float] = {}
        self._now = now
        self._monotonic = monotonic
        self._limit = LoginLimit(monotonic)

    def is_token(self, given: str) -> bool:
        return hmac.compare_digest(_hash(given), self._token_hash)

    def by_bearer(self, authorization: str) -> Identity | None:
        """Who sent this `Authorization` header; None when it is of another scheme. Raises Unauthorized."""
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        if self.is_token(given.strip()):
            return _BY_TOKEN
        if self.no_auth:
            return None
        raise Unauthorized(
            "The bearer token is not the one of this service (it is in the file `token` of the data folder).",
            headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
        )

    async def by_cookie(self, cookies: str) -> Identity | None:
        """Who sent this `Cookie` header, if it has a living session."""
        pairs = (pair.strip() for pair in cookies.split(";"))
        ours = (pair[len(self._cookie_prefix) :] for pair in pairs if pair.startswith(self._cookie_prefix))
        # A neighbour's cookie of the same name may come first; but a stranger may not have us search for hundreds.
        for session_id in islice(ours, _MAX_COOKIES):
            if identity := await self._by_session(session_id):
                return identity
        return None

    async def _by_session(self, session_id: str) -> Identity | None:
        if len(session_id) != _SECRET_LENGTH:
            return None
        key = _hash(session_id)
        session = self._sessions.get(key) or await self._fetch(key)
        if session is None:
            return None
        now = self._now()
        if not session.is_live(now):
            with contextlib.suppress(Unavailable):  # it stays in the record, and is as dead there
                await self._end(key)
            return None
        if now - session.last_seen_at >= TOUCH:
            self._sessions[key] = replace(session, last_seen_at=now)
            with contextlib.suppress(Unavailable):  # nobody who is signed in is kept from looking for that
                await self._store.touch(key, now)
        return Identity(session.actor, "session", key)

    async def _fetch(self, key: str) -> Session | None:
        while True:
            ended = self._ended
            session = await self._store.get(key)
            if session is None:
                return None
            # Another request may have signed out while we were reading: what was read may be gone.
            if ended == self._ended:
                self._sessions[key] = session
                return session

    def is_current(self, identity: Identity) -> bool:
        """Whether `identity` still holds: a long stream asks now and then, and ends when its session has."""
        if identity.session is None:
            return True
        session = self._sessions.get(identity.session)
        return session is not None and session.is_live(self._now())

    def new_login_code(self) -> str:
        """A code that signs one browser in, once, within `CODE_SECONDS`."""
        code = _new_secret()
        if len(self._codes) >= _MAX_CODES:
            del self._codes[next(iter(self._codes))]
        self._codes[_hash(code)] = self._monotonic() + CODE_SECONDS
        return code

    def login_link(self, url: str) -> str:
        """A one-time link below `url`; its page sends the code on by POST, so that following it twice is no harm."""
        return f"{url}/login?code={self.new_login_code()}"

    async def log_in(self, secret: str, address: str) -> str:
        """Exchange a login code or the token for a session; returns the session's id, for `session_cookie`.

        `address` is the peer's, for the limit of attempts. Raises Unauthorized and TooManyRequests; Unavailable when
        the session can't be recorded.
        """
        self._limit.check(address)
        expires = self._codes.get(_hash(secret))
        if not (self._take_code(secret) or self.is_token(secret)):
            self._limit.failed(address)
            log.warning("failed attempt to sign in from %s", address)
            raise Unauthorized("That is neither the token of this service nor a login link that is still good.")
        self._limit.succeeded(address)
        try:
            return await self._new_session()
        except Unavailable:
            if expires is not None:
                self._codes[_hash(secret)] = expires  # it was of no use: it may be used again
            raise

    def _take_code(self, code: str) -> bool:
        # Found by its hash: how long the search takes tells nothing about the code.
        expires = self._codes.pop(_hash(code), None)
        return expires is not None and self._monotonic() < expires

    async def _new_session(self) -> str:
        now = self._now()
        session_id = _new_secret()
        session = Session(_hash(session_id), OPERATOR, created_at=now, last_seen_at=now)
        await self._store.create(session)
        self._sessions[session.id_hash] = session
        with contextlib.suppress(Unavailable):  # the next one does it
            await self._purge(now - ABSOLUTE, now - IDLE)
        return session_id

    async def record_again(self) -> None:
        """Put the sessions that were used since the start into a record that was made again, and has none."""
        for key in list(self._sessions):
            if session := self._sessions.get(key):  # unless it has ended meanwhile
                await self._store.create(session)

    async def log_out(self, identity: Identity) -> None:
        if identity.session is not None:
            await self._end(identity.session)

    async def _end(self, key: str) -> None:
        self._sessions.pop(key, None)
        await self._store.delete(key)
        self._ended += 1

    async def _purge(self, created_before: datetime, seen_before: datetime) -> None:
        self._sessions = {
            key: session
            for key, session in self._sessions.items()
            if session.created_at >= created_before and session.last_seen_at >= seen_before
        }
        await self._store.purge(created_before, seen_before)
        self._ended += 1

    def session_cookie(self, session_id: str) -> str:
        """The `Set-Cookie` header that keeps a session."""
        return f"{self._cookie_prefix}{session_id}; Max-Age={int(ABSOLUTE.total_seconds())}{self._cookie_attributes}"

    def expired_cookie(self) -> str:
        """The `Set-Cookie` header that makes the browser forget its session."""
        return f"{self._cookie_prefix}; Max-Age=0{self._cookie_attributes}"


# --- where to go after signing in --------------------------------------------------------------------------------


def login_location(path: str) -> str:
    """Where to send a browser that asked for `path` without being signed in."""
    path = safe_next(path)
    return "/login" if path == "/" else f"/login?next={quote(path, safe='/')}"


def safe_next(target: str | None) -> str:
    """`target` if it is a path of this site, else `/`.

    Browsers drop control characters and read a backslash as a slash: `/\\evil.example` and `/<tab>/evil.example` are
    addresses of another site.
    """
    if not target or len(target) > 2000 or target[0] != "/" or target[1:2] == "/":
        return "/"
    if "\\" in target or any(character <= " " or character == "\x7f" for character in target):
        return "/"
    return "/" if target.partition("?")[0] == "/login" else target
