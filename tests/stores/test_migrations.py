"""Every step of the schemas: up from each older one with rows in it, and down again."""

import asyncio
from contextlib import asynccontextmanager

import apsw
import asyncpg
import pytest

from mainspring.clock import SystemClock
from mainspring.core.migrations import Loss, steps_of, way
from mainspring.core.model import Lane, NewTask
from mainspring.errors import InvalidInput, StoreCorrupt, StoreTooNew, StoreTooOld
from mainspring.ports import StoreOptions
from mainspring.stores import open_schema, open_store
from mainspring.verbs import Exchange, Group
from tests.stores import addresses

CLOCK = SystemClock()
LANE = Lane("default", "echo", "default", 5)
# What each store's shape is made of, but for the notes of the steps themselves.
SHAPES = {
    "sqlite": [
        "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY 1, 2"
    ],
    "postgres": [
        "SELECT table_name, column_name, data_type, column_default, is_nullable"
        " FROM information_schema.columns"
        " WHERE table_schema = 'mainspring' AND table_name <> 'migrations' ORDER BY 1, 2",
        "SELECT indexname, indexdef FROM pg_indexes"
        " WHERE schemaname = 'mainspring' AND tablename <> 'migrations' ORDER BY 1",
        "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = to_regnamespace('mainspring') ORDER BY 1",
        "SELECT tgname, tgrelid::regclass::text FROM pg_trigger"
        " WHERE NOT tgisinternal AND tgrelid::regclass::text LIKE 'mainspring.%' ORDER BY 1",
        "SELECT relname, relkind::text, reloptions FROM pg_class"
        " WHERE relnamespace = to_regnamespace('mainspring') AND relname NOT LIKE 'migrations%' ORDER BY 1",
    ],
}


class Place:
    """An empty store of a kind, reached past its driver."""

    def __init__(self, kind, url):
        self.kind, self.url = kind, url
        self.schema = open_schema(url)
        self.newest = self.schema.steps[-1].number

    async def ask(self, statement):
        if self.kind == "postgres":
            connection = await asyncpg.connect(self.url)
            try:
                if not statement.startswith("SELECT"):
                    return await connection.execute(statement)
                return [tuple(row) for row in await connection.fetch(statement)]
            finally:
                await connection.close()
        db = apsw.Connection(self.url.removeprefix("sqlite:///"))
        try:
            return db.execute(statement.replace("mainspring.", "")).fetchall()
        finally:
            db.close()

    async def shape(self):
        return [await self.ask(question) for question in SHAPES[self.kind]]

    @asynccontextmanager
    async def store(self, **options):
        store = open_store(self.url, CLOCK, StoreOptions(**options))
        await store.open()
        try:
            yield store
        finally:
            await store.close()


@pytest.fixture(params=addresses.WITH_SCHEMA)
def place(request, tmp_path):
    with addresses.address(request.param, tmp_path) as url:
        yield Place(request.param, url)


def numbers(steps):
    return [step.number for step in steps]


async def test_each_step_down_undoes_the_step_up(place):
    shapes = {}
    for number in range(1, place.newest + 1):
        assert numbers((await place.schema.migrate(number))[0]) == [number]
        shapes[number] = await place.shape()
    for number in range(place.newest - 1, 0, -1):
        assert numbers((await place.schema.migrate(number))[1]) == [number + 1]
        assert await place.schema.number() == number
        assert await place.shape() == shapes[number], f"down to {number}"
    await place.schema.migrate(0)
    assert await place.schema.number() == 0
    assert not any(await place.shape())
    assert numbers((await place.schema.migrate(None))[0]) == list(range(1, place.newest + 1))
    assert await place.shape() == shapes[place.newest]


# A task, as the first schema knows it, and what a person has set.
TASKS = {
    "sqlite": """
        INSERT INTO lanes VALUES (1, 'default', 'echo', 'default', 5, '');
        INSERT INTO tasks (n, id, state, lane, seq, end_us, token, version, created_at_us, started_at_us,
            settled_token, settled_digest, claimant, claim_seq, payload)
        VALUES (1, '{id}', 3, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, CAST('"kept"' AS BLOB));
        INSERT INTO counts VALUES ('default', 3, 1);
        INSERT INTO paused VALUES ('mail', 'alice');
    """,
    "postgres": """
        INSERT INTO mainspring.lanes VALUES (1, 'default', 'echo', 'default', 5, '');
        INSERT INTO mainspring.tasks (id, lane_id, seq, version, created_at_us, state, rule, payload)
        VALUES ('{id}', 1, 1, 1, 1, 3, 0, convert_to('"kept"', 'UTF8'));
        INSERT INTO mainspring.counts VALUES (1, 'default', 3, 1);
        INSERT INTO mainspring.paused VALUES ('mail', 'alice');
    """,
}
# What later schemas know besides: step, statement, and how many rows there are.
LATER = [
    (2, "INSERT INTO mainspring.schedules (id, cron) VALUES ('s', '@daily')", "mainspring.schedules"),
    (4, "INSERT INTO mainspring.logged VALUES ({n}, 1, 0, 0, 0)", "mainspring.logged"),
]


async def test_up_from_every_older_schema_with_rows_in_it(tmp_path, request):
    """S3-14: what was stored is there afterwards, in the store as it is opened."""
    for kind in addresses.WITH_SCHEMA:
        steps = open_schema(f"{'sqlite:///x' if kind == 'sqlite' else 'postgresql:///x'}").steps
        for number in range(1, steps[-1].number):
            folder = tmp_path / f"{kind}{number}"
            folder.mkdir()
            await asyncio.to_thread(_from_older, kind, folder, number)


def _from_older(kind, folder, number):
    with addresses.address(kind, folder) as url:
        asyncio.run(_is_kept(Place(kind, url), number))


async def _is_kept(place, number):
    id = CLOCK.new_id()
    await place.schema.migrate(number)
    await place.ask(TASKS[place.kind].format(id=id).strip())
    added = [(statement, table) for step, statement, table in LATER if step <= number]
    for statement, _ in added:
        await place.ask(statement.format(n="1" if place.kind == "sqlite" else f"'{id}'"))
    async with place.store() as store:
        (task,) = await store.get([id])
        assert (task.id, bytes(task.payload)) == (id, b'"kept"'), number
        assert dict((await store.board()).paused) == {"mail": "alice"}
        for _, table in added:
            assert await place.ask(f"SELECT count(*) FROM {table}") == [(1,)], (number, table)
        # And the store works on.
        await store.exchange(Exchange(submits=[Group([NewTask(CLOCK.new_id(), LANE, b"1")])]))
        assert sum((await store.stats()).counts.values()) == 2


async def test_what_going_down_destroys_is_known_before(place):
    async with place.store() as store:
        assert await place.schema.losses(0) == []
        await store.exchange(Exchange(submits=[Group([NewTask(CLOCK.new_id(), LANE, b"1")])]))
    await place.ask("INSERT INTO mainspring.schedules (id, cron) VALUES ('s', '@daily')")
    assert await place.schema.losses(0) == ["schedules", "tasks"]
    assert await place.schema.losses(1) == ["schedules"]
    assert await place.schema.losses(2) == []


async def test_several_at_once(place):
    taken = await asyncio.gather(*[open_schema(place.url).migrate(None) for _ in range(6)])
    assert sorted(len(ups) for ups, _ in taken) == [0] * 5 + [place.newest]
    assert await place.schema.number() == place.newest


async def test_a_node_that_may_not_migrate(place):
    """It says which command does so."""
    for number in (0, 1):
        await place.schema.migrate(number)
        with pytest.raises(StoreTooOld, match=rf"has schema {number}.*`mainspring migrate up`"):
            async with place.store(migrates=False):
                pass
        assert await place.schema.number() == number
    await place.schema.migrate(None)
    async with place.store(migrates=False) as store:
        assert (await store.stats()).now_us > 0


async def test_a_schema_from_the_future(place):
    await place.schema.migrate(None)
    future = (
        "PRAGMA user_version = 900"
        if place.kind == "sqlite"
        else "INSERT INTO mainspring.migrations VALUES (900)"
    )
    await place.ask(future)
    assert await place.schema.number() == 900
    with pytest.raises(StoreTooNew, match="schema 900"):
        await place.schema.migrate(0)
    with pytest.raises(StoreTooNew, match="schema 900"):
        async with place.store():
            pass


async def test_the_printed_sql_does_the_same(place):
    await place.schema.migrate(None)
    wanted = await place.shape()
    await place.schema.migrate(0)
    for start, to in ((0, 2), (2, None), (place.newest, 1), (1, None)):
        await place.ask(place.schema.sql(start, to).strip())
        assert await place.schema.number() == (place.newest if to is None else to)
    assert await place.shape() == wanted
    assert place.schema.sql(place.newest, None) == ""


@pytest.mark.parametrize("number", [-1, 99])
async def test_a_step_that_is_none(place, number):
    with pytest.raises(InvalidInput, match=f"to: no such schema: {number}"):
        await place.schema.migrate(number)


async def test_a_file_of_another_program_is_left_alone(tmp_path):
    path = tmp_path / "theirs.db"
    db = apsw.Connection(str(path))
    db.execute("CREATE TABLE theirs (x)")
    db.close()
    before = path.read_bytes()
    for work in (open_schema(f"sqlite:///{path}").number(), open_schema(f"sqlite:///{path}").migrate(None)):
        with pytest.raises(StoreCorrupt, match="another program"):
            await work
    assert path.read_bytes() == before


def test_the_files_of_steps():
    ups = {"0002_b.sql": "up 2", "0001_a.sql": "up 1"}
    downs = {"0001_a.sql": "-- loses all: SELECT true\ndown 1", "0002_b.sql": "down 2"}
    first, second = steps_of(ups, downs)
    assert (first.number, first.name, first.losses) == (1, "a", (Loss("all", "SELECT true"),))
    assert (second.up, second.down, second.losses) == ("up 2", "down 2", ())
    assert way([first, second], 0, None) == ([first, second], [])
    assert way([first, second], 2, 0) == ([], [second, first])
    assert way([first, second], 1, 1) == ([], [])
    with pytest.raises(AssertionError, match="0002_b"):
        steps_of(ups, {"0001_a.sql": ""})
