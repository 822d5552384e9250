"""Connections that the library makes, with its addresses, passwords and certificates, and whose streams are
then left aside: to ask and to hear through all that a general client offers takes a node twice as long.
"""

import asyncio
import contextlib
from abc import abstractmethod
from typing import TypeVar

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as Unreachable
from redis.exceptions import NoPermissionError, NoScriptError, RedisError, ResponseError

W = TypeVar("W", bound="Wire")

_KINDS = {"NOSCRIPT": NoScriptError, "NOPERM": NoPermissionError}


class Wire(asyncio.Protocol):
    """One connection of our own."""

    def __init__(self, connection: AbstractConnection) -> None:
        writer = connection._writer
        assert writer is not None
        self._connection = connection
        self._transport = writer.transport
        # It waits for the end of the connection.
        self._former = self._transport.get_protocol()
        self._transport.set_protocol(self)
        self.is_open = not self._transport.is_closing()

    @abstractmethod
    def _ended(self, error: RedisError) -> None: ...

    async def hang_up(self) -> None:
        self._transport.abort()
        await self._connection.disconnect(nowait=True)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self._former.connection_lost(error)
        self._ended(Unreachable(f"Connection lost: {error}" if error else "Connection closed by server."))


async def connected(pool: ConnectionPool, kind: type[W]) -> W:
    """Raises what the library raises."""
    connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
        return kind(connection)
    except BaseException:
        with contextlib.suppress(RedisError, OSError):
            await connection.disconnect(nowait=True)
        raise


def string(text: bytes) -> bytes:
    """As it travels."""
    return b"$%d\r\n%b\r\n" % (len(text), text)


def error_of(line: bytes) -> ResponseError:
    """What the server says behind a `-`."""
    told = line.decode(errors="replace")
    kind, _, words = told.partition(" ")
    return _KINDS.get(kind, ResponseError)(words if kind == "ERR" else told)
