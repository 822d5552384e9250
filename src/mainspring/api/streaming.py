"""Answers that go on: events for as long as somebody reads them.

A stream pulls: it makes the next event when the last one has been taken, so a slow reader costs one event
and no more. It ends when its events do, when the reader hangs up, or when the node closes its door.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from mainspring.api.http import NO_STORE, Answer, Call, Send
from mainspring.errors import MainspringError, Overloaded, StoreUnavailable
from mainspring.wire.watching import CONTENT_TYPE, KEEP_ALIVE, RECONNECT

KEEP_ALIVE_S = 15.0
STREAMS_MOST = 1_000
_log = logging.getLogger(__name__)
# What a proxy in between must not do: keep an event until there are more of them.
_UNBUFFERED = (b"x-accel-buffering", b"no")


class Stream(Answer):
    """An answer whose body comes piece by piece."""

    __slots__ = ("call", "events")
    has_length = False

    def __init__(self, call: Call, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(200, b"", [(b"content-type", CONTENT_TYPE.encode()), NO_STORE, _UNBUFFERED])
        self.call = call
        self.events = events


class Streams:
    """The streams of a node that are open."""

    def __init__(self) -> None:
        self._open: set[asyncio.Task[None]] = set()
        self._closed = False

    def check_room(self) -> None:
        """Before a stream is made. Raises `Overloaded`, and `StoreUnavailable` when the node is closing."""
        if self._closed:
            raise StoreUnavailable("this node is shutting down")
        if len(self._open) >= STREAMS_MOST:
            raise Overloaded(f"{STREAMS_MOST} streams are open on this node; close some")

    def close(self) -> None:
        """End all of them, now."""
        self._closed = True
        for writing in self._open:
            writing.cancel()

    async def send(self, stream: Stream, send: Send) -> None:
        """Returns when the stream has ended, whoever ended it; nothing of it is left then."""
        await send({"type": "http.response.start", "status": stream.status, "headers": stream.headers})
        writing = asyncio.ensure_future(self._write(stream, send))
        leaving = asyncio.ensure_future(stream.call.left())
        self._open.add(writing)
        if self._closed:
            writing.cancel()
        try:
            await asyncio.wait((writing, leaving), return_when=asyncio.FIRST_COMPLETED)
            is_gone = leaving.done()
        finally:
            self._open.discard(writing)
            writing.cancel()
            leaving.cancel()
            await asyncio.gather(writing, leaving, return_exceptions=True)
        if not is_gone:
            await send({"type": "http.response.body", "body": b""})

    async def _write(self, stream: Stream, send: Send) -> None:
        try:
            async with aclosing(beating(stream.events)) as parts:
                await _send_part(send, RECONNECT)
                async for part in parts:
                    await _send_part(send, part)
        except MainspringError as error:
            # The status is out. The reader comes again with what it had last, and is told then.
            _log.warning("a stream was cut short", extra={"code": error.code, "detail": error.detail})
        except Exception:
            _log.exception("a stream failed")


async def _send_part(send: Send, part: bytes) -> None:
    await send({"type": "http.response.body", "body": part, "more_body": True})


async def beating(events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The events, and a comment where nothing comes for long: so that both ends notice a dead connection."""
    async with aclosing(events):
        while True:
            coming = asyncio.ensure_future(anext(events, None))
            try:
                while not (await asyncio.wait((coming,), timeout=KEEP_ALIVE_S))[0]:
                    yield KEEP_ALIVE
                part = coming.result()
            finally:
                if not coming.done():
                    coming.cancel()
                    await asyncio.wait((coming,))
            if part is None:
                return
            yield part
