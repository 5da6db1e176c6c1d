"""What routes are given, by type: the parts that `create_app` made, and who asks.

Every dependency is a coroutine function: FastAPI would run a plain one in a thread, which costs more than most
requests.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, cast

from fastapi import Depends, Request

from app.db.saved import Saved
from app.db.store import Store
from app.health.troubles import Troubles
from app.metrics import Metrics
from app.security.auth import Auth, Identity
from app.settings import Settings
from app.supervisor.supervisor import Supervisor


@dataclass(frozen=True)
class Parts:
    """The parts of a running service; ``app.state.parts``."""

    settings: Settings
    store: Store
    supervisor: Supervisor
    auth: Auth
    metrics: Metrics
    troubles: Troubles
    saved: Saved
    started_at: datetime = field(default_factory=partial(datetime.now, UTC))


def parts_of(request: Request) -> Parts:
    """The parts of the service that answers ``request``."""
    return cast(Parts, request.app.state.parts)


async def _parts(request: Request) -> Parts:
    return parts_of(request)


async def _settings(request: Request) -> Settings:
    return parts_of(request).settings


async def _store(request: Request) -> Store:
    return parts_of(request).store


async def _supervisor(request: Request) -> Supervisor:
    return parts_of(request).supervisor


async def _auth(request: Request) -> Auth:
    return parts_of(request).auth


async def _metrics(request: Request) -> Metrics:
    return parts_of(request).metrics


async def _troubles(request: Request) -> Troubles:
    return parts_of(request).troubles


async def _saved(request: Request) -> Saved:
    return parts_of(request).saved


async def _identity(request: Request) -> Identity:
    return cast(Identity, request.scope["state"]["identity"])


async def _actor(request: Request) -> str:
    return (await _identity(request)).actor


PartsDep = Annotated[Parts, Depends(_parts)]
SettingsDep = Annotated[Settings, Depends(_settings)]
StoreDep = Annotated[Store, Depends(_store)]
SupervisorDep = Annotated[Supervisor, Depends(_supervisor)]
AuthDep = Annotated[Auth, Depends(_auth)]
MetricsDep = Annotated[Metrics, Depends(_metrics)]
TroublesDep = Annotated[Troubles, Depends(_troubles)]
SavedDep = Annotated[Saved, Depends(_saved)]
IdentityDep = Annotated[Identity, Depends(_identity)]
ActorDep = Annotated[str, Depends(_actor)]
