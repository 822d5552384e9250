"""The first tasks on a new connection need not wait for the planner."""

import asyncio
from contextlib import asynccontextmanager

from mainspring.ports import PostgresOptions
from mainspring.stores.postgres import pool as pools
from mainspring.stores.postgres.dialling import PLANS
from mainspring.stores.postgres.pool import Pool
from mainspring.stores.postgres.warming import NOTHING, warm

LIMIT_S = 60
# Statements that are planned anew each time count elsewhere.
PLANNED = "SELECT count(*) FROM pg_prepared_statements WHERE generic_plans > 0"
WRITTEN = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_xact_user_tables"


class Stub:
    """A connection of which only the pool knows."""

    def __init__(self):
        self.closed = False

    def is_closed(self):
        return self.closed

    def add_termination_listener(self, listener):
        pass

    def terminate(self):
        self.closed = True

    async def close(self, timeout=None):
        self.terminate()


class Stove:
    """Warms connections for as long as it is told."""

    def __init__(self):
        self.warmed = []
        self.has_begun = asyncio.Event()
        self.may_end = asyncio.Event()

    async def __call__(self, connection):
        self.warmed.append(connection)
        self.has_begun.set()
        await self.may_end.wait()


async def dial():
    return Stub()


@asynccontextmanager
async def one_is_warmed():
    """A pool of two, the other one of which is at rest."""
    stove = Stove()
    pool = Pool(dial, PostgresOptions(fewest=1, most=2), stove)
    async with asyncio.timeout(LIMIT_S):
        await pool.open()
        one, two = await pool.take(), await pool.take()
        pool.give_back(one)
        pool.give_back(two)
        await stove.has_begun.wait()
        yield pool, stove, one, two


async def test_a_connection_is_warmed_when_it_comes_back_first():
    async with one_is_warmed() as (pool, stove, one, two):
        stove.may_end.set()
        for _ in range(3):
            both = [await pool.take(), await pool.take()]
            assert set(both) == {one, two}
            for connection in both:
                pool.give_back(connection)
        assert stove.warmed == [two, one], "each once, but not while no other was at rest"
        await pool.close()


async def test_who_wants_one_meanwhile_takes_another_or_waits():
    """There are never more than the most, and none is used by two."""
    async with one_is_warmed() as (pool, stove, one, two):
        assert await pool.take() is one
        other = asyncio.ensure_future(pool.take())
        await asyncio.sleep(0)
        assert not other.done()
        stove.may_end.set()
        assert await other is two
        pool.give_back(one)
        pool.give_back(two)
        await pool.close()


async def test_a_pool_can_be_closed_while_one_is_warmed(monkeypatch):
    monkeypatch.setattr(pools, "CLOSING_S", 0.05)
    async with one_is_warmed() as (pool, _, one, two):
        await pool.close()
        assert one.closed
        assert two.closed


async def test_a_server_that_falls_silent_meanwhile_keeps_no_place(monkeypatch):
    """Its connections would be missing for as long as the node runs."""
    monkeypatch.setattr(pools, "WARMING_S", 0.05)
    async with one_is_warmed() as (pool, _, one, two):
        assert await pool.take() is one
        other = await pool.take()
        assert other is not two
        assert two.closed
        for connection in (one, other):
            pool.give_back(connection)
        await pool.close()


async def test_the_hot_statements_are_planned_and_write_nothing(new_database):
    async with new_database() as database, database.store(), database.connection() as connection:
        for name, value in PLANS.items():
            await connection.execute(f"SET {name} = {value}")
        async with connection.transaction():
            await warm(connection)
            assert await connection.fetchval(PLANNED) >= len(NOTHING)
            assert await connection.fetchval(WRITTEN) == 0


async def test_a_connection_that_dies_meanwhile_is_no_matter(new_database):
    async with (
        new_database() as database,
        database.store(),
        database.connection() as admin,
        database.connection() as connection,
    ):
        await admin.fetchval("SELECT pg_terminate_backend($1)", connection.get_server_pid())
        async with asyncio.timeout(LIMIT_S):
            while not connection.is_closed():
                await warm(connection)
