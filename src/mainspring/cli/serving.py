"""`mainspring standalone`, `server` and `worker`: processes that run until they are told to stop.

The first SIGTERM or SIGINT drains: running tasks may finish within the grace, the rest is handed back,
uncounted. A second one stops at once.
"""

import asyncio
import logging
import os
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mainspring import __version__
from mainspring.cli.addresses import at_its_store, at_its_work
from mainspring.cli.exits import Exit
from mainspring.cli.options import CONFIG, load_settings
from mainspring.clock import SystemClock
from mainspring.config import Settings
from mainspring.core.addresses import shown
from mainspring.errors import InvalidInput, MainspringError
from mainspring.ports import Clock
from mainspring.sdk import Registry

if TYPE_CHECKING:
    from mainspring.worker import Engine
    from mainspring.worker.allowed import Allowed

LEFT_BEHIND_S = 1.0
_log = logging.getLogger("mainspring.cli")
_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _flags(*options: _Decorator) -> _Decorator:
    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_QUEUE = click.option(
    "--queue", metavar="URL", help="A Redis beside PostgreSQL, which wakes nodes: redis://..."
)
_SERVER_FLAGS = _flags(
    click.option("--listen", metavar="HOST:PORT", help="Default 127.0.0.1:8080; port 0 takes a free one."),
    click.option("--db", metavar="FILE", help="SQLite file; default scheduler.db."),
    click.option(
        "--store",
        metavar="URL",
        help="Instead of --db: sqlite:///FILE, postgresql://..., redis://... or memory:.",
    ),
    _QUEUE,
    click.option("--token", help="Callers must show this token (better: MAINSPRING_TOKEN)."),
    click.option("--insecure", is_flag=True, default=None, help="Listen beyond loopback without a token."),
    click.option("--node-id", metavar="NAME"),
    click.option("--lease", "lease_s", metavar="DURATION", help="How long a silent worker keeps its tasks."),
    click.option("--no-migrate", is_flag=True, default=None, help="Refuse an older schema; never change it."),
    click.option("--history", is_flag=True, default=None, help="Record every transition of every task."),
)
_WORKER_FLAGS = _flags(
    click.option("-A", "--app", metavar="MODULE:APP", help="Python functions to run as tasks."),
    click.option("--concurrency", type=int, metavar="N", help="Tasks at a time; default 10."),
    click.option("--queues", metavar="NAMES", help="Only these, by commas; default all."),
    click.option("--allow-commands", "commands", is_flag=True, default=None, help="Run shell commands."),
    click.option(
        "--allow-http", "http", is_flag=True, default=None, help="Make HTTP calls to public addresses."
    ),
    click.option(
        "--http-private", metavar="NAMES", help="Networks and hosts that are allowed besides, by commas."
    ),
    click.option("--file-root", metavar="DIR", help="Run file jobs, confined to this directory."),
    click.option("--worker-id", metavar="NAME"),
    click.option(
        "--grace", "grace_s", metavar="DURATION", help="How long running tasks may go on at the end."
    ),
)
_LOG_LEVEL = click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]))


@click.command()
@_SERVER_FLAGS
@_WORKER_FLAGS
@_LOG_LEVEL
@CONFIG
def standalone(config: Path | None, **flags: Any) -> int:
    """Scheduler, API and worker in one process, on one SQLite file or another store."""
    settings = _node_settings(flags, config)
    handlers = _handlers(settings)
    return _run(settings, _serve(at_its_store(settings), "standalone", handlers))


@click.command()
@_SERVER_FLAGS
@_LOG_LEVEL
@CONFIG
def server(config: Path | None, **flags: Any) -> int:
    """Scheduler and API; workers connect over HTTP. Several may share one store."""
    settings = _node_settings(flags, config)
    return _run(settings, _serve(settings, "server", None))


@click.command()
@click.option("--api-url", metavar="URL", help="The server; by default http://localhost:8080.")
@click.option("--store", metavar="URL", help="Instead of a server: straight on this store.")
@_QUEUE
@click.option("--token", help="The server's token (better: MAINSPRING_TOKEN).")
@_WORKER_FLAGS
@_LOG_LEVEL
@CONFIG
def worker(config: Path | None, **flags: Any) -> int:
    """Runs tasks: those that a server hands out over HTTP, or straight from a store.

    User code runs in child processes: whatever it does to them, the worker reports it.
    """
    if flags["api_url"] is not None and flags["store"] is not None:
        raise click.UsageError("give --api-url or --store, not both")
    settings = at_its_work(load_settings(flags, config))
    if flags["queue"] is not None and not settings.store:
        raise click.UsageError("--queue is for a worker straight on a store: give --store, too")
    return _run(settings, _work_on_store(settings) if settings.store else _work(settings))


def _node_settings(flags: dict[str, Any], config: Path | None) -> Settings:
    if flags["db"] is not None and flags["store"] is not None:
        raise click.UsageError("give --db or --store, not both")
    return load_settings(flags, config)


def _handlers(settings: Settings) -> Registry:
    from mainspring.worker.kinds import allowed_kinds, handlers_of
    from mainspring.worker.loading import load_app

    try:
        app = load_app(settings.app) if settings.app else None
    except MainspringError:
        raise
    except Exception as error:  # whatever the user's module raises while it is imported
        last = traceback.extract_tb(error.__traceback__)[-1]
        problem = f"cannot be loaded: {type(error).__name__}: {error} ({last.filename}:{last.lineno})"
        raise InvalidInput("app", problem, "a module that can be imported") from error
    return handlers_of(app, allowed_kinds(_allowed(settings), SystemClock()))


def _allowed(settings: Settings) -> "Allowed":
    """What tasks may reach. Raises `InvalidInput` naming the setting as it was given: a runner could only
    say that it does not come up."""
    from mainspring.worker.allowed import Allowed
    from mainspring.worker.reach import Reach

    Reach(settings.http_private, settings.origin("http_private"))
    root = settings.file_root and str(Path(settings.file_root).absolute())
    if root and not Path(root).is_dir():
        raise InvalidInput(settings.origin("file_root"), f"not a directory: {root!r}", "a directory")
    return Allowed(settings.commands, settings.http, settings.http_private, root)


# --- running ----------------------------------------------------------------------------------------


def _run(settings: Settings, work: Coroutine[Any, Any, int]) -> int:
    import uvloop

    from mainspring.telemetry import configure_logging

    try:
        configure_logging(settings.log_level)
    except ValueError:
        work.close()
        raise InvalidInput(
            settings.origin("log_level"),
            f"no such level: {settings.log_level!r}",
            "debug, info, warning, error",
        ) from None
    runner, code = asyncio.Runner(loop_factory=uvloop.new_event_loop), int(Exit.FAILED)
    try:
        code = runner.run(work)
    finally:
        _close(runner, code)
    return code


def _close(runner: asyncio.Runner, code: int) -> None:
    """Closing waits for every coroutine and thread: for ever, if a handler does not stop. Its task has been
    handed back by now."""
    given_up = threading.Timer(LEFT_BEHIND_S, _leave, (code,))
    given_up.daemon = True
    given_up.start()
    runner.close()
    given_up.cancel()


def _leave(code: int) -> None:
    _log.warning("handlers do not stop: leaving without them")
    os._exit(code)


STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """The first signal asks to drain, the second to stop at once. Listens inside its `with` block."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.on_first: Callable[[], None] = self.asked.set
        self.on_second: Callable[[], None] = lambda: None
        self._told_before = False
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> "Stop":
        for number in STOP_SIGNALS:
            self._loop.add_signal_handler(number, self._told)
        return self

    def __exit__(self, *_: object) -> None:
        """uvloop leaves its handlers in place when a loop is closed: the process could not be interrupted."""
        for number in STOP_SIGNALS:
            self._loop.remove_signal_handler(number)

    def _told(self) -> None:
        if self._told_before:
            _log.warning("told again: stopping at once")
            self.on_second()
        else:
            _log.info("told to stop: draining")
            self._told_before = True
            self.on_first()


async def _serve(settings: Settings, role: str, handlers: Registry | None) -> int:
    from mainspring.node import Node
    from mainspring.worker import InProcessEngine

    clock = SystemClock()
    engine = None if handlers is None else InProcessEngine(handlers, clock)
    node = Node(settings, engine=engine, clock=clock)
    with Stop() as stop:
        if node.worker is not None:
            stop.on_second = node.worker.halt
        async with node:
            host, port = node.address
            named = f"[{host}]" if ":" in host else host
            click.echo(f"mainspring {role} listens on http://{named}:{port}")
            await stop.asked.wait()
    return Exit.OK


def _engine(settings: Settings, clock: Clock) -> "Engine":
    from mainspring.worker.supervisor import ProcessEngine

    return ProcessEngine(settings.app, clock, allowed=_allowed(settings), log_level=settings.log_level)


async def _work(settings: Settings) -> int:
    from mainspring.worker import Worker, WorkerSettings
    from mainspring.worker.sources import HttpSource

    clock = SystemClock()
    node = f"{socket.gethostname()}-{os.getpid()}"
    works = Worker(
        source := HttpSource(settings.api_url, settings.token),
        _engine(settings, clock),
        clock,
        WorkerSettings(
            worker=settings.worker_id or node,
            node=settings.node_id or node,
            queues=settings.queues,
            slots=settings.concurrency,
            drain_grace_s=settings.grace_s,
            version=__version__,
        ),
    )
    with Stop() as stop:
        stop.on_first, stop.on_second = works.drain, works.halt
        click.echo(f"mainspring worker {works.info().worker} works for {settings.api_url}")
        try:
            await works.run()
        finally:
            await source.close()
    return Exit.OK


async def _work_on_store(settings: Settings) -> int:
    from mainspring.node import Node

    clock = SystemClock()
    node = Node(settings, serve=False, campaigns=False, engine=_engine(settings, clock), clock=clock)
    if not node.store.features.several_processes:
        problem = "such a store ends with its process: nobody could submit to it"
        raise InvalidInput(settings.origin("store"), problem, "a store that several processes share")
    assert node.worker is not None
    with Stop() as stop:
        stop.on_first, stop.on_second = node.worker.drain, node.worker.halt
        async with node:
            click.echo(f"mainspring worker {node.worker.info().worker} works on {shown(settings.store)}")
            await node.worked()
    return Exit.OK
