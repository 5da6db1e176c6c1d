"""What error pages say, and where they lead."""

from typing import Any

import pytest
from fastapi import Request

from app.pages.refusals import HOME, explain, page_before, remedy
from app.pages.render import error_page


def problem(status: int, **more: object) -> dict[str, object]:
    return {"status": status, "title": "A title", "detail": "A sentence.", **more}


def test_a_process_that_is_gone_leads_to_the_list_and_to_who_deleted_it() -> None:
    refusal = explain(problem(404), "GET", "/processes/01890a5d", "/processes/01890a5d")
    assert "process" in refusal.heading
    assert [link.href for link in refusal.links] == ["/processes", "/activity?verb=removals&who=everybody"]


def test_a_target_that_is_gone_leads_to_its_processes() -> None:
    refusal = explain(problem(404), "GET", "/targets/jobs:a b", "/targets/jobs:a%20b")
    assert "/processes?search=target%3Ajobs%3Aa%20b" in [link.href for link in refusal.links]


def test_who_was_signed_out_signs_in_beside_so_that_nothing_typed_is_lost() -> None:
    refusal = explain(problem(401), "POST", "/launch", "/launch?target=jobs:a")
    (link,) = refusal.links
    assert (link.href, link.is_beside) == ("/login?next=/processes", True)
    assert "Nothing was done" in refusal.advice


@pytest.mark.parametrize("status", [429, 503])
def test_a_page_asks_again_by_itself_but_sends_nothing_again(status: int) -> None:
    reading = explain(problem(status, retry_after=7), "GET", "/targets", "/targets")
    assert reading.again_in == 7
    assert "asks again in 7 seconds" in reading.advice
    writing = explain(problem(status, retry_after=1), "POST", "/launch", "/launch")
    assert writing.again_in is None
    assert "again in a second" in writing.advice
    assert explain(problem(status), "GET", "/targets", "/targets").again_in is None


@pytest.mark.parametrize("status", [400, 403, 409, 413, 422])
def test_what_was_refused_says_that_nothing_was_done_and_leads_back(status: int) -> None:
    refusal = explain(problem(status), "POST", "/processes/1/stop", "/processes/1?tab=log")
    assert "Nothing was done" in refusal.advice
    assert [link.href for link in refusal.links] == ["/processes/1?tab=log", HOME]


def test_a_fault_has_details_to_copy() -> None:
    refusal = explain(problem(500), "GET", "/targets", "/targets?x=1")
    assert refusal.has_details
    assert [link.href for link in refusal.links] == ["/targets?x=1", HOME]


@pytest.mark.parametrize("status", [404, 405, 406, 418, 502])
def test_every_other_refusal_leads_somewhere(status: int) -> None:
    refusal = explain(problem(status), "GET", "/x", "/x")
    assert refusal.heading
    assert refusal.links


@pytest.mark.parametrize(
    ("referer", "expected"),
    [
        ("http://deck:8000/processes/1?tab=log", "/processes/1?tab=log"),
        ("https://DECK:8000/targets", "/targets"),
        ("http://evil.example/targets", HOME),
        ("http://deck:8000//evil.example", HOME),
        ("http://deck:8000/", HOME),
        ("http://[", HOME),
        ("/targets", HOME),
        ("", HOME),
    ],
)
def test_the_page_before_is_one_of_ours(referer: str, expected: str) -> None:
    assert page_before(referer, "deck:8000") == expected


def test_what_can_be_done_about_a_trouble() -> None:
    launcher, disk = remedy("launcher.default"), remedy("disk.space")
    assert launcher is not None
    assert launcher.href == "/targets"
    assert disk is not None
    assert disk.href.startswith("/processes?search=")
    assert remedy("descriptors") is None


# --- the page ----------------------------------------------------------------------------------------------------


def shown(problem: dict[str, Any], method: str = "GET", cookie: str = "") -> str:
    headers = [(b"host", b"deck"), (b"referer", b"http://deck/targets?x=1"), (b"cookie", cookie.encode())]
    scope = {"type": "http", "method": method, "path": "/launch", "query_string": b"a=1", "headers": headers}
    return error_page(Request(scope | {"state": {}}), problem)


def test_a_fault_names_what_its_log_has_it_under() -> None:
    html = shown(problem(500, request_id="0123abcd"))
    assert "request id 0123abcd" in html
    assert 'data-copy-from="failure-details"' in html
    assert 'href="/launch?a=1"' in html, "it can't be tried again"


def test_a_service_that_is_not_ready_is_asked_again() -> None:
    assert '<meta http-equiv="refresh" content="3">' in shown(problem(503, retry_after=3))
    written = shown(problem(503, retry_after=3), "POST")
    assert "http-equiv" not in written
    assert 'href="/targets?x=1"' in written, "there is no way back"


def test_fields_that_are_wrong_are_named() -> None:
    html = shown(problem(422, errors=[{"field": "theme", "message": "is <b>odd</b>"}]), "POST")
    assert "<code>theme</code> is &lt;b&gt;odd&lt;/b&gt;" in html


@pytest.mark.parametrize(
    ("cookie", "theme", "scheme"),
    [("theme=dark", ' data-theme="dark"', "dark"), ("theme=x", "", "light dark"), ("", "", "light dark")],
)
def test_a_page_comes_in_the_colours_that_were_chosen(cookie: str, theme: str, scheme: str) -> None:
    html = shown(problem(404), cookie=cookie)
    assert f'<html lang="en"{theme}>' in html
    assert f'<meta name="color-scheme" content="{scheme}">' in html
