"""A node's connections to PostgreSQL: how many, how old, and what happens when none is free."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from mainspring.core.model import SECOND_US
from mainspring.errors import StoreUnavailable
from mainspring.ports import PostgresOptions
from mainspring.stores.postgres import connecting, pool
from mainspring.stores.postgres.pool import Pool

LIMIT_S = 60.0
OPEN = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND application_name = 'mainspring'"
)


async def until(admin, number):
    while await admin.fetchval(OPEN) != number:
        await asyncio.sleep(0.01)


@asynccontextmanager
async def hurried(database, monkeypatch, limit_s, **options):
    """A store whose calls, and whose statements on the server, have so little time. The schema is there: to
    make it takes longer."""
    async with database.store():
        pass
    monkeypatch.setattr(connecting, "CALL_LIMIT_S", limit_s)
    async with database.store(options=PostgresOptions(**options)) as store:
        yield store


async def test_the_fewest_are_there_from_the_start(new_database):
    """S1-27. None is left at the end."""
    async with new_database() as database, database.connection() as admin:
        async with database.store(options=PostgresOptions(fewest=5)):
            assert await admin.fetchval(OPEN) >= 5
            await until(admin, 5)  # what has brought the schema up to date may be on its way out
        await until(admin, 0)


async def test_no_more_than_the_most(new_database):
    """S1-26: further calls wait for those before them."""
    async with (
        new_database() as database,
        database.connection() as admin,
        database.store(options=PostgresOptions(most=3)) as store,
    ):
        await asyncio.gather(*[store.stats() for _ in range(30)])
        assert await admin.fetchval(OPEN) >= 3
        await until(admin, 3)  # what has brought the schema up to date may be on its way out


async def test_those_that_nobody_needs_are_closed(new_database, monkeypatch):
    monkeypatch.setattr(pool, "IDLE_S", 0.05)
    async with (
        new_database() as database,
        database.connection() as admin,
        database.store(options=PostgresOptions(fewest=2, most=6)) as store,
    ):
        await asyncio.gather(*[store.stats() for _ in range(30)])
        await until(admin, 2)
        await store.stats()


async def test_none_gets_older_than_its_lifetime(new_database):
    """S1-28: whether it is idle or in use all the time."""
    async with (
        new_database() as database,
        database.connection() as admin,
        database.store(options=PostgresOptions(fewest=2, lifetime_s=0.2)) as store,
    ):
        first = {row["pid"] for row in await admin.fetch(f"SELECT pid {OPEN[16:]}")}
        assert first
        while first & {row["pid"] for row in await admin.fetch(f"SELECT pid {OPEN[16:]}")}:
            await store.stats()
        await until(admin, 2)


async def test_one_that_is_too_old_ends_its_transaction_first(new_database):
    async with new_database() as database, database.store(options=PostgresOptions(lifetime_s=0.05)) as store:

        async def work(tx):
            before = await tx._connection.fetchval("SELECT pg_backend_pid()")
            await asyncio.sleep(0.2)
            return before == await tx._connection.fetchval("SELECT pg_backend_pid()")

        assert await store._db.read(work)


async def test_a_call_that_finds_no_free_connection_gives_up(new_database, monkeypatch):
    """The one connection waits for a lock that is not given; both calls end by their limit, and what
    they held is free afterwards."""
    async with (
        new_database() as database,
        database.connection() as admin,
        database.store(options=PostgresOptions(most=1)) as store,
    ):
        monkeypatch.setattr(connecting, "CALL_LIMIT_S", 0.3)
        async with admin.transaction():
            await admin.execute("LOCK mainspring.paused")
            calls = [store.set_queue("mail", "alice"), store.board()]
            for error in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(error, StoreUnavailable)
                assert "no answer within 0.3 s" in error.detail
        monkeypatch.setattr(connecting, "CALL_LIMIT_S", 30.0)
        await store.set_queue("mail", "bob")
        assert dict((await store.board()).paused) == {"mail": "bob"}


async def test_a_call_that_is_given_up_leaves_the_pool_whole(new_database):
    async with (
        new_database() as database,
        database.connection() as admin,
        database.connection() as observer,
        database.store(options=PostgresOptions(most=2)) as store,
    ):
        async with admin.transaction():
            await admin.execute("LOCK mainspring.paused")
            calls = [asyncio.ensure_future(store.set_queue("mail", "alice")) for _ in range(6)]
            await until(observer, 2)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        assert dict((await store.board()).paused) == {}
        await asyncio.gather(*[store.stats() for _ in range(6)])


class Stub:
    """A connection that does nothing."""

    def __init__(self):
        self.closed = False
        self.ended = []

    def is_closed(self):
        return self.closed

    def add_termination_listener(self, callback):
        self.ended.append(callback)

    def terminate(self):
        self.closed = True
        for callback in self.ended:
            callback(self)

    async def close(self, timeout):
        self.terminate()


async def test_the_one_used_last_is_used_next():
    """So that few are warm, rather than all of them lukewarm."""

    async def dial():
        return Stub()

    async with asyncio.timeout(60):
        connections = Pool(dial, PostgresOptions(fewest=1, most=4))
        await connections.open()
        one, two = await connections.take(), await connections.take()
        connections.give_back(two)
        connections.give_back(one)
        assert await connections.take() is one
        one.closed = True
        connections.give_back(one)
        assert await connections.take() is two
        connections.give_back(two)
        await connections.close()


async def test_connecting_that_fails_takes_no_place():
    fails = True

    async def dial():
        if fails:
            raise StoreUnavailable("no server there")
        return Stub()

    connections = Pool(dial, PostgresOptions(fewest=1, most=2))
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            await connections.take()
    fails = False
    async with asyncio.timeout(60):
        taken = [await connections.take() for _ in range(2)]
        for connection in taken:
            connections.give_back(connection)
        await connections.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await connections.take()


async def test_what_waits_while_the_pool_is_closed_gets_no_connection(monkeypatch):
    """Neither who waits for a free one, nor who is just being connected: nothing is left behind."""
    monkeypatch.setattr(pool, "CLOSING_S", 0.05)
    dialled, goes_on = [], asyncio.Event()

    async def dial():
        if dialled:
            await goes_on.wait()
        dialled.append(Stub())
        return dialled[-1]

    async with asyncio.timeout(60):
        connections = Pool(dial, PostgresOptions(fewest=1, most=2))
        await connections.open()
        in_use = await connections.take()
        waiting = [asyncio.ensure_future(connections.take()) for _ in range(3)]
        await asyncio.sleep(0)
        await connections.close()
        assert in_use.is_closed()
        connections.give_back(in_use)
        goes_on.set()
        for answer in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(answer, StoreUnavailable)
        assert all(connection.is_closed() for connection in dialled)


async def test_the_server_ends_what_a_stopped_node_has_left_open(new_database):
    """Its locks would be in the way of every other node."""
    async with new_database() as database, database.store() as store:

        async def limit(tx):
            return await tx._connection.fetchval("SHOW idle_in_transaction_session_timeout")

        assert await store._db.read(limit) == "5s"


async def test_the_server_gives_up_what_its_callers_have_given_up(new_database, monkeypatch):
    """A node whose calls wait for a lock gives them up and comes again with others, as long as it is held:
    connections on which nobody waits any more must not pile up until the server has none left."""
    async with (
        new_database() as database,
        database.connection() as admin,
        database.connection() as observer,
        hurried(database, monkeypatch, 0.5, most=3) as store,
    ):
        most = 0
        async with admin.transaction():
            await admin.execute("LOCK mainspring.paused")
            for _ in range(10):
                calls = [store.set_queue("mail", "alice") for _ in range(3)]
                for error in await asyncio.gather(*calls, return_exceptions=True):
                    assert isinstance(error, StoreUnavailable)
                most = max(most, await observer.fetchval(OPEN))
            assert most <= 12
            async with asyncio.timeout(LIMIT_S):
                await until(observer, 0)


async def test_what_takes_long_may(new_database, monkeypatch):
    """Another limit than that of calls is told to the server, too."""
    async with new_database() as database, hurried(database, monkeypatch, 1.0) as store:

        async def sleep(tx):
            await tx._connection.fetchval("SELECT pg_sleep(2)")

        await store._db.read(sleep, LIMIT_S)
        with pytest.raises(StoreUnavailable):
            await store._db.read(sleep)
        assert (await store.stats()).now_us > SECOND_US
