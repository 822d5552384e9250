"""The stores on real servers, as fault tests see them: how to start the server, how to reach it through the
proxy, and what its crash may lose. A driver joins by one subclass in KINDS."""

import itertools
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import asyncpg
import pytest

from mainspring.clock import SystemClock
from mainspring.ports import PostgresOptions, Store, StoreOptions
from mainspring.stores import open_store
from mainspring.stores.postgres import PostgresStore, connecting
from tests.servers import PostgresServer, Server

_numbers = itertools.count(1)


class Kind(ABC):
    """A store on a server. `settings` are those that make its durability class what it is."""

    server: ClassVar[type[Server]]
    settings: ClassVar[tuple[str, ...]] = ()
    loses_last_writes = False
    # A cut costs a connection: where that is a process of the server, fewer have to do for every day.
    cuts_a_verb = 500
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
    def shorten_calls(self, monkeypatch: pytest.MonkeyPatch, limit_s: float) -> None:
        """Calls that are not answered fail after this time."""

    def store(self, url: str) -> Store:
        """An unopened store that keeps every step of every task."""
        return open_store(url, SystemClock(), StoreOptions(history=True))


class QuietPostgresStore(PostgresStore):
    def _wrote(self) -> None:
        """There are no other nodes."""


class Postgres(Kind):
    server = PostgresServer
    cuts_a_verb = 12
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

    def shorten_calls(self, monkeypatch: pytest.MonkeyPatch, limit_s: float) -> None:
        monkeypatch.setattr(connecting, "CALL_LIMIT_S", limit_s)

    def quiet_store(self, url: str) -> Store:
        return QuietPostgresStore(url, PostgresOptions(fewest=1, most=1), history=True)


KINDS: dict[str, Kind] = {"postgres": Postgres()}
