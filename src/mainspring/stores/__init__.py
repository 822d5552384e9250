"""Where tasks are kept: one driver per system of record, all passing one conformance suite.

    url ─► open_store ─┬─ memory:              stores.memory     nothing outlives the process
                       ├─ sqlite:///FILE       stores.sqlite     one file, shared by several processes
                       ├─ postgresql://...     stores.postgres   a database, shared by any number of nodes
                       │    with a queue       stores.tandem     the same, with a Redis beside it
                       └─ redis://...          stores.redis      a Redis or a Valkey, shared the same way

A driver is imported when its URL is opened, so that nobody needs the libraries of a store they do not use.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any
from urllib.parse import unquote

from mainspring.core.addresses import POSTGRES, REDIS, scheme_of, shown
from mainspring.errors import InvalidInput
from mainspring.ports import Clock, Store, StoreOptions
from mainspring.ports.options import DEFAULTS
from mainspring.ports.schema import Schema

ACCEPTED = (
    "memory:, sqlite:///relative/file, sqlite:////absolute/file, "
    "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, redis://USER:PASSWORD@HOST:PORT/NUMBER, "
    "redis+sentinel://HOST,HOST/SERVICE/NUMBER, redis+cluster://HOST,HOST"
)
SCHEMES = ("memory", "sqlite", *POSTGRES, *REDIS)
# The libraries that drivers need, each with the extra that brings it.
EXTRAS = {"asyncpg": "postgres", "redis": "redis"}


def open_store(url: str, clock: Clock, options: StoreOptions = DEFAULTS) -> Store:
    """The store behind `url`, not yet opened: the caller awaits its `open`.

    Raises `InvalidInput` for a URL that names no store, or one whose libraries are not installed.
    """
    scheme = scheme_of(url)
    if options.queue and scheme in SCHEMES and scheme not in POSTGRES:
        raise InvalidInput("queue", "is for a store on PostgreSQL", "--store postgresql://... with it")
    if scheme == "memory":
        return _driver("memory", "MemoryStore")(clock)
    if scheme == "sqlite":
        make = _driver("sqlite", "SqliteStore")
        return make(file_of(url), clock, history=options.history, migrates=options.migrates)
    if scheme in POSTGRES and options.queue:
        make = _driver("tandem", "TandemStore")
        return make(
            url, options.queue, clock, options.postgres, history=options.history, migrates=options.migrates
        )
    if scheme in POSTGRES:
        make = _driver("postgres", "PostgresStore")
        return make(url, options.postgres, history=options.history, migrates=options.migrates)
    if scheme in REDIS:
        make = _driver("redis", "RedisStore")
        return make(url, clock, options.redis, history=options.history)
    raise InvalidInput("store", f"no driver for {shown(url)!r}", ACCEPTED)


def open_schema(url: str) -> Schema:
    """The schema of the store behind `url`, to be looked at and changed by hand.

    Raises `InvalidInput` for a URL that names no store, or one that keeps no schema."""
    scheme = scheme_of(url)
    make: Callable[..., Schema]
    if scheme == "sqlite":
        make = _found("sqlite.migrating", "SqliteSchema")
        return make(file_of(url))
    if scheme in POSTGRES:
        make = _found("postgres.migrating", "PostgresSchema")
        return make(url)
    raise InvalidInput("store", f"{shown(url)!r} has no schema", "sqlite:///FILE, postgresql://...")


def file_of(url: str) -> str | None:
    """The file behind `url`, which may not be there yet; `None` if it is not about a file.

    Raises `InvalidInput` if it should name one and does not."""
    scheme, _, rest = url.partition(":")
    if scheme != "sqlite":
        return None
    path = unquote(rest.removeprefix("///"))
    if not rest.startswith("///") or not path:
        raise InvalidInput("store", f"{url!r} names no file", ACCEPTED)
    return path


def _driver(room: str, name: str) -> Callable[..., Store]:
    driver: Callable[..., Store] = _found(room, name)
    return driver


def _found(module: str, name: str) -> Any:
    try:
        return getattr(import_module(f"mainspring.stores.{module}"), name)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(error.name or "")
        if extra is None:
            raise
        raise InvalidInput(
            "queue" if (module, extra) == ("tandem", "redis") else "store",
            f"needs the package {error.name}, which is not installed",
            f"pip install mainspring[{extra}]",
        ) from error
