"""Every statement as the server reads it, and the plans of those that every task passes."""

import json
import re

import pytest

from mainspring.clock import SystemClock
from mainspring.core.model import Lane, NewTask
from mainspring.stores.postgres.schema import steps
from mainspring.stores.postgres.statements import STATEMENTS
from mainspring.verbs import Exchange, Group
from tests.stores.postgres.plans import pin_plans

LANE = Lane("default", "echo", "default", 5)
# What LOCK has no plan for.
UNPLANNED = {"hold_still"}
# Statements of the hot verbs, and the indexes of `tasks` they may use.
HOT = {
    "submit_plain": {"tasks_ready"},
    "claim": {"tasks_ready", "tasks_pkey"},
    "claim_plain": {"tasks_ready", "tasks_pkey"},
    "settle": {"tasks_pkey"},
    "succeed": {"tasks_pkey"},
    "succeed_plain": {"tasks_pkey"},
    "renew": {"tasks_pkey"},
    "granted": {"tasks_running"},
    "heads": {"tasks_ready"},
    "promote": {"tasks_scheduled", "tasks_pkey"},
    "all_heads": {"tasks_ready"},
    "become_parents": {"tasks_pkey"},
}


async def test_the_server_understands_every_statement(new_database):
    async with new_database() as database, database.store(), database.connection() as admin:
        for name, sql in STATEMENTS.items():
            assert not re.search(r"\{\w+\}", sql), f"{name}: a part is missing"
            if name not in UNPLANNED:
                await admin.prepare(sql)


@pytest.mark.parametrize("rows", [0, 3000])
async def test_hot_statements_reach_tasks_by_the_right_index(new_database, rows):
    """Whatever the table looked like when they were planned, and whatever the planner knows of it."""
    async with new_database() as database, database.store() as store, database.connection() as admin:
        clock = SystemClock()
        if rows:
            groups = [Group([NewTask(clock.new_id(), LANE, b"1")]) for _ in range(rows)]
            await store.exchange(Exchange(submits=groups))
            await admin.execute("ANALYZE mainspring.tasks")
        async with admin.transaction():
            await pin_plans(admin)
            for name, indexes in HOT.items():
                used, scanned = await _accesses(admin, name)
                assert not scanned, f"{name} reads the whole table"
                assert used <= indexes, name


@pytest.mark.parametrize("shape", ["empty", "one child of many", "one parent of many", "pairs"])
async def test_edges_are_found_one_by_one(new_database, shape):
    """By both ends in one step: a child of thousands, or a parent of thousands, must not be gone through once
    for each of its edges. Whatever the table looked like when it was analysed."""
    n = "generate_series(1, 5000) AS n"
    edges = {
        "one child of many": f"SELECT 'p' || n, 'c', 1, true FROM {n}",
        "one parent of many": f"SELECT 'p', 'c' || n, 1, n % 2 = 0 FROM {n}",
        "pairs": f"SELECT 'p' || n, 'c' || n, 1, n % 100 = 0 FROM {n}",
    }
    async with new_database() as database, database.store(), database.connection() as admin:
        if shape in edges:
            await admin.execute(f"INSERT INTO mainspring.edges (parent, child, rule, open) {edges[shape]}")
            await admin.execute("ANALYZE mainspring.edges")
        async with admin.transaction():
            await pin_plans(admin)
            for name in ("close_edges", "open_edges"):
                conditions = [
                    node["Index Cond"] for node in await _nodes(admin, name) if "Index Cond" in node
                ]
                assert conditions, name
                assert all("parent =" in found and "child =" in found for found in conditions), conditions


async def _nodes(admin, name):
    """The steps of the statement's generic plan."""
    await admin.execute(f"PREPARE {name}_ AS {STATEMENTS[name]}")
    count = max((int(number) for number in re.findall(r"\$(\d+)", STATEMENTS[name])), default=0)
    values = f"({', '.join(['NULL'] * count)})" if count else ""
    plan = json.loads(await admin.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE {name}_ {values}"))
    found, left = [], [plan[0]["Plan"]]
    while left:
        found.append(left.pop())
        left += found[-1].get("Plans", [])
    return found


async def _accesses(admin, name):
    """The indexes of tasks in the statement's generic plan, and whether it scans the table."""
    used, scanned = set(), False
    for node in await _nodes(admin, name):
        if node.get("Index Name", "").startswith("tasks_"):
            used.add(node["Index Name"])
        scanned |= node["Node Type"] == "Seq Scan" and node["Relation Name"] == "tasks"
    return used, scanned


def test_a_heartbeat_touches_no_index():
    """Nor does the row move: an update of columns without an index is heap-only."""
    written = "".join(step.up for step in steps())
    indexes = re.findall(r"CREATE (?:UNIQUE )?INDEX \w+\s+ON mainspring\.tasks ([^;]*);", written)
    assert len(indexes) >= 8
    assert [index for index in indexes if "lease_until_us" in index or "timeout_at_us" in index] == []
