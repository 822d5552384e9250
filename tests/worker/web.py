"""A web server on loopback that a test scripts answer by answer, and that keeps what it was sent."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

Script = Callable[["Seen", asyncio.StreamWriter], Awaitable[None]]


class Seen(NamedTuple):
    """One request as it came over the wire; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Web:
    """`pages` maps a path to an answer's bytes, or to a coroutine function that writes one."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes | Script] = {}
        self.seen: list[Seen] = []
        self.connections = 0
        self.came, self.hung_up = asyncio.Event(), asyncio.Event()
        self.port = 0

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (seen := await _request(reader)) is not None:
                self.seen.append(seen)
                self.came.set()
                page = self.pages.get(seen.target.partition("?")[0], answer(404))
                if isinstance(page, bytes):
                    writer.write(page)
                    await writer.drain()
                else:
                    await page(seen, writer)
        except ConnectionError:
            pass
        finally:
            self.hung_up.set()
            writer.close()


@asynccontextmanager
async def web(
    host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Web]:
    found = Web()
    server = await asyncio.start_server(found._serve, host, port, ssl=tls)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()


def answer(status: int = 200, body: bytes = b"", /, **headers: Any) -> bytes:
    """An answer that ends its connection; `_` in a header's name stands for `-`."""
    lines = [f"HTTP/1.1 {status} Whatever", "connection: close"]
    headers.setdefault("content_length", len(body))
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def silent(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """Takes the request and never answers."""


async def endless(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """An answer that does not end as long as somebody reads."""
    writer.write(answer(200, content_length=None))
    while True:
        writer.write(b"more and " * 8192)
        await writer.drain()


async def _request(reader: asyncio.StreamReader) -> Seen | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head[:-4].split("\r\n")
    pairs = [line.split(": ", 1) for line in lines]
    headers = {name.lower(): value for name, value in pairs}
    assert len(headers) == len(pairs), "a header came twice"
    method, target, _ = first.split(" ")
    return Seen(method, target, headers, await reader.readexactly(int(headers.get("content-length", 0))))
