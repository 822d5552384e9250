"""PostgreSQL alone: schema, statements, hints between nodes. What every store must do is in conformance."""

import itertools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import pytest

from mainspring.stores.postgres import PostgresStore
from tests import servers
from tests.servers import PostgresServer, running

_numbers = itertools.count(1)


def pytest_sessionfinish() -> None:
    servers.stop_all()


class Database:
    """An empty database of the test's own."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    def new_store(self, **options: Any) -> PostgresStore:
        return PostgresStore(self.dsn, **options)

    @asynccontextmanager
    async def store(self, **options: Any) -> AsyncIterator[PostgresStore]:
        store = self.new_store(**options)
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    @asynccontextmanager
    async def connection(self) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
        connection = await asyncpg.connect(self.dsn)
        try:
            yield connection
        finally:
            await connection.close()


@pytest.fixture
def new_database() -> Callable[[], AbstractAsyncContextManager[Database]]:
    """Makes databases, each in the event loop of the test that asks."""
    reason = PostgresServer.missing()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    elif reason:
        pytest.skip(reason)
    server = running(PostgresServer, "-c", "fsync=off", "-c", "deadlock_timeout=10ms")

    @asynccontextmanager
    async def make() -> AsyncIterator[Database]:
        name = f"alone{next(_numbers)}"
        async with Database(server.dsn()).connection() as admin:
            await admin.execute(f"CREATE DATABASE {name}")
            try:
                yield Database(server.dsn(name))
            finally:
                await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

    return make
