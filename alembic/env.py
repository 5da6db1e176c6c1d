"""How alembic reaches the database; run by the alembic command and by `app.db.engine.upgrade`."""

import os
from logging.config import fileConfig
from pathlib import Path

from alembic import context
from sqlalchemy import URL
from sqlmodel import SQLModel

import app.db.models  # noqa: F401  its tables are what a database is compared with
from app.db.engine import migrating
from app.settings import Settings

config = context.config


def database_url() -> str | URL:
    """The database that the caller names, else the one that the service would use in this folder."""
    given: str | URL | None = config.attributes.get("url") or context.get_x_argument(as_dictionary=True).get("url")
    return given or Settings.load({}, os.environ, Path.cwd()).record_url


if context.is_offline_mode():
    raise SystemExit("Migrations need a database; they can't be written out as a script (--sql).")
if config.config_file_name is not None:
    fileConfig(config.config_file_name, disable_existing_loggers=False)

with migrating(database_url()) as connection:
    context.configure(
        connection=connection,
        target_metadata=SQLModel.metadata,
        render_as_batch=True,  # SQLite can't alter most of a table: batch mode copies it into a new one
        transactional_ddl=True,  # true of SQLite too, when the driver begins no transactions of its own
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()
