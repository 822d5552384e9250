"""What is written on the user's own connection, in the user's own transaction: it happens when that commits,
or not at all.

    send.submit_in(connection, "ada@example.com")              on a connection that blocks
    await send.submit_in.aio(connection, "ada@example.com")    on one that is awaited

A connection is one of sqlite3, apsw, psycopg, asyncpg or SQLAlchemy (also its sessions), on the
database that is the scheduler's store. What its library raises is raised here, but for what has a meaning of
its own.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar

from mainspring.errors import InvalidInput, LeaseLost

P = ParamSpec("P")
T = TypeVar("T")
OF_SQLITE = ("sqlite3", "apsw")
LIBRARIES = (*OF_SQLITE, "psycopg", "asyncpg", "sqlalchemy")
ACCEPTED = "a connection of sqlite3, apsw, psycopg, asyncpg or SQLAlchemy"
# What PostgreSQL calls a table, and a schema, that are not there.
_NO_TABLE = ("42P01", "3F000")
_IDLE = 0


class Entry(NamedTuple):
    """A row for one of the tables that users may write. `json` names the column that holds JSON text."""

    table: str
    columns: Mapping[str, object]
    json: str


class Within(Generic[P, T]):
    """Something to be written in the caller's transaction: at once on a connection that blocks; by `aio` on
    one that is awaited. `make` says what, and what is returned for it; `check` raises for a connection that
    is of no use."""

    __slots__ = ("_check", "_make")

    def __init__(self, make: Callable[P, tuple[Entry, T]], check: Callable[[Any], None]) -> None:
        self._make = make
        self._check = check

    def __call__(self, connection: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        entry, made = self._make(*args, **kwargs)
        if is_awaited(connection):
            raise InvalidInput("connection", "has to be awaited", "`await ... .aio(connection, ...)`")
        with self._told(connection):
            _start(connection, entry)
        return made

    async def aio(self, connection: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As the plain call, for `await`."""
        entry, made = self._make(*args, **kwargs)
        with self._told(connection):
            started = _start(connection, entry)
            if is_awaited(connection):
                await started
        return made

    @contextlib.contextmanager
    def _told(self, connection: Any) -> Iterator[None]:
        self._check(connection)
        try:
            yield
        except Exception as error:
            raise _meant(error) or error from None


def library_of(connection: Any) -> str:
    """The library that a connection, cursor or session is of. Raises `InvalidInput` for another."""
    for kind in type(connection).__mro__:
        library = kind.__module__.partition(".")[0]
        if library in LIBRARIES:
            return library
    raise InvalidInput("connection", f"not a connection that is known: {type(connection).__name__}", ACCEPTED)


def is_awaited(connection: Any) -> bool:
    library = library_of(connection)
    return library == "asyncpg" or any(kind.__name__.startswith("Async") for kind in type(connection).__mro__)


def check_in_transaction(connection: Any) -> None:
    """Raises `InvalidInput` if what is written now would not wait for a commit."""
    if not _is_in_transaction(connection):
        raise InvalidInput("connection", "is in no transaction", "one that has begun a transaction")


def _is_in_transaction(connection: Any) -> bool:
    """SQLAlchemy begins by itself."""
    library = library_of(connection)
    connection = getattr(connection, "connection", connection) if library != "sqlalchemy" else connection
    if library == "asyncpg":
        return bool(connection.is_in_transaction())
    if library == "psycopg":
        return bool(connection.info.transaction_status != _IDLE or not connection.autocommit)
    if library == "sqlite3":
        return bool(connection.in_transaction or connection.isolation_level is not None)
    return bool(connection.in_transaction) if library == "apsw" else True


def _start(connection: Any, entry: Entry) -> Any:
    """Write the row: done on return, or to be awaited."""
    library = library_of(connection)
    names, values = list(entry.columns), list(entry.columns.values())
    if library in OF_SQLITE:
        return connection.execute(_insert(entry, names, ["?"] * len(names), "sqlite"), values)
    if library == "psycopg":
        return connection.execute(_insert(entry, names, ["%s"] * len(names), "postgresql"), values)
    if library == "asyncpg":
        places = [f"${place}" for place in range(1, len(names) + 1)]
        return connection.execute(_insert(entry, names, places, "postgresql"), *values)
    bind = connection.get_bind() if hasattr(connection, "get_bind") else connection
    text = import_module("sqlalchemy").text
    sql = _insert(entry, names, [f":{name}" for name in names], bind.dialect.name)
    return connection.execute(text(sql), dict(entry.columns))


def _insert(entry: Entry, names: list[str], places: list[str], dialect: str) -> str:
    table = entry.table
    if dialect == "postgresql":
        table = f"mainspring.{table}"
        # Said aloud, because some libraries name the type of what they bring: text is no JSON by itself.
        places = [
            f"CAST({place} AS json)" if name == entry.json else place
            for name, place in zip(names, places, strict=True)
        ]
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(places)})"


def _meant(error: Exception) -> Exception | None:
    """What the library's error means to whoever submits or completes; `None` if nothing of its own."""
    told = str(error)
    if "lease_lost: " in told:
        return LeaseLost(told.partition("lease_lost: ")[2].partition("\n")[0])
    if getattr(getattr(error, "orig", error), "sqlstate", None) in _NO_TABLE or "no such table" in told:
        return InvalidInput(
            "connection",
            "leads to a database without Mainspring's tables",
            "the scheduler's own database, once a server has been started on it",
        )
    return None
