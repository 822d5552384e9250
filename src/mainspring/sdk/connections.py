"""Kept HTTP/1.1 connections to one server: as much of the protocol as a JSON API needs, and no more.

Workers and clients make a few hundred calls a second. A general HTTP library was measured to cost 800 us of
Python for each, which on a small machine is taken from the tasks; this one costs 90 us.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from mainspring.core.addresses import shown
from mainspring.errors import InvalidInput, StoreUnavailable

CONNECT_S = 5.0
HEAD_BYTES = 64 * 1024
BODY_BYTES = 256 * 1024 * 1024
_NO_BODY = (204, 304)


class Reply:
    """Status and body of an answer."""

    __slots__ = ("body", "status")

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body


class Connections:
    """Calls to one server. As many connections are kept as calls were ever made at a time.

    Raises `InvalidInput` for an address that is none. Calls raise `StoreUnavailable` when there is no answer.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise InvalidInput("api_url", f"not the address of a server: {shown(url)!r}", "http://host:port")
        self.url = url
        self._host = parts.hostname
        self._ssl = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._ssl else 80)
        self._prefix = parts.path.rstrip("/")
        host = f"[{self._host}]" if ":" in self._host else self._host
        head = {"Host": f"{host}:{self._port}", "Accept": "application/json", **headers}
        if not all(value.isascii() and value.isprintable() for value in head.values()):
            raise InvalidInput("token", "has characters that no HTTP header may carry", "printable ASCII")
        self._head = "".join(f"{name}: {value}\r\n" for name, value in head.items()).encode("ascii")
        self._idle: list[_Connection] = []

    async def call(
        self, method: str, path: str, body: bytes | None, timeout_s: float, fields: str = ""
    ) -> Reply:
        """One request, which may be repeated, and its answer; `fields` are header lines of its own, each with
        its line end. If the caller is cancelled, the server sees the connection close."""
        request = self._request(method, path, body, fields)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._call(request)
        except TimeoutError:
            raise StoreUnavailable(f"{self.url} did not answer within {timeout_s:g} s") from None
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            reason = str(error) or type(error).__name__
            raise StoreUnavailable(f"{self.url} does not answer: {reason}") from None

    async def _call(self, request: bytes) -> Reply:
        while self._idle:
            connection = self._idle.pop()
            try:
                return await self._exchange(connection, request)
            except (OSError, EOFError):
                # The server may have closed a kept connection just before: that says nothing about it.
                # The request may have been read, but it may be repeated.
                continue
        return await self._exchange(await self._connect(), request)

    async def _exchange(self, connection: "_Connection", request: bytes) -> Reply:
        try:
            reply, keep = await connection.exchange(request)
        except BaseException:
            connection.close()
            raise
        if keep:
            self._idle.append(connection)
        else:
            connection.close()
        return reply

    async def _connect(self) -> "_Connection":
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(
                self._host, self._port, ssl=self._ssl, limit=HEAD_BYTES
            )
        return _Connection(reader, writer)

    def _request(self, method: str, path: str, body: bytes | None, fields: str) -> bytes:
        head = f"{method} {self._prefix}{path} HTTP/1.1\r\n{fields}".encode("ascii") + self._head
        if body is None:
            return head + b"\r\n"
        return b"%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body)

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        await asyncio.gather(*(connection.end() for connection in idle))


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def close(self) -> None:
        self._writer.close()

    async def end(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def exchange(self, request: bytes) -> tuple[Reply, bool]:
        """The answer, and whether the connection may be used again. Raises `ValueError` if it is no HTTP."""
        self._writer.write(request)
        await self._writer.drain()
        while True:
            status, fields = _parsed(await self._reader.readuntil(b"\r\n\r\n"))
            if status >= 200:
                break
        keep = fields.get(b"connection", b"").lower() != b"close"
        if status in _NO_BODY:
            return Reply(status, b""), keep
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            return Reply(status, await self._chunks()), keep
        if b"content-length" in fields:
            size = int(fields[b"content-length"])
            if not 0 <= size <= BODY_BYTES:
                raise ValueError(f"an answer of {size} bytes")
            return Reply(status, await self._reader.readexactly(size)), keep
        return Reply(status, await self._reader.read(BODY_BYTES)), False

    async def _chunks(self) -> bytes:
        body = bytearray()
        while True:
            line = await self._reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            if size < 0 or len(body) + size > BODY_BYTES:
                raise ValueError("an answer without end")
            if not size:
                while await self._reader.readuntil(b"\r\n") != b"\r\n":
                    pass  # trailers
                return bytes(body)
            body += await self._reader.readexactly(size)
            await self._reader.readexactly(2)


def _parsed(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    first, *lines = head.split(b"\r\n")
    version, _, rest = first.partition(b" ")
    if not version.startswith(b"HTTP/1."):
        raise ValueError("the answer is no HTTP")
    fields = {}
    for line in lines:
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip()
    if version == b"HTTP/1.0":
        fields[b"connection"] = b"close"
    return int(rest[:3]), fields
