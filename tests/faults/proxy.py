"""A proxy that breaks connections on purpose, between clients on loopback and a real server.

    client ──TCP──► Proxy ──unix socket──► server
                      │
                      ├─ delay_s     each round trip takes so much longer
                      ├─ cut_at      a connection is cut at one of its next round trips, on the way there or
                      │              on the way back
                      ├─ refuse      nobody listens any more
                      └─ fall_silent a black hole: what is sent on a connection, old or new, goes nowhere

It knows no protocol. A round trip begins with the first bytes that a client sends after it was answered, and
ends with the first bytes of the answer.
"""

import asyncio
from enum import Enum
from pathlib import Path

CHUNK_BYTES = 256 * 1024
FOUND_DEAD_S = 5.0


class Side(Enum):
    """Where a connection is cut: the server never gets the request, or the client never gets the answer."""

    THERE = "there"
    BACK = "back"


class Cut(Exception):
    """This connection has come to the round trip at which it was to be cut."""


class Link:
    """One connection of a client, and the proxy's own to the server."""

    def __init__(self, proxy: "Proxy", client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._is_asking = False
        self._cut_in: int | None = None
        self._side = Side.THERE
        self.is_heard = asyncio.Event()
        if not proxy.is_silent:
            self.is_heard.set()

    async def carry_there(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if not self._is_asking:
                self._is_asking = True
                await self._ask()
            await self.is_heard.wait()
            self._server.write(data)
            await self._server.drain()

    async def _ask(self) -> None:
        """A round trip begins."""
        proxy = self._proxy
        proxy.round_trips += 1
        if proxy.order is not None:
            (self._cut_in, self._side), proxy.order = proxy.order, None
        if self._cut_in is not None:
            self._cut_in -= 1
            if self._cut_in == 0 and self._side is Side.THERE:
                raise Cut
        if proxy.delay_s:
            await asyncio.sleep(proxy.delay_s)

    async def carry_back(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(CHUNK_BYTES):
            self._is_asking = False
            if self._cut_in == 0:
                raise Cut
            await self.is_heard.wait()
            self._client.write(data)
            await self._client.drain()

    def forget_cut(self) -> None:
        self._cut_in = None

    def abort(self) -> None:
        """Both ends see a reset."""
        for writer in (self._client, self._server):
            writer.transport.abort()


class Proxy:
    """Listens on a port of loopback, the same one for all of its life."""

    def __init__(self, server: Path) -> None:
        """`server` is the unix socket of the real one, which need not be there yet."""
        self._path = server
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self.port = 0
        self.delay_s = 0.0
        self.is_silent = False
        self.order: tuple[int, Side] | None = None
        self.round_trips = 0
        self.cuts = 0

    async def __aenter__(self) -> "Proxy":
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()

    # --- what a test asks for -------------------------------------------------------------------

    def cut_at(self, round_trip: int, side: Side) -> None:
        """Cut the connection that is used next at its `round_trip`th round trip from now, counted from 1."""
        self.order = round_trip, side

    def cut_nothing(self) -> None:
        """Forget a cut that has not come about."""
        self.order = None
        for link in self._links:
            link.forget_cut()

    async def accept(self) -> None:
        """Listen, for the first time or again."""
        self._listener = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Let nobody in, and cut all who are."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self.cut_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports are closed in the loop's next turn

    def lead_to(self, server: Path) -> None:
        """New connections go to another server."""
        self._path = server

    def cut_all(self) -> None:
        for link in self._links:
            link.abort()

    def fall_silent(self) -> None:
        self.is_silent = True
        for link in self._links:
            link.is_heard.clear()

    def be_heard(self, *, again: bool) -> None:
        """New connections work. Those of before go on where they were (`again`), or stay silent until the
        server finds them dead, as it would by its keepalives, which the way from here to it has not: one that
        fell silent in the middle of a COPY holds its locks for so long."""
        self.is_silent = False
        for link in list(self._links):
            if again:
                link.is_heard.set()
            else:
                asyncio.get_running_loop().call_later(FOUND_DEAD_S, link.abort)

    # --- connections ----------------------------------------------------------------------------

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_unix_connection(str(self._path))
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
            return
        link = Link(self, writer, to_server)
        self._links.add(link)
        ways = [
            asyncio.ensure_future(link.carry_there(reader)),
            asyncio.ensure_future(link.carry_back(from_server)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._links.discard(link)
            link.abort()
            for way in ways:
                way.cancel()
            ends = await asyncio.gather(*ways, return_exceptions=True)
            self.cuts += any(isinstance(end, Cut) for end in ends)
