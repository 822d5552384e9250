"""The stores on real servers, as fault tests see them: how to start the server, how to reach it through the
proxy, and what its crash may lose. A driver joins by one subclass in KINDS."""

import itertools
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

import asyncpg
import pytest
from redis.asyncio import Redis as RedisClient

from mainspring.clock import SystemClock
from mainspring.ports import PostgresOptions, RedisOptions, Store, StoreOptions
from mainspring.stores import open_store
from mainspring.stores.postgres import PostgresStore
from mainspring.stores.postgres import connecting as postgres_connecting
from mainspring.stores.redis import RedisStore
from mainspring.stores.redis import connecting as redis_connecting
from tests.servers import PostgresServer, RedisServer, Server, ValkeyServer

GHOST = """
INSERT INTO mainspring.counts AS c (slot, queue, state, n) VALUES (0, 'ghost', 3, 5)
ON CONFLICT (slot, queue, state) DO UPDATE SET n = c.n + 5
"""
_numbers = itertools.count(1)


class Kind(ABC):
    """A store on a server. `settings` are those that make its durability class what it is."""

    server: ClassVar[type[Server]]
    settings: ClassVar[tuple[str, ...]] = ()
    loses_last_writes = False
    # What the quickest verb needs.
    fewest_round_trips = 1
    settings_without_durability: ClassVar[tuple[str, ...]] = ()

    def start(self, *options: str) -> Any:
        """A server of the test's own."""
        return self.server(*self.settings, *options)

    @abstractmethod
    def socket(self, server: Any) -> Path:
        """Where the server listens."""

    @abstractmethod
    def url(self, port: int, place: str = "", **options: str) -> str:
        """The address of a store whose server is behind a port of loopback."""

    @abstractmethod
    def direct_url(self, server: Any, place: str = "") -> str:
        """The address of the same store, without anything in between."""

    @abstractmethod
    async def new_place(self, server: Any) -> str:
        """A place for an empty store on the server, beside the one that is there without asking."""

    @abstractmethod
    def quiet_store(self, url: str) -> Store:
        """An unopened store that keeps every step, has one connection, and tells nothing to other nodes: what
        goes over its connection is the call that is being made."""

    @abstractmethod
    async def damage(self, server: Any, place: str) -> None:
        """Write what breaks a law of the store, and can be repaired."""

    @abstractmethod
    def shorten_calls(self, monkeypatch: pytest.MonkeyPatch, limit_s: float) -> None:
        """Calls that are not answered fail after this time."""

    def lose_since(self, server: Any, written: int | None) -> None:
        """What a killed server has written since is lost, if its class lets it, as with the machine's power:
        after a kill alone the operating system would still bring it to the disk."""
        assert written is None

    def written(self, server: Any) -> int | None:
        """How much is in the server's file by now; `None` if nothing of it may be lost."""
        return None

    def store(self, url: str) -> Store:
        """An unopened store that keeps every step of every task."""
        return open_store(url, SystemClock(), StoreOptions(history=True))


class QuietPostgresStore(PostgresStore):
    def _wrote(self, *_: object) -> None:
        """There are no other nodes."""


class Postgres(Kind):
    server = PostgresServer
    fewest_round_trips = 4  # begin, the moment, the question, commit
    settings_without_durability = ("-c", "fsync=off", "-c", "full_page_writes=off")

    def socket(self, server: PostgresServer) -> Path:
        return server.folder / ".s.PGSQL.5432"

    def url(self, port: int, place: str = "postgres", **options: str) -> str:
        given = "&".join(f"{name}={value}" for name, value in {"sslmode": "disable", **options}.items())
        return f"postgresql://postgres@127.0.0.1:{port}/{place}?{given}"

    def direct_url(self, server: PostgresServer, place: str = "postgres") -> str:
        return server.dsn(place)

    async def new_place(self, server: PostgresServer) -> str:
        place = f"place{next(_numbers)}"
        admin = await asyncpg.connect(server.dsn())
        await admin.execute(f"CREATE DATABASE {place}")
        await admin.close()
        return place

    async def damage(self, server: PostgresServer, place: str) -> None:
        admin = await asyncpg.connect(server.dsn(place))
        await admin.execute(GHOST)
        await admin.close()

    def shorten_calls(self, monkeypatch: pytest.MonkeyPatch, limit_s: float) -> None:
        monkeypatch.setattr(postgres_connecting, "CALL_LIMIT_S", limit_s)

    def quiet_store(self, url: str) -> Store:
        return QuietPostgresStore(url, PostgresOptions(fewest=1, most=1), history=True)


class QuietRedisStore(RedisStore):
    def _wrote(self, *_: object) -> None:
        """There are no other nodes."""


class Redis(Kind):
    """A place is a namespace. The file is never rewritten: what a crash may cut off stays at its end."""

    server: ClassVar[type[RedisServer]] = RedisServer
    settings = ("--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
    settings_without_durability = ("--appendfsync", "no")

    def socket(self, server: RedisServer) -> Path:
        return server.socket

    def url(self, port: int, place: str = "mainspring", **options: str) -> str:
        return f"redis://127.0.0.1:{port}/0?{urlencode({'namespace': place, **options})}"

    def direct_url(self, server: RedisServer, place: str = "mainspring") -> str:
        return f"{server.url}?namespace={place}"

    async def new_place(self, server: RedisServer) -> str:
        return f"place{next(_numbers)}"

    async def damage(self, server: RedisServer, place: str) -> None:
        async with RedisClient.from_url(server.url) as admin:
            await admin.hset(f"{{{place}}}:workers", "ghost", "no worker's report")

    def shorten_calls(self, monkeypatch: pytest.MonkeyPatch, limit_s: float) -> None:
        monkeypatch.setattr(redis_connecting, "CALL_LIMIT_S", limit_s)

    def quiet_store(self, url: str) -> Store:
        return QuietRedisStore(url, SystemClock(), RedisOptions(connections=1), history=True)


class Valkey(Redis):
    server = ValkeyServer


class EverySecond(Redis):
    """Class B: what was written in the last second before a power loss may be gone."""

    settings = ("--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")
    loses_last_writes = True

    def written(self, server: RedisServer) -> int:
        return self._file(server).stat().st_size

    def lose_since(self, server: RedisServer, written: int | None) -> None:
        assert written is not None
        os.truncate(self._file(server), written)

    def _file(self, server: RedisServer) -> Path:
        return server.folder / "appendonly.aof"


KINDS: dict[str, Kind] = {"postgres": Postgres(), "redis": Redis(), "valkey": Valkey()}
# For tests that ask for them.
OTHERS: dict[str, Kind] = {"redis-everysec": EverySecond()}
