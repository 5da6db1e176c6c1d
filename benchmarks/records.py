"""A record full of processes that are over, as months of work leave it: `python -m benchmarks.records DATA 100000`.

They have no run folders, so their logs are empty. No service may have the data folder open meanwhile.
"""

import argparse
import json
import random
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, insert, select
from sqlmodel import SQLModel

import app.db.models  # noqa: F401  the tables
from app.db.engine import make_engine, upgrade

BATCH = 5_000
DAYS = 30.0
Kinds = Mapping[str, tuple[Mapping[str, Sequence[Any]], float, int]]
"""Target -> what its arguments are taken from, about how many seconds it takes, and how frequent it is."""
EXAMPLES: Kinds = {
    "batch:checksums": (
        {"folder": ("/data/in", "/data/archive", "/usr/share/doc"), "algorithm": ("sha256",)},
        40.0,
        20,
    ),
    "basics:worker": ({"num": range(1000)}, 2.0, 40),
    "heartbeat:heartbeat": ({"interval": (0.1, 0.5, 1.0)}, 900.0, 3),
    "logs:both_streams": ({"lines": (100, 1000, 5000)}, 12.0, 15),
    "exit_codes:raises": ({"message": ("no such table: orders", "connection refused", "disk quota exceeded")}, 0.4, 4),
    "names:worker": ({"seconds": (1.0, 2.0, 5.0)}, 3.0, 18),
}
_ENDS = (
    *[("succeeded", 0)] * 82,
    *[("failed", 1)] * 8,
    *[("stopped", -15)] * 5,
    *[("crashed", -11), ("crashed", -9), ("timed_out", -15), ("not_started", None), ("lost", None)],
)
_WHO = ("operator",) * 9 + ("nightly",)


def fill(url: str, count: int, kinds: Kinds = EXAMPLES, *, days: float = DAYS, seed: int = 7) -> None:
    """Add ``count`` processes that are over to the record at ``url``, made within so many ``days`` before now.

    The newest thousand have a history as well. The same ``seed`` gives the same processes.
    """
    upgrade(url)
    engine = make_engine(url, write=True)
    tables = SQLModel.metadata.tables
    with engine.begin() as connection:
        first = _next(connection, "process", "number")
        event = _next(connection, "transition", "id")
        rows = _processes(random.Random(seed), kinds, range(first, first + count), timedelta(days=days))
        batch: list[dict[str, Any]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == BATCH or row["number"] == first + count - 1:
                connection.execute(insert(tables["process"]), batch)
                told = [row for row in batch if row["number"] >= first + count - 1000]
                if told:
                    history = [step for row in told for step in _history(row)]
                    connection.execute(
                        insert(tables["transition"]), [{"id": event + i, **step} for i, step in enumerate(history)]
                    )
                    event += len(history)
                batch = []
    engine.dispose()


def _next(connection: Connection, table: str, column: str) -> int:
    highest = select(func.coalesce(func.max(SQLModel.metadata.tables[table].c[column]), 0))
    return 1 + int(connection.scalar(highest) or 0)


def _processes(chance: random.Random, kinds: Kinds, numbers: range, during: timedelta) -> Iterator[dict[str, Any]]:
    until = datetime.now(UTC)
    for number in numbers:
        target = chance.choices(list(kinds), weights=[frequent for _, _, frequent in kinds.values()])[0]
        choices, usual, _ = kinds[target]
        outcome, exitcode = ("failed", 1) if target == "exit_codes:raises" else chance.choice(_ENDS)
        created = until - during * ((numbers.stop - number) / len(numbers)) - timedelta(seconds=1)
        usually = chance.lognormvariate(0, 0.6) * usual
        yield _row(
            _uuid7(created, chance),
            number,
            target,
            {name: chance.choice(values) for name, values in choices.items()},
            (outcome, exitcode),
            created,
            min(usually, (until - created).total_seconds()),
            chance.choice(_WHO),
        )


def _uuid7(at: datetime, chance: random.Random) -> str:
    """A UUID of version 7 (RFC 9562, section 5.7) of this time."""
    milliseconds = int(at.timestamp() * 1000)
    return str(
        uuid.UUID(int=milliseconds << 80 | 7 << 76 | chance.getrandbits(12) << 64 | 2 << 62 | chance.getrandbits(62))
    )


def _row(
    ident: str,
    number: int,
    target: str,
    kwargs: dict[str, Any],
    end: tuple[str, int | None],
    created: datetime,
    duration: float,
    actor: str,
) -> dict[str, Any]:
    outcome, exitcode = end
    is_started = outcome != "not_started"
    name = f"Process-{number}"
    labels = {"run": "nightly"} if actor == "nightly" else {}
    spec = {
        "id": ident, "number": number, "name": name, "target": target, "environment": "default", "kind": "function",
        "args": [], "kwargs": kwargs, "daemon": False, "start_method": "fork", "timeout": None, "grace": 10.0,
        "env": {}, "cwd": None, "log_level": None, "labels": labels, "leftovers": "end", "log_budget": 104857600,
        "start": True, "origin_id": None, "requested_by": actor, "created_at": created.isoformat(),
        "idempotency_key": None, "request_hash": None,
    }  # fmt: skip
    message = str(kwargs.get("message", "it did not work out"))
    error = {"type": "RuntimeError", "message": message, "traceback": ""} if outcome == "failed" else None
    asked = {"action": "terminate", "actor": actor, "reason": "no longer needed", "at": created.isoformat()}
    return {
        "id": ident,
        **{key: spec[key] for key in ("number", "name", "target", "environment", "kind", "labels", "daemon")},
        "spec": spec,
        "created_at": created,
        "requested_by": actor,
        "state": "lost" if outcome == "lost" else "exited",
        "outcome": outcome,
        "pid": 1000 + number % 30000 if is_started else None,
        "exitcode": exitcode,
        "error": error if is_started else {"type": "NotStarted", "message": "its launcher ended", "traceback": ""},
        "started_at": created + timedelta(milliseconds=6) if is_started else None,
        "stopped_at": created + timedelta(seconds=duration),
        "duration": round(duration, 3) if is_started else None,
        "cpu_seconds": round(duration * 0.7, 3) if is_started else None,
        "max_rss_bytes": 18_000_000 + number % 97 * 400_000 if is_started else None,
        "asked": asked if outcome == "stopped" else None,
        "detail": {},
        "journal_seq": 2,
        "seq": 5,
        "log_start": 0,
        "disk_bytes": 16384,
        "search": "\n".join((name, target, json.dumps([[], kwargs], ensure_ascii=False))).casefold(),
    }


def _history(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    created, stopped = row["created_at"], row["stopped_at"]
    steps: list[tuple[str | None, str, datetime, str, dict[str, Any]]] = [
        (None, "created", created, row["requested_by"], {}),
        ("created", "queued", created, row["requested_by"], {}),
        ("queued", "starting", created, "service", {}),
    ]
    if row["started_at"]:
        steps.append(("starting", "running", row["started_at"], "keeper", {"pid": row["pid"]}))
    if row["asked"]:
        steps.append(("running", "stopping", stopped, row["requested_by"], {"action": "terminate"}))
    steps.append((steps[-1][1], row["state"], stopped, "keeper", {"exitcode": row["exitcode"]}))
    for seq, (before, after, at, actor, detail) in enumerate(steps, 1):
        yield {
            "process_id": row["id"], "seq": seq, "at": at, "from_state": before, "to_state": after, "actor": actor,
            "reason": "no longer needed" if detail.get("action") else None, "detail": detail,
        }  # fmt: skip


def main() -> int:
    """Fill a data folder that no service has open."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.records", description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    options.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    fill(f"sqlite:///{options.data_dir / 'procdeck.db'}", options.count)
    return 0


if __name__ == "__main__":
    sys.exit(main())
