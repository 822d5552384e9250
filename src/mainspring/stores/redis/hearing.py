"""A channel of the server, heard over a wire of its own: each message is handed on in the turn of the loop in
which it comes."""

import asyncio
from collections.abc import Callable

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from mainspring.stores.redis.wires import Wire, error_of, string


class Ear(Wire):
    def __init__(self, connection: AbstractConnection) -> None:
        super().__init__(connection)
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._heard: Callable[[bytes], None] = lambda _: None
        self._rest = b""

    async def listen(self, channel: bytes, heard: Callable[[bytes], None]) -> None:
        """Until the connection ends. Raises why."""
        self._heard = heard
        self._transport.write(b"*2\r\n" + string(b"SUBSCRIBE") + string(channel))
        await self._end

    def data_received(self, data: bytes) -> None:
        text, place = self._rest + data, 0
        try:
            while (found := _read(text, place)) is not None:
                said, place = found
                self._heard(said)
        except RedisError as error:
            self._ended(error)
        self._rest = text[place:]

    def _ended(self, error: RedisError) -> None:
        if not self._end.done():
            self._end.set_exception(error)


def _read(text: bytes, place: int) -> tuple[bytes, int] | None:
    """What is said at a place, `*3`, `$7`, `message`, `$5`, `hints`, `$2`, `hi`, and where the next begins,
    if it is there as a whole. The answer to a subscription, with a number at its end, says nothing. Raises an
    error that is said."""
    first = text.find(b"\n", place) + 1
    if not first:
        return None
    if text[place : place + 1] == b"-":
        raise error_of(text[place + 1 : first - 2])
    said = b""
    for _ in range(int(text[place + 1 : first])):
        place, first = first, text.find(b"\n", first) + 1
        if not first:
            return None
        if text[place : place + 1] == b"$":
            length = int(text[place + 1 : first])
            said, first = text[first : first + length], first + length + 2
        else:
            said = b""
    return (said, first) if first <= len(text) else None
