"""Where tasks are kept: one driver per system of record, all passing one conformance suite.

    url ─► open_store ─┬─ memory:              stores.memory     nothing outlives the process
                       └─ sqlite:///FILE       stores.sqlite     one file, shared by several processes

A driver is imported when its URL is opened, so that nobody needs the libraries of a store they do not use.
"""

from collections.abc import Callable
from importlib import import_module
from urllib.parse import unquote

from mainspring.errors import InvalidInput
from mainspring.ports import Clock, Store

ACCEPTED = "memory:, sqlite:///relative/file, sqlite:////absolute/file"


def open_store(url: str, clock: Clock, *, history: bool = False) -> Store:
    """The store behind `url`, not yet opened: the caller awaits its `open`.

    With `history` every transition of every task is kept (the memory store always does).

    Raises `InvalidInput` for a URL that names no store.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "memory":
        return _driver("memory", "MemoryStore")(clock)
    if scheme == "sqlite":
        path = unquote(rest.removeprefix("///"))
        if not rest.startswith("///") or not path:
            raise InvalidInput("store", f"{url!r} names no file", ACCEPTED)
        return _driver("sqlite", "SqliteStore")(path, clock, history=history)
    raise InvalidInput("store", f"no driver for {url!r}", ACCEPTED)


def _driver(room: str, name: str) -> Callable[..., Store]:
    driver: Callable[..., Store] = getattr(import_module(f"mainspring.stores.{room}"), name)
    return driver
