"""create view, preset and activity: what people save in the dashboard, and what they ask of the service"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=nullable)


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.JSON(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "view",
        _text("id"),
        _text("name"),
        _text("query"),
        _time("created_at"),
        _text("actor"),
        sa.PrimaryKeyConstraint("id", name="pk_view"),
        sa.UniqueConstraint("name", name="uq_view_name"),
    )
    op.create_table(
        "preset",
        _text("id"),
        _text("target"),
        _text("name"),
        _json("typed"),
        _time("created_at"),
        _text("actor"),
        sa.PrimaryKeyConstraint("id", name="pk_preset"),
        sa.UniqueConstraint("target", "name", name="uq_preset_target_name"),
    )
    op.create_table(
        "activity",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, autoincrement=False),
        _time("at"),
        _text("actor"),
        _text("action"),
        _text("subject_kind"),
        _text("subject_id"),
        _text("subject_name"),
        _text("reason", nullable=True),
        _text("result"),
        _json("detail"),
        sa.PrimaryKeyConstraint("id", name="pk_activity"),
    )
    op.create_index("ix_activity_subject_id", "activity", ["subject_id"])


def downgrade() -> None:
    for table in ("activity", "preset", "view"):
        op.drop_table(table)
