"""Connections to checked addresses only: the network below the client that `http` tasks use.

A name is resolved once for a connection, every address it has is checked, and the connection is made to one
of those that passed, by its number. Nobody resolves the name again in between: a server of names that says
something else each time ("DNS rebinding") gains nothing. TLS still asks for the certificate of the name.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import httpcore

from mainspring.worker.reach import Reach

CONNECT_S = 5.0  # for each address, so that one which does not answer leaves time for the next
ADDRESSES_TRIED = 8

Resolve = Callable[[str, int], Awaitable[list[str]]]


class Refused(Exception):
    """A host that has no address which may be reached."""


async def resolve(host: str, port: int) -> list[str]:
    """A host's addresses, in the order in which the system would try them. Raises `OSError`, `UnicodeError`.

    Each name is looked up on a thread of its own: a name server that does not answer would take up the few
    that the event loop has, and hold up the names of all other tasks, and the end of the process.
    """
    with contextlib.suppress(OSError):
        return _addresses(host, port, socket.AI_NUMERICHOST)
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def look_up() -> None:
        try:
            told = partial(_tell, found, _addresses(host, port), None)
        except Exception as error:
            told = partial(_tell, found, [], error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(told)

    threading.Thread(target=look_up, name="mainspring-name", daemon=True).start()
    return await found


def _addresses(host: str, port: int, flags: int = 0) -> list[str]:
    found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, socket.IPPROTO_TCP, flags)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _tell(found: "asyncio.Future[list[str]]", addresses: list[str], error: Exception | None) -> None:
    if found.done():
        return
    if error is None:
        found.set_result(addresses)
    else:
        found.set_exception(error)


class Guard(httpcore.AsyncNetworkBackend):
    """The network of one exchange. Leaving the context ends whatever was connected in it: a client that is
    cancelled in the middle of a TLS handshake does not."""

    def __init__(self, reach: Reach, resolve: Resolve = resolve) -> None:
        self._reach = reach
        self._resolve = resolve
        self._network = httpcore.AnyIOBackend()
        self._opened: list[httpcore.AsyncNetworkStream] = []

    async def __aenter__(self) -> "Guard":
        return self

    async def __aexit__(self, *_: object) -> None:
        for stream in self._opened:
            await stream.aclose()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises `Refused`, and `httpcore.ConnectError` or `ConnectTimeout` of the last address tried."""
        try:
            found = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name cannot be resolved: {error}") from None
        # Which address a name has inside of the operator's network is nothing to tell whoever submits tasks.
        addresses = [address for address in found if self._reach.allows(host, address)][:ADDRESSES_TRIED]
        if not addresses:
            raise Refused(f"{host} has no public address")
        for address in addresses[:-1]:
            try:
                return await self._connect(address, port)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._connect(addresses[-1], port)

    async def _connect(self, address: str, port: int) -> httpcore.AsyncNetworkStream:
        stream = await self._network.connect_tcp(address, port, CONNECT_S)
        self._opened.append(stream)
        return stream
