"""`mainspring doctor` on files and databases: what it tells, what it mends, how it ends."""

import asyncio
import json

import apsw
import asyncpg
import pytest
from click.testing import CliRunner

from mainspring.cli.root import root
from mainspring.clock import SystemClock
from mainspring.core.laws import LAWS
from mainspring.core.model import Lane, NewTask
from mainspring.stores import open_schema, open_store
from mainspring.verbs import Group
from tests.conformance.bench import SqliteBench
from tests.stores import addresses

NOTHING = {"healthy": True, "findings": [], "mended": []}
UNDONE = "nobody leads this store: finished tasks are not forgotten and no audits are made"


async def doctor(*arguments):
    """The command, on a thread of its own: it runs an event loop, as a process would."""
    return await asyncio.to_thread(CliRunner().invoke, root, ["doctor", *arguments])


def told(result):
    document = json.loads(result.stdout)
    rows = document.pop("rows")
    assert document.pop("leader") is None
    assert document.pop("undone").startswith(UNDONE)
    return document, rows


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "store.db")


async def filled(tmp_path, tasks=5):
    async with SqliteBench(tmp_path) as bench:
        return await bench.submit_many(tasks)


def by_hand(path, *statements):
    db = apsw.Connection(path)
    for statement in statements:
        db.execute(statement)
    db.close()


async def test_a_healthy_file(tmp_path, path):
    await filled(tmp_path)
    before = (tmp_path / "store.db").read_bytes()
    result = await doctor("--db", path)
    assert (result.exit_code, result.stderr) == (0, "")
    healthy, undone = result.stdout.splitlines()
    assert healthy == f"healthy: {len(LAWS)} laws hold over 5 rows"
    assert undone.startswith(UNDONE)
    assert told(await doctor("--db", path, "-o", "json")) == (NOTHING, 5)
    assert (tmp_path / "store.db").read_bytes() == before


async def test_what_is_broken_is_told_and_left_alone(tmp_path, path):
    tasks = await filled(tmp_path)
    by_hand(path, "UPDATE tasks SET state = 42 WHERE n = 2", "UPDATE counts SET n = 9")
    for _ in range(2):
        result = await doctor("--store", f"sqlite:///{path}")
        assert result.exit_code == 1
        for part in ("unknown_state", "ghost_count", tasks[1], "its state is 42", "nothing was changed"):
            assert part in result.stdout
    document, _ = told(await doctor("--db", path, "-o", "json"))
    assert [(one["law"], one["subject"]) for one in document["findings"]] == [
        ("ghost_count", "number of ready tasks in queue default"),
        ("unknown_state", f"task {tasks[1]}"),
    ]
    assert all(one["meaning"] == LAWS[one["law"]].meaning for one in document["findings"])


async def test_repair_says_what_became_of_each_task(tmp_path, path):
    tasks = await filled(tmp_path)
    by_hand(
        path,
        "UPDATE tasks SET state = 42 WHERE n = 2",
        "UPDATE tasks SET seq = -1125899906842624 WHERE n = 3",
    )
    result = await doctor("--db", path, "--repair")
    assert result.exit_code == 0, result.output
    for part in (tasks[1], tasks[2], "now failed", "repaired", "healthy"):
        assert part in result.stdout
    assert told(await doctor("--db", path, "--repair", "-o", "json")) == (NOTHING, 5)


async def test_what_only_a_person_can_know_is_reported(tmp_path, path):
    await filled(tmp_path)
    by_hand(path, "INSERT INTO limits (name, rule) VALUES ('queue:default', x'7b')")
    result = await doctor("--db", path, "--repair")
    assert result.exit_code == 1
    for part in ("unreadable_limit", "queue:default", "reported", "set it anew or remove it"):
        assert part in result.stdout


async def test_repair_beside_a_server_that_works_on(tmp_path, path):
    """The server's own store is open all the while, and goes on with what was mended."""
    async with SqliteBench(tmp_path) as bench:
        bench.breaks = {"clock_ahead"}  # the command goes by the real clock, the bench by its own
        await bench.submit_many(4)
        leases = await bench.claim(2)
        by_hand(path, "UPDATE tasks SET claimant = 999 WHERE state = 4")
        assert (await doctor("--db", path, "--repair")).exit_code == 0
        assert [answer.name for answer in await bench.settle_lines(*map(bench.line, leases))] == ["LOST"] * 2
        again = await bench.claim(10)
        assert len(again) == 4
        assert {lease.attempt for lease in again} == {1, 2}
        assert (await doctor("--db", path)).exit_code == 0


async def test_who_leads_is_told(tmp_path, path):
    await filled(tmp_path)
    store = open_store(f"sqlite:///{path}", SystemClock())
    await store.open()
    try:
        await store.take_term("node-7", 600_000_000)
    finally:
        await store.close()
    document = json.loads((await doctor("--db", path, "-o", "json")).stdout)
    assert (document["leader"], document["undone"]) == ("node-7", "")
    assert "nobody leads" not in (await doctor("--db", path)).stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--db", "nowhere.db"), "--db: there is no file nowhere.db"),
        (("--store", "sqlite:///nowhere.db"), "--store: there is no file nowhere.db"),
        (("--store", "memory:"), "--store: such a store ends with its process"),
        (("--store", "sqlite://"), "names no file"),
        (("--store", "nonsense://x"), "--store"),
        (("--db", "a", "--store", "memory:"), "give --db or --store, not both"),
        (("--repair", "yes"), "unexpected extra argument"),
    ],
)
async def test_bad_input(tmp_path, monkeypatch, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    result = await doctor(*arguments)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert complaint in line
    assert list(tmp_path.iterdir()) == []


async def test_a_file_of_another_program(tmp_path, path):
    by_hand(path, "CREATE TABLE t (x)")
    result = await doctor("--db", path)
    assert result.exit_code == 1
    assert "another program" in result.stderr


async def test_a_damaged_index_is_built_anew(tmp_path, path):
    await filled(tmp_path)
    by_hand(
        path,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_schema SET sql = replace(sql, 'id)', 'version)') WHERE name = 'tasks_id'",
    )
    by_hand(path, "UPDATE tasks SET id = upper(id) || '-x' WHERE n = 1")
    by_hand(
        path,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_schema SET sql = replace(sql, 'version)', 'id)') WHERE name = 'tasks_id'",
    )
    result = await doctor("--db", path)
    assert "damaged_index" in result.stdout
    mended = await doctor("--db", path, "--repair")
    assert mended.exit_code == 0, mended.output
    assert "built anew" in mended.stdout
    assert (await doctor("--db", path)).exit_code == 0


async def test_a_file_with_an_older_schema_is_left_alone(tmp_path, path):
    await filled(tmp_path)
    await open_schema(f"sqlite:///{path}").migrate(6)
    before = (tmp_path / "store.db").read_bytes()
    result = await doctor("--db", path)
    assert result.exit_code == 1
    assert "has schema 6" in result.stderr
    assert (tmp_path / "store.db").read_bytes() == before


@pytest.fixture
def database(tmp_path):
    with addresses.address("postgres", tmp_path) as url:
        yield url


def ask(url, *statements):
    async def tell():
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(tell())


def examined(url, *arguments):
    return CliRunner().invoke(root, ["doctor", "--store", url, *arguments])


def test_a_database_of_postgresql(database):
    """Told, left alone, mended."""

    async def fill():
        store = open_store(database, SystemClock())
        await store.open()
        tasks = [
            NewTask(SystemClock().new_id(), Lane("default", "echo", "default", 5), b"1") for _ in range(5)
        ]
        await store.submit([Group([task]) for task in tasks])
        await store.close()
        return [task.id for task in tasks]

    tasks = asyncio.run(fill())
    assert examined(database).stdout.startswith(f"healthy: {len(LAWS)} laws hold over 5 rows\n{UNDONE}")
    ask(database, f"UPDATE mainspring.tasks SET state = 42 WHERE id = '{tasks[1]}'")
    for _ in range(2):
        result = examined(database)
        assert result.exit_code == 1
        for part in ("unknown_state", tasks[1], "nothing was changed"):
            assert part in result.stdout
    assert examined(database, "--repair").exit_code == 0
    assert examined(database).exit_code == 0


def test_a_database_without_mainspring_is_not_found_healthy(database):
    result = examined(database)
    assert result.exit_code == 1
    assert "--store: the database has schema 0" in result.stderr
    gone = examined(database.replace("/place", "/nowhere"))
    assert gone.exit_code == 1
    assert "no such database" in gone.stderr


def test_nothing_is_told_where_nothing_is(tmp_path):
    """A namespace that was misspelt is empty, and so without fault."""
    with addresses.address("redis", tmp_path) as url:
        result = examined(url)
        assert result.exit_code == 0
        assert f"there is nothing in {url}: is it the store that you meant?" in result.stdout
