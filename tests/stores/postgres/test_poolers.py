"""Behind a pooler, which gives a connection of the server for one transaction at a time.

Without a pooler on the machine these tests are left out, in CI, too: it comes with no wheel. What the store
does once it has noticed one is tested without it, below.
"""

import asyncio
from contextlib import asynccontextmanager

import pytest

from mainspring.clock import SystemClock
from mainspring.core.model import Lane, NewTask
from mainspring.core.order import Quota
from mainspring.errors import StoreUnavailable
from mainspring.ports import PostgresOptions
from mainspring.stores.postgres import PostgresStore, connecting
from mainspring.stores.postgres.dialling import Server
from mainspring.verbs import Accepted, Ask, Exchange, Group
from tests.poolers import PgBouncer
from tests.servers import PostgresServer, running
from tests.wakeups import Woken

LANE = Lane("default", "echo", "default", 5)
LIMIT_S = 60


@pytest.fixture
def behind():
    """Makes stores on a database, through a pooler of the test's own."""
    if reason := PgBouncer.missing():
        pytest.skip(reason)
    started = []

    @asynccontextmanager
    async def store(database, mode="transaction", **options):
        if not started:
            started.append(PgBouncer(running(PostgresServer), mode))
        name = database.dsn.partition("?")[0].rpartition("/")[2]
        store = PostgresStore(started[0].dsn(name), PostgresOptions(**options))
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    yield store
    for pooler in started:
        pooler.stop()


async def submit(store, count=1):
    groups = [Group([NewTask(SystemClock().new_id(), LANE, b"1")]) for _ in range(count)]
    answers = (await store.exchange(Exchange(submits=groups))).submits
    assert all(isinstance(answer, Accepted) for answer in answers)


async def claim(store, worker, turn):
    heads = (await store.board()).heads
    ask = Ask(worker, worker, turn, [Quota(head.lane_id, 3) for head in heads], 3, 9_000_000)
    (claimed,) = (await store.exchange(Exchange(claims=[ask]))).claims
    return [lease.task for lease in claimed.leases]


async def test_nodes_behind_a_pooler(new_database, behind):
    """More connections than the server has to give: a transaction may meet another one of its processes."""
    async with new_database() as database, behind(database, most=6) as one, behind(database, most=6) as two:
        async with asyncio.timeout(LIMIT_S):
            assert one._db.is_pooled
            await asyncio.gather(*[submit(store, 5) for store in (one, two) for _ in range(10)])
            taken = []
            for turn in range(1, 40):
                found = await asyncio.gather(claim(one, "w1", turn), claim(two, "w2", turn))
                taken += [task for tasks in found for task in tasks]
            assert len(taken) == len(set(taken)) == 100


async def test_nodes_that_start_together_behind_a_pooler(new_database, behind):
    async with new_database() as database, behind(database) as first:
        async with database.connection() as admin:
            await admin.execute("DROP SCHEMA mainspring CASCADE")
        await first.close()
        name = database.dsn.partition("?")[0].rpartition("/")[2]
        address = first._db._address.shown
        assert name in address
        stores = [PostgresStore(address) for _ in range(6)]
        await asyncio.gather(*[store.open() for store in stores])
        for store in stores:
            assert dict((await store.stats()).counts) == {}
            await store.close()


async def test_polling_carries_the_wake_ups(new_database, behind):
    """Nobody listens, so nobody hears: the number that rises is looked at."""
    async with new_database() as database, behind(database) as one, behind(database) as two:
        woken = asyncio.Event()
        one.listen(Woken(woken.set))
        async with asyncio.timeout(LIMIT_S):
            for _ in range(3):
                # Until it has begun to look, it cannot miss anything.
                while not woken.is_set():
                    await submit(two)
                    await asyncio.sleep(0.05)
                woken.clear()
        async with database.connection() as admin:
            listening = (
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
            )
            assert await admin.fetchval(listening) == 0


async def test_prepared_statements_through_a_pooler_that_keeps_sessions(new_database, behind):
    options = {"mode": "session", "most": 1, "statement_cache": "on"}
    async with new_database() as database, behind(database, **options) as store:
        assert store._db.is_pooled
        for _ in range(3):
            await submit(store)
        assert (await store.stats()).counts


async def test_prepared_statements_through_one_that_does_not_are_told(new_database, behind):
    """By the setting that helps."""

    async def ask_much(store):
        for _ in range(20):
            await asyncio.gather(*[store.stats() for _ in range(6)])

    async with new_database() as database, behind(database, most=6, statement_cache="on") as store:
        with pytest.raises(StoreUnavailable, match="set pg_statement_cache to off"):
            await ask_much(store)


# --- without a pooler ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("is_pooled", "wanted", "keeps"),
    [(False, "auto", True), (True, "auto", False), (True, "on", True), (False, "off", False)],
)
async def test_statements_are_kept_where_they_can_be(new_database, monkeypatch, is_pooled, wanted, keeps):
    async def greet(*_):
        return Server(is_pooled, True)

    monkeypatch.setattr(connecting, "greet", greet)
    options = PostgresOptions(statement_cache=wanted, most=1)
    async with new_database() as database, database.store(options=options) as store:
        await submit(store, 3)
        assert (await store.stats()).counts

        async def prepared(tx):
            return await tx._connection.fetchval("SELECT count(*) FROM pg_prepared_statements")

        # The question itself is a nameless one.
        assert (await store._db.read(prepared) > 0) == keeps


async def test_a_server_itself_is_no_pooler(new_database):
    async with new_database() as database, database.store() as store:
        assert not store._db.is_pooled
