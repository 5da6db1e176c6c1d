"""The static files: one address for all of them that changes with any of them, and how they are sent.

`/static/<digest>/<path>` may be kept for ever. The digest stands before the path, so that what a file names relative to
itself (a module that it imports, a picture in a style sheet) is kept for ever as well. Without a digest, and with that
of another version, the file of the present is sent, and browsers ask about it each time.
"""

import asyncio
import gzip
import mimetypes
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from stat import S_ISREG

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.compression import takes_gzip
from app.resources import resource_dir

LOOK_EVERY = 1.0
"""Seconds for which the files are taken to be unchanged: an upgrade may put new ones under a running service."""

FOR_EVER = "public, max-age=31536000, immutable"
ASK_EACH_TIME = "no-cache"

_DIGEST = re.compile(r"[0-9a-f]{12}")
_COMPRESSED = (".css", ".html", ".js", ".json", ".md", ".svg", ".txt")
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".md": "text/plain"}


@dataclass(frozen=True, slots=True)
class File:
    """One file as it was when it was looked at: ``changed`` in ns since the epoch, ``size`` in bytes."""

    path: Path
    changed: int
    size: int

    @property
    def tag(self) -> str:
        """Tells this content from others of the same name."""
        return f"{self.changed:x}-{self.size:x}"


class Files:
    """The files below ``folder``, looked for again every `LOOK_EVERY` seconds at most. Reads block, briefly."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._looked_at = float("-inf")
        self._found: dict[str, File] = {}
        self._digest = ""

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that stand for the names and contents of all files."""
        self._look()
        return self._digest

    def get(self, path: str) -> File | None:
        """The file at ``path``, relative to the folder. Only what was found there exists: no path leads out of it."""
        self._look()
        return self._found.get(path)

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < LOOK_EVERY:
            return
        found = {}
        for path in sorted(self._folder.rglob("*")):
            with suppress(FileNotFoundError):  # replaced at this moment
                status = path.stat()
                if S_ISREG(status.st_mode):
                    name = path.relative_to(self._folder).as_posix()
                    found[name] = File(path, status.st_mtime_ns, status.st_size)
        if found != self._found:
            self._digest = _digest(found)
            self._found = found
        self._looked_at = now


def _digest(files: dict[str, File]) -> str:
    # Of contents, not of times: the same version installed twice is the same address.
    whole = sha256()
    for name, file in files.items():
        whole.update(f"{name}\0{file.size}\0".encode())
        whole.update(file.path.read_bytes())
    return whole.hexdigest()[:12]


@cache
def files() -> Files:
    """The static files of this installation."""
    return Files(resource_dir("static"))


def static(path: str) -> str:
    """The URL of a static file. Raises FileNotFoundError, so that a page can't name what is not there."""
    if files().get(path) is None:
        raise FileNotFoundError(f"there is no static file {path}")
    return f"/static/{files().digest}/{path}"


def static_version() -> str:
    """What changes when any static file does: a page that was made with another one is out of date."""
    return files().digest


# --- sending them ------------------------------------------------------------------------------------------------


class StaticFiles:
    """The ASGI application under /static. Files are compressed once, when first asked for, and then kept in memory."""

    def __init__(self, found: Files) -> None:
        self._files = found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        if request.method not in ("GET", "HEAD"):
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        response = await self._respond(
            request, scope["path"].removeprefix(scope.get("root_path", "")).removeprefix("/")
        )
        await response(scope, receive, send)

    async def _respond(self, request: Request, path: str) -> Response:
        first, _, rest = path.partition("/")
        is_versioned = _DIGEST.fullmatch(first) is not None
        file = self._files.get(rest if is_versioned else path)
        if file is None:
            raise HTTPException(404)
        is_kept = is_versioned and first == self._files.digest
        is_text = file.path.suffix in _COMPRESSED
        is_packed = is_text and takes_gzip(request.headers.get("accept-encoding", ""))
        headers = {
            "Cache-Control": FOR_EVER if is_kept else ASK_EACH_TIME,
            "ETag": f'"{file.tag}{"-gzip" if is_packed else ""}"',
            "Last-Modified": formatdate(file.changed / 1e9, usegmt=True),
        }
        if is_text:
            headers["Vary"] = "Accept-Encoding"
        if headers["ETag"] in [tag.strip().removeprefix("W/") for tag in _asked(request)]:
            return Response(status_code=304, headers=headers)
        if is_packed:
            headers["Content-Encoding"] = "gzip"
        body = await asyncio.to_thread(_content, file, is_packed)
        # HEAD has the headers of GET; the server leaves the body out.
        return Response(body, headers=headers, media_type=_media_type(file.path))


def _asked(request: Request) -> list[str]:
    return request.headers.get("if-none-match", "").split(",")


def _media_type(path: Path) -> str:
    return _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"


@lru_cache(maxsize=128)
def _packed(file: File) -> bytes:
    return gzip.compress(file.path.read_bytes(), 9, mtime=0)


def _content(file: File, is_packed: bool) -> bytes:
    return _packed(file) if is_packed else file.path.read_bytes()
