"""The stream of a page, on a real service."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.sse import Reader, SentEvent
from tests.service import Service
from tests.waiting import wait_until


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    try:
        yield service.start()
    finally:
        service.close()


def clients(service: Service) -> float:
    text = httpx.get(f"{service.url}/metrics", headers={"Authorization": f"Bearer {service.token}"}).text
    found = re.search(r'^procdeck_sse_clients\{stream="page"\} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_one_stream_tells_of_changes_and_of_the_log_until_the_service_ends(service: Service) -> None:
    beating = service.launch("heartbeat:heartbeat", kwargs={"interval": 0.1})
    other = service.launch("basics:worker", start=False)
    listed = Reader(service, "/ui/events?topics=list")
    shown = Reader(service, f"/ui/events?topics=process:{beating['id']}&log={beating['id']}&after=0")
    assert clients(service) == 2
    for reader in (listed, shown):
        reader.wait_for("hello")
        assert reader.events[0].name == "hello"
    shown.wait_for("log", 3)
    wait_until(lambda: any(beating["id"] in e.data["measured"] for e in hints(shown)), 15, "nothing was measured")

    service.post(other, "start")
    service.join(other)
    wait_until(lambda: any(other["id"] in event.data["ids"] for event in hints(listed)), 5, "no change was told")
    service.client.delete(f"/processes/{other['id']}")
    told = len(hints(listed))
    wait_until(lambda: any(other["id"] in e.data["ids"] for e in hints(listed)[told:]), 5, "no deletion was told")
    assert not any(other["id"] in event.data["ids"] for event in hints(shown))

    service.post(beating, "kill")
    shown.wait_for("log-end")
    assert service.stop() == 0
    for reader in (listed, shown):
        assert reader.join()[-1].name == "restart"
        assert not reader.broken


def hints(reader: Reader) -> list[SentEvent]:
    return [event for event in reader.events if event.name == "changed"]


def test_who_may_not_listen_and_what_is_no_topic(service: Service) -> None:
    url, headers = f"{service.url}/ui/events", {"Authorization": f"Bearer {service.token}"}
    stranger = httpx.get(url, headers={"Accept": "text/event-stream"})
    assert (stranger.status_code, stranger.json()["status"]) == (401, 401), "a redirect would be followed in silence"
    refused = httpx.get(f"{url}?topics=everything", headers=headers)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "topics"
    foreign = httpx.get(f"{service.url}/ui/now", headers=headers | {"Sec-Fetch-Site": "cross-site"})
    assert foreign.status_code == 200, "a token is no cookie: nobody's authority is borrowed"

    failed = service.join(service.launch("exit_codes:exit_error", 3))
    now = httpx.get(f"{service.url}/ui/now?topics=list", headers=headers).json()
    assert now["failed"] == 1
    now = httpx.get(f"{service.url}/ui/now?topics=process:{failed['id']},process:gone", headers=headers).json()
    assert now["failed"] == 1


def test_a_page_that_is_gone_is_forgotten(service: Service) -> None:
    process = service.launch("heartbeat:heartbeat", kwargs={"interval": 0.1})
    headers = {"Authorization": f"Bearer {service.token}"}
    url = f"{service.url}/ui/events?topics=list&log={process['id']}"
    with httpx.stream("GET", url, headers=headers) as answer:
        assert answer.status_code == 200
        wait_until(lambda: clients(service) == 1, 5, "the page is not counted")
    wait_until(lambda: clients(service) == 0, 5, "the page is not forgotten")
