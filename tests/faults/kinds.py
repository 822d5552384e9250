"""The stores on real servers, as fault tests see them: how to start the server, how to reach it through the
proxy, and what its crash may lose. A driver joins by one subclass in KINDS."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from mainspring.clock import SystemClock
from mainspring.ports import Store, StoreOptions
from mainspring.stores import open_store
from tests.servers import PostgresServer, Server


class Kind(ABC):
    """A store on a server. `settings` are those that make its durability class what it is."""

    server: ClassVar[type[Server]]
    settings: ClassVar[tuple[str, ...]] = ()
    loses_last_writes = False

    def start(self, *options: str) -> Any:
        """A server of the test's own."""
        return self.server(*self.settings, *options)

    @abstractmethod
    def socket(self, server: Any) -> Path:
        """Where the server listens."""

    @abstractmethod
    def url(self, port: int, **options: str) -> str:
        """The address of a store whose server is behind a port of loopback."""

    @abstractmethod
    def direct_url(self, server: Any) -> str:
        """The address of the same store, without anything in between."""

    def store(self, url: str) -> Store:
        """An unopened store that keeps every step of every task."""
        return open_store(url, SystemClock(), StoreOptions(history=True))


class Postgres(Kind):
    server = PostgresServer

    def socket(self, server: PostgresServer) -> Path:
        return server.folder / ".s.PGSQL.5432"

    def url(self, port: int, **options: str) -> str:
        given = "&".join(f"{name}={value}" for name, value in {"sslmode": "disable", **options}.items())
        return f"postgresql://postgres@127.0.0.1:{port}/postgres?{given}"

    def direct_url(self, server: PostgresServer) -> str:
        return server.dsn()


KINDS: dict[str, Kind] = {"postgres": Postgres()}
