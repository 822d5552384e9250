"""A server's event streams, followed across broken connections."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import msgspec

from mainspring.cli.client import Server
from mainspring.cli.exits import Unreachable
from mainspring.cli.following import PATIENCE_S, RETRY_S
from mainspring.errors import Refused, StoreUnavailable

END = "end"


class Event(msgspec.Struct):
    """One event: its name, and its JSON."""

    name: str
    data: bytes


async def events(server: Server, path: str) -> AsyncGenerator[Event, None]:
    """All events of the stream up to `end`, that one included. Close it when you leave early.

    A server that has answered before and goes away is given `PATIENCE_S` to come back; nothing is told
    twice. Raises `Unreachable` after that, and what the server answers instead of a stream.
    """
    last: str | None = None
    while True:
        try:
            async with server.stream(path, last) as lines:
                if lines is None:
                    return
                async for identity, event in _parsed(lines):
                    last = identity or last
                    yield event
                    if event.name == END:
                        return
        except Unreachable:
            answered_s = server.answered_s
            if answered_s is None or asyncio.get_running_loop().time() - answered_s > PATIENCE_S:
                raise
        except (Refused, StoreUnavailable):
            pass  # it is there, and busy, or about to go
        await asyncio.sleep(RETRY_S)


async def _parsed(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str | None, Event]]:
    """Events and their ids; comments only show that the server is there."""
    fields: dict[str, str] = {}
    async for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "event" in fields and "data" in fields:
            yield fields.get("id"), Event(fields["event"], fields["data"].encode())
            fields = {}
        else:
            fields = {}
