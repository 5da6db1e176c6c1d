"""What tests read of a service's answers and files."""

import json
import re

import httpx

from tests.service import JSON, Service


def on_disk(service: Service, process: JSON) -> bytes:
    """The log's segments, joined."""
    folder = service.data_dir / "runs" / process["id"] / "log"
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


def raw(service: Service, process: JSON, **params: object) -> bytes:
    """The log as the API gives it, undecoded."""
    answer = service.client.get(f"/processes/{process['id']}/log", params={k: str(v) for k, v in params.items()})
    assert answer.status_code == 200
    return answer.content


def records(service: Service, process: JSON, **params: object) -> list[JSON]:
    """The records of the log."""
    items: list[JSON] = json.loads(raw(service, process, format="json", **params))["items"]
    return items


def problem(answer: httpx.Response, status: int) -> JSON:
    """The problem details of an answer."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told: JSON = answer.json()
    assert told["status"] == status
    assert told["title"]
    assert told["detail"]
    return told


def descendant(service: Service, process: JSON, word: str) -> int:
    """The pid of the descendant that the process tells of."""
    service.wait_for_log(process, f"{word} ")
    found = re.search(rf"{word} (\d+)\n", service.log(process))
    assert found
    return int(found[1])


def steps(service: Service, process: JSON) -> list[tuple[str, str, str, str | None]]:
    """(from, to, actor, reason) of each change since it runs."""
    rows = [row for row in service.transitions(process) if row["from"] in ("running", "stopping")]
    return [(row["from"], row["to"], row["actor"], row["reason"]) for row in rows]
