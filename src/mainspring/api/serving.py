"""The HTTP/1 protocol of a node's server: uvicorn's, with one system call for an answer instead of two.

An ASGI server writes the head of an answer when it hears of it, and the body after that. Each write is a
system call that holds the interpreter, and to answer a small submit the two cost more than everything
else together. Here the head waits for the body that follows in the same turn of the loop.

What is refused before the application hears of it is a problem document, too; and a request's head has an
end, or the server would read it for as long as it comes, from anybody.
"""

import asyncio
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from mainspring.api.http import Scope
from mainspring.errors import InvalidInput, MainspringError
from mainspring.wire.problems import CONTENT_TYPE, problem_of

HEAD_BYTES = 64 * 1024  # and the piece in which it begins: a quarter of a megabyte at most


class HeadTooLarge(MainspringError):
    code = "head_too_large"


class OneWriteProtocol(HttpToolsProtocol):
    """For `uvicorn.Config(http=...)`."""

    _unfinished: Scope | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(HeadWaits(transport, self.loop))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        scope: Scope | None = self.scope  # type: ignore[assignment]  # none before the first request
        # The method is entered in the scope when the head is complete.
        if scope is not None and "method" not in scope:
            self._await_head(scope, len(data))

    def on_headers_complete(self) -> None:
        """What comes behind a body in chunks is not merged into the head (RFC 9110, 6.5.1)."""
        super().on_headers_complete()
        self.headers = []

    def _await_head(self, scope: Scope, received: int) -> None:
        """Of the piece in which a head begins nothing is counted: others may have ended there."""
        if scope is not self._unfinished:
            self._unfinished, self._head_bytes = scope, 0
            return
        self._head_bytes += received
        if self._head_bytes > HEAD_BYTES:
            self._refuse(HeadTooLarge(f"the request line and header fields are over {HEAD_BYTES} bytes"))

    def send_400_response(self, msg: str) -> None:
        self._refuse(InvalidInput("request", "not an HTTP message", "HTTP/1.1, as RFC 9112 has it"))

    def _refuse(self, error: MainspringError) -> None:
        """Nobody knows where the next request begins: this was the last one."""
        problem = problem_of(error)
        body = msgspec.json.encode(problem)
        fields = (
            *self.server_state.default_headers,
            (b"content-type", CONTENT_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        )
        head = b"".join(b"%b: %b\r\n" % field for field in fields)
        self.transport.write(STATUS_LINE[problem.status] + head + b"\r\n" + body)
        self.transport.close()


class HeadWaits:
    """A transport whose first write of a turn waits for the second, at most until the turn's end.

    It has the methods that the protocol uses; what is written is written in order, and before a close.
    """

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: bytes | None = None
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.set_protocol = transport.set_protocol

    def write(self, data: bytes) -> None:
        held = self._held
        if held is None:
            self._held = data
            self._loop.call_soon(self._release)
        else:
            # Empty once it has gone: until the turn ends, what follows goes at once.
            self._transport.write(held + data if held else data)
            self._held = b""

    def _release(self) -> None:
        held, self._held = self._held, None
        if held:
            self._transport.write(held)

    def close(self) -> None:
        if self._held:
            self._transport.write(self._held)
            self._held = b""
        self._transport.close()
