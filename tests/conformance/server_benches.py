"""Benches for stores on real servers. Their clocks cannot be stopped, but their offset can be set: a test
moves the store's time, and never waits for it.

How long a call may take is not what these tests look at: on a machine with much else to do, ten thousand
tasks in one call take longer than the 30 s after which it is given up, and to write them down on the way
takes longer than the 5 s for which a transaction may do nothing.
"""

import itertools
from typing import Any, ClassVar

import asyncpg
import pytest
from redis.asyncio import Redis

from mainspring.clock import SystemClock
from mainspring.ports.options import DEFAULTS
from mainspring.stores.postgres import PostgresStore, dialling
from mainspring.stores.postgres import connecting as postgres_connecting
from mainspring.stores.redis import RedisStore
from mainspring.stores.redis import connecting as redis_connecting
from mainspring.stores.tandem import TandemStore, link, taking
from tests.conformance.bench import Bench, User
from tests.servers import PostgresServer, RedisServer, ValkeyServer, running

PATIENCE_S = 600
MOVABLE_CLOCK = """
CREATE TABLE mainspring.clock_offset (us bigint NOT NULL);
INSERT INTO mainspring.clock_offset VALUES (0);
CREATE OR REPLACE FUNCTION mainspring.now_us() RETURNS bigint LANGUAGE sql VOLATILE AS
    'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + us FROM mainspring.clock_offset';
"""
TABLES = (
    "tasks", "edges", "unresolved", "lanes", "limits", "paused", "arrivals", "claimants", "shares", "counts",
    "workers", "idempotency", "history", "schedules", "workflows", "steps", "logged", "logs", "loading",
    "submissions",
)  # fmt: skip
EMPTIED = (
    "UPDATE mainspring.clock_offset SET us = 0;"
    "UPDATE mainspring.controls SET generation = generation + 1;"
    "UPDATE mainspring.term SET holder = '', number = 0, expires_us = 0;"
) + "".join(f"DELETE FROM mainspring.{table};" for table in TABLES)
OFFSET_CLOCK = """
local function now_us()
    local time = redis.call('TIME')
    return time[1] * 1000000 + time[2] + tonumber(redis.call('GET', 'OFFSET') or 0)
end
"""


class AsyncpgUser(User):
    error = asyncpg.PostgresError

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    async def run(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self._connection.fetch(sql, *values)]

    async def close(self) -> None:
        await self._connection.close()


class PostgresBench(Bench):
    """Databases are used again, emptied: making one for each test would take longer than the tests."""

    exact_time = False
    several_nodes = True
    transactional = True
    made = 0
    free: ClassVar[list[str]] = []

    @classmethod
    def missing(cls) -> str:
        return PostgresServer.missing()

    def new_store(self) -> Any:
        # Durability is not what these tests look at; a deadlock is found at once, so none takes a second.
        settings = ("fsync=off", "full_page_writes=off", "deadlock_timeout=10ms")
        self._server = running(PostgresServer, *[part for pair in settings for part in ("-c", pair)])
        self._is_new = not self.free
        if self._is_new:
            PostgresBench.made += 1
            self.free.append(f"bench{self.made}")
        self._database = self.free.pop()
        return self.new_node()

    def new_node(self) -> Any:
        return PostgresStore(self._server.dsn(self._database), history=True)

    async def __aenter__(self) -> "PostgresBench":
        self._patience = pytest.MonkeyPatch()
        self._patience.setattr(postgres_connecting, "CALL_LIMIT_S", float(PATIENCE_S))
        name = "idle_in_transaction_session_timeout"
        self._patience.setitem(dialling._OF_SERVER, name, f"{PATIENCE_S}s")
        if self._is_new:
            await self._make_database()
        self._admin = await asyncpg.connect(self._server.dsn(self._database))
        await super().__aenter__()
        return self

    async def __aexit__(self, kind: object = None, *_: object) -> None:
        try:
            await super().__aexit__(kind)
        finally:
            self._patience.undo()
        await self._admin.execute(EMPTIED)
        await self._admin.close()
        self.free.append(self._database)

    async def _make_database(self) -> None:
        admin = await asyncpg.connect(self._server.dsn())
        await admin.execute(f"CREATE DATABASE {self._database}")
        await admin.close()
        await self._store.open()
        await self._store.close()
        admin = await asyncpg.connect(self._server.dsn(self._database))
        await admin.execute(MOVABLE_CLOCK)
        await admin.close()

    async def user(self) -> User:
        dsn, settings = self._server.dsn(self._database), {"search_path": "mainspring"}
        return AsyncpgUser(await asyncpg.connect(dsn, server_settings=settings))

    async def advance(self, seconds: float) -> None:
        await self._admin.execute("UPDATE mainspring.clock_offset SET us = us + $1", self.us(seconds))


class TandemBench(PostgresBench):
    """The same databases, each with a namespace of Redis, which is asked wherever it may be: however fast
    PostgreSQL is, and however little was there the last time."""

    namespaces = itertools.count(1)

    @classmethod
    def missing(cls) -> str:
        return PostgresServer.missing() or RedisServer.missing()

    def new_store(self) -> Any:
        taking.SHALLOW_S, taking.SLOW_S = 0, -1
        link.ANSWER_LIMIT_S = 10  # on a busy machine Redis may take its time without the order suffering
        self._namespace = f"tandem{next(self.namespaces)}"
        return super().new_store()

    def new_node(self) -> Any:
        queue = f"{running(RedisServer).url}?namespace={self._namespace}"
        options = DEFAULTS.postgres
        address = self._server.dsn(self._database)
        return TandemStore(address, queue, SystemClock(), options, history=True)


class RedisBench(Bench):
    """Each bench has a namespace of its own, and its store a clock with an offset kept beside it."""

    exact_time = False
    can_lose_writes = True
    loses_live_writes = True
    several_nodes = True
    server: type[RedisServer] = RedisServer
    made = 0

    @classmethod
    def missing(cls) -> str:
        return cls.server.missing()

    def new_store(self) -> Any:
        self._url = running(self.server).url
        RedisBench.made += 1
        self._namespace = f"bench{self.made}"
        self._offset = f"{{{self._namespace}}}:offset"
        return self.new_node()

    def new_node(self) -> Any:
        clock = OFFSET_CLOCK.replace("OFFSET", self._offset)
        url = f"{self._url}?namespace={self._namespace}"
        return RedisStore(url, self.clock, history=True, server_clock=clock)

    async def __aenter__(self) -> "RedisBench":
        self._patience = pytest.MonkeyPatch()
        self._patience.setattr(redis_connecting, "CALL_LIMIT_S", float(PATIENCE_S))
        await super().__aenter__()
        return self

    async def __aexit__(self, kind: object = None, *_: object) -> None:
        try:
            await super().__aexit__(kind)
        finally:
            self._patience.undo()

    async def advance(self, seconds: float) -> None:
        async with Redis.from_url(self._url) as client:
            await client.incrby(self._offset, self.us(seconds))

    async def mark(self) -> None:
        async with Redis.from_url(self._url) as client:
            self._marked = {key: await client.dump(key) for key in await self._keys(client)}

    async def lose_writes(self) -> None:
        """Under the eyes of nodes that go on, as when a replica takes over that had not got them yet."""
        await self.advance(1)
        async with Redis.from_url(self._url) as client, client.pipeline() as change:
            for key in await self._keys(client):
                change.delete(key)
            for key, content in self._marked.items():
                change.restore(key, 0, content)
            await change.execute()

    async def _keys(self, client: Any) -> list[bytes]:
        """All but the clock's, which no crash turns back."""
        found: list[bytes] = await client.keys(f"{{{self._namespace}}}:*")
        return [key for key in found if key.decode() != self._offset]


class ValkeyBench(RedisBench):
    server = ValkeyServer


SERVER_BENCHES: dict[str, type[Bench]] = {
    "postgres": PostgresBench,
    "tandem": TandemBench,
    "redis": RedisBench,
    "valkey": ValkeyBench,
}
