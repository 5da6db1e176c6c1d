"""`procdeck prune` without a service: the service's own pruning, with the lock of the data folder held."""

import asyncio
import os
from contextlib import closing
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app.api.retention import NO_LIMIT
from app.cli import codes
from app.cli.failure import Failure
from app.cli.offline import user_name
from app.data_folder import RUNS, lock_data_folder
from app.db.store import Store
from app.errors import AppError
from app.health.troubles import Troubles
from app.presentation import pruned_view
from app.retention import Limits
from app.settings import Settings
from app.supervisor import deletion
from app.supervisor.activity import Activity
from app.supervisor.folders import RunFolders
from app.supervisor.retention import Pruned, Retention

JSON = dict[str, Any]


def prune(settings: Settings, asked: JSON) -> JSON:
    """Remove what the limits in `asked`, or else the settings, do not keep; what the API answers.

    Only what the record knows to be over is removed: of what has happened since the last service ended it knows
    nothing. Raises StartupError when the folder or the record can't be had, Failure when there is no limit.
    """
    limits = Limits(asked.get("older_than_days"), asked.get("keep_per_target"), asked.get("keep_bytes"))
    limits = limits or Limits.of(settings)
    if not limits:
        raise Failure(NO_LIMIT, codes.REFUSED)
    runs = settings.data_dir / RUNS
    if not runs.is_dir():
        raise Failure(f"{settings.data_dir} is not the data folder of a service", codes.REFUSED)
    lock = lock_data_folder(settings.data_dir)
    try:
        with closing(Store.open(settings.record_url)) as store:
            pruned = asyncio.run(_prune(store, RunFolders(runs), limits, asked.get("target"), asked["dry_run"]))
    except (AppError, SQLAlchemyError) as error:
        raise Failure(f"the record can't be read or written: {error}", codes.SERVICE_FAILED) from error
    finally:
        os.close(lock)
    return pruned_view(pruned.shown, pruned.count, pruned.bytes, dry_run=asked["dry_run"])


async def _prune(store: Store, folders: RunFolders, limits: Limits, target: str | None, dry_run: bool) -> Pruned:
    retention = Retention(store, folders, partial(deletion.delete, store, folders), Troubles())
    pruned = await retention.prune(limits, target=target, dry_run=dry_run)
    if not dry_run:
        await Activity(store).pruned(f"cli:{user_name()}", pruned, target)
    return pruned
