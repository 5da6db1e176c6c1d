"""Requests to launch, and the spec that a keeper is given. Nothing here does I/O."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import uuid_utils

from app.lifecycle import Process
from app.settings import Settings

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Launch:
    """A request to launch a target; the fields of ``POST /processes``.

    Durations are seconds. What is None takes the target's own default, then the service's.
    """

    target: str
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    name: str | None = None
    daemon: bool | None = None
    start: bool = True
    start_method: str = "fork"
    timeout: float | None = None
    grace: float | None = None
    env: dict[str, str] = field(default_factory=dict)
    cwd: str | None = None
    log_level: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    leftovers: str = "end"
    origin_id: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """Who asked for a launch, under which idempotency key, and the digest of what was asked."""

    actor: str
    key: str | None = None
    digest: str | None = None


def digest_of(launch: Launch) -> str:
    """SHA-256 of what the request says, whatever the order of its keys."""
    text = json.dumps(asdict(launch), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def spec_of(launch: Launch, entry: JSON, number: int, request: Request, settings: Settings) -> JSON:
    """All that a keeper, or a service that has lost its database, needs to know of the launch.

    ``entry`` is the target's in the catalogue, ``number`` the process's over the life of the data folder.
    """
    defaults = entry.get("defaults") or {}
    spec = {
        "id": str(uuid_utils.uuid7()),
        "number": number,
        "name": launch.name or defaults.get("name") or f"{_class_name(entry)}-{number}",
        "target": entry["name"],
        "environment": entry["environment"],
        "kind": entry["kind"],
        "args": launch.args,
        "kwargs": launch.kwargs,
        "daemon": _first_given(launch.daemon, defaults.get("daemon"), False),
        "start_method": launch.start_method,
        "timeout": _first_given(launch.timeout, defaults.get("timeout")),
        "grace": _first_given(launch.grace, defaults.get("grace"), settings.grace),
        "env": {**entry.get("env", {}), **launch.env},
        "cwd": launch.cwd or entry.get("cwd"),
        "log_level": launch.log_level,
        "labels": launch.labels,
        "leftovers": launch.leftovers,
        "log_budget": settings.log_budget,
        "start": launch.start,
        "origin_id": launch.origin_id,
        "requested_by": request.actor,
        "created_at": datetime.now(UTC).isoformat(),
        "idempotency_key": request.key,
        "request_hash": request.digest,
    }
    return spec | ({"run": entry["run"]} if "run" in entry else {})


def _class_name(entry: JSON) -> str:
    """What multiprocessing's default names begin with: the class, `Process` itself for a function."""
    if entry["kind"] != "process":
        return "Process"
    return str(entry["name"]).rpartition(":")[2].rpartition(".")[2]


def _first_given(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


_KEPT = ("target", "args", "kwargs", "daemon", "start_method", "timeout", "grace", "env", "cwd")
_KEPT_TOO = ("log_level", "labels", "leftovers")


def again(process: Process) -> Launch:
    """The same launch once more; a default name is not kept, for it has the number of the first."""
    name = None if process.name.endswith(f"-{process.number}") else process.name
    same = {key: process.spec[key] for key in (*_KEPT, *_KEPT_TOO)}
    return Launch(**same, name=name, origin_id=process.id)
