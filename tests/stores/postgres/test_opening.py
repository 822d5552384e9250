"""Opening: the schema is made once, by whoever comes first; what cannot be opened is told clearly."""

import asyncio

import pytest

from mainspring.errors import StoreTooNew, StoreUnavailable
from mainspring.stores.postgres import PostgresStore
from mainspring.stores.postgres.schema import steps

NUMBERS = "SELECT number FROM mainspring.migrations ORDER BY number"


def test_migrations_are_numbered_without_a_hole():
    assert [step.number for step in steps()] == list(range(1, len(steps()) + 1))


async def test_nodes_that_start_together_make_one_schema(new_database):
    async with new_database() as database:
        stores = [database.new_store() for _ in range(6)]
        await asyncio.gather(*[store.open() for store in stores])
        async with database.connection() as admin:
            numbers = [row["number"] for row in await admin.fetch(NUMBERS)]
        for store in stores:
            assert dict((await store.stats()).counts) == {}
            await store.close()
        assert numbers == [step.number for step in steps()]


async def test_an_older_schema_is_brought_up_to_date(new_database):
    """Each step is taken from every earlier one, and what was stored before is there after it."""
    async with new_database() as database:
        async with database.connection() as admin:
            await admin.execute(
                "CREATE SCHEMA mainspring; CREATE TABLE mainspring.migrations"
                " (number integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
            )
            first = steps()[0]
            await admin.execute(first.up)
            await admin.execute("INSERT INTO mainspring.migrations (number) VALUES ($1)", first.number)
            await admin.execute("INSERT INTO mainspring.paused VALUES ('mail', 'alice')")
        async with database.store() as store:
            assert dict((await store.board()).paused) == {"mail": "alice"}
            assert (await store.find_schedules(10, None)).schedules == []


async def test_a_newer_schema_is_refused_and_not_touched(new_database):
    async with new_database() as database:
        async with database.store():
            pass
        async with database.connection() as admin:
            await admin.execute("INSERT INTO mainspring.migrations (number) VALUES (900)")
        with pytest.raises(StoreTooNew, match="schema 900"):
            await database.new_store().open()


async def test_a_migration_that_fails_leaves_nothing_behind(new_database):
    """All of the missing steps, or none: here a table of the second one is in the way."""
    async with new_database() as database:
        async with database.connection() as admin:
            await admin.execute("CREATE SCHEMA mainspring; CREATE TABLE mainspring.fires ()")
            with pytest.raises(Exception, match="fires"):
                await database.new_store().open()
            assert await admin.fetchval("SELECT to_regclass('mainspring.tasks')") is None
            await admin.execute("DROP TABLE mainspring.fires")
        async with database.store() as store:
            assert (await store.stats()).now_us > 0


async def test_a_database_that_is_not_there(new_database):
    async with new_database() as database:
        with pytest.raises(StoreUnavailable, match="nowhere"):
            await PostgresStore(database.dsn.replace("/alone", "/nowhere")).open()


async def test_a_server_that_is_not_there(tmp_path):
    with pytest.raises(StoreUnavailable):
        await PostgresStore(f"postgresql://postgres@/postgres?host={tmp_path}").open()


async def test_connections_that_the_server_ended_are_replaced(new_database):
    """They died while nobody used them: no call fails for it."""
    async with new_database() as database, database.store() as store, database.connection() as admin:
        for paused_by in ("alice", "bob", "carol"):
            await asyncio.gather(*[store.stats() for _ in range(8)])
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await store.set_queue("mail", paused_by)
            assert dict((await store.board()).paused) == {"mail": paused_by}


async def test_a_schema_that_is_taken_away_under_a_running_node(new_database):
    """Somebody has gone back to an older one. The node says what to look at, and goes on when it is back."""
    async with new_database() as database, database.store() as store:
        async with database.connection() as admin:
            await admin.execute("ALTER SCHEMA mainspring RENAME TO elsewhere")
            for call in (store.stats, store.board):
                with pytest.raises(StoreUnavailable, match=r"the schema is no longer .*migrate status"):
                    await call()
            await admin.execute("ALTER SCHEMA elsewhere RENAME TO mainspring")
        await store.set_queue("mail", "alice")
        assert dict((await store.board()).paused) == {"mail": "alice"}


async def test_a_server_that_does_not_wait_for_its_disk_is_class_b(new_database):
    async with new_database() as database:
        for setting, durability in (("on", "A"), ("local", "A"), ("off", "B")):
            async with database.connection() as admin:
                name = await admin.fetchval("SELECT current_database()")
                await admin.execute(f"ALTER DATABASE {name} SET synchronous_commit = {setting}")
            async with database.store() as store:
                assert store.features.durability == durability
