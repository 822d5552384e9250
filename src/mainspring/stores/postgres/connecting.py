"""The pool of connections, one transaction at a time on each, and what the library's errors mean to a
caller."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import asyncpg
import msgspec

from mainspring.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable
from mainspring.ports import PostgresOptions
from mainspring.stores.postgres.address import Address
from mainspring.stores.postgres.dialling import dial
from mainspring.stores.postgres.schema import migrate
from mainspring.stores.postgres.transaction import BadValue, Known, Replay, Transaction

if TYPE_CHECKING:
    from asyncpg import Connection, Record
    from asyncpg.pool import Pool, PoolConnectionProxy

T = TypeVar("T")
Work = Callable[[Transaction], Awaitable[T]]

REPLAYS = 10
# A connection that is of no use any more.
LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
CALL_LIMIT_S = 30.0


class Database:
    """Deadlocks and lost races replay the whole batch. Any other failure raises `StoreError`; its outcome may
    be unknown, and every verb is safe to repeat."""

    def __init__(
        self,
        address: Address,
        options: PostgresOptions,
        changed: Callable[[], None],
        *,
        keeps_history: bool = False,
    ) -> None:
        """`changed` is called after a write that other nodes may wait for."""
        self._address = address
        self._options = options
        self._changed = changed
        self._keeps_history = keeps_history
        self._pool: Pool[Record] | None = None
        self._known = Known(keeps_history=keeps_history)

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Raises `StoreUnavailable`, `StoreTooNew`."""
        with translated():
            pool = await asyncpg.create_pool(
                connect=self._connect,
                min_size=self._options.fewest,
                max_size=self._options.most,
                reset=_nothing_to_reset,
            )
            try:
                async with pool.acquire() as connection:
                    await migrate(connection)
            except BaseException:
                pool.terminate()
                raise
        self._pool, self._known = pool, Known(keeps_history=self._keeps_history)

    async def connect(self) -> "Connection[Record]":
        """A connection beside the pool, for the caller alone."""
        return await dial(self._address)

    async def _connect(self, *_: object, **options: Any) -> "Connection[Record]":
        del options["loop"]
        return await dial(self._address, command_timeout=CALL_LIMIT_S, **options)

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def write(self, work: Work[T]) -> T:
        """Run `work` in one durable transaction; if it raises, nothing of it was stored."""
        return await self._transact(work)

    async def read(self, work: Work[T]) -> T:
        """Run `work` on one snapshot of the database."""
        return await self._transact(work, "repeatable_read", is_read=True)

    async def _transact(
        self,
        work: Work[T],
        isolation: Literal["read_committed", "repeatable_read"] = "read_committed",
        *,
        is_read: bool = False,
    ) -> T:
        is_careful = False
        for attempt in range(REPLAYS):
            try:
                with translated():
                    async with self._acquired() as connection:
                        tx = Transaction(
                            connection, self._known, is_replay=attempt > 0, is_careful=is_careful
                        )
                        result = await _run(tx, work, connection, isolation, is_read)
                        tx.committed()
                        if tx.gained or tx.finished:
                            self._changed()
                        return result
            except Replay:
                continue
            except BadValue as error:
                if is_careful:
                    raise StoreError(f"a value cannot be stored: {error}") from error
                is_careful = True
        raise StoreUnavailable(f"the transaction lost {REPLAYS} races in a row")

    def _acquired(self) -> "asyncpg.pool.PoolAcquireContext[Record]":
        if self._pool is None:
            raise StoreUnavailable("the store is closed")
        return self._pool.acquire(timeout=CALL_LIMIT_S)

    async def ask(self, statement: str, *values: object) -> object:
        """The first value of one statement, outside of every transaction."""
        with translated():
            async with self._acquired() as connection:
                return await connection.fetchval(statement, *values)


async def _nothing_to_reset(_: object) -> None:
    """No session state is ever set, so giving a connection back costs no round trip."""


async def _run(
    tx: Transaction,
    work: Work[T],
    connection: "PoolConnectionProxy[Record]",
    isolation: Literal["read_committed", "repeatable_read"],
    is_read: bool,
) -> T:
    has_begun = False
    try:
        async with connection.transaction(isolation=isolation, readonly=is_read):
            await tx.begin()
            has_begun = True
            result = await work(tx)
            await tx.finish()
            return result
    except LOST as error:
        # The library would hand it out again, unless it has noticed by itself.
        with suppress(asyncpg.InterfaceError):
            connection.terminate()
        if has_begun:
            raise
        # It died while nobody used it, and nothing was said on it: another one will do.
        raise Replay from error


@contextmanager
def translated() -> Iterator[None]:
    """The library's errors as those of the port."""
    try:
        yield
    except (
        asyncpg.DeadlockDetectedError,
        asyncpg.SerializationError,
        asyncpg.InvalidCachedStatementError,
        asyncpg.OutdatedSchemaCacheError,
    ) as error:
        raise Replay from error
    except (asyncpg.DataError, UnicodeEncodeError, OverflowError) as error:
        raise BadValue(str(error)) from error
    except asyncpg.DiskFullError as error:
        raise StoreFull(
            f"no space left on the database's disk; nothing of this call was stored: {error}"
        ) from error
    except (asyncpg.DataCorruptedError, asyncpg.IndexCorruptedError) as error:
        raise StoreCorrupt(f"the database is damaged: {error}") from error
    except (
        asyncpg.PostgresConnectionError,
        asyncpg.OperatorInterventionError,
        asyncpg.InsufficientResourcesError,
        asyncpg.ReadOnlySQLTransactionError,
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        OSError,
        TimeoutError,
    ) as error:
        raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
    except msgspec.MsgspecError as error:
        raise StoreCorrupt(f"a stored value is damaged ({error}): run mainspring doctor") from error
    except asyncpg.PostgresError as error:
        raise StoreError(f"{type(error).__name__}: {error}") from error
