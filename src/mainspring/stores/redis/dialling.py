"""Clients of the servers that an address names, and what is found out about them first.

The library repeats nothing by itself: a call whose answer was lost may have been done.
"""

import logging
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from redis.asyncio import ConnectionPool, Redis, Sentinel, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import AbstractConnection, Connection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from mainspring.errors import StoreError, StoreTooNew, StoreUnavailable
from mainspring.ports import RedisOptions
from mainspring.stores.redis.address import Address

Client: TypeAlias = "Redis | RedisCluster"

OLDEST = (6, 2)
# The form in which everything below the namespace is stored.
FORMAT = 1

# A server that has gone without a word is noticed after this time: calls find another connection, and hints
# are heard again. The server notices its clients by its own `tcp-keepalive`.
GONE_AFTER_S = 15
PROBES, PROBES_APART_S = 3, 3
_PROBES = {
    "TCP_KEEPIDLE": GONE_AFTER_S - PROBES * PROBES_APART_S,
    "TCP_KEEPINTVL": PROBES_APART_S,
    "TCP_KEEPCNT": PROBES,
    "TCP_USER_TIMEOUT": GONE_AFTER_S * 1000,
}
# As far as this system lets a program say so.
_WIRE: Mapping[str, Any] = {
    "socket_keepalive": True,
    "socket_keepalive_options": {
        getattr(socket, name): value for name, value in _PROBES.items() if hasattr(socket, name)
    },
}

_log = logging.getLogger("mainspring.stores.redis")


class Server(NamedTuple):
    """`durability` is A, B or C as in the documentation."""

    name: str
    version: str
    durability: str
    why: str


def client_of(address: Address) -> Client:
    """Connects when it is first used, and again whenever a connection was lost."""
    common = _common(address)
    if address.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        return RedisCluster(startup_nodes=nodes, ssl=address.tls, **_WIRE, **common)
    if address.kind == "sentinel":
        sentinels = Sentinel(  # type: ignore[no-untyped-call]
            list(address.hosts),
            sentinel_kwargs={
                **address.sentinels,
                "socket_timeout": address.connect_s,
                "socket_connect_timeout": address.connect_s,
                "retry": _never(),
                "protocol": 2,
                **_WIRE,
            },
            **_WIRE,
            **common,
        )
        primary: Redis = sentinels.master_for(address.service, ssl=address.tls)
        return primary
    return _at(address, *address.hosts[0])


def check_files(address: Address) -> None:
    """The library would only tell that some file is missing, as it does for a socket. Raises
    `StoreUnavailable`."""
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        file = address.arguments.get(name)
        if file is not None and not Path(file).is_file():
            raise StoreUnavailable(f"{address.shown}: {name} names no file: {file!r}")


def _common(address: Address) -> dict[str, Any]:
    return {
        **address.arguments,
        "socket_connect_timeout": address.connect_s,
        # With a limit of its own the library writes under `asyncio.wait_for`, which loses a cancellation that
        # comes with the end of the write: a service that was told to stop would go on for ever. Calls have
        # their limit in `connecting`.
        "socket_timeout": None,
        "protocol": 2,
        "retry": _never(),
    }


def _at(address: Address, host: str, port: int) -> Redis:
    common = _common(address)
    if not port:
        pool = ConnectionPool(UnixDomainSocketConnection, path=host, **common)
    else:
        kind: type[AbstractConnection] = SSLConnection if address.tls else Connection
        pool = ConnectionPool(kind, host=host, port=port, **_WIRE, **common)
    return Redis.from_pool(pool)


async def listener_of(client: Client, key: str, address: Address) -> Redis:
    """A client for listening alone; of a cluster's nodes to the one that keeps the key."""
    if isinstance(client, RedisCluster):
        node = await node_of(client, key)
        assert isinstance(node, ClusterNode)
        return _at(address, node.host, int(node.port))
    if address.kind == "sentinel":
        found = client_of(address)
        assert isinstance(found, Redis)
        return found
    return _at(address, *address.hosts[0])


def _never() -> Retry:
    return Retry(NoBackoff(), 0)


async def hang_up(client: Client) -> None:
    """Close it, and with it the connections to the sentinels that it asks."""
    await client.aclose()
    pool = None if isinstance(client, RedisCluster) else client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


async def forget_connections(client: Client) -> None:
    """What is not in use is closed: the next call connects anew, maybe to another server."""
    if isinstance(client, RedisCluster):
        await client.aclose()
    else:
        await client.connection_pool.disconnect(inuse_connections=False)


# --- what is found out ------------------------------------------------------------------------------


async def greet(client: Client, meta: str, address: Address, options: RedisOptions) -> Server:
    """Find out what is at the other end, and whether it can be used.

    Raises `StoreError` for a server that is too old or throws data away, `StoreTooNew` for data of a newer
    Mainspring.
    """
    node = await node_of(client, meta)
    told = await _information(node)
    name = "Valkey" if "valkey_version" in told else "Redis"
    version = str(told.get("valkey_version") or told.get("redis_version") or "")
    numbers = tuple(int(part) for part in str(told.get("redis_version", "0")).split(".")[:2])
    if numbers < OLDEST:
        raise StoreError(
            f"{address.shown}: {name} {version} is too old; accepted: Redis 6.2 or later, or Valkey"
        )
    policy = str(told.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction" and not options.any_policy:
        raise StoreError(
            f"{address.shown}: its maxmemory-policy is {policy}, which throws tasks away when memory is "
            "full; set it to noeviction, or force it with MAINSPRING_REDIS_ANY_POLICY=1"
        )
    await _check_format(client, meta, address)
    durability, why = await _durability(node, told)
    _log.info("%s: %s %s, durability class %s: %s", address.shown, name, version, durability, why)
    return Server(name, version, durability, why)


async def node_of(client: Client, key: str) -> "Redis | ClusterNode":
    """The server itself that keeps the key."""
    if not isinstance(client, RedisCluster):
        return client
    await client.initialize()
    node = client.get_node_from_key(key)
    if node is None:
        raise StoreError("no node of the cluster serves the slot of this namespace")
    return node


async def _ask(node: "Redis | ClusterNode", *words: str) -> Any:
    return await node.execute_command(*words)


async def _information(node: "Redis | ClusterNode") -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for section in ("server", "memory", "persistence"):
        found |= await _ask(node, "INFO", section)
    return found


async def _check_format(client: Client, meta: str, address: Address) -> None:
    await client.execute_command("HSETNX", meta, "format", FORMAT)
    number = int(await client.execute_command("HGET", meta, "format"))
    if number > FORMAT:
        raise StoreTooNew(
            f"{address.shown}: its data has format {number}, this program knows up to {FORMAT}; "
            "use a newer Mainspring"
        )


async def _durability(node: "Redis | ClusterNode", told: Mapping[str, Any]) -> tuple[str, str]:
    """A: nothing that was acknowledged is lost. B: up to a second of it. C: more, or nobody knows."""
    if not int(told.get("aof_enabled", 0)):
        return "C", "appendonly is off: what was written since the last snapshot is lost with the server"
    try:
        setting = await _ask(node, "CONFIG", "GET", "appendfsync")
    except ResponseError as error:
        return "C", f"appendonly is on, but appendfsync is not told ({error})"
    appendfsync = _value_of(setting)
    match appendfsync:
        case "always":
            return "A", "appendfsync always"
        case "everysec":
            return "B", "appendfsync everysec: up to a second of writes is lost with the machine"
    return "C", f"appendfsync {appendfsync or 'unknown'}"


def _value_of(setting: Any) -> str:
    """The library's answers differ by its version and its protocol: a mapping, or names and values."""
    values = list(setting.values()) if isinstance(setting, Mapping) else list(setting)[1::2]
    value = values[0] if values else ""
    return value.decode() if isinstance(value, bytes) else str(value)
