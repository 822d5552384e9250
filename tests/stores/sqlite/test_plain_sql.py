"""Schedules written by plain SQL, with the `sqlite3` module of Python: picked up, changed, mended.

The statements are those of docs/operations.md, word for word.
"""

import json
import re
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from mainspring.clock import SystemClock, VirtualClock
from mainspring.core.model import Lane, NewTask
from mainspring.core.schedule_rows import COLUMNS, Row
from mainspring.core.schedules import Schedule
from mainspring.core.templates import Template
from mainspring.core.timing import Timing
from mainspring.errors import StoreCorrupt
from mainspring.ports import Action, Force, Group, NewSchedule
from mainspring.scheduler import SchedulePatch, Scheduler, SchedulerSettings
from mainspring.services import Firer, ServiceLoop
from mainspring.services.doctor import examine
from mainspring.stores import open_store
from mainspring.wire.schedule_views import encode, schedule_view

DOCS = (Path(__file__).parents[3] / "docs/operations.md").read_text()
NOON_US = 1_700_049_600_000_000
MINUTE_US = 60_000_000

NEWEST = "SELECT id, state, command, created_at FROM task_list"

CLIENT = """
import json, sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
for statement in sys.argv[2:]:
    rows = db.execute(statement).fetchall()
print(json.dumps(rows))
db.close()
"""


def documented(start):
    """The documented statement that begins with `start`."""
    (found,) = [sql for sql in re.findall(r"```sql\n(.*?)```", DOCS, re.DOTALL) if sql.startswith(start)]
    return found.strip()


def every(seconds, **template):
    timing = Timing(every_us=int(seconds * 1_000_000))
    return NewSchedule(Schedule(timing), Template(Lane("default", "echo", "default", 5), **template))


class Desk:
    def __init__(self, path, store, clock):
        self.path, self.store, self.clock = path, store, clock
        self.scheduler = Scheduler(store, clock, SchedulerSettings())
        self.schedules = self.scheduler.schedules
        self.firer = Firer(store, self.scheduler, None, clock)

    def sql(self, *statements):
        """Run statements in a process of its own; the rows of the last one. Two SQLite libraries in one
        process do not see each other's locks, and take each other's log away."""
        run = subprocess.run(
            [sys.executable, "-c", CLIENT, str(self.path), *statements], capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        return [tuple(row) for row in json.loads(run.stdout)]

    async def tick(self, seconds=0.0):
        self.clock.elapsed += seconds
        while await self.firer.tick() == 0.0:
            pass

    async def times(self, schedule):
        """The fire times that became tasks, in minutes from noon."""
        records = (await self.schedules.fires(schedule)).fires
        return [(r.first_us - NOON_US) / MINUTE_US for r in reversed(records) if r.task]


@asynccontextmanager
async def opened(tmp_path):
    path = tmp_path / "scheduler.db"
    clock = VirtualClock(1, NOON_US)
    store = open_store(f"sqlite:///{path}", clock)
    await store.open()
    try:
        yield Desk(path, store, clock)
    finally:
        await store.close()


@pytest.fixture
def desk(tmp_path):
    return lambda: opened(tmp_path)


# --- the documented statements ------------------------------------------------------------------------


async def test_a_cron_schedule_by_an_upsert(desk):
    """S1-59, S1-60 (1.6-E): made and changed by INSERT ... ON CONFLICT, and picked up within a tick."""
    upsert = documented("INSERT INTO schedules")
    async with desk() as d:
        d.sql(upsert)
        await d.tick()
        record = await d.schedules.get("hello")
        assert record.rules == Schedule(Timing(cron="*/5 * * * *"))
        assert record.template == Template(
            Lane("default", "command", "default", 5), b'{"command": "echo hello"}'
        )
        assert record.next_us == NOON_US + 5 * MINUTE_US
        assert record.created_at_us == record.updated_at_us == NOON_US
        await d.tick(301)
        assert await d.times("hello") == [5]
        (task,) = await d.store.get(
            [record_of.task for record_of in (await d.schedules.fires("hello")).fires]
        )
        assert (task.lane.kind, task.payload) == ("command", b'{"command": "echo hello"}')
        d.sql(upsert.replace("*/5", "*/2"))
        await d.tick()
        await d.tick(60)
        assert await d.times("hello") == [5, 6]
        assert (await d.schedules.get("hello")).rules.timing.cron == "*/2 * * * *"


async def test_the_newest_tasks_by_a_select(desk):
    """S1-59, S1-70 (1.6-E): id, state, command and time of creation, in words."""
    async with desk() as d:
        lane = Lane("default", "command", "default", 5)
        ids = [d.clock.new_id() for _ in range(3)]
        payloads = [b'{"command":"echo one"}', b'{"command":["ls","-l"]}']
        await d.store.submit([Group([NewTask(i, lane, p)]) for i, p in zip(ids, payloads, strict=False)])
        d.clock.elapsed += 61
        await d.store.submit([Group([NewTask(ids[2], lane._replace(kind="echo"), b"{}")])])
        await d.store.force([Force(ids[0], Action.CANCEL)])
        assert d.sql(documented(NEWEST)) == [
            (ids[2], "ready", None, "2023-11-15T12:01:01Z"),
            (ids[1], "ready", '["ls","-l"]', "2023-11-15T12:00:00Z"),
            (ids[0], "cancelled", "echo one", "2023-11-15T12:00:00Z"),
        ]
        plan = " ".join(row[-1] for row in d.sql("EXPLAIN QUERY PLAN " + documented(NEWEST)))
        assert "TEMP B-TREE" not in plan


async def test_the_table_is_what_the_rules_read(desk):
    """The same columns in the same order, with the same defaults."""
    async with desk() as d:
        declared = [row[1] for row in d.sql("PRAGMA table_info(schedules)")]
        assert tuple(declared[: declared.index("version")]) == ("id", *COLUMNS)
        d.sql("INSERT INTO schedules (id) VALUES ('s')")
        assert d.sql(f"SELECT {', '.join(COLUMNS)} FROM schedules") == [msgspec.structs.astuple(Row())]


# --- writing ------------------------------------------------------------------------------------------


async def test_every_column_means_what_it_says(desk):
    async with desk() as d:
        d.sql(
            "INSERT INTO schedules (id, cron, zone, dst, start_at, end_at, misfire, misfire_grace_s, overlap,"
            " jitter_s, paused, kind, payload, queue, tenant, priority, key, name, timeout_s, labels, policy)"
            " VALUES ('a', '0 3 * * *', 'Asia/Tokyo', 'skip', '2023-11-16 00:00:00',"
            " '2031-05-01T12:00:00+02:00',"
            " 'fire_all(7)', 12.5, 'queue', 1.5, 1, 'report', '[1]', 'q', 't', 9, 'k', 'n', 30,"
            ' \'{"x":"y"}\','
            " '{\"max_retries\":1}')",
            "INSERT INTO schedules (id, every_s, anchor_at) VALUES ('b', 90, '2023-11-15T12:00:30Z')",
            "INSERT INTO schedules (id, at) VALUES ('c', '2023-11-15 12:00:01.5')",
        )
        await d.tick(2)
        a, b, c = [await d.schedules.get(name) for name in "abc"]
        assert a.rules == Schedule(
            Timing(
                cron="0 3 * * *", zone="Asia/Tokyo", dst="skip", start_us=NOON_US + 720 * MINUTE_US,
                end_us=1_935_396_000_000_000,
            ),
            "fire_all", 7, 12_500_000, "queue", 1_500_000, paused=True,
        )  # fmt: skip
        assert a.template == Template(
            Lane("q", "report", "t", 9, "k"), b"[1]", b'{"max_retries":1}', 30_000_000, b'{"x":"y"}', "n"
        )
        assert [r.quarantine for r in (a, b, c)] == [None, None, None]
        assert b.next_us == NOON_US + MINUTE_US // 2
        assert await d.times("c") == [pytest.approx(0.025)]


async def test_rules_written_by_a_door_are_read_back_the_same(desk):
    """Else the firer would take each of them for an edit by hand."""
    async with desk() as d:
        record = await d.schedules.create(
            NewSchedule(
                Schedule(Timing(every_us=1_234_567, start_us=NOON_US + 1), jitter_us=3, misfire_grace_us=7),
                Template(Lane("default", "echo", "default", 5), timeout_us=1),
            ),
            "s",
        )
        assert record.rules == record.standing.rules
        await d.tick(10)
        assert (await d.schedules.get("s")).updated_at_us == record.updated_at_us


async def test_a_change_by_sql_outdates_a_decision_on_its_way(desk):
    async with desk() as d:
        d.sql("INSERT INTO schedules (id, every_s) VALUES ('s', 60)")
        await d.tick()
        before = await d.schedules.get("s")
        d.sql("UPDATE schedules SET every_s = 30 WHERE id = 's'")
        after = await d.schedules.get("s")
        assert after.version > before.version
        assert (after.updated_at_us, after.rules.timing.every_us) == (None, 30_000_000)
        assert after.standing == before.standing
        await d.tick()
        await d.tick(31)
        assert await d.times("s") == [0.5]


async def test_the_old_rules_decide_up_to_the_change(desk):
    """The firer was away while the row was changed twice."""
    async with desk() as d:
        d.sql("INSERT INTO schedules (id, every_s) VALUES ('s', 60)")
        await d.tick()
        d.clock.elapsed += 61
        d.sql(
            "UPDATE schedules SET every_s = 7 WHERE id = 's'",
            "UPDATE schedules SET every_s = 40 WHERE id = 's'",
        )
        await d.tick()
        assert await d.times("s") == [1]
        await d.tick(30)
        await d.tick(30)
        assert await d.times("s") == [1, pytest.approx(80 / 60), 2]


async def test_a_pause_by_sql(desk):
    async with desk() as d:
        d.sql("INSERT INTO schedules (id, every_s) VALUES ('s', 60)")
        await d.tick()
        d.clock.elapsed += 61
        d.sql("UPDATE schedules SET paused = 1 WHERE id = 's'")
        await d.tick()
        await d.tick(120)
        d.sql("UPDATE schedules SET paused = 0 WHERE id = 's'")
        await d.tick()
        await d.tick(60)
        assert await d.times("s") == [1, 4]
        skipped = [r for r in (await d.schedules.fires("s")).fires if r.reason]
        assert [(r.reason, r.count) for r in skipped] == [("paused", 2)]


async def test_deleted_and_written_anew_between_reading_and_writing(desk):
    """The decision was about the row that is gone; the number of the new one is another."""
    async with desk() as d:
        d.sql("INSERT INTO schedules (id, every_s) VALUES ('s', 60)")
        versions = {(await d.schedules.get("s")).version}
        for _ in range(3):
            d.sql(
                "DELETE FROM schedules WHERE id = 's'", "INSERT INTO schedules (id, every_s) VALUES ('s', 60)"
            )
            versions.add((await d.schedules.get("s")).version)
        d.sql("INSERT OR REPLACE INTO schedules (id, every_s) VALUES ('s', 60)")
        versions.add((await d.schedules.get("s")).version)
        assert len(versions) == 5


async def test_a_row_deleted_by_sql_takes_its_records_along(desk):
    async with desk() as d:
        d.sql("INSERT INTO schedules (id, every_s) VALUES ('s', 60)")
        await d.tick()
        await d.tick(61)
        assert d.sql("SELECT count(*) FROM fires") == [(1,)]
        d.sql("DELETE FROM schedules")
        assert d.sql("SELECT count(*) FROM fires") == [(0,)]
        await d.tick(61)
        assert d.sql("SELECT count(*) FROM tasks") == [(1,)]


async def test_triggers_that_trigger_themselves_end(desk):
    """Some connections have them switched on."""
    async with desk() as d:
        upsert = documented("INSERT INTO schedules")
        for _ in range(2):
            d.sql("PRAGMA recursive_triggers = ON", upsert)
        await d.tick()
        assert (await d.schedules.get("hello")).quarantine is None


async def test_numbers_minted_by_sql_stay_unique(desk):
    """A plain row takes its version from the store's own numbers: a writer at work sees that they moved."""
    async with desk() as d:
        seen = set()
        for n in range(5):
            d.sql(f"INSERT INTO schedules (id, every_s) VALUES ('s{n}', 60)")
            seen.add((await d.schedules.get(f"s{n}")).version)
            seen.add((await d.schedules.create(every(60))).version)
        assert len(seen) == 10


# --- what cannot be obeyed ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "values", "reason"),
    [
        ("cron", "'nonsense'", "cron:"),
        ("cron, zone", "'* * * * *', 'Mars/Olympus'", "zone: no such time zone"),
        ("cron, every_s", "'* * * * *', 60", "cron and every exclude each other"),
        ("kind", "'echo'", "no cron, every or at is given"),
        ("every_s", "-1", "every: out of range"),
        ("every_s", "9e999", "every: out of range"),
        ("at", "'tomorrow'", "at: not a time"),
        ("every_s, start_at", "60, '31.12.2031'", "start: not a time"),
        ("every_s, start_at", "60, '0001-01-01T00:00:00+14:00'", "start: out of range"),
        ("at", "'9999-12-31T23:59:59-14:00'", "at: out of range"),
        ("every_s, end_at", "60, '2001-01-01'", "end: the schedule never fires"),
        ("every_s, misfire", "60, 'sometimes'", "misfire:"),
        ("every_s, misfire", "60, 'fire_all(0)'", "misfire_limit:"),
        ("every_s, overlap", "60, 'never'", "overlap:"),
        ("every_s, jitter_s", "60, 1e9", "jitter:"),
        ("every_s, priority", "60, 11", "priority: out of range"),
        ("every_s, payload", "60, '{'", "payload: not JSON"),
        ("every_s, payload", "60, ''", "payload: not JSON"),
        ("every_s, payload", '60, \'{"a":1,"a":2}\'', "payload: the key appears twice"),
        ("every_s, labels", "60, '[1]'", "labels:"),
        ("every_s, policy", "60, 'none'", "policy:"),
        ("every_s, policy", "60, '{\"max_retries\":-1}'", "max_retries:"),
        ("every_s, kind", "60, 'no kind'", "kind: not a name"),
        ("every_s, queue", "60, ''", "queue: not a name"),
        ("every_s, timeout_s", "60, 0", "timeout:"),
        ("every_s, standing", "60, 'broken'", "standing:"),
        # `täglich` as a terminal of another age sends it.
        ("every_s, name", "60, CAST(x'74e4676c696368' AS TEXT)", "name: not text in UTF-8"),
        ("cron", "CAST(x'ff' AS TEXT)", "cron: not text in UTF-8"),
        ("every_s, payload", "60, CAST(x'22e422' AS TEXT)", "payload: not text in UTF-8"),
    ],
)
async def test_a_broken_row_is_quarantined_and_stops_nobody_else(desk, columns, values, reason):
    async with desk() as d:
        d.sql("INSERT INTO schedules (id, every_s) VALUES ('good', 60)")
        d.sql(f"INSERT INTO schedules (id, {columns}) VALUES ('bad', {values})")
        await d.tick()
        await d.tick(61)
        record = await d.schedules.get("bad")
        assert reason in record.quarantine
        assert record.next_us is None
        assert json.loads(encode(schedule_view(record)))["quarantine"] == record.quarantine
        assert await d.times("good") == [1]
        assert (await d.schedules.fires("bad")).fires == []
        # Mended by a door or by SQL, it fires like any other.
        if "standing" in columns:
            d.sql("UPDATE schedules SET standing = NULL WHERE id = 'bad'")
        else:
            d.sql("INSERT OR REPLACE INTO schedules (id, every_s) VALUES ('bad', 60)")
        await d.tick()
        assert (await d.schedules.get("bad")).quarantine is None
        await d.tick(60)
        assert await d.times("bad") == [2]


async def test_an_id_that_no_door_could_name(desk):
    async with desk() as d:
        d.sql("INSERT INTO schedules (id, every_s) VALUES ('no id', 60)")
        await d.tick()
        ((quarantine,),) = d.sql("SELECT quarantine FROM schedules")
        assert quarantine.startswith("id: not a key")


async def test_an_id_that_is_no_text_is_passed_over(desk):
    """Nobody could speak of it. It stops nobody: neither the others, nor the firer's sleep, nor the audit."""
    async with desk() as d:
        d.sql("INSERT INTO schedules (id, every_s) VALUES (CAST(x'e4' AS TEXT), 60), ('good', 60)")
        await d.tick()
        assert await d.firer.tick() >= 1.0
        await d.tick(61)
        assert await d.times("good") == [1]
        assert [record.id for record in (await d.schedules.find()).schedules] == ["good"]
        examined = await examine(d.store)
        assert examined.findings == []


async def test_what_is_the_schedulers_own_is_damaged_if_it_is_no_text(desk):
    async with desk() as d:
        d.sql("INSERT INTO schedules (id, every_s, last_task) VALUES ('s', 60, CAST(x'ff' AS TEXT))")
        with pytest.raises(StoreCorrupt, match="run mainspring doctor"):
            await d.schedules.get("s")


async def test_a_typing_error_is_mended_at_the_door(desk):
    async with desk() as d:
        d.sql("INSERT INTO schedules (id, cron, payload) VALUES ('s', '61 * * * *', '7')")
        await d.tick()
        mended = await d.schedules.update("s", SchedulePatch(cron="1 * * * *"))
        assert (mended.quarantine, mended.template.payload) == (None, b"7")
        await d.tick(61)
        assert await d.times("s") == [1]


async def test_a_row_that_breaks_keeps_its_standing(desk):
    """Mended, the time between is judged by the rules that were in force: one fire was missed."""
    async with desk() as d:
        d.sql("INSERT INTO schedules (id, every_s) VALUES ('s', 60)")
        await d.tick()
        d.sql("UPDATE schedules SET zone = 'Nowhere' WHERE id = 's'")
        await d.tick(1)
        await d.tick(600)
        assert await d.times("s") == []
        d.sql("UPDATE schedules SET zone = 'UTC' WHERE id = 's'")
        await d.tick()
        assert await d.times("s") == [10]


@pytest.mark.parametrize("values", ["'x', 'soon'", "'x', X'00'"])
async def test_a_wrong_type_is_refused_by_the_table(desk, values):
    async with desk() as d:
        with pytest.raises(AssertionError, match="IntegrityError"):
            d.sql(f"INSERT INTO schedules (id, every_s) VALUES ({values})")


# --- beside a node that runs --------------------------------------------------------------------------


async def test_a_sleeping_firer_is_woken_by_a_row(tmp_path, monkeypatch):
    """Nothing but the hint can wake it: it would sleep for an hour."""
    monkeypatch.setattr("mainspring.services.firer.LONGEST_S", 3600.0)
    clock = SystemClock()
    store = open_store(f"sqlite:///{tmp_path / 'scheduler.db'}", clock)
    await store.open()
    d = Desk(tmp_path / "scheduler.db", store, clock)
    await d.scheduler.start()
    loop = ServiceLoop(d.firer, clock)
    d.scheduler.on_hint = loop.wake
    loop.start()
    try:
        d.sql("INSERT INTO schedules (id, at) VALUES ('s', '2001-01-01')")
        while (await d.schedules.get("s")).last_task is None:
            pass
        # So does one made by hand.
        soon = Schedule(Timing(at_us=clock.now_us() + 50_000))
        record = await d.schedules.create(NewSchedule(soon, every(1).template))
        while (await d.schedules.get(record.id)).last_task is None:
            pass
    finally:
        await loop.stop()
        await d.scheduler.close()
        await store.close()
