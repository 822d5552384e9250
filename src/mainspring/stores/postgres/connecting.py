"""One transaction at a time on each connection of a pool, and what the library's errors mean to a caller."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import asyncpg
import msgspec

from mainspring.core.order import LaneHead
from mainspring.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable
from mainspring.ports import PostgresOptions
from mainspring.stores.postgres.address import Address
from mainspring.stores.postgres.dialling import IDLE_LIMIT, PLANS, READ_ONLY, dial, greet, why
from mainspring.stores.postgres.known import Known
from mainspring.stores.postgres.pool import Pool, hang_up
from mainspring.stores.postgres.schema import prepare
from mainspring.stores.postgres.transaction import BadValue, Replay, Transaction
from mainspring.stores.postgres.warming import warm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncpg import Connection, Record

T = TypeVar("T")
Work = Callable[[Transaction], Awaitable[T]]
# Does in one statement what it can do so; `None` if it cannot, and has changed nothing.
Shortcut = Callable[[Transaction], Awaitable[T | None]]

REPLAYS = 10
# A connection that is of no use any more.
LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    # The server has become a standby: another one may be the primary now.
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
# Somebody went back to an older schema, or dropped it, under a running node.
OTHER_SCHEMA = "the schema is no longer the one that this program has found (`mainspring migrate status`)"
# For a call as a whole: waiting for a connection, making one, every statement, the commit.
CALL_LIMIT_S = 30.0
# For what goes through the whole database.
LONG_LIMIT_S = 3600.0
# Isolation is named, so that a default of the server or the role does not count.
WRITING = "BEGIN ISOLATION LEVEL READ COMMITTED"
READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# A connection that was used so lately is taken to be alive. A statement that goes alone finds out only by
# being sent, and what came of it is then unknown.
WARM_S = 1.0


class Database:
    """Deadlocks and lost races replay the whole batch. Any other failure raises `StoreError`; its outcome may
    be unknown, and every verb is safe to repeat."""

    def __init__(
        self,
        address: Address,
        options: PostgresOptions,
        changed: Callable[[Transaction], None],
        *,
        keeps_history: bool = False,
        migrates: bool = True,
    ) -> None:
        """`changed` is called after the commit of what other nodes may wait for."""
        self._address = address
        self._options = options
        self._changed = changed
        self._keeps_history = keeps_history
        self._migrates = migrates
        self._pool: Pool | None = None
        self._caches = False
        self._known = Known(keeps_history=keeps_history)
        self.is_pooled = self.is_synchronous = False

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Raises `StoreUnavailable`, `StoreTooNew`,
        `StoreTooOld`."""
        with translated():
            connection = await dial(self._address)
            try:
                async with _limit(LONG_LIMIT_S):
                    self.is_pooled, self.is_synchronous = await greet(connection, self._address)
                    await prepare(connection, migrates=self._migrates)
            except asyncpg.InsufficientPrivilegeError as error:
                raise StoreError(f"{self._address.shown}: {why(error, self._address)}") from error
            finally:
                await hang_up(connection)
            wanted = self._options.statement_cache
            self._caches = wanted == "on" or (wanted == "auto" and not self.is_pooled)
            known = Known(keeps_history=self._keeps_history)
            pool = Pool(
                partial(dial, self._address, caches=self._caches, session=self._session()),
                self._options,
                warm if self._caches and not self.is_pooled else None,
                known.forget_lanes,
            )
            await pool.open()
        self._pool, self._known = pool, known

    async def connect(self) -> "Connection[Record]":
        """A connection beside the pool, for the caller alone."""
        return await dial(self._address, session=self._session())

    def _session(self) -> dict[str, str] | None:
        """What a connection of its own is told once: a pooler's are told by each transaction."""
        if self.is_pooled:
            return None
        return {
            "statement_timeout": _ms(CALL_LIMIT_S),
            "default_transaction_isolation": "read committed",
            **PLANS,
        }

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    def heads_of(self, places: Mapping[int, int]) -> list[LaneHead] | None:
        """Heads of lanes by their numbers and places, which another node tells; `None` if one of the lanes is
        not known here yet."""
        lanes = self._known.lanes
        for lane_id, seq in places.items():
            self._known.lines.stands(lane_id, seq)
        if not places.keys() <= lanes.keys():
            return None
        return [LaneHead(lane_id, lanes[lane_id], seq) for lane_id, seq in places.items()]

    def doubt_lines(self) -> None:
        """A task may stand before those that this node has claimed."""
        self._known.lines.doubt()

    async def write(
        self, work: Work[T], limit_s: float | None = None, shortcut: Shortcut[T] | None = None
    ) -> T:
        """Run `work` in one durable transaction; if it raises, nothing of it was stored. The `shortcut` is
        tried first."""
        async with _limit(limit_s):
            return await self._transact(work, self._begin(WRITING, limit_s), shortcut)

    async def read(self, work: Work[T], limit_s: float | None = None) -> T:
        """Run `work` on one snapshot of the database."""
        async with _limit(limit_s):
            return await self._transact(work, self._begin(READING, limit_s))

    def _begin(self, begin: str, limit_s: float | None) -> str:
        """The server gives up what its caller has given up: it would else go on waiting for a lock, say, on a
        connection that nobody counts any more."""
        if self.is_pooled:
            begin += f"; SET LOCAL idle_in_transaction_session_timeout = '{IDLE_LIMIT}'"
            begin += "".join(f"; SET LOCAL {name} = {value}" for name, value in PLANS.items())
        if self.is_pooled or limit_s is not None:
            begin += f"; SET LOCAL statement_timeout = '{_ms(limit_s or CALL_LIMIT_S)}'"
        return begin

    async def _transact(self, work: Work[T], begin: str, shortcut: Shortcut[T] | None = None) -> T:
        is_careful = False
        for attempt in range(REPLAYS):
            try:
                with translated():
                    async with self._borrowed() as connection:
                        if shortcut is not None and attempt == 0 and self._may_go_alone(connection):
                            tx = Transaction(connection, self._known)
                            if (done := await _go_alone(tx, shortcut, connection)) is not None:
                                self._committed(tx)
                                return done
                        tx = Transaction(
                            connection, self._known, is_replay=attempt > 0, is_careful=is_careful
                        )
                        result = await _run(tx, work, connection, begin)
                        self._committed(tx)
                        return result
            except Replay:
                continue
            except BadValue as error:
                if is_careful:
                    raise StoreError(f"a value cannot be stored: {error}") from error
                is_careful = True
        raise StoreUnavailable(f"the transaction lost {REPLAYS} races in a row")

    def _may_go_alone(self, connection: "Connection[Record]") -> bool:
        """Whether a statement may be its own transaction. Without a session it is sent in two messages, and
        nobody tells how to plan it."""
        pool = self._pool
        return self._caches and not self.is_pooled and pool is not None and pool.is_warm(connection, WARM_S)

    def _committed(self, tx: Transaction) -> None:
        tx.committed()
        if tx.gained or tx.finished:
            self._changed(tx)

    @asynccontextmanager
    async def _borrowed(self) -> "AsyncIterator[Connection[Record]]":
        pool = self._pool
        if pool is None:
            raise StoreUnavailable("the store is closed")
        connection = await pool.take()
        try:
            yield connection
        except (DiedIdle, asyncio.CancelledError):
            # One that gave no answer in time may not be the only one that is cut off: each of them would cost
            # a caller the whole time again.
            pool.distrust()
            raise
        finally:
            pool.give_back(connection)

    async def ask(self, statement: str, *values: object) -> object:
        """The first value of one statement."""
        async with _limit():
            with translated():
                async with self._borrowed() as connection:
                    try:
                        if self._caches:
                            return await connection.fetchval(statement, *values)
                        # It is sent in two messages: a pooler must not take them to two servers.
                        async with connection.transaction():
                            return await connection.fetchval(statement, *values)
                    except (*LOST, asyncio.CancelledError):
                        connection.terminate()
                        raise


class DiedIdle(Replay):
    """The connection had died while nobody used it, and nothing was said on it: another one will do."""


def _ms(time_s: float) -> str:
    return f"{round(time_s * 1000)}ms"


@asynccontextmanager
async def _limit(limit_s: float | None = None) -> "AsyncIterator[None]":
    limit_s = CALL_LIMIT_S if limit_s is None else limit_s
    try:
        async with asyncio.timeout(limit_s):
            yield
    except TimeoutError as error:
        raise StoreUnavailable(
            f"no answer within {limit_s:g} s; what was asked may have been done"
        ) from error


async def _go_alone(tx: Transaction, shortcut: Shortcut[T], connection: "Connection[Record]") -> T | None:
    tx.begin_alone()
    try:
        return await shortcut(tx)
    except (*LOST, asyncio.CancelledError):
        connection.terminate()
        raise
    except Exception:
        # A value that the library refused when the statement was prepared already: the server still waits for
        # the rest of it, in a transaction that the connection's next user would find open.
        await _roll_back(connection)
        raise


async def _run(tx: Transaction, work: Work[T], connection: "Connection[Record]", begin: str) -> T:
    has_begun = False
    try:
        await connection.execute(begin)
        await tx.begin()
        has_begun = True
        result = await work(tx)
        await tx.finish()
        await connection.execute("COMMIT")
        return result
    except LOST as error:
        connection.terminate()
        if has_begun:
            raise
        raise DiedIdle from error
    except Exception:
        await _roll_back(connection)
        raise
    except BaseException:
        # Given up on the way. The server may be busy with it, or gone: that is not waited for.
        connection.terminate()
        raise


async def _roll_back(connection: "Connection[Record]") -> None:
    try:
        await connection.execute("ROLLBACK")
    except BaseException as error:
        # The server does so itself, when it finds its client gone.
        connection.terminate()
        if not isinstance(error, (*LOST, asyncpg.PostgresError)):
            raise


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
    except (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError) as error:
        raise StoreUnavailable(
            f"a pooler does not keep prepared statements ({error}): set pg_statement_cache to off"
        ) from error
    except (asyncpg.DataError, UnicodeEncodeError, OverflowError) as error:
        raise BadValue(str(error)) from error
    except asyncpg.DiskFullError as error:
        raise StoreFull(
            f"no space left on the database's disk; nothing of this call was stored: {error}"
        ) from error
    except (asyncpg.DataCorruptedError, asyncpg.IndexCorruptedError) as error:
        raise StoreCorrupt(f"the database is damaged: {error}") from error
    except asyncpg.ReadOnlySQLTransactionError as error:
        raise StoreUnavailable(f"{READ_ONLY}: {error}") from error
    except (
        asyncpg.UndefinedTableError,
        asyncpg.UndefinedColumnError,
        asyncpg.UndefinedFunctionError,
        asyncpg.InvalidSchemaNameError,
    ) as error:
        raise StoreUnavailable(f"{OTHER_SCHEMA}: {error}") from error
    except (
        asyncpg.PostgresConnectionError,
        asyncpg.OperatorInterventionError,
        asyncpg.InsufficientResourcesError,
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
