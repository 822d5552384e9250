"""The HTTP server of a node that serves, and the address that it listens on."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator

import uvicorn

from mainspring.api import ApiOptions, create_app
from mainspring.api.serving import OneWriteProtocol
from mainspring.config import Settings
from mainspring.errors import InvalidInput
from mainspring.ports import Clock
from mainspring.scheduler import Scheduler
from mainspring.telemetry import Metrics

_log = logging.getLogger("mainspring.node")


class Door:
    """The HTTP server of a node."""

    def __init__(
        self, settings: Settings, scheduler: Scheduler, clock: Clock, metrics: Metrics, role: str
    ) -> None:
        """Binds the address. Raises `InvalidInput` for one that is taken, or not to be opened like this."""
        host, port = settings.listen_address
        if not settings.token and not settings.insecure and not _is_loopback(host):
            raise InvalidInput(
                settings.origin("listen") if settings.origin("listen") != "default" else "listen",
                f"{host} can be reached from outside, and no token is set",
                "a loopback address, or a token, or --insecure",
            )
        self._socket = _bind(host, port)
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        options = ApiOptions(token=settings.token, loopback=_is_loopback(host), role=role)
        self._app = app = create_app(scheduler, clock, options, metrics)
        config = uvicorn.Config(
            app,
            http=OneWriteProtocol,
            ws="none",
            proxy_headers=False,
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="http")
        await self._server.ready.wait()
        _log.info("listening on http://%s:%d", *self.address)

    async def close(self) -> None:
        self._app.close()
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
        self._socket.close()


class _Server(uvicorn.Server):
    """Signals belong to whoever runs the node: uvicorn must not take them over."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind(host: str, port: int) -> socket.socket:
    """Bind here, so that a taken port is an error of the start and port 0 can be asked back."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, or asyncio does not set TCP_NODELAY on what is accepted: then every answer on a
    # kept connection waits 40 ms for the client's delayed acknowledgement.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise InvalidInput(
            "listen", f"cannot listen on {host}:{port}: {error.strerror}", "a free address"
        ) from None
    return bound


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host == "::1" or host.startswith("127.")
