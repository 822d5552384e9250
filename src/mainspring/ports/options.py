"""What a store is opened with beside its address."""

from typing import Literal

import msgspec


class PostgresOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Its pool of connections. `fewest` are kept open, further ones opened when all are busy, up to `most`.

    None gets older than `lifetime_s`, so that a server behind a balancer that is taken out gets rid of its
    clients. `statement_cache`: whether the server keeps a connection's prepared statements. `auto` trusts a
    server itself and no pooler before it.
    """

    fewest: int = 1
    most: int = 10
    lifetime_s: float = 1800.0
    statement_cache: Literal["auto", "on", "off"] = "auto"


class RedisOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`connections`: so many calls are on their way at a time. `any_policy` opens a server that throws data
    away when its memory is full (`maxmemory-policy` other than `noeviction`)."""

    connections: int = 8
    any_policy: bool = False


class StoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """A field for what concerns every store, and one a driver for what concerns it alone; each has a default
    with which a small node is well served.

    `history` keeps every transition of every task (the memory store always does). `migrates` brings an older
    schema up to date; else opening one raises `StoreTooOld`. `queue` is the URL of a Redis beside PostgreSQL.
    """

    history: bool = False
    migrates: bool = True
    queue: str = ""
    postgres: PostgresOptions = PostgresOptions()
    redis: RedisOptions = RedisOptions()


DEFAULTS = StoreOptions()
