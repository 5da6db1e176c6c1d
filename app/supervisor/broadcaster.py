"""Events to streams: one short memory for all readers instead of a queue for each.

A reader keeps the number of the last event it saw and asks for what came after. So a reader that never reads costs
nothing, one that is a little behind is served from memory, one further behind from the record, and one too far behind
is told to start over.
"""

import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from app.supervisor.changes import Changes
from app.supervisor.pulse import Pulse

MEMORY = 4096
"""Events kept here."""
TOO_FAR = 10_000
"""Events behind which a reader is told to start over: it would take longer to replay them than to read the present."""


class Published:
    """An event as it goes to readers. Its JSON text is made when the first of them reads it, and once for all."""

    __slots__ = ("_data", "_facts", "id")

    def __init__(self, id_: int, facts: Mapping[str, Any]) -> None:
        self.id = id_
        self._facts = facts
        self._data: str | None = None

    @property
    def facts(self) -> Mapping[str, Any]:
        """The event as `app.supervisor.ledger.event_facts` has it."""
        return self._facts

    @property
    def data(self) -> str:
        """The facts as JSON in one line; times in ISO 8601."""
        if self._data is None:
            self._data = json.dumps(self._facts, separators=(",", ":"), default=datetime.isoformat)
        return self._data


class Reset(NamedTuple):
    """Too much was missed, or the record was made again: read the present state; events go on after ``id``."""

    id: int


Recall = Callable[[int, int], Awaitable[Sequence[Published]]]
"""(after, limit) -> the events of the record after that number."""


class Broadcaster:
    """Publishes events with rising numbers to any number of readers; ``changes`` is told of them as well."""

    def __init__(self, recall: Recall, last_id: int) -> None:
        self._recall = recall
        self._memory: deque[Published] = deque(maxlen=MEMORY)
        self._forgotten = last_id  # every event up to this number is in the record only
        self._pulse = Pulse()
        self._begins = 0  # numbers below are of a record that is no more
        self._era = 0  # counts the times that all readers had to start over
        self.last_id = last_id
        self.closed = False
        self.changes = Changes()

    def publish(self, events: Sequence[Published]) -> None:
        """Append events, oldest first; their numbers continue those before."""
        for event in events:
            if len(self._memory) == MEMORY:
                self._forgotten = self._memory[0].id
            self._memory.append(event)
            self.last_id = event.id
            self.changes.moved(event.facts)
        self._pulse.fire()

    def restart(self, last_id: int) -> None:
        """The record was made again, with the events up to this number: every reader is told to start over."""
        self._memory.clear()
        self._forgotten = self._begins = self.last_id = last_id
        self.reset_readers()

    def reset_readers(self) -> None:
        """Tell those who read now to start over: something became known behind their backs."""
        self._era += 1
        self.changes.reset()
        self._pulse.fire()

    def close(self) -> None:
        """End every stream."""
        self.closed = True
        self.changes.close()
        self._pulse.fire()

    async def events(self, after: int | None) -> AsyncIterator[Published | Reset]:
        """Events after number ``after`` (None: from now on), until `close`.

        A number that was never given is answered with `Reset`.
        """
        position = self.last_id if after is None else after
        era = self._era
        while not self.closed:
            is_too_far = self.last_id - position > TOO_FAR
            if era != self._era or not self._begins <= position <= self.last_id or is_too_far:
                position, era = self.last_id, self._era
                yield Reset(position)
            elif position < self._forgotten:
                # The record may hold more by the time it answers: that comes from memory. It may hold nothing: then
                # what was missed was deleted.
                forgotten = self._forgotten
                recalled = [event for event in await self._recall(position, 500) if event.id <= forgotten]
                for event in recalled:
                    position = event.id
                    yield event
                if not recalled:
                    position = forgotten
            elif position < self.last_id:
                for event in self._after(position):
                    position = event.id
                    yield event
            else:
                await self._pulse.wait()

    def _after(self, position: int) -> list[Published]:
        found: list[Published] = []
        for event in reversed(self._memory):
            if event.id <= position:
                break
            found.append(event)
        return found[::-1]
