"""Deleting a process: its record and its run folder, both or neither.

A folder that is left without a record would be taken into it again by the next start. So it gets a hidden name within
the transaction that deletes the record, and its own again when that fails; removing what is hidden comes after. A
hidden folder that is found at a start is a deletion that the end of the service cut off: it was asked for, and is done.
"""

import asyncio
import logging
from functools import cache, partial

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from app.db.store import Store, delete_process
from app.errors import AppError
from app.supervisor.folders import RunFolders
from procdeck import failpoints

logger = logging.getLogger("procdeck.deletion")


async def delete(store: Store, folders: RunFolders, process_id: str) -> None:
    """Delete a process that is over, or was never started. Raises OSError, RecordUnavailable; it is all there then."""
    hide = cache(partial(folders.hide, process_id))  # the writer runs a job again when its neighbour failed

    def job(connection: Connection) -> None:
        hide()
        failpoints.reach("service.delete.hidden")
        delete_process(connection, process_id)

    failpoints.reach("service.delete.before_row")
    try:
        await store.writer.run(job)
    except Exception:
        # Not when it is cancelled: the job goes on then, and what stays hidden is finished by the next start.
        await asyncio.to_thread(_take_back, store, folders, process_id)
        raise
    failpoints.reach("service.delete.row_gone")
    await asyncio.to_thread(folders.remove_hidden, process_id)


def _take_back(store: Store, folders: RunFolders, process_id: str) -> None:
    """The transaction failed, unless it is just its answer that was lost."""
    if store.get(process_id) is not None:
        folders.show(process_id)


async def finish_all(store: Store, folders: RunFolders) -> None:
    """Finish what was cut off; what can't be now is left to the next start."""
    for process_id in await asyncio.to_thread(folders.hidden_ids):
        try:
            await store.writer.run(partial(delete_process, process_id=process_id))
        except (AppError, OSError, SQLAlchemyError) as error:
            logger.warning("the deletion of %s can't be finished now: %s", process_id, error)
        else:
            await asyncio.to_thread(folders.remove_hidden, process_id)
