"""What tests can't have for real: a keeper that says what the test wants, and records made by hand."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from app.lifecycle import Event, Process
from procdeck import run_folder
from procdeck.protocol import VERSION, Decoder, Message, encode
from procdeck.states import State

NOW = datetime(2026, 11, 22, 6, 55, 26, 123456, tzinfo=UTC)

SPEC: dict[str, Any] = {
    "id": "0193-1",
    "number": 1,
    "name": "Process-1",
    "target": "jobs:work",
    "environment": "default",
    "kind": "function",
    "args": [1],
    "kwargs": {"fast": True},
    "daemon": False,
    "start_method": "fork",
    "timeout": None,
    "grace": 10.0,
    "env": {},
    "cwd": None,
    "log_level": None,
    "labels": {"team": "red"},
    "leftovers": "end",
    "log_budget": 1 << 20,
    "origin_id": None,
    "requested_by": "operator",
    "created_at": NOW.isoformat(),
    "idempotency_key": None,
    "request_hash": None,
}
"""A launch spec as the service writes it."""


def a_process(state: State = State.CREATED, **changes: Any) -> Process:
    """A process in a state, with what else a test wants."""
    process = Process(
        id=SPEC["id"],
        number=SPEC["number"],
        name=SPEC["name"],
        target=SPEC["target"],
        environment=SPEC["environment"],
        kind=SPEC["kind"],
        spec=SPEC,
        created_at=NOW,
        requested_by="operator",
        labels=SPEC["labels"],
        seq=1,
    )
    return replace(process, state=state, **changes)


def an_event(kind: str, actor: str = "keeper", reason: str | None = None, after: float = 1.0, **data: Any) -> Event:
    """An event some seconds after `NOW`."""
    return Event(kind, NOW + timedelta(seconds=after), actor, reason, data)


def an_entry(seq: int, event: str, actor: str = "keeper", **data: Any) -> run_folder.Entry:
    """A journal entry, as many seconds after `NOW` as its number."""
    at = (NOW + timedelta(seconds=seq)).isoformat()
    return {"seq": seq, "at": at, "event": event, "actor": actor, "reason": None, "data": data}


class FakeKeeper:
    """A keeper as the service sees it: a journal, a lock that is held elsewhere, and a connection.

    Nothing is behind it: what the child does, the test says.
    """

    def __init__(self, folder: Path, process_id: str) -> None:
        self.folder = folder
        self.process_id = process_id
        self.journal = run_folder.Journal(str(folder))
        self.entries: list[run_folder.Entry] = []
        self._decoder = Decoder()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    def record(self, event: str, actor: str = "keeper", reason: str | None = None, **data: Any) -> run_folder.Entry:
        """Append to the journal, and tell nobody yet."""
        self.entries.append(self.journal.append(event, actor, reason, data))
        return self.entries[-1]

    async def connect(self, socket_path: Path, **hello: Any) -> None:
        """Call the service."""
        self._reader, self._writer = await asyncio.open_unix_connection(str(socket_path))
        facts: dict[str, Any] = {"version": VERSION, "id": self.process_id, "keeper_pid": 1, "pid": 2, "log_end": 0}
        facts |= {"journal_seq": self.journal.seq, "last_entry": self.entries[-1] if self.entries else None}
        await self.say("hello", **facts | {"progress": None, "sample": None} | hello)

    async def say(self, type_: str, **fields: Any) -> None:
        """Send a message."""
        await self.say_bytes(encode(type_, **fields))

    async def say_bytes(self, data: bytes) -> None:
        """Send bytes, whatever they mean."""
        assert self._writer is not None
        self._writer.write(data)
        await self._writer.drain()

    async def hear(self) -> list[Message]:
        """What the service says next; empty at the end of the connection."""
        assert self._reader is not None
        while data := await self._reader.read(65536):
            if messages := self._decoder.feed(data):
                return messages
        return []

    async def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
