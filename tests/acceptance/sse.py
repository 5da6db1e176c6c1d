"""A reader of server-sent events that behaves as a browser's EventSource does, one connection at a time."""

import json
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx

from tests.service import Service
from tests.waiting import wait_until


class SentEvent(NamedTuple):
    """One event; ``id`` is the last one given so far, as the standard has it."""

    name: str
    id: str
    data: Any


def parse(lines: Iterator[str]) -> Iterator[SentEvent]:
    """The events of a stream. One that was cut off before its empty line does not count."""
    last_id, fields = "", dict[str, str]()
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            last_id = fields.get("id", last_id)
            yield SentEvent(fields.get("event", "message"), last_id, json.loads(fields["data"]))
            fields = {}
        else:
            fields = {}


class Reader:
    """Reads a stream in the background until it ends, one way or the other."""

    def __init__(self, service: Service, path: str, last_event_id: str | None = None) -> None:
        self.events: list[SentEvent] = []
        self.open = threading.Event()
        self.broken = False
        # What a page asks is no part of the API.
        self._url = f"{service.url}{'' if path.startswith('/ui/') else '/api/v1'}{path}"
        self._headers = {"Authorization": f"Bearer {service.token}", "Accept": "text/event-stream"}
        if last_event_id is not None:
            self._headers["Last-Event-ID"] = last_event_id
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        wait_until(lambda: self.open.is_set() or not self._thread.is_alive(), 10, "the stream did not open")
        assert self.open.is_set()

    def _read(self) -> None:
        try:
            with httpx.stream("GET", self._url, headers=self._headers, timeout=60) as answer:
                assert answer.status_code == 200, answer.read()
                self.open.set()
                for event in parse(answer.iter_lines()):
                    self.events.append(event)
        except httpx.HTTPError:
            self.broken = True

    @property
    def last_id(self) -> str:
        """The id to resume from."""
        return self.events[-1].id if self.events else ""

    def join(self, seconds: float = 10) -> list[SentEvent]:
        """Wait for the end of the stream; all its events."""
        wait_until(lambda: not self._thread.is_alive(), seconds, lambda: f"goes on after {self.events[-3:]}")
        return self.events

    def wait_for(self, name: str, count: int = 1, seconds: float = 10) -> None:
        """Wait until ``count`` events of this name have come."""
        wait_until(
            lambda: sum(event.name == name for event in self.events) >= count,
            seconds,
            lambda: f"fewer than {count} {name!r}: {self.events}",
        )

    @property
    def log_text(self) -> str:
        """What the `lines` events of a log stream say, joined."""
        records = (record for event in self.events if event.name == "lines" for record in event.data)
        return "".join(record["text"] + ("" if record["partial"] else "\n") for record in records)
