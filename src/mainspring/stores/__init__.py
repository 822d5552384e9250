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
    scheme = url.partition(":")[0]
    if scheme == "memory":
        return _driver("memory", "MemoryStore")(clock)
    if scheme == "sqlite":
        return _driver("sqlite", "SqliteStore")(file_of(url), clock, history=history)
    raise InvalidInput("store", f"no driver for {url!r}", ACCEPTED)


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
    driver: Callable[..., Store] = getattr(import_module(f"mainspring.stores.{room}"), name)
    return driver
