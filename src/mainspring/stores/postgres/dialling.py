"""Connections to the servers that an address names."""

import contextlib
from typing import TYPE_CHECKING, Any

import asyncpg

from mainspring.stores.postgres.address import Address

if TYPE_CHECKING:
    from asyncpg import Connection, Record


async def dial(address: Address, **options: Any) -> "Connection[Record]":
    """A connection to the first of the address's servers that takes one and can be written, each within its
    time. Raises what the last of them raised."""
    hosts = address.hosts or ((None, None),)
    for host, port in hosts[:-1]:
        with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return await _dial(address, host, port, options)
    return await _dial(address, *hosts[-1], options)


async def _dial(
    address: Address, host: str | None, port: int | None, options: dict[str, Any]
) -> "Connection[Record]":
    return await asyncpg.connect(
        host=host, port=port, timeout=address.connect_s, **address.arguments, **options
    )
