"""PostgreSQL with Redis beside it: what becomes of claims when Redis does. What every store must do is in
conformance."""

import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from mainspring.stores.postgres.transaction import Transaction
from mainspring.stores.tandem import link, taking
from tests.servers import PostgresServer, RedisServer, running
from tests.stores.tandem.nodes import Node

_numbers = itertools.count(1)


class House:
    """An empty database, and a Redis of the test's own."""

    def __init__(self, dsn: str, server: RedisServer) -> None:
        self.dsn = dsn
        self.server = server

    @asynccontextmanager
    async def node(self, name: str, queue: str = "") -> AsyncIterator[Node]:
        node = Node(name, self.dsn, queue or self.server.url)
        await node.store.open()
        try:
            yield node
        finally:
            await node.store.close()

    @asynccontextmanager
    async def nodes(self, count: int) -> AsyncIterator[list[Node]]:
        if not count:
            yield []
            return
        async with self.nodes(count - 1) as others, self.node(f"node{count}") as node:
            yield [*others, node]

    @asynccontextmanager
    async def redis(self) -> "AsyncIterator[Redis]":
        async with Redis.from_url(self.server.url) as client:
            yield client


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.stop()


@pytest.fixture
def new_house(redis_server: RedisServer) -> Callable[[], AbstractAsyncContextManager[House]]:
    server = running(PostgresServer, "-c", "fsync=off", "-c", "deadlock_timeout=10ms")

    @asynccontextmanager
    async def make() -> AsyncIterator[House]:
        name = f"tandem{next(_numbers)}"
        admin = await asyncpg.connect(server.dsn())
        try:
            await admin.execute(f"CREATE DATABASE {name}")
            yield House(server.dsn(name), redis_server)
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        finally:
            await admin.close()

    return make


@pytest.fixture(autouse=True)
def _servers_there() -> None:
    reason = PostgresServer.missing() or RedisServer.missing()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    elif reason:
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def _always_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is asked however fast PostgreSQL is, and a busy machine is not taken for a Redis that is gone."""
    monkeypatch.setattr(taking, "SLOW_S", -1.0)
    monkeypatch.setattr(link, "ANSWER_LIMIT_S", 2.0)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the statements that transactions ask from now on."""
    names: list[str] = []
    rows = Transaction.rows

    async def noted(self: Transaction, name: str, *values: object) -> Any:
        names.append(name)
        return await rows(self, name, *values)

    monkeypatch.setattr(Transaction, "rows", noted)
    return names
