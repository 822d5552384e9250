"""Stores by name, each as the address of one that is empty and the test's own."""

import asyncio
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from tests.servers import PostgresServer, RedisServer, Server, running

SHARED = ("sqlite", "postgres", "redis")
"""Those that several processes can open at once."""
WITH_SCHEMA = ("sqlite", "postgres")
"""Those of them whose tables are brought up to date step by step."""
_numbers = itertools.count(1)


@contextmanager
def address(kind: str, folder: Path) -> Iterator[str]:
    """To be entered where no event loop runs: in a fixture, or in a test that is no coroutine."""
    if kind == "postgres":
        with _database() as found:
            yield found
    elif kind == "redis":
        _need(RedisServer)
        yield f"{running(RedisServer).url}?namespace=place{next(_numbers)}"
    else:
        yield f"sqlite:///{folder / 'store.db'}"


@contextmanager
def _database() -> Iterator[str]:
    _need(PostgresServer)
    server = running(PostgresServer, "-c", "fsync=off", "-c", "deadlock_timeout=10ms")
    name = f"place{next(_numbers)}"
    _tell(server, f"CREATE DATABASE {name}")
    try:
        yield server.dsn(name)
    finally:
        _tell(server, f"DROP DATABASE {name} WITH (FORCE)")


def _need(kind: type[Server]) -> None:
    reason = kind.missing()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    elif reason:
        pytest.skip(reason)


def _tell(server: PostgresServer, statement: str) -> None:
    async def tell() -> None:
        admin = await asyncpg.connect(server.dsn())
        try:
            await admin.execute(statement)
        finally:
            await admin.close()

    asyncio.run(tell())
