"""The hot verbs of the port over a pool of connections: each call is one transaction."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import asyncpg
import msgspec
from asyncpg import Record
from asyncpg.pool import Pool

from mainspring.core.limits import LimitRule
from mainspring.core.model import State, Task
from mainspring.core.order import LaneHead, Share
from mainspring.errors import StoreError, StoreFull, StoreTooNew, StoreUnavailable
from mainspring.ports import (
    Answer,
    BoardView,
    Exchange,
    Exchanged,
    Features,
    Force,
    Moved,
    Refused,
    Renewal,
    Stats,
)
from mainspring.stores.postgres import claiming, forcing, resolving, settling, submitting
from mainspring.stores.postgres.rows import lane_of, task_of
from mainspring.stores.postgres.statements import MIGRATION
from mainspring.stores.postgres.transaction import Known, Replay, Transaction

T = TypeVar("T")
SCHEMA_NUMBER = 1
_REPLAYS = 10
_ADVISORY_LOCK = 0x4D535047


class PostgresPrototype:
    """Not selectable: it lacks the verbs of services, reading and membership.

    Deadlocks and lost races replay the whole batch. Any other failure raises `StoreError`; its outcome may
    be unknown, and every verb is safe to repeat.
    """

    features = Features("postgres", durability="A", several_processes=True)

    def __init__(self, dsn: str, connections: int = 4) -> None:
        self._dsn = dsn
        self._connections = connections
        self._pool: Pool[Record] | None = None
        self._known = Known()

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Raises `StoreUnavailable`, `StoreTooNew`."""
        with _translated():
            pool = await asyncpg.create_pool(
                self._dsn,
                min_size=1,
                max_size=self._connections,
                reset=_nothing_to_reset,
            )
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _ADVISORY_LOCK)
                await _migrate(connection)
        self._pool, self._known = pool, Known()

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def exchange(self, batch: Exchange) -> Exchanged:
        async def work(tx: Transaction) -> Exchanged:
            lanes = [task.lane for group in batch.submits for task in group.tasks]
            await tx.need_lanes(lanes)
            await tx.find_lanes(quota.lane_id for ask in batch.claims for quota in ask.lanes)
            await submitting.lock_submits(tx, batch.submits)
            asked = [tx.lane(quota.lane_id) for ask in batch.claims for quota in ask.lanes]
            await tx.lock_limits([*lanes, *filter(None, asked)])
            settles = await settling.settle(tx, batch.settles)
            submits = await submitting.submit(tx, batch.submits)
            claims = await claiming.claim(tx, batch.claims)
            ready, usage = await tx.ready(), await tx.usage()
            # Last, although shares come before tasks elsewhere: a tenant's row is shared by all nodes, and
            # is locked for the commit alone.
            charges = sorted(batch.charges, key=lambda charge: charge.tenant)
            await tx.do_many("charge", charges)
            return Exchanged(tx.now_us, submits, settles, claims, ready, usage)

        return await self._transact(work)

    async def renew(self, renewals: Sequence[Renewal]) -> Sequence[Sequence[Answer]]:
        return await self._transact(lambda tx: settling.renew(tx, renewals)) if renewals else []

    async def force(self, lines: Sequence[Force]) -> Sequence[Task | Refused]:
        return await self._transact(lambda tx: forcing.force(tx, lines))

    async def promote(self, limit: int) -> Moved:
        async def work(tx: Transaction) -> Moved:
            rows = await tx.rows("promote", limit)
            tx.gained.update(row["lane_id"] for row in rows)
            return Moved(len(rows), await tx.ready(), next_due_us=await tx.value("next_due"))

        return await self._transact(work)

    async def resolve(self, limit: int) -> Moved:
        return await self._transact(lambda tx: resolving.resolve(tx, limit))

    async def board(self) -> BoardView:
        async def work(tx: Transaction) -> BoardView:
            return BoardView(
                tx.now_us,
                [LaneHead(row["id"], lane_of(row), row["seq"]) for row in await tx.rows("all_heads")],
                {row["queue"]: row["by"] for row in await tx.rows("all_paused")},
                dict(tx.rules),
                await tx.usage(),
                {
                    row["tenant"]: Share(row["weight"], row["virtual_us"])
                    for row in await tx.rows("all_shares")
                },
            )

        return await self._transact(work)

    async def stats(self) -> Stats:
        async def work(tx: Transaction) -> Stats:
            rows = await tx.rows("stats")
            return Stats(tx.now_us, {(row["queue"], State(row["state"])): row["n"] for row in rows})

        return await self._transact(work)

    async def get(self, tasks: Sequence[str]) -> Sequence[Task | None]:
        async def work(tx: Transaction) -> Sequence[Task | None]:
            found = {row["id"]: task_of(row) for row in await tx.rows("get", list(tasks))}
            return [found.get(task) for task in tasks]

        return await self._transact(work)

    async def set_queue(self, queue: str, paused_by: str | None) -> None:
        async def work(tx: Transaction) -> None:
            await tx.do("change_controls")
            await (tx.do("put_pause", queue, paused_by) if paused_by else tx.do("drop_pause", queue))

        await self._transact(work)

    async def set_limit(self, name: str, rule: LimitRule | None) -> None:
        async def work(tx: Transaction) -> None:
            await tx.do("change_controls")
            await (tx.do("put_limit", name, msgspec.json.encode(rule)) if rule else tx.do("drop_limit", name))

        await self._transact(work)

    async def set_weight(self, tenant: str, weight: float) -> None:
        async def work(tx: Transaction) -> None:
            await tx.do("weigh", tenant, weight)

        await self._transact(work)

    async def _transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        if self._pool is None:
            raise StoreUnavailable("the store is closed")
        for attempt in range(_REPLAYS):
            try:
                with _translated():
                    async with self._pool.acquire() as connection:
                        async with connection.transaction():
                            tx = Transaction(connection, self._known, attempt)
                            await tx.begin()
                            result = await work(tx)
                        tx.commit()
                        return result
            except Replay:
                continue
        raise StoreUnavailable(f"the transaction lost {_REPLAYS} races in a row")


async def _nothing_to_reset(_: object) -> None:
    """No session state is ever set, so giving a connection back costs no round trip."""


async def _migrate(connection: "asyncpg.pool.PoolConnectionProxy[Record]") -> None:
    if await connection.fetchval("SELECT to_regclass('mainspring.migrations')") is None:
        await connection.execute(MIGRATION)
        await connection.execute("INSERT INTO mainspring.migrations (number) VALUES ($1)", SCHEMA_NUMBER)
    number = await connection.fetchval("SELECT max(number) FROM mainspring.migrations")
    if number > SCHEMA_NUMBER:
        raise StoreTooNew(f"the database has schema {number}; this Mainspring knows {SCHEMA_NUMBER}")


@contextmanager
def _translated() -> Iterator[None]:
    """The library's errors as those of the port."""
    try:
        yield
    except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
        raise Replay from error
    except asyncpg.DiskFullError as error:
        raise StoreFull(str(error)) from error
    except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError) as error:
        raise StoreUnavailable(str(error)) from error
    except asyncpg.PostgresError as error:
        raise StoreError(str(error)) from error
