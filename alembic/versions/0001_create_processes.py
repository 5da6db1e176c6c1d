"""create processes: the records of launches, their history, labels and counters, and the sessions of browsers"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _text(name: str, length: int | None = None, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=nullable)


def _number(name: str) -> sa.Column[int]:
    # INTEGER on SQLite: only a key of that type is the row's own address.
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column(name, kind, nullable=False, autoincrement=False)


def _json(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.JSON(), nullable=nullable)


def _create_index_if_given(name: str, columns: list[str], *, unique: bool = False) -> None:
    given = sa.text(f"{columns[0]} IS NOT NULL")
    op.create_index(name, "process", columns, unique=unique, sqlite_where=given, postgresql_where=given)


def upgrade() -> None:
    op.create_table(
        "process",
        _text("id"),
        _number("number"),
        _text("name"),
        _text("target"),
        _text("environment"),
        _text("kind"),
        _json("spec"),
        _time("created_at"),
        _text("requested_by"),
        sa.Column("daemon", sa.Boolean(), nullable=False),
        _json("labels"),
        _text("origin_id", nullable=True),
        _text("idempotency_key", nullable=True),
        _text("request_hash", nullable=True),
        _text("state", 16),
        _text("outcome", 16, nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("exitcode", sa.Integer(), nullable=True),
        _json("error", nullable=True),
        _json("result", nullable=True),
        _json("progress", nullable=True),
        _time("started_at", nullable=True),
        _time("stopped_at", nullable=True),
        sa.Column("duration", sa.Float(), nullable=True),
        sa.Column("cpu_seconds", sa.Float(), nullable=True),
        sa.Column("max_rss_bytes", sa.BigInteger(), nullable=True),
        _json("asked", nullable=True),
        _json("detail"),
        sa.Column("journal_seq", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        _text("search"),
        sa.PrimaryKeyConstraint("number", name="pk_process"),
        sa.UniqueConstraint("id", name="uq_process_id"),
    )
    op.create_index("ix_process_state_number", "process", ["state", "number"])
    op.create_index("ix_process_target_number", "process", ["target", "number"])
    op.create_index("ix_process_name_number", "process", ["name", "number"])
    _create_index_if_given("ix_process_outcome_number", ["outcome", "number"])
    _create_index_if_given("ix_process_idempotency_key", ["idempotency_key"], unique=True)

    op.create_table(
        "transition",
        _number("id"),
        _text("process_id"),
        sa.Column("seq", sa.Integer(), nullable=False),
        _time("at"),
        _text("from_state", 16, nullable=True),
        _text("to_state", 16),
        _text("actor"),
        _text("reason", nullable=True),
        _json("detail"),
        sa.PrimaryKeyConstraint("id", name="pk_transition"),
        sa.UniqueConstraint("process_id", "seq", name="uq_transition_process_id_seq"),
        sa.ForeignKeyConstraint(["process_id"], ["process.id"], name="fk_transition_process_id", ondelete="CASCADE"),
    )

    op.create_table(
        "label",
        _text("process_id"),
        _text("key"),
        _text("value"),
        sa.PrimaryKeyConstraint("process_id", "key", name="pk_label"),
        sa.ForeignKeyConstraint(["process_id"], ["process.id"], name="fk_label_process_id", ondelete="CASCADE"),
    )
    op.create_index("ix_label_key_value", "label", ["key", "value"])

    counter = op.create_table(
        "counter",
        _text("name"),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counter"),
    )
    op.bulk_insert(counter, [{"name": "process", "value": 0}, {"name": "event", "value": 0}])

    op.create_table(
        "session",
        _text("id_hash"),
        _text("actor"),
        _time("created_at"),
        _time("last_seen_at"),
        sa.PrimaryKeyConstraint("id_hash", name="pk_session"),
    )


def downgrade() -> None:
    for table in ("session", "counter", "label", "transition", "process"):
        op.drop_table(table)
