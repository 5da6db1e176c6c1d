"""index the relaunches of a process"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME = "ix_process_origin_id_number"


def upgrade() -> None:
    where = sa.text("origin_id IS NOT NULL")
    op.create_index(_NAME, "process", ["origin_id", "number"], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    op.drop_index(_NAME, "process")
