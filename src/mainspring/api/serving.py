"""The HTTP/1 protocol of a node's server: uvicorn's, with one system call for an answer instead of two.

An ASGI server writes the head of an answer when it hears of it, and the body after that. Each write is a
system call that holds the interpreter, and to answer a small submit the two cost more than everything
else together. Here the head waits for the body that follows in the same turn of the loop.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class OneWriteProtocol(HttpToolsProtocol):
    """For `uvicorn.Config(http=...)`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(HeadWaits(transport, self.loop))  # type: ignore[arg-type]


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
