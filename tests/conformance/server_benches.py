"""Benches for stores on real servers. Their clocks cannot be stopped, but their offset can be set: a test
moves the store's time, and never waits for it."""

from typing import Any, ClassVar

import asyncpg

from mainspring.stores.postgres import PostgresPrototype
from tests.conformance.bench import Bench
from tests.servers import PostgresServer, running

HOT_VERBS = frozenset(
    {"submit", "claim", "settle", "renew", "get", "force", "promote", "set_limit", "set_queue"}
)

MOVABLE_CLOCK = """
CREATE TABLE mainspring.clock_offset (us bigint NOT NULL);
INSERT INTO mainspring.clock_offset VALUES (0);
CREATE OR REPLACE FUNCTION mainspring.now_us() RETURNS bigint LANGUAGE sql VOLATILE AS
    'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + us FROM mainspring.clock_offset';
"""


class PostgresBench(Bench):
    """Databases are used again: the schema is dropped after a test, and the next one migrates anew."""

    verbs = HOT_VERBS
    exact_time = False
    made = 0
    free: ClassVar[list[str]] = []

    @classmethod
    def missing(cls) -> str:
        return PostgresServer.missing()

    def new_store(self) -> Any:
        # Durability is not what these tests look at.
        self._server = running(PostgresServer, "-c", "fsync=off", "-c", "full_page_writes=off")
        self._is_new = not self.free
        if self._is_new:
            PostgresBench.made += 1
            self.free.append(f"bench{self.made}")
        self._database = self.free.pop()
        return PostgresPrototype(self._server.dsn(self._database))

    async def __aenter__(self) -> "PostgresBench":
        if self._is_new:
            await self._admin(f"CREATE DATABASE {self._database}", "postgres")
        await super().__aenter__()
        await self._admin(MOVABLE_CLOCK, self._database)
        return self

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        await self._admin("DROP SCHEMA mainspring CASCADE", self._database)
        self.free.append(self._database)

    async def _admin(self, statements: str, database: str) -> None:
        connection = await asyncpg.connect(self._server.dsn(database))
        try:
            await connection.execute(statements)
        finally:
            await connection.close()

    async def advance(self, seconds: float) -> None:
        statement = f"UPDATE mainspring.clock_offset SET us = us + {self.us(seconds)}"
        await self._admin(statement, self._database)


SERVER_BENCHES: dict[str, type[Bench]] = {"postgres": PostgresBench}
