"""Where tasks are kept: one driver per system of record, all passing one conformance suite.

    url ─► open_store ─┬─ memory:              stores.memory     nothing outlives the process
                       ├─ sqlite:///FILE       stores.sqlite     one file, shared by several processes
                       └─ postgresql://...     stores.postgres   a database, shared by any number of nodes

A driver is imported when its URL is opened, so that nobody needs the libraries of a store they do not use.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any
from urllib.parse import unquote

from mainspring.core.addresses import POSTGRES, scheme_of, shown
from mainspring.errors import InvalidInput
from mainspring.ports import Clock, Store, StoreOptions
from mainspring.ports.options import DEFAULTS
from mainspring.ports.schema import Schema

ACCEPTED = "memory:, sqlite:///relative/file, sqlite:////absolute/file, postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
SCHEMES = ("memory", "sqlite", *POSTGRES)


def open_store(url: str, clock: Clock, options: StoreOptions = DEFAULTS) -> Store:
    """The store behind `url`, not yet opened: the caller awaits its `open`.

    Raises `InvalidInput` for a URL that names no store, or one whose libraries are not installed.
    """
    scheme = scheme_of(url)
    if scheme == "memory":
        return _driver("memory", "MemoryStore")(clock)
    if scheme == "sqlite":
        make = _driver("sqlite", "SqliteStore")
        return make(file_of(url), clock, history=options.history, migrates=options.migrates)
    if scheme in POSTGRES:
        make = _driver("postgres", "PostgresStore", library="asyncpg")
        return make(url, options.postgres, history=options.history, migrates=options.migrates)
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
        make = _found("postgres.migrating", "PostgresSchema", library="asyncpg")
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


def _driver(room: str, name: str, library: str = "") -> Callable[..., Store]:
    driver: Callable[..., Store] = _found(room, name, library)
    return driver


def _found(module: str, name: str, library: str = "") -> Any:
    """`library` is what an extra of the driver's name brings."""
    try:
        return getattr(import_module(f"mainspring.stores.{module}"), name)
    except ModuleNotFoundError as error:
        if not library or error.name != library:
            raise
        extra = module.partition(".")[0]
        raise InvalidInput(
            "store",
            f"needs the package {library}, which is not installed",
            f"pip install mainspring[{extra}]",
        ) from error
