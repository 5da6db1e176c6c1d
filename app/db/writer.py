"""The one writer of the database: a thread that runs jobs and commits them in groups.

A commit has a price of its own, however much is in it: locks, writes of whole pages, an fsync on PostgreSQL. So the
thread takes all jobs that came while it was busy, runs them in one transaction, and tells their callers together. An
idle writer starts a single job at once.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from app.db.engine import checkpoint, file_guard
from app.db.faults import fault_of
from app.db.tally import Note, Tally, notes_of
from app.errors import RecordUnavailable
from procdeck import failpoints

T = TypeVar("T")

Job = Callable[[Connection], T]
"""What is done to the database in one go, in the writer's thread. It neither commits nor rolls back, and has no other
effects: after the failure of a neighbour it is run again."""

GROUP = 256
"""Most jobs in one transaction, so that the first of them need not wait for ever."""


class WriterClosed(RecordUnavailable):
    """The writer takes no more jobs: the service is ending, or makes the database again."""


@dataclass(slots=True)
class _Work:
    """A job, who waits for it, and its end."""

    job: Job[Any]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    result: Any = None
    error: Exception | None = None


class Writer:
    """Runs jobs on the one connection of ``engine`` (see `app.db.engine.make_engine`), in the order they were given.

    Each job is all or nothing, and fails alone: its exception goes to its caller. When the transaction as a whole fails
    (locked for longer than the busy timeout, disk full, connection lost), every job in it gets that exception; the
    writer goes on with the next. A fault of the database is `app.errors.RecordUnavailable`; ``failing`` is the one of
    the last transaction, None when it went well.
    """

    def __init__(self, engine: Engine) -> None:
        self.failing: RecordUnavailable | None = None
        self.guard = file_guard(engine)
        self.tally = Tally()
        """Kept up to date with what the jobs note of it."""
        self._engine = engine
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._closed = False
        self._closing = Lock()
        """Held to queue something: behind the None that ends the thread nothing would ever be run."""
        self._thread = Thread(target=self._work, name="database-writer", daemon=True)
        self._thread.start()

    async def run(self, job: Job[T]) -> T:
        """The result of ``job``, once it is committed. A caller that is cancelled does not take its job back."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._closing:
            if self._closed:
                raise WriterClosed("The database is closed: the service is ending, or makes it again.")
            self._queue.put(_Work(job, future, loop))
        return await future

    async def checkpoint(self) -> None:
        """Write the -wal of SQLite back into the database and cut it to nothing, unless a reader needs it: then as much
        as can be, without waiting. It is done by the connection that writes, and by no other."""
        await self.run(_checkpointing)

    def close(self) -> None:
        """Finish the jobs that were given, and close the connection. Blocks until then; harmless when repeated."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()
        self._engine.dispose()

    def _work(self) -> None:
        is_open = True
        while is_open:
            group = self._take()
            is_open = None not in group
            if works := [work for work in group if work is not None]:
                self._run(works)
                _tell(works)

    def _take(self) -> list[_Work | None]:
        """All that is queued; waits for the first."""
        group = [self._queue.get()]
        while not self._queue.empty() and len(group) < GROUP:
            group.append(self._queue.get())
        return group

    def _run(self, works: list[_Work]) -> None:
        jobs = [work for work in works if work.job is not _checkpointing]
        if jobs:
            self._commit(jobs)
        if len(jobs) < len(works):
            self._checkpoint([work for work in works if work.job is _checkpointing])
        for work in works:
            if work.error is not None:
                work.error = fault_of(work.error) or work.error
        self.failing = next((work.error for work in works if isinstance(work.error, RecordUnavailable)), None)

    def _checkpoint(self, works: list[_Work]) -> None:
        try:
            self.guard()
            checkpoint(self._engine)
        except Exception as error:
            for work in works:
                work.error = error

    def _commit(self, group: list[_Work]) -> None:
        try:
            self.guard()
            failpoints.reach("service.commit.before")
            try:
                self._transact(group, _run_together)
            except _JobFailed:
                # Some jobs run twice, seldom; a savepoint for each job always would take as long as most jobs do.
                self._transact(group, _run_apart)
            failpoints.reach("service.commit.after")
        except Exception as error:
            for work in group:
                work.error = error

    def _transact(self, group: list[_Work], run: Callable[[list[_Work], Connection, list[Note]], None]) -> None:
        is_committing = False
        try:
            with self._engine.begin() as connection:
                notes = notes_of(connection)
                run(group, connection, notes)
                is_committing = True
        except BaseException:
            if is_committing:
                self.tally.doubt()
            raise
        self.tally.committed(notes)


def _checkpointing(_connection: Connection) -> None:
    """Stands for a checkpoint in the queue, told by its identity: one can't be made within a transaction."""


class _JobFailed(Exception):
    """A job of a group failed, so that nothing of the group was committed."""


def _run_together(group: list[_Work], connection: Connection, _notes: list[Note]) -> None:
    for work in group:
        try:
            work.result = work.job(connection)
        except Exception as error:
            if len(group) > 1:
                raise _JobFailed from error
            raise


def _run_apart(group: list[_Work], connection: Connection, notes: list[Note]) -> None:
    for work in group:
        savepoint = connection.begin_nested()
        noted = len(notes)
        try:
            work.result = work.job(connection)
        except Exception as error:
            work.error = error
            del notes[noted:]
            try:
                savepoint.rollback()
            except SQLAlchemyError:
                # The database has given up the whole transaction: then all have failed, and for this reason.
                raise error from None
        else:
            savepoint.commit()


def _tell(group: Iterable[_Work]) -> None:
    for loop, works in groupby(group, key=lambda work: work.loop):
        try:
            loop.call_soon_threadsafe(_resolve, list(works))
        except RuntimeError:  # the loop is closed: nobody waits any more
            continue


def _resolve(works: list[_Work]) -> None:
    for work in works:
        if work.future.done():  # its caller was cancelled
            continue
        if work.error is None:
            work.future.set_result(work.result)
        else:
            work.future.set_exception(work.error)
