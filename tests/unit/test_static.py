"""Static files: one address that changes with any of them, and what is sent for it."""

import gzip
import os
import re
from pathlib import Path

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from app.pages import files as module
from app.pages.files import ASK_EACH_TIME, FOR_EVER, Files, StaticFiles, static, static_version
from app.resources import resource_dir

CSS = "p { color: red }\n" * 100


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.0)
    folder = tmp_path / "static"
    (folder / "vendor").mkdir(parents=True)
    (folder / "a.css").write_text(CSS)
    (folder / "vendor" / "b.js").write_text("export {};")
    (folder / "c.png").write_bytes(b"\x89PNG")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


def get(found: Files, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        app = Starlette(routes=[Mount("/static", StaticFiles(found))])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.request(method, path, headers={"Accept-Encoding": "identity"} | headers)

    return anyio.run(ask)


def test_the_digest_stands_for_names_and_contents(folder: Path) -> None:
    found = Files(folder)
    first = found.digest
    assert re.fullmatch("[0-9a-f]{12}", first)
    os.utime(folder / "a.css", (1, 1))
    assert found.digest == first, "a time is no content"
    (folder / "vendor" / "b.js").write_text("export{} ;")
    second = found.digest
    (folder / "vendor" / "b.js").rename(folder / "vendor" / "d.js")
    assert len({first, second, found.digest}) == 3


def test_files_are_not_looked_at_for_every_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 1000.0)
    found = Files(folder)
    first = found.digest
    (folder / "a.css").write_text("changed")
    assert found.digest == first


def test_what_is_asked_for_by_the_digest_is_kept_for_ever(folder: Path) -> None:
    found = Files(folder)
    for path, kept in (
        (f"/static/{found.digest}/a.css", FOR_EVER),
        ("/static/000000000000/a.css", ASK_EACH_TIME),
        ("/static/a.css", ASK_EACH_TIME),
    ):
        answer = get(found, path)
        assert (answer.status_code, answer.text) == (200, CSS)
        assert answer.headers["Cache-Control"] == kept
        assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
    assert get(found, f"/static/{found.digest}/vendor/b.js").headers["Content-Type"].startswith("text/javascript")


def test_texts_are_sent_compressed_to_who_takes_that(folder: Path) -> None:
    found = Files(folder)
    answer = get(found, "/static/a.css", **{"Accept-Encoding": "br, gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert int(answer.headers["Content-Length"]) < len(CSS) / 5
    assert answer.text == CSS
    assert "Content-Encoding" not in get(found, "/static/a.css").headers
    assert "Content-Encoding" not in get(found, "/static/a.css", **{"Accept-Encoding": "gzip;q=0"}).headers
    picture = get(found, "/static/c.png", **{"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in picture.headers
    assert picture.headers["Content-Type"] == "image/png"


def test_what_a_browser_has_is_not_sent_again(folder: Path) -> None:
    found = Files(folder)
    first = get(found, "/static/a.css")
    again = get(found, "/static/a.css", **{"If-None-Match": f'"x", W/{first.headers["ETag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    packed = get(found, "/static/a.css", **{"If-None-Match": first.headers["ETag"], "Accept-Encoding": "gzip"})
    assert packed.status_code == 200, "the other encoding is another body"
    (folder / "a.css").write_text("p { color: blue }")
    changed = get(found, "/static/a.css", **{"If-None-Match": first.headers["ETag"]})
    assert (changed.status_code, changed.text) == (200, "p { color: blue }")


@pytest.mark.parametrize(
    "path", ["", "nope.css", "../secret.txt", "%2e%2e/secret.txt", "vendor", "vendor/", "000000000000/", "/etc/passwd"]
)
def test_nothing_else_is_there(folder: Path, path: str) -> None:
    assert get(Files(folder), f"/static/{path}").status_code in (404, 307)


def test_only_reading_is_possible(folder: Path) -> None:
    answer = get(Files(folder), "/static/a.css", method="POST")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_pages_name_what_there_is() -> None:
    assert static("app.css") == f"/static/{static_version()}/app.css"
    with pytest.raises(FileNotFoundError):
        static("nope.css")


def test_every_picture_that_a_template_names_is_in_the_sprite() -> None:
    sprite = resource_dir("static").joinpath("icons.svg").read_text()
    there = set(re.findall(r'<symbol id="(\w+)" viewBox="0 0 16 16">', sprite))
    assert there, "no pictures"
    for path in resource_dir("templates").rglob("*.html"):
        named = set(re.findall(r"""\bicon\(["'](\w+)["']\)""", path.read_text()))
        assert named <= there, f"{path.name}: {named - there}"


def test_vendored_files_are_what_their_page_says() -> None:
    from hashlib import sha256

    vendor = resource_dir("static") / "vendor"
    listed = dict(re.findall(r"^\| `([^`]+)` \| `([0-9a-f]{64})` \|$", (vendor / "VENDOR.md").read_text(), re.M))
    there = {path.relative_to(vendor).as_posix(): path for path in vendor.rglob("*") if path.is_file()}
    del there["VENDOR.md"]
    assert {name: sha256(path.read_bytes()).hexdigest() for name, path in there.items()} == listed


def test_what_is_compressed_once_is_what_was_there(folder: Path) -> None:
    file = Files(folder).get("a.css")
    assert file is not None
    assert gzip.decompress(module._packed(file)).decode() == CSS
    assert module._packed(file) is module._packed(file)
