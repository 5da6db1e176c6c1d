"""Runs the service: data folder, port, signals, and the order in which things end."""

import asyncio
import contextlib
import gc
import json
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import uvicorn

from app.data_folder import ADDRESS, lock_data_folder
from app.deps import Parts
from app.errors import PortInUse
from app.http_limits import LimitedProtocol, look_at_all, notice_lost_peers
from app.main import running
from app.settings import Settings
from procdeck import oom

logger = logging.getLogger("procdeck")

BACKLOG = 1024
KEEP_ALIVE_SECONDS = 75
"""For idle connections; longer than the 60 s of common reverse proxies, which would otherwise send a request into a
connection that is just being closed."""
SWITCH_SECONDS = 0.0005
"""How long the event loop may keep the interpreter from the database's writer. SQLite lets go of it at every statement,
so with the default of 5 ms a commit during a burst of launches takes ten times what it needs."""
THREADS = 40
"""For what blocks: the default, a few more than there are processors, is soon taken by readers of a slow disk."""


class Server(uvicorn.Server):
    """uvicorn's server with limits for connections, and without its signal handling, which would end the process by the
    signal before the service has let go of its processes."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `_run`."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        if counter % 10 == 0:
            look_at_all(self.server_state.connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Raises `app.errors.StartupError`."""
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    for talkative in ("uvicorn.error", "alembic", "asyncio"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    sys.setswitchinterval(SWITCH_SECONDS)
    lock = lock_data_folder(settings.data_dir)
    listener = _listen(settings)
    settings = replace(settings, port=listener.getsockname()[1])
    open_files = _raise_file_limit()
    oom.protect()
    config = uvicorn.Config(
        _not_yet,
        http=LimitedProtocol,
        log_config=None,
        access_log=False,  # it would write login codes and whatever else stands in a query
        proxy_headers=False,
        server_header=False,
        ws="none",
        lifespan="off",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=3,
    )
    try:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_run(settings, config, listener, open_files))
    finally:
        (settings.data_dir / ADDRESS).unlink(missing_ok=True)
        listener.close()
        os.close(lock)
    return 0


async def _not_yet(scope: object, receive: object, send: object) -> None:
    raise AssertionError("replaced before the server starts")


async def _run(settings: Settings, config: uvicorn.Config, listener: socket.socket, open_files: int) -> None:
    hurry = asyncio.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "procdeck"))
    async with running(settings, hurry, open_files) as (app, parts):
        config.app = app
        server = Server(config)
        _handle_signals(server, parts, hurry)
        gc.collect()
        gc.freeze()  # what is there now stays: the collector need not look at it again and again
        _announce(settings, parts)

        async def renewed() -> None:
            _print_login(settings, parts)

        parts.supervisor.record.when_renewed(renewed)
        await server.serve(sockets=[listener])
        # However the server came to its end: no stream and no launch outlives it.
        parts.supervisor.stop_launching()


def _handle_signals(server: Server, parts: Parts, hurry: asyncio.Event) -> None:
    """The first SIGTERM or SIGINT ends the streams and then the server; a second one skips the waiting for
    processes."""

    def on_signal() -> None:
        if server.should_exit:
            server.force_exit = True
            hurry.set()
        parts.supervisor.stop_launching()
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)


def _announce(settings: Settings, parts: Parts) -> None:
    address = settings.data_dir / ADDRESS
    address.write_text(json.dumps({"url": settings.url, "pid": os.getpid()}) + "\n")
    address.chmod(0o600)
    print(f"Procdeck serves on {settings.url}; its data is in {settings.data_dir}")
    if settings.no_auth:
        print("Anybody on this machine may do everything: --no-auth is on.")
    _print_login(settings, parts)


def _print_login(settings: Settings, parts: Parts) -> None:
    if not settings.no_auth:
        print(f"Log in, once, within ten minutes: {parts.auth.login_link(settings.url)}")
    sys.stdout.flush()


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    notice_lost_peers(listener)
    try:
        listener.bind((settings.host.strip("[]"), settings.port))
        listener.listen(BACKLOG)  # now: an address that is only bound can be bound a second time
    except OSError as error:
        listener.close()
        raise PortInUse(f"can't listen on {settings.host} port {settings.port}: {error.strerror}") from error
    listener.set_inheritable(False)
    return listener


def _raise_file_limit() -> int:
    """As many descriptors as we may have, for each keeper and each stream takes one; the limit that was in force, which
    launchers give their processes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft
