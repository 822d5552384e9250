"""Connections to the servers that an address names, and what is found out about them first.

Behind a pooler that lends a server's connection for one transaction at a time, nothing can be counted on that
outlives a transaction: no prepared statements, no LISTEN, no settings of a session.
"""

import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

from mainspring.errors import StoreError, StoreUnavailable
from mainspring.stores.postgres.address import Address

if TYPE_CHECKING:
    from asyncpg import Connection, Record

OLDEST = 12
STATEMENTS_CACHED = 500
# A node that stops in the middle of a transaction, or is cut off there, holds its locks no longer than this:
# all others wait for them, and leases go on running. Planning ten thousand tasks takes an eighth of a second.
IDLE_LIMIT = "5s"
# Lines always meet rows through an index, whatever the batch and the table looked like when a statement was
# planned. Left alone, the planner reads a table that was small then for each batch of today's, or plans each
# large batch anew, in a time that grows with the square of its lines. For the same reason statements that
# look rows up by id say `state + 0 = 4`: it keeps the partial index of that state out of the choice.
PLANS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
# A host that has gone without a word is noticed after this time, from both ends: by the client, so that calls
# find another connection and hints are heard again, and by the server, whose connections would be used up by
# clients that are long gone.
GONE_AFTER_S = 15
PROBES, PROBES_APART_S = 3, 3
_PROBES_BEGIN_S = GONE_AFTER_S - PROBES * PROBES_APART_S
_OF_CLIENT = {
    "TCP_KEEPIDLE": _PROBES_BEGIN_S,
    "TCP_KEEPINTVL": PROBES_APART_S,
    "TCP_KEEPCNT": PROBES,
    "TCP_USER_TIMEOUT": GONE_AFTER_S * 1000,
}
_OF_SERVER = {
    "idle_in_transaction_session_timeout": IDLE_LIMIT,
    "tcp_keepalives_idle": f"{_PROBES_BEGIN_S}s",
    "tcp_keepalives_interval": f"{PROBES_APART_S}s",
    "tcp_keepalives_count": f"{PROBES}",
    "tcp_user_timeout": f"{GONE_AFTER_S}s",
}
READ_ONLY = "the server is read-only: a standby, or default_transaction_read_only is on"


NOT_CONNECTED = (
    OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError,
)  # fmt: skip


class Server(NamedTuple):
    is_pooled: bool
    is_synchronous: bool


async def dial(
    address: Address, *, caches: bool = False, session: Mapping[str, str] | None = None
) -> "Connection[Record]":
    """A connection to the first of the address's servers that takes one and can be written, each within its
    time. `caches`: statements stay prepared. `session`: it lasts, so the server is told how to treat it, by
    these settings among others.

    Raises `StoreUnavailable`, which says why and names no password.
    """
    arguments = dict(address.arguments)
    if session is not None:
        arguments["server_settings"] = {**_OF_SERVER, **session, **arguments["server_settings"]}
    arguments["statement_cache_size"] = STATEMENTS_CACHED if caches else 0
    arguments["max_cached_statement_lifetime"] = 0
    _check_files(address)
    reasons = []
    for host, port in address.hosts or ((None, None),):
        try:
            return await _dial(address, host, port, arguments)
        except NOT_CONNECTED as error:
            reason, cause = why(error, address), error
            reasons.append(f"{host}: {reason}" if len(address.hosts) > 1 else reason)
    raise StoreUnavailable(f"{address.shown}: {'; '.join(reasons)}") from cause


async def _dial(
    address: Address, host: str | None, port: int | None, arguments: dict[str, Any]
) -> "Connection[Record]":
    connection: Connection[Record] = await asyncpg.connect(
        host=host, port=port, timeout=address.connect_s, **arguments
    )
    _probe(connection._transport.get_extra_info("socket"))  # type: ignore[attr-defined]
    return connection


def _probe(wire: socket.socket) -> None:
    """As far as this system lets a program say so."""
    if wire.family in (socket.AF_INET, socket.AF_INET6):
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _OF_CLIENT.items():
            if hasattr(socket, name):
                wire.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _check_files(address: Address) -> None:
    """The library would only tell that some file is missing, as it does for a socket."""
    for name, file in address.files.items():
        if not Path(file).is_file():
            raise StoreUnavailable(f"{address.shown}: {name} names no file: {file!r}")


async def greet(connection: "Connection[Record]", address: Address) -> Server:
    """Find out what is at the other end. Raises `StoreError` for a server that is too old, `StoreUnavailable`
    for one that cannot be written."""
    version = connection.get_server_version()
    if version.major < OLDEST:
        raise StoreError(
            f"{address.shown}: PostgreSQL {version.major} is too old; accepted: {OLDEST} or later"
        )
    async with connection.transaction():
        found = await connection.fetchrow(
            "SELECT pg_backend_pid() AS pid, current_setting('synchronous_commit') AS synchronous_commit,"
            " current_setting('transaction_read_only') AS read_only"
        )
    assert found is not None
    if found["read_only"] == "on":
        raise StoreUnavailable(f"{address.shown}: {READ_ONLY}")
    # A pooler makes up the number by which a client may cancel: it is no process of the server.
    is_pooled = found["pid"] != connection.get_server_pid()
    return Server(is_pooled, found["synchronous_commit"] != "off")


def why(error: BaseException, address: Address) -> str:
    """Why there is no connection, in one line that says what to look at."""
    told = " ".join(str(error).split()) or type(error).__name__
    match error:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return f"wrong user or password: {told}"
        case asyncpg.InvalidCatalogNameError():
            return f"no such database: {told}; create it, or name another"
        case asyncpg.TooManyConnectionsError():
            return f"too many connections: {told}; lower pg_max_conns, or raise the server's max_connections"
        case asyncpg.TargetServerAttributeNotMatched():
            return READ_ONLY
        case asyncpg.InsufficientPrivilegeError():
            return f"{told}; grant it, or let somebody who may run what `mainspring migrate sql` prints"
        case asyncpg.ClientConfigurationError() | ssl.SSLError():
            return f"no connection with these TLS parameters: {told}"
        case TimeoutError():
            return f"no server answers within {address.connect_s:g} s (connect_timeout)"
        case ConnectionError() if "SSL" in told:
            return f"no connection under this sslmode: {told}"
        case OSError():
            return f"no server there: {told}"
    return told
