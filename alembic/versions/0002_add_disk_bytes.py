"""add disk_bytes and log_start to process: what a run folder takes, and how much of its log went, for retention"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_MEASURED = "disk_bytes IS NOT NULL"
_INDEXES = {
    "ix_process_number": ("disk_bytes IS NULL AND stopped_at IS NOT NULL", ["number"]),
    "ix_process_stopped_at_number": (_MEASURED, ["stopped_at", "number"]),
    "ix_process_target_stopped_at_number_disk_bytes": (_MEASURED, ["target", "stopped_at", "number", "disk_bytes"]),
}


def upgrade() -> None:
    # Added, not made anew: a million records must not be copied. So on a database that was there before, these stand
    # behind the column `search`; no query depends on their place.
    op.add_column("process", sa.Column("log_start", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("process", sa.Column("disk_bytes", sa.BigInteger(), nullable=True))
    for name, (condition, columns) in _INDEXES.items():
        where = sa.text(condition)
        op.create_index(name, "process", columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    for name in _INDEXES:
        op.drop_index(name, "process")
    op.drop_column("process", "disk_bytes")
    op.drop_column("process", "log_start")
