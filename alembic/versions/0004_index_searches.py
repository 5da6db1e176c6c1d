"""add number to label, and index what ended when: for searches, newest first"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # The default is for the rows that are there, which get their numbers at once; every new one is given its own.
    op.add_column("label", sa.Column("number", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE label SET number = (SELECT number FROM process WHERE process.id = label.process_id)")
    op.drop_index("ix_label_key_value", "label")
    op.create_index("ix_label_key_value_number", "label", ["key", "value", "number"])
    op.drop_index("ix_process_stopped_at_number", "process")
    _index("ix_process_stopped_at_number", "stopped_at IS NOT NULL", "stopped_at", "number")
    _index("ix_process_long_stopped_at", "duration >= 3600", "stopped_at")


def downgrade() -> None:
    op.drop_index("ix_process_long_stopped_at", "process")
    op.drop_index("ix_process_stopped_at_number", "process")
    _index("ix_process_stopped_at_number", "disk_bytes IS NOT NULL", "stopped_at", "number")
    op.drop_index("ix_label_key_value_number", "label")
    op.create_index("ix_label_key_value", "label", ["key", "value"])
    op.drop_column("label", "number")


def _index(name: str, condition: str, *columns: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "process", list(columns), sqlite_where=where, postgresql_where=where)
