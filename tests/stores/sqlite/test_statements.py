"""How the store asks: the hot statements read heads of indexes, never the table; pages read a bounded number
of rows."""

import re
from types import ModuleType

import apsw
import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.core.model import State
from mainspring.stores.sqlite import (
    claiming,
    dead,
    editing,
    explaining,
    holding,
    limits,
    moves,
    planning,
    progress,
    reading,
    retrying,
    rows,
    schema,
    settling,
    submitting,
    tending,
    transaction,
    workflows,
)
from mainspring.verbs import Query
from tests.conformance.bench import LANE, SqliteBench

MODULES = (
    *(claiming, dead, editing, explaining, holding, limits, moves, planning, progress),
    *(reading, retrying, rows, settling, submitting, tending, transaction, workflows),
)


@pytest.fixture
def bench(tmp_path):
    return SqliteBench(tmp_path)


def statements(module: ModuleType) -> dict[str, str]:
    """The module's whole statements about tasks, by the constant's name."""
    found = {}
    for name, value in vars(module).items():
        if isinstance(value, str) and re.match("SELECT|UPDATE|DELETE|WITH", value) and " tasks" in value:
            sql = value.replace("{states}", "3, 4")
            if "{" not in sql:
                found[name] = sql
    return found


def plan(sql: str) -> list[str]:
    db = apsw.Connection(":memory:")
    for migration in [step.up for step in schema.steps()]:
        db.execute(migration)
    numbered = [int(number) for number in re.findall(r"\?(\d+)", sql)]
    bindings = [None] * (max(numbered) if numbered else sql.count("?"))
    return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)]


@pytest.mark.parametrize(
    ("name", "sql"),
    [
        pytest.param(name, sql, id=f"{module.__name__.rsplit('.', 1)[1]}.{name}")
        for module in MODULES
        for name, sql in statements(module).items()
    ],
)
def test_no_statement_reads_the_whole_table(name, sql):
    """Finished rows are in nobody's way: tasks are found by id, by number, or in an index of few."""
    for step in plan(sql):
        if re.match(r"SCAN (t|tasks)\b", step):
            assert "tasks_running" in step, f"{name}: {step}"


def test_all_hot_statements_are_looked_at():
    assert {"HEADS", "MORE", "GRANT", "STILL_HELD"} <= statements(claiming).keys()
    assert {"SUCCEED_MANY", "SUCCEED_ONE", "WRITTEN_NOW"} <= statements(settling).keys()
    assert {"HELD_BY", "LENGTHEN", "LAPSED", "OVERRUN"} <= statements(holding).keys()
    assert {"DUE", "NEXT_DUE", "PAST_DEADLINE", "FROM_CURSOR"} <= statements(tending).keys()


def test_groups_of_dead_letters_are_counted_in_their_index():
    """Not a row of a letter is looked at but the samples'."""
    assert "USING COVERING INDEX tasks_dead" in plan(dead.GROUPS)[0]


async def test_a_page_looks_at_a_bounded_number_of_rows(bench, monkeypatch):
    monkeypatch.setattr(reading, "ROWS_LOOKED_AT", 10)
    async with bench:
        wanted = await bench.submit_many(2, LANE._replace(kind="rare"))
        await bench.submit_many(25)
        query, found, lengths = Query(kind="rare", limit=5), [], []
        while True:
            page = await bench.store.find(query)
            found += [task.id for task in page.tasks]
            lengths.append(len(page.tasks))
            if page.cursor is None:
                break
            query = Query(kind="rare", limit=5, cursor=page.cursor)
        assert found == wanted[::-1]
        assert lengths == [0, 0, 2]


@pytest.mark.parametrize(
    ("states", "outcomes"),
    [
        ({State.FAILED}, [Outcome.FAILED]),
        ({State.CANCELLED}, [Outcome.CANCELLED]),
        ({State.FAILED, State.CANCELLED}, [Outcome.FAILED, Outcome.CANCELLED]),
    ],
)
async def test_what_ended_badly_is_found_at_once_among_many(bench, monkeypatch, states, outcomes):
    """Dead letters are found without reading those that ended well."""
    monkeypatch.setattr(reading, "ROWS_LOOKED_AT", 5)
    async with bench:
        for outcome in (Outcome.FAILED, Outcome.CANCELLED, Outcome.FAILED, Outcome.CANCELLED):
            await bench.submit_many(1)
            await bench.settle(await bench.claim_one(), outcome, retryable=False)
        await bench.submit_many(20)
        page = await bench.store.find(Query(states=frozenset(states), limit=3))
        expected = 2 * len(outcomes)
        assert {task.state for task in page.tasks} == states
        assert len(page.tasks) == min(3, expected)
        if page.cursor is not None:
            rest = await bench.store.find(Query(states=frozenset(states), cursor=page.cursor))
            assert len(page.tasks) + len(rest.tasks) == expected
        ids = [task.id for task in page.tasks]
        assert ids == sorted(ids, reverse=True)


async def test_running_tasks_are_found_at_once_among_many(bench, monkeypatch):
    monkeypatch.setattr(reading, "ROWS_LOOKED_AT", 5)
    async with bench:
        first = await bench.submit_many(2)
        await bench.claim(2)
        await bench.submit_many(20)
        page = await bench.store.find(Query(states=frozenset({State.RUNNING})))
        assert [task.id for task in page.tasks] == first[::-1]
        assert page.cursor is None


async def test_history_is_kept_only_if_asked_for(new_store, bench):
    async with bench:
        (kept,) = await bench.submit_many(1)
        assert len(await bench.store.history(kept)) == 1
    store = new_store()
    await store.open()
    assert not store.features.full_history
    await store.submit([])
    assert await store.history("task-1") == []
    await store.close()


@pytest.mark.parametrize("result", [None, b"null", b'""', b"0", b"x" * 1000])
async def test_a_result_comes_back_as_it_was(bench, result):
    async with bench:
        ids = await bench.submit_many(3)
        leases = await bench.claim(3)
        await bench.settle_lines(*[bench.line(lease, result=result) for lease in leases])
        assert [task.result for task in await bench.store.get(ids)] == [result] * 3


async def test_an_update_of_the_hot_path_does_not_lengthen_its_row(bench):
    """What a claim and a settlement fill is stored at full width from the start."""
    bench.clock.elapsed = 1_000_000.0  # like today's clocks, whose microseconds take eight bytes
    async with bench:
        await bench.submit_many(50)
        submitted = await width(bench)
        leases = await bench.claim(50)
        assert await width(bench) <= submitted
        await bench.settle_lines(*[bench.line(lease, result=b"null") for lease in leases])
        assert await width(bench) <= submitted


async def width(bench: SqliteBench) -> int:
    """Bytes that the rows of `tasks` take on their pages."""
    sql = "SELECT sum(payload) FROM dbstat WHERE name = 'tasks' AND pagetype = 'leaf'"
    found: int = await bench._store._reader.call(lambda reader: reader.db.execute(sql).get)
    return found
