"""Sentinels and clusters, of real processes."""

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from tests.servers import RedisServer

LIMIT_S = 120.0
# Below 32,768, where the system's own begin, with what lies 10,000 above; several runs of the tests at a time
# begin at different ones.
_ports = iter(random.sample(range(12_000, 22_000), 10_000))


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not await condition():
            await asyncio.sleep(0.05)


def free_port() -> int:
    """One that nobody else gets until it is listened on: not given before, and none of those that the system
    gives to whoever connects. A cluster's nodes listen on a second one, 10,000 above."""
    for port in _ports:
        with closing(socket.socket()) as one, closing(socket.socket()) as other, suppress(OSError):
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10_000))
            return port
    raise AssertionError("no port is free")


class Sentinel(RedisServer):
    """Watches a primary; its configuration is a file that it writes itself."""

    def command(self) -> list[str]:
        return [str(self.binary()), str(self.configuration), "--sentinel"]

    @property
    def configuration(self) -> Path:
        return self.folder / "sentinel.conf"


def sentinel_of(kind: type[RedisServer], port: int, primary: int) -> type[RedisServer]:
    """A kind of server that is a sentinel at `port`, for the service `tasks`."""

    class Watching(Sentinel):
        package, program = kind.package, kind.program

        def prepare(self) -> dict[str, Any]:
            self.configuration.write_text(
                f"port {port}\nbind 127.0.0.1\nunixsocket {self.socket}\ndir {self.folder}\n"
                f"sentinel monitor tasks 127.0.0.1 {primary} 1\n"
                "sentinel down-after-milliseconds tasks 500\nsentinel failover-timeout tasks 2000\n"
            )
            return {}

    return Watching


@dataclass
class Watched:
    """A primary with one replica, and the sentinel that watches them as `tasks`."""

    primary: RedisServer
    sentinel: RedisServer
    replica_port: int
    sentinel_port: int


async def watched_of(kind: type[RedisServer], new_server: Callable[..., RedisServer]) -> Watched:
    """The sentinel knows of the replica already: should the primary die, there is one to follow it."""
    port, replica_port, sentinel_port = free_port(), free_port(), free_port()
    primary = new_server("--port", str(port), "--bind", "127.0.0.1")
    new_server("--port", str(replica_port), "--bind", "127.0.0.1", "--replicaof", "127.0.0.1", str(port))
    sentinel = new_server(of=sentinel_of(kind, sentinel_port, port))
    async with Redis(port=sentinel_port) as admin:

        async def knows_replica() -> bool:
            replicas = await admin.sentinel_slaves("tasks")
            return any(told["port"] == replica_port and not told["is_sdown"] for told in replicas)

        await until(knows_replica)
    return Watched(primary, sentinel, replica_port, sentinel_port)


async def cluster_of(count: int, new_server: Callable[..., RedisServer]) -> str:
    """Its hosts, as an address names them. All of it can be used."""
    ports = [free_port() for _ in range(count)]
    for port in ports:
        options = ("--port", str(port), "--bind", "127.0.0.1", "--cluster-enabled", "yes")
        new_server(*options, "--cluster-node-timeout", "2000")
    await _join(ports)
    return ",".join(f"127.0.0.1:{port}" for port in ports)


async def _join(ports: list[int]) -> None:
    nodes = [Redis(port=port) for port in ports]
    try:
        size = 16384 // len(ports) + 1
        for place, node in enumerate(nodes):
            slots = range(place * size, min(16384, (place + 1) * size))
            await node.execute_command("CLUSTER", "ADDSLOTS", *slots)
            await node.execute_command("CLUSTER", "SET-CONFIG-EPOCH", place + 1)
            await node.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0])

        async def is_whole() -> bool:
            told = [await node.execute_command("CLUSTER", "INFO") for node in nodes]
            return all(
                b"cluster_state:ok" in info and b"cluster_known_nodes:%d" % len(ports) in info
                for info in told
            )

        await until(is_whole)
    finally:
        for node in nodes:
            await node.aclose()
