"""Servers from the wheels of the tests, durable: what they are set to is read back and told."""

import asyncio
import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from benchmarks.peers.wire import Redis
from tests.servers import PostgresServer, ValkeyServer, running

POSTGRES = {
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
}


@dataclass(frozen=True)
class Place:
    """A store to measure on: its address, its server's process (0: none) and settings as the server tells."""

    url: str
    pid: int
    settings: str


@contextlib.contextmanager
def sqlite(folder: Path) -> Iterator[Place]:
    yield Place(f"sqlite:///{folder / 'bench.db'}", 0, "SQLite files; ours: WAL, synchronous=FULL")


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[Place]:
    """A database of its own on the one server of this run."""
    options = [part for name, value in POSTGRES.items() for part in ("-c", f"{name}={value}")]
    server = running(PostgresServer, *options)
    name = f"bench_{uuid.uuid4().hex[:12]}"
    names = ", ".join(f"'{setting}'" for setting in ("server_version", *POSTGRES))
    told = _ask(
        server,
        f"SELECT string_agg(name || '=' || current_setting(name), ', ') FROM unnest(array[{names}]) name",
    )
    _ask(server, f"CREATE DATABASE {name}")
    try:
        yield Place(server.dsn(name), server._process.pid, f"PostgreSQL: {told}")
    finally:
        _ask(server, f"DROP DATABASE {name} WITH (FORCE)")


def _ask(server: PostgresServer, sql: str) -> object:
    async def ask() -> object:
        connection = await asyncpg.connect(server.dsn())
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(ask())


@contextlib.contextmanager
def redis(folder: Path, appendfsync: str) -> Iterator[Place]:
    """A server of its own."""
    server = ValkeyServer("--appendfsync", appendfsync)
    try:
        wire = Redis(server.url)
        told = wire("CONFIG", "GET", "append*only") + wire("CONFIG", "GET", "appendfsync")
        pairs = [word.decode() for word in told]
        version = wire.info("server").get("valkey_version", "")
        settings = ", ".join("=".join(pair) for pair in zip(pairs[::2], pairs[1::2], strict=True))
        yield Place(
            server.url, server._process.pid, f"Valkey {version}: {settings}, no snapshots, unix socket"
        )
    finally:
        server.stop()
