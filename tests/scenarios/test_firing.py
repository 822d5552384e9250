"""The firer and schedules by hand, over real stores on a virtual clock: each fire time is a task or a skip,
whatever happens in between."""

import asyncio
import logging
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from mainspring.clock import VirtualClock
from mainspring.core.lifecycle import Outcome, Report
from mainspring.core.limits import LimitRule
from mainspring.core.model import Lane, State
from mainspring.core.schedules import Schedule
from mainspring.core.templates import Template
from mainspring.core.timing import Timing, next_fires
from mainspring.election.store import TTL_S, StoreElector
from mainspring.errors import (
    BacklogFull,
    Conflict,
    InvalidInput,
    NotFound,
    StoreUnavailable,
    VersionMismatch,
    WrongState,
)
from mainspring.ports import ClaimRequest, NewSchedule
from mainspring.scheduler import SchedulePatch, Scheduler, SchedulerSettings
from mainspring.services import Firer
from mainspring.stores import open_store
from mainspring.telemetry import Metrics

LANE = Lane("default", "echo", "default", 5)
TEMPLATE = Template(LANE, b'{"n":1}')
MINUTE_US = 60_000_000
# Noon UTC, on the minute.
NOON_US = 1_700_049_600_000_000


def every(seconds=60, **rules):
    return NewSchedule(Schedule(Timing(every_us=seconds * 1_000_000), **rules), TEMPLATE)


def at(instant_us, **rules):
    return NewSchedule(Schedule(Timing(at_us=instant_us), **rules), TEMPLATE)


class Flaky:
    """A line to the store that breaks before or after the next call of a verb, or lets something happen
    first."""

    def __init__(self, store):
        self._store = store
        self.breaks_before = self.breaks_after = ""
        self.first = None

    def __getattr__(self, name):
        verb = getattr(self._store, name)
        if name not in (self.breaks_before, self.breaks_after) and not (name == "fire" and self.first):
            return verb

        async def broken(*args):
            if self.first is not None:
                first, self.first = self.first, None
                await first()
            if name == self.breaks_before:
                self.breaks_before = ""
                raise StoreUnavailable("broken on the way there")
            answer = await verb(*args)
            if name == self.breaks_after:
                self.breaks_after = ""
                raise StoreUnavailable("broken on the way back")
            return answer

        return broken


class Desk:
    """One scheduler and its firer over a store."""

    def __init__(self, store, clock, name="node", elected=False):
        self.line = Flaky(store)
        self.clock = clock
        self.claims = 0
        self.metrics = Metrics()
        self.elector = StoreElector(self.line, clock, name) if elected else None
        settings = SchedulerSettings(node_id=name)
        self.scheduler = Scheduler(self.line, clock, settings, self.elector, self.metrics)
        self.schedules = self.scheduler.schedules
        self.firer = Firer(self.line, self.scheduler, self.elector, clock, self.metrics)

    async def settle(self):
        """Tick until nothing is due."""
        for _ in range(100):
            if await self.firer.tick() > 0.0:
                return
        raise AssertionError("the firer comes to no end")

    async def run(self, seconds, step=1.0):
        """Let time pass, ticking as it goes."""
        for _ in range(int(seconds / step)):
            self.clock.elapsed += step
            await self.settle()

    async def records(self, schedule="s"):
        return list(reversed((await self.schedules.fires(schedule, 10_000)).fires))

    async def times(self, schedule="s"):
        """The fire times that became tasks, in minutes from noon."""
        tasks = [record.task for record in await self.records(schedule) if record.task]
        stored = await self.line.get(tasks)
        assert all(task is not None and task.schedule_id == schedule for task in stored)
        return [(task.fire_at_us - NOON_US) / MINUTE_US for task in stored]

    async def skips(self, schedule="s"):
        """Reason, first and last in minutes from noon, and how many."""
        return [
            (r.reason, (r.first_us - NOON_US) / MINUTE_US, (r.last_us - NOON_US) / MINUTE_US, r.count)
            for r in await self.records(schedule)
            if r.reason
        ]

    async def claim(self, count=10):
        self.claims += 1
        return await self.scheduler.claim(ClaimRequest("w", "w", self.claims, ("echo",), (), count))

    async def finish(self, leases):
        await self.scheduler.settle([Report(lease.task, lease.token, Outcome.SUCCEEDED) for lease in leases])


@pytest.fixture(params=["memory", "sqlite"])
def url(request, tmp_path):
    return "memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'm.db'}"


@asynccontextmanager
async def opened(url):
    clock = VirtualClock(1, NOON_US)
    store = open_store(url, clock)
    await store.open()
    try:
        yield store, clock
    finally:
        await store.close()


@asynccontextmanager
async def desk(url, **options):
    async with opened(url) as (store, clock):
        found = Desk(store, clock, **options)
        await found.scheduler.start()
        try:
            yield found
        finally:
            await found.scheduler.close()


# --- by hand ------------------------------------------------------------------------------------------


async def test_created_read_and_deleted(url):
    async with desk(url) as d:
        record = await d.schedules.create(every())
        assert record == await d.schedules.get(record.id)
        assert record.next_us == NOON_US + MINUTE_US
        assert d.schedules.preview(record, 3) == next_fires(record.rules.timing, NOON_US, 3)
        named = await d.schedules.create(every(), "nightly")
        assert {r.id for r in (await d.schedules.find()).schedules} == {record.id, "nightly"}
        with pytest.raises(Conflict):
            await d.schedules.create(every(), "nightly")
        with pytest.raises(VersionMismatch):
            await d.schedules.delete("nightly", named.version - 1)
        assert await d.schedules.delete("nightly", named.version) == named
        for call in (
            d.schedules.get,
            d.schedules.delete,
            d.schedules.fires,
            d.schedules.trigger,
            d.schedules.pause,
        ):
            with pytest.raises(NotFound):
                await call("nightly")


@pytest.mark.parametrize(
    ("new", "field"),
    [
        (NewSchedule(Schedule(Timing(cron="61 * * * *")), TEMPLATE), "cron"),
        (NewSchedule(Schedule(Timing(cron="0 0 30 2 *")), TEMPLATE), "cron"),
        (NewSchedule(Schedule(Timing(cron="* * * * *" + " " * 300)), TEMPLATE), "cron"),
        (NewSchedule(Schedule(Timing(cron="* * * * *", zone="Mars")), TEMPLATE), "zone"),
        (NewSchedule(Schedule(Timing(every_us=60_000_000, end_us=NOON_US)), TEMPLATE), "end"),
        (every(overlap="maybe"), "overlap"),
        (NewSchedule(every().rules, Template(LANE._replace(kind="no kind"))), "kind"),
        (NewSchedule(every().rules, Template(LANE._replace(priority=11))), "priority"),
        (NewSchedule(every().rules, Template(LANE, b'{"a":1,"a":2}')), "payload"),
        (
            NewSchedule(every().rules, Template(LANE, policy=b'{"retry":{"strategy":"never"}}')),
            "retry.strategy",
        ),
    ],
)
async def test_what_cannot_be_obeyed_is_refused_and_changes_nothing(url, new, field):
    async with desk(url) as d:
        with pytest.raises(InvalidInput) as refused:
            await d.schedules.create(new, "new")
        assert refused.value.field == field
        record = await d.schedules.create(every(), "s")
        with pytest.raises(InvalidInput) as refused:
            await d.schedules.put("s", new)
        assert refused.value.field == field
        assert await d.schedules.get("s") == record
        assert [r.id for r in (await d.schedules.find()).schedules] == ["s"]


async def test_an_instant_that_has_passed_is_due_at_once(url):
    async with desk(url) as d:
        record = await d.schedules.create(at(NOON_US - MINUTE_US), "s")
        assert record.next_us is None
        assert await d.times() == [-1]
        await d.run(120, 30)
        assert await d.times() == [-1]


async def test_put_creates_and_replaces(url):
    async with desk(url) as d:
        with pytest.raises(NotFound):
            await d.schedules.put("s", every(), version=7)
        first = await d.schedules.put("s", every())
        d.clock.elapsed += 90
        second = await d.schedules.put("s", every(3600), first.version)
        assert second.rules.timing.every_us == 3_600_000_000
        assert await d.times() == [1]
        with pytest.raises(VersionMismatch):
            await d.schedules.put("s", every(), first.version)


async def test_a_patch_changes_what_it_names(url):
    async with desk(url) as d:
        record = await d.schedules.create(every(overlap="skip"), "s")
        patch = SchedulePatch(cron="0 3 * * *", payload=b"2", max_retries=7, priority=9)
        changed = await d.schedules.update("s", patch, record.version)
        assert (changed.rules.timing.cron, changed.rules.timing.every_us) == ("0 3 * * *", None)
        assert changed.rules.overlap == "skip"
        assert (changed.template.payload, changed.template.lane.priority) == (b"2", 9)
        assert changed.template.policy == b'{"max_retries":7}'
        assert changed.next_us == NOON_US + 15 * 60 * MINUTE_US
        again = await d.schedules.update("s", patch)
        assert again == changed
        with pytest.raises(VersionMismatch):
            await d.schedules.update("s", SchedulePatch(zone="Asia/Tokyo"), record.version)
        with pytest.raises(InvalidInput):
            await d.schedules.update("s", SchedulePatch(zone="Asia/Tokio"))


async def test_an_edit_loses_no_fire_and_makes_none_twice(url):
    """The old rules decide up to now, whatever the firer has seen of it."""
    async with desk(url) as d:
        await d.schedules.create(every(60), "s")
        d.clock.elapsed += 90
        await d.schedules.update("s", SchedulePatch(every_us=20_000_000))
        await d.run(60)
        assert await d.times() == [1, pytest.approx(100 / 60), 2, pytest.approx(140 / 60)]
        d.clock.elapsed += 29
        await d.schedules.update("s", SchedulePatch(every_us=60_000_000))
        await d.run(61)
        assert (await d.times())[4:] == [pytest.approx(160 / 60), 3, 4]


async def test_pause_and_resume(url):
    async with desk(url) as d:
        await d.schedules.create(every(), "s")
        d.clock.elapsed += 61
        paused = await d.schedules.pause("s")
        assert (paused.rules.paused, paused.next_us) == (True, None)
        assert await d.schedules.pause("s") == paused
        assert await d.times() == [1]
        await d.run(600, 60)
        resumed = await d.schedules.resume("s")
        assert resumed.next_us == NOON_US + 12 * MINUTE_US
        await d.run(120, 30)
        assert await d.times() == [1, 12, 13]
        assert await d.skips() == [("paused", 2, 11, 10)]


async def test_skip_next_and_skip_until(url):
    async with desk(url) as d:
        await d.schedules.create(every(), "s")
        skipped = await d.schedules.skip_next("s")
        assert (await d.schedules.skip_next("s")).standing == skipped.standing
        assert d.schedules.preview(skipped, 2) == [NOON_US + 2 * MINUTE_US, NOON_US + 3 * MINUTE_US]
        await d.run(130, 10)
        await d.schedules.skip_until("s", NOON_US + 5 * MINUTE_US)
        await d.run(240, 10)
        assert await d.times() == [2, 6]
        assert [skip[:3] for skip in await d.skips()] == [
            ("by_hand", 1, 1), ("by_hand", 3, 3), ("by_hand", 4, 4), ("by_hand", 5, 5),
        ]  # fmt: skip
        over = await d.schedules.create(at(NOON_US), "over")
        with pytest.raises(WrongState):
            await d.schedules.skip_next(over.id)


async def test_trigger_leaves_the_cursor_where_it_is(url):
    async with desk(url) as d:
        await d.schedules.create(every(overlap="skip"), "s")
        d.clock.elapsed += 30
        first, second = await d.schedules.trigger("s"), await d.schedules.trigger("s")
        assert first.schedule_id == second.schedule_id == "s"
        assert NOON_US + 30_000_000 <= first.fire_at_us < second.fire_at_us < NOON_US + 31_000_000
        assert [first.state, second.state] == [State.READY, State.READY]
        record = await d.schedules.get("s")
        assert (record.next_us, record.last_task) == (NOON_US + MINUTE_US, second.id)
        # What was made by hand counts as unfinished.
        await d.run(60, 10)
        assert await d.skips() == [("overlap", 1, 1, 1)]


async def test_trigger_of_a_paused_one_and_on_a_fire_time(url):
    async with desk(url) as d:
        await d.schedules.create(every(paused=True), "s")
        d.clock.elapsed += 60
        task = await d.schedules.trigger("s")
        assert task.fire_at_us == NOON_US + MINUTE_US + 1
        await d.schedules.resume("s")
        await d.run(60, 10)
        assert (await d.times())[1:] == [2]
        assert await d.skips() == [("paused", 1, 1, 1)]


async def test_a_change_while_the_firer_fires(url):
    """Somebody decides between this one's reading and its writing: it reads again."""
    async with desk(url) as d:
        await d.schedules.create(every(), "s")
        d.clock.elapsed += 61
        other = Desk(d.line._store, d.clock)
        d.line.first = other.settle
        record = await d.schedules.pause("s")
        assert record.rules.paused
        assert await d.times() == [1]
        stale = record.version
        d.line.first = lambda: other.schedules.resume("s")
        with pytest.raises(VersionMismatch):
            await d.schedules.update("s", SchedulePatch(misfire="skip"), stale)


# --- firing -------------------------------------------------------------------------------------------


async def test_a_frequent_schedule_is_on_time(url):
    """The firer sleeps until the fire that follows the one it has just made, though nobody else wakes it."""
    async with desk(url) as d:
        await d.schedules.create(every(1), "s")
        for second in range(1, 8):
            while (delay_s := await d.firer.tick()) == 0.0:
                pass
            assert delay_s <= 1.0
            d.clock.elapsed = float(second)
        await d.settle()
        assert await d.times() == [pytest.approx(second / 60) for second in range(1, 8)]


async def test_fires_come_once_each(url):
    """S1-11, S1-58."""
    async with desk(url) as d:
        for n in range(5):
            await d.schedules.create(every(60 * (n + 1)), f"s{n}")
        await d.run(600, 7)
        for n in range(5):
            assert await d.times(f"s{n}") == [float(m) for m in range(n + 1, 10, n + 1)]


@pytest.mark.parametrize(
    ("rules", "made", "skipped"),
    [
        ({"misfire": "skip"}, [180], [("missed", 5, 175, 35)]),
        ({"misfire": "fire_once"}, [180], [("coalesced", 5, 175, 35)]),
        ({"misfire": "fire_all", "misfire_limit": 3}, [165, 170, 175, 180], [("over_limit", 5, 160, 32)]),
        ({"misfire": "fire_all", "misfire_limit": 1000}, list(range(5, 181, 5)), []),
    ],
)
async def test_stopped_for_three_hours(url, rules, made, skipped):
    """Exactly the fires that the policy names. The last one is only just on time."""
    async with desk(url) as d:
        await d.schedules.create(every(300, **rules), "s")
        d.clock.elapsed += 3 * 3600 + 5
        await d.settle()
        assert await d.times() == made
        assert await d.skips() == skipped
        await d.run(300, 20)
        assert await d.times() == [*made, 185]


@pytest.mark.parametrize(
    ("rules", "made", "skipped"),
    [
        ({"misfire": "skip"}, [], [("missed", 7, 175, 25)]),
        ({"misfire": "fire_once"}, [175], [("coalesced", 7, 168, 24)]),
        ({"misfire": "fire_all", "misfire_limit": 2}, [168, 175], [("over_limit", 7, 161, 23)]),
    ],
)
async def test_stopped_for_three_hours_with_none_on_time(url, rules, made, skipped):
    timing = Timing(every_us=420_000_000, anchor_us=NOON_US)
    async with desk(url) as d:
        await d.schedules.create(NewSchedule(Schedule(timing, **rules), TEMPLATE), "s")
        d.clock.elapsed += 3 * 3600
        await d.settle()
        assert await d.times() == made
        assert await d.skips() == skipped


@pytest.mark.parametrize(
    ("overlap", "after"),
    [
        ("allow", {"ready": 5}),
        ("skip", {"ready": 1}),
        ("queue", {"ready": 1, "blocked": 4}),
        ("cancel", {"cancelled": 1, "ready": 1}),
    ],
)
async def test_overlap_right_after_a_restart(tmp_path, overlap, after):
    """What is unfinished is the store's word: a new process knows it as the old one did."""
    url = f"sqlite:///{tmp_path / 'm.db'}"
    async with desk(url) as d:
        await d.schedules.create(
            every(overlap=overlap, misfire="fire_all", misfire_grace_us=3_600_000_000), "s"
        )
        d.clock.elapsed += 61
        await d.settle()
        elapsed = d.clock.elapsed
    async with desk(url) as d:
        d.clock.elapsed = elapsed + 240
        await d.settle()
        tasks = [record.task for record in await d.records() if record.task]
        states = [task.state.label for task in await d.line.get(tasks)]
        assert Counter(states) == after


async def test_a_queue_of_tasks_runs_one_after_another(url):
    async with desk(url) as d:
        await d.schedules.create(every(overlap="queue"), "s")
        await d.run(200, 20)
        order = []
        while leases := await d.claim():
            assert len(leases) == 1
            order += [leases[0].fire_at_us]
            await d.finish(leases)
        assert order == [NOON_US + n * MINUTE_US for n in (1, 2, 3)]


async def test_jitter_moves_the_run_and_not_the_time(url):
    async with desk(url) as d:
        await d.schedules.create(every(jitter_us=30_000_000), "s")
        await d.run(600, 5)
        tasks = await d.line.get([record.task for record in await d.records()])
        assert [task.fire_at_us for task in tasks] == [NOON_US + n * MINUTE_US for n in range(1, 11)]
        delays = {task.run_at_us - task.fire_at_us for task in tasks}
        assert len(delays) > 5
        assert all(0 <= delay <= 30_000_000 for delay in delays)


async def test_a_full_queue_skips_the_fire(url):
    """Neither a task nor silence: a skip with its reason, and the next one is tried as ever."""
    async with desk(url) as d:
        await d.scheduler.set_limit("queue:default", LimitRule(max_waiting=1))
        await d.schedules.create(every(), "s")
        await d.run(130, 10)
        assert await d.times() == [1]
        assert await d.skips() == [("backlog_full", 2, 2, 1)]
        with pytest.raises(BacklogFull):
            await d.schedules.trigger("s")
        await d.finish(await d.claim())
        await d.run(60, 10)
        assert await d.times() == [1, 3]


async def test_many_due_at_once(url):
    """More than one batch, and more tasks than one call writes."""
    async with desk(url) as d:
        for n in range(450):
            await d.schedules.create(every(), f"s{n}")
        await d.schedules.create(every(1, misfire="fire_all", misfire_limit=1000), "busy")
        d.clock.elapsed += 2000
        await d.settle()
        assert len(await d.times("busy")) == 1031
        for n in range(0, 450, 50):
            assert await d.times(f"s{n}") == [33]


async def test_what_is_made_up_for_is_decided_as_it_is_written(url):
    """After an outage many schedules owe many fires: other work gets its turn between their calls."""
    async with opened(url) as (store, clock):
        minted = []
        mint, clock.new_id = clock.new_id, lambda: minted.append(mint()) or minted[-1]
        d = Desk(store, clock)
        for number in range(4):
            await d.schedules.create(every(misfire="fire_all", misfire_limit=600), f"s{number}")
        clock.elapsed += 36_000.5
        before, at_first_write = len(minted), []

        async def note():
            at_first_write.append(len(minted) - before)

        d.line.first = note
        await d.settle()
        made = [len(await d.times(f"s{number}")) for number in range(4)]
        assert made == [600] * 4
        assert at_first_write[0] <= 2 * 601, (
            "two schedules' tasks and marks: one call, and what showed its end"
        )


async def test_it_sleeps_until_the_next_fire_but_looks_now_and_then(url):
    async with desk(url) as d:
        assert await d.firer.tick() == 2.5
        await d.schedules.create(every(), "s")
        assert await d.firer.tick() == 2.5
        d.clock.elapsed += 59.75
        assert await d.firer.tick() == pytest.approx(0.25)


# --- quarantine ---------------------------------------------------------------------------------------


async def test_a_broken_schedule_stops_nobody_else(url, caplog, monkeypatch):
    """Its zone is gone, as after the removal of a package: told once, and it fires again when it is back."""
    from mainspring.core import timing

    caplog.set_level(logging.INFO, "mainspring")
    async with desk(url) as d:
        await d.schedules.create(
            NewSchedule(Schedule(Timing(cron="* * * * *", zone="Europe/Berlin")), TEMPLATE), "berlin"
        )
        await d.schedules.create(every(), "s")
        known = timing.zone_of
        timing._line.cache_clear()

        def lost(name):
            if name == "Europe/Berlin":
                raise InvalidInput("zone", "no such time zone: 'Europe/Berlin'")
            return known(name)

        monkeypatch.setattr(timing, "zone_of", lost)
        await d.run(130, 10)
        assert await d.times("s") == [1, 2]
        assert await d.times("berlin") == []
        record = await d.schedules.get("berlin")
        assert record.quarantine == "zone: no such time zone: 'Europe/Berlin'"
        assert (record.next_us, d.schedules.preview(record, 3)) == (None, [])
        for call in (d.schedules.trigger, d.schedules.skip_next):
            with pytest.raises(WrongState, match="quarantine"):
                await call("berlin")
        await d.run(700, 50)
        told = [r for r in caplog.records if r.message == "schedule quarantined"]
        assert [(r.schedule, r.levelname) for r in told] == [("berlin", "WARNING")]
        assert b"mainspring_schedules_quarantined_total 1.0" in d.metrics.expose("")[0]
        monkeypatch.setattr(timing, "zone_of", known)
        await d.run(700, 50)
        assert (await d.schedules.get("berlin")).quarantine is None
        assert [r.schedule for r in caplog.records if r.message == "schedule mended"] == ["berlin"]
        assert len(await d.times("berlin")) > 0
        assert b'mainspring_schedule_skips_total{reason="coalesced"}' in d.metrics.expose("")[0]


async def test_a_schedule_that_breaks_the_rules_themselves_stops_nobody_else(url, monkeypatch):
    """An error that nobody foresaw is one schedule's, too."""
    from mainspring.scheduler import firing

    decide = firing.decide

    def broken(standing, schedule, now_us):
        if schedule == "bad":
            raise OverflowError("date value out of range")
        return decide(standing, schedule, now_us)

    async with desk(url) as d:
        await d.schedules.create(every(), "bad")
        await d.schedules.create(every(), "s")
        monkeypatch.setattr(firing, "decide", broken)
        await d.run(130, 10)
        assert await d.times("s") == [1, 2]
        assert (await d.schedules.get("bad")).quarantine == "OverflowError: date value out of range"
        monkeypatch.setattr(firing, "decide", decide)
        mended = await d.schedules.update("bad", SchedulePatch(jitter_us=1))
        assert mended.quarantine is None
        await d.run(60, 10)
        assert (await d.times("bad"))[-1] == 3


# --- leaders, crashes, lost answers, clocks -----------------------------------------------------------


async def test_only_the_leader_fires_and_a_new_one_loses_no_fire(url):
    """The old leader dies; the new one leads within the time to live, and the grace is longer than that."""
    async with opened(url) as (store, clock):
        one, two = Desk(store, clock, "one", elected=True), Desk(store, clock, "two", elected=True)
        await one.schedules.create(every(10, misfire="skip"), "s")
        for n in range(100):
            clock.elapsed += 1
            for each in (one, two) if n < 43 else (two,):
                if n % 2 == 0:
                    await each.elector.campaign()
                await each.settle()
        assert two.elector.leads()
        assert await two.times() == [pytest.approx(n / 6) for n in range(1, 11)]
        assert await two.skips() == []


async def test_a_deposed_leader_that_wakes_up_late_writes_nothing(url):
    """It was frozen between reading and writing, for longer than its term; its clock stood still, too."""
    async with opened(url) as (store, clock):
        frozen = VirtualClock(2, NOON_US)
        old, new = Desk(store, frozen, "old", elected=True), Desk(store, clock, "new", elected=True)
        await old.elector.campaign()
        await new.schedules.create(every(), "s")
        clock.elapsed += 61 + TTL_S

        async def meanwhile():
            assert (await new.elector.campaign()).holder == "new"
            await new.schedules.update("s", SchedulePatch(payload=b"2"))

        old.line.first = meanwhile
        assert old.elector.leads()
        await old.firer.tick()
        assert await new.times() == [1]
        await old.firer.tick()
        await new.settle()
        assert await new.times() == [1]


async def test_a_crash_between_deciding_and_writing(url):
    async with desk(url) as d:
        await d.schedules.create(every(), "s")
        d.clock.elapsed += 61
        d.line.breaks_before = "fire"
        with pytest.raises(StoreUnavailable):
            await d.firer.tick()
        assert await d.times() == []
        again = Desk(d.line._store, d.clock)
        await again.settle()
        assert await again.times() == [1]


async def test_the_answer_of_fire_is_lost(url):
    async with desk(url) as d:
        await d.schedules.create(every(overlap="skip"), "s")
        d.clock.elapsed += 61
        d.line.breaks_after = "fire"
        with pytest.raises(StoreUnavailable):
            await d.firer.tick()
        await d.run(10)
        assert await d.times() == [1]
        assert await d.skips() == []


async def test_the_answer_to_a_change_by_hand_is_lost(url):
    async with desk(url) as d:
        d.line.breaks_after = "fire"
        with pytest.raises(StoreUnavailable):
            await d.schedules.put("s", every())
        d.clock.elapsed += 61
        d.line.breaks_after = "fire"
        with pytest.raises(StoreUnavailable):
            await d.schedules.pause("s")
        assert (await d.schedules.pause("s")).rules.paused
        assert (await d.schedules.put("s", every(paused=True))).rules.paused
        assert await d.times() == [1]


async def test_without_an_election_many_fire_at_once(url):
    """Everybody takes himself for the leader: nothing is lost, and nothing is doubled."""
    async with opened(url) as (store, clock):
        desks = [Desk(store, clock, f"n{n}") for n in range(4)]
        for n in range(20):
            await desks[0].schedules.create(every(10 + n, overlap=("allow", "queue")[n % 2]), f"s{n}")
        for step in range(60):
            clock.elapsed += 3
            await asyncio.gather(*[each.firer.tick() for each in desks])
            if step % 5 == 0:
                await asyncio.gather(*[each.schedules.trigger(f"s{step % 20}") for each in desks])
        for n in range(20):
            name, timing = f"s{n}", every(10 + n).rules.timing
            tasks = await store.get([record.task for record in await desks[0].records(name) if record.task])
            own = [t.fire_at_us for t in tasks if t.fire_at_us % 1_000_000 == 0]
            expected = [t for t in next_fires(timing, NOON_US, 100) if t <= NOON_US + 180_000_000]
            missing = [t for t in expected if t not in own]
            assert own == sorted(set(own))
            assert [t for t in missing if t <= NOON_US + 177_000_000] == []
            assert await desks[0].skips(name) == []


async def test_the_stores_clock_steps_back(url):
    """Everything up to the cursor is decided, whatever the time is said to be."""
    async with desk(url) as d:
        await d.schedules.create(every(), "s")
        await d.run(130, 10)
        d.clock.offset_us -= 100 * MINUTE_US
        await d.settle()
        await d.schedules.update("s", SchedulePatch(payload=b"2"))
        await d.settle()
        assert await d.times() == [1, 2]
        d.clock.offset_us += 100 * MINUTE_US
        await d.run(60, 10)
        assert await d.times() == [1, 2, 3]
