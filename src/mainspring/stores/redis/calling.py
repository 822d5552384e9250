"""Calls of scripts over wires of their own. A script answers two strings or an error."""

import asyncio
from collections.abc import Sequence
from typing import TypeAlias

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as TimedOut

from mainspring.stores.redis.wires import Wire, connected, error_of, string

Answer: TypeAlias = tuple[bytes, bytes]


class Call:
    """A verb's script and its keys as they travel, so that only arguments are left to be packed."""

    def __init__(self, command: str, script: str, keys: Sequence[str]) -> None:
        words = (command, script, str(len(keys)), *keys)
        self._count = len(words)
        self._begin = b"".join(string(word.encode()) for word in words)

    def packed(self, arguments: Sequence[bytes | int]) -> bytes:
        count = b"*%d\r\n" % (self._count + len(arguments))
        told = [string(b"%d" % each if isinstance(each, int) else each) for each in arguments]
        return b"".join((count, self._begin, *told))


class Wires:
    """As many as calls are made at a time; `Database` bounds them. An answer may take `limit_s`."""

    def __init__(self, pool: ConnectionPool, limit_s: float) -> None:
        self._pool = pool
        self._limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._idle: list[_Caller] = []
        # Since when, in this order.
        self._asked: dict[_Caller, float] = {}
        self._watch: asyncio.TimerHandle | None = None

    @property
    def is_free(self) -> bool:
        """Whether a call waits for nothing but its answer."""
        return bool(self._idle) and self._idle[-1].is_open

    async def ask(self, command: bytes) -> Answer:
        """Raises what the library raises. A wire whose answer did not come is never used again."""
        wire = self._idle.pop() if self.is_free else await self._free()
        self._asked[wire] = self._loop.time()
        if self._watch is None:
            self._watch = self._loop.call_later(self._limit_s, self._look)
        try:
            answer = await wire.ask(command)
        except ResponseError:
            self._idle.append(wire)
            raise
        except BaseException:
            await wire.hang_up()
            raise
        finally:
            del self._asked[wire]
        self._idle.append(wire)
        return answer

    async def close(self) -> None:
        """What is not in use is closed."""
        if self._watch is not None and not self._asked:
            self._watch.cancel()
            self._watch = None
        while self._idle:
            await self._idle.pop().hang_up()

    def _look(self) -> None:
        """Give up calls that take too long. One timer is for all of them: one for each would cost as much as
        sending it."""
        self._watch, now_s = None, self._loop.time()
        for wire, asked_s in self._asked.items():
            if now_s < asked_s + self._limit_s:
                self._watch = self._loop.call_at(asked_s + self._limit_s, self._look)
                return
            wire.give_up(TimedOut(f"no answer within {self._limit_s:g} s"))

    async def _free(self) -> "_Caller":
        while self._idle:
            wire = self._idle.pop()
            if wire.is_open:
                return wire
            await wire.hang_up()
        return await connected(self._pool, _Caller)


class _Caller(Wire):
    """One call at a time."""

    def __init__(self, connection: AbstractConnection) -> None:
        super().__init__(connection)
        self._landing: asyncio.Future[Answer] | None = None
        self._got: list[bytes] = []
        self._missing = 0

    def ask(self, command: bytes) -> asyncio.Future[Answer]:
        landing: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._landing = landing
        self._transport.write(command)
        return landing

    def give_up(self, error: RedisError) -> None:
        self._land(error)

    def data_received(self, data: bytes) -> None:
        self._got.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return
        text = self._got[0] if len(self._got) == 1 else b"".join(self._got)
        try:
            answer, self._missing = _read(text)
        except RedisError as error:
            self._ended(error)
            return
        self._got = [text]
        if answer is not None:
            self._land(answer)

    def _ended(self, error: RedisError) -> None:
        self._land(error)

    def _land(self, answer: Answer | RedisError) -> None:
        landing, self._landing = self._landing, None
        self._got, self._missing = [], 0
        if landing is None or landing.done():
            return
        if isinstance(answer, RedisError):
            landing.set_exception(answer)
        else:
            landing.set_result(answer)


def _read(text: bytes) -> tuple[Answer | None, int]:
    """What a script answers: `*2`, `$3`, `abc`, `$0`, an empty string; or how many bytes it lacks at least.
    Raises its error."""
    if text.startswith(b"-"):
        if not text.endswith(b"\r\n"):
            return None, 1
        raise error_of(text[1:-2])
    found, place = [], text.find(b"\n") + 1
    for _ in range(2):
        first = text.find(b"\n", place) + 1
        if not first:
            return None, 1
        length = int(text[place + 1 : first])
        place = first + length + 2
        if place > len(text):
            return None, place - len(text)
        found.append(text[first : first + length])
    return (found[0], found[1]), 0
