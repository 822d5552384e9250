"""Schedules written, and tasks read, by plain SQL. The statements are those of docs/operations.md."""

import re
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mainspring.clock import SystemClock
from mainspring.core.model import Lane, NewTask
from mainspring.core.schedules import Schedule
from mainspring.core.templates import Template
from mainspring.core.timing import Timing
from mainspring.ports import Action, Force, Group
from mainspring.scheduler import Scheduler, SchedulerSettings
from mainspring.services import Firer, ServiceLoop

DOCS = (Path(__file__).parents[3] / "docs/operations.md").read_text()
CLOCK = SystemClock()
COMMANDS = Lane("default", "command", "default", 5)


def documented(start):
    """The documented statement that begins with `start`."""
    (found,) = [sql for sql in re.findall(r"```sql\n(.*?)```", DOCS, re.DOTALL) if sql.startswith(start)]
    return found.strip()


UPSERT = documented("INSERT INTO mainspring.schedules")
NEWEST = documented("SELECT id, state, command, created_at FROM mainspring.task_list")


@pytest.fixture
def node(new_database):
    """A scheduler with its firer, and a connection as `psql` has one."""

    @asynccontextmanager
    async def make():
        async with new_database() as database, database.store() as store, database.connection() as psql:
            scheduler = Scheduler(store, CLOCK, SchedulerSettings())
            yield scheduler, Firer(store, scheduler, None, CLOCK), psql

    return make


async def tick(firer):
    while await firer.tick() == 0.0:
        pass


async def test_a_cron_schedule_by_an_upsert(node):
    """S1-59, S1-60 (1.6-E): made and changed by INSERT ... ON CONFLICT, and picked up at the next look."""
    async with node() as (scheduler, firer, psql):
        await psql.execute(UPSERT)
        await tick(firer)
        record = await scheduler.schedules.get("hello")
        assert record.rules == Schedule(Timing(cron="*/5 * * * *"))
        assert record.template == Template(COMMANDS, b'{"command": "echo hello"}')
        await psql.execute(UPSERT.replace("*/5", "*/2"))
        await tick(firer)
        assert (await scheduler.schedules.get("hello")).rules.timing.cron == "*/2 * * * *"
        await psql.execute("DELETE FROM mainspring.schedules WHERE id = 'hello'")
        await tick(firer)
        assert await psql.fetchval("SELECT count(*) FROM mainspring.fires") == 0


async def test_a_sleeping_firer_is_woken_by_a_row(node, monkeypatch):
    """S1-60: nothing but the hint can wake it, since it would sleep for an hour."""
    monkeypatch.setattr("mainspring.services.firer.LONGEST_S", 3600.0)
    async with node() as (scheduler, firer, psql):
        await scheduler.start()
        loop = ServiceLoop(firer, CLOCK)
        scheduler.on_hint = loop.wake
        loop.start()
        last = "SELECT last_task FROM mainspring.schedules"
        try:
            await psql.execute("INSERT INTO mainspring.schedules (id, at) VALUES ('s', '2001-01-01')")
            while (task := await psql.fetchval(last)) is None:
                pass
            assert (await scheduler.get(task)).schedule_id == "s"
            # By now it listens, and looks at nothing by itself.
            await psql.execute("UPDATE mainspring.schedules SET at = '2002-02-02'")
            while await psql.fetchval("SELECT updated_us FROM mainspring.schedules") is None:
                pass
        finally:
            await loop.stop()
            await scheduler.close()


async def test_the_newest_tasks_by_a_select(node):
    """S1-59, S1-70 (1.6-E): id, state, command and time of creation, in words."""
    async with node() as (scheduler, _, psql):
        ids = [CLOCK.new_id() for _ in range(4)]
        payloads = [b'{"command":"echo one"}', b'{"command":["ls","-l"]}', b"7", b'"\\u0000"']
        for id, payload in zip(ids, payloads, strict=True):
            await scheduler.store.submit([Group([NewTask(id, COMMANDS, payload)])])
        await scheduler.store.force([Force(ids[0], Action.CANCEL)])
        rows = [tuple(row) for row in await psql.fetch(NEWEST)]
        assert [row[:3] for row in rows] == [
            (ids[3], "ready", None),
            (ids[2], "ready", None),
            (ids[1], "ready", '["ls","-l"]'),
            (ids[0], "cancelled", "echo one"),
        ]
        assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", row[3]) for row in rows)
        # Whatever a row holds, the others can be read.
        await psql.execute(r"UPDATE mainspring.tasks SET payload = '\xff' WHERE id = $1", ids[1])
        assert len(await psql.fetch("SELECT * FROM mainspring.task_list")) == 4


async def test_the_newest_are_read_without_looking_at_the_others(node):
    async with node() as (scheduler, _, psql):
        tasks = [Group([NewTask(CLOCK.new_id(), COMMANDS, b"{}")]) for _ in range(2000)]
        await scheduler.store.submit(tasks)
        await psql.execute("ANALYZE mainspring.tasks; ANALYZE mainspring.lanes")
        plan = "\n".join([row[0] for row in await psql.fetch(f"EXPLAIN {NEWEST}")])
        assert "Index Scan Backward using tasks_pkey" in plan
        assert "Sort" not in plan


async def test_a_row_that_cannot_be_obeyed_says_why(node):
    async with node() as (_, firer, psql):
        await psql.execute(
            "INSERT INTO mainspring.schedules (id, cron, zone) VALUES ('s', '@daily', 'Nowhere')"
        )
        await tick(firer)
        why = "SELECT quarantine FROM mainspring.schedules"
        assert "Nowhere" in await psql.fetchval(why)
        await psql.execute("UPDATE mainspring.schedules SET zone = 'Europe/Paris'")
        await tick(firer)
        assert await psql.fetchval(why) is None
