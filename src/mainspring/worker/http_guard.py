"""Connections to checked addresses only: the network below the client that `http` tasks use.

A name is resolved once for a connection, every address it has is checked, and the connection is made to one
of those that passed, by its number. Nobody resolves the name again in between: a server of names that says
something else each time ("DNS rebinding") gains nothing. TLS still asks for the certificate of the name.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable

import httpcore

from mainspring.worker.reach import Reach

CONNECT_S = 5.0  # for each address, so that one which does not answer leaves time for the next
ADDRESSES_TRIED = 8

Resolve = Callable[[str, int], Awaitable[list[str]]]


class Refused(Exception):
    """A host that has no address which may be reached."""


async def resolve(host: str, port: int) -> list[str]:
    """A host's addresses, in the order in which the system would try them. Raises `OSError`."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


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
