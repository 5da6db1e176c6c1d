"""Puts the parts together: the only place that knows them all."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.types import ASGIApp

from app import pages
from app.api import (
    activity,
    events,
    logs,
    machine,
    operations,
    presets,
    processes,
    retention,
    service,
    targets,
    usage,
    views,
)
from app.api.schemas import LogPage, Problem
from app.compression import Compression
from app.db.saved import Saved
from app.db.store import Sessions, Store
from app.deps import Parts
from app.errors import install_error_handlers
from app.health.self_check import SelfCheck
from app.health.troubles import Troubles
from app.metrics import Metrics
from app.pages.files import StaticFiles, files
from app.pages.render import error_page
from app.resources import resource_dir
from app.security.auth import Auth, Session, load_token
from app.security.middleware import secure
from app.settings import Settings
from app.supervisor.launchers import configs
from app.supervisor.supervisor import Supervisor
from app.version import VERSION

logger = logging.getLogger("procdeck")


def create_app() -> FastAPI:
    """The application without its parts: routes, static files, error answers, and the schema that is true of them."""
    app = FastAPI(title="Procdeck", version=VERSION, docs_url=None, redoc_url=None)
    for module in (
        processes,
        operations,
        views,
        presets,
        usage,
        logs,
        events,
        targets,
        retention,
        activity,
        service,
        machine,
    ):
        app.include_router(module.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(files()), name="static")
    app.add_middleware(Compression)
    install_error_handlers(app, error_page)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, object]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes, description=_DESCRIPTION)
        components = schema.setdefault("components", {})
        for model in (Problem, LogPage):  # named by hand-written declarations, which FastAPI does not look into
            described = model.model_json_schema(ref_template="#/components/schemas/{model}")
            components.setdefault("schemas", {}).update(described.pop("$defs", {}) | {model.__name__: described})
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"token": []}]
        app.openapi_schema = schema
    return app.openapi_schema


_DESCRIPTION = (
    "Launch registered Python functions as child processes and watch over them. Errors are problem details (RFC 9457)."
)


@asynccontextmanager
async def running(settings: Settings, hurry: asyncio.Event, open_files: int) -> AsyncIterator[tuple[ASGIApp, Parts]]:
    """The service as an ASGI application behind its door, with everything it needs running; ``settings.port`` is the
    port really listened on.

    On leaving, processes are treated as ``on_exit`` says; ``hurry`` cuts the waiting for them short. ``open_files`` is
    the limit of descriptors that processes get. Raises `app.errors.StartupError`.
    """
    token = load_token(settings.data_dir)
    store, renewed = await asyncio.to_thread(Store.open_or_renew, settings.record_url)
    try:
        metrics, troubles = Metrics(), Troubles()
        auth = Auth(
            token,
            Sessions(store, Session),
            port=settings.port,
            cookie_secure=settings.cookie_secure,
            no_auth=settings.no_auth,
        )
        default_targets = (str(resource_dir("examples")),)
        launchers = configs(settings, default_targets, open_files)
        supervisor = Supervisor(settings, store, launchers, metrics, troubles, renewed)
        supervisor.record.when_renewed(auth.record_again)
        await supervisor.start()
        checking = asyncio.create_task(SelfCheck(settings.data_dir, supervisor, troubles).run())
        app = create_app()
        app.state.parts = parts = Parts(settings, store, supervisor, auth, metrics, troubles, Saved(store))
        try:
            yield secure(app, settings, auth, error_page), parts
        finally:
            checking.cancel()
            await supervisor.shut_down(hurry)
    finally:
        await asyncio.to_thread(store.close)
