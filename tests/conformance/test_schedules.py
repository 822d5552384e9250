"""Schedules: what is due, and decisions that are written whole or not at all, each fire time once."""

import asyncio

import msgspec
import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.core.limits import LimitRule
from mainspring.core.model import OnParentFailure, State, decode_policy
from mainspring.core.schedules import Schedule, Skip, begin, decide
from mainspring.core.templates import Template
from mainspring.core.timing import Timing
from mainspring.scheduler.firing import due_line, line_of
from mainspring.verbs import (
    FIRES_KEPT,
    Action,
    Existing,
    Fired,
    FireLine,
    FireRecord,
    FireTask,
    Force,
    Idempotency,
    NewSchedule,
    Refused,
    Retention,
    ScheduleRecord,
    SeenSchedule,
)
from tests.conformance.bench import LANE

pytestmark = pytest.mark.verbs(
    "due_schedules", "schedules", "find_schedules", "fire", "delete_schedule", "fires", "get"
)
TEMPLATE = Template(LANE, b'{"n":1}')
EVERY = Schedule(Timing(every_us=60_000_000))


class Clerk:
    """Writes what the rules decide, as the firer and the doors do."""

    def __init__(self, bench):
        self.bench = bench
        self.store = bench.store

    async def see(self, schedule):
        found = await self.store.schedules([schedule])
        return found.schedules[0], found.now_us

    async def record(self, schedule):
        return (await self.see(schedule))[0].record

    async def line(self, schedule, rules=EVERY, template=TEMPLATE):
        """The line that makes a schedule or changes it."""
        seen, now_us = await self.see(schedule)
        if seen is None:
            if rules.timing == EVERY.timing:
                # Whole minutes begin when they like: by two of them 61 seconds may go.
                rules = msgspec.structs.replace(rules, timing=Timing(every_us=60_000_000, anchor_us=now_us))
            seen = SeenSchedule(ScheduleRecord(schedule, rules, template, 0))
            decision = decide(begin(rules, now_us), schedule, now_us)
        else:
            decision = decide(seen.record.standing, schedule, now_us)
        return line_of(seen, decision, self.bench.clock.new_id, NewSchedule(rules, template))

    async def create(self, schedule="s", rules=EVERY, template=TEMPLATE):
        (answer,) = (await self.fire(await self.line(schedule, rules, template))).answers
        assert isinstance(answer, int), answer
        return answer

    async def decide(self, schedule="s"):
        """What is to be written about the schedule now."""
        seen, now_us = await self.see(schedule)
        return due_line(seen, now_us, self.bench.clock.new_id)

    async def fire(self, *lines, term=None) -> Fired:
        fired = await self.store.fire(lines, term)
        self.bench._learn(fired.ready)
        return fired

    async def tasks(self, schedule="s"):
        """The tasks of the schedule's fires, oldest first."""
        page = await self.store.fires(schedule, 10_000, None)
        return [record.task for record in reversed(page.fires) if record.task is not None]


@pytest.fixture
def clerk(bench):
    return Clerk(bench)


def made(clerk, fire_us, **fields):
    return FireTask(fire_us, clerk.bench.task(**fields))


# --- what is stored -----------------------------------------------------------------------------------


async def test_a_schedule_is_kept_as_it_was_given(clerk):
    rules = Schedule(
        Timing(cron="*/5 3 * * mon", zone="Europe/Berlin", dst="both", start_us=10**15, end_us=4 * 10**15),
        "fire_all", 7, 12_500_000, "queue", 1_500_000, paused=True,
    )  # fmt: skip
    template = Template(
        LANE._replace(key="k", tenant="acme", priority=9), b'{"x":"\xc3\xa9"}', b'{"max_retries":1}',
        5_000_000, b'{"team":"ops"}', "nightly",
    )  # fmt: skip
    line = await clerk.line("nightly", rules, template)
    assert (await clerk.fire(line)).answers == [(await clerk.record("nightly")).version]
    record = await clerk.record("nightly")
    assert (record.rules, record.template) == (rules, template)
    assert record.standing == line.standing
    assert (record.quarantine, record.last_fire_us, record.last_task) == (None, None, None)
    assert record.created_at_us == record.updated_at_us > 0


@pytest.mark.parametrize(
    "timing", [Timing(every_us=1_000_001), Timing(at_us=10**15), Timing(every_us=10**9, anchor_us=7)]
)
async def test_every_timing_comes_back_exactly(clerk, timing):
    await clerk.create("s", Schedule(timing))
    assert (await clerk.record("s")).rules.timing == timing


async def test_what_is_not_there_is_not_found(clerk):
    found = await clerk.store.schedules(["a", "b\ud800"])
    assert found.schedules == [None, None]
    assert (await clerk.store.delete_schedule("a", None)).code == "not_found"
    assert (await clerk.store.fires("a", 10, None)).fires == []
    (answer,) = (await clerk.fire(FireLine("a", 7, "m", None, None))).answers
    assert answer.code == "not_found"


async def test_an_id_is_taken_once(clerk):
    await clerk.create("s")
    (answer,) = (
        await clerk.fire(FireLine("s", 0, "other", None, None, change=NewSchedule(EVERY, TEMPLATE)))
    ).answers
    assert answer.code == "id_taken"


async def test_schedules_are_listed_by_id_in_pages(clerk):
    for name in ("c", "a", "d", "b", "e"):
        await clerk.create(name)
    names, cursor = [], None
    while True:
        page = await clerk.store.find_schedules(2, cursor)
        names.append([record.id for record in page.schedules])
        cursor = page.cursor
        if cursor is None:
            break
    assert names == [["a", "b"], ["c", "d"], ["e"]]


async def test_a_deleted_schedule_leaves_its_tasks(clerk, bench):
    await clerk.create()
    await bench.advance(61)
    await clerk.fire(await clerk.decide())
    (task,) = await clerk.tasks()
    version = (await clerk.record("s")).version
    assert (await clerk.store.delete_schedule("s", version - 1)).code == "version_mismatch"
    assert await clerk.store.delete_schedule("s", version) is None
    assert (await clerk.store.fires("s", 10, None)).fires == []
    assert (await bench.get(task)).schedule_id == "s"
    assert (await clerk.store.due_schedules(10)).schedules == []


async def test_a_change_is_written_with_what_the_old_rules_decided(clerk, bench):
    await clerk.create()
    await bench.advance(61)
    line = await clerk.line("s", msgspec.structs.replace(EVERY, paused=True), Template(LANE, b"2"))
    assert len(line.made) == 1
    before = await clerk.record("s")
    await clerk.fire(line)
    record = await clerk.record("s")
    assert (record.rules.paused, record.template.payload) == (True, b"2")
    assert record.version > before.version
    assert record.updated_at_us > before.updated_at_us
    assert record.created_at_us == before.created_at_us
    assert (await bench.get((await clerk.tasks())[0])).payload == TEMPLATE.payload


# --- what is due --------------------------------------------------------------------------------------


async def test_due_when_its_time_has_come(clerk, bench):
    await clerk.create()
    found = await clerk.store.due_schedules(10)
    assert found.schedules == []
    assert 0 < found.next_due_us <= bench.us(60) + 60_000_000
    await bench.advance(61)
    (seen,) = (await clerk.store.due_schedules(10)).schedules
    assert seen.record == await clerk.record("s")
    await clerk.fire(await clerk.decide())
    assert (await clerk.store.due_schedules(10)).schedules == []


@pytest.mark.exact_time
async def test_it_says_when_the_next_is_due(clerk, bench):
    assert (await clerk.store.due_schedules(10)).next_due_us is None
    now_us = (await clerk.store.due_schedules(10)).now_us
    await clerk.create("a", Schedule(Timing(at_us=now_us + 20_000_000)))
    await clerk.create("b", Schedule(Timing(at_us=now_us + 10_000_000)))
    assert (await clerk.store.due_schedules(10)).next_due_us == 10_000_000
    await bench.advance(15)
    found = await clerk.store.due_schedules(10)
    assert [seen.record.id for seen in found.schedules] == ["b"]
    assert found.next_due_us == 5_000_000
    await bench.advance(15)
    found = await clerk.store.due_schedules(1)
    assert [seen.record.id for seen in found.schedules] == ["b"]
    assert found.next_due_us == 0


async def test_the_longest_due_first_and_no_more_than_asked(clerk, bench):
    now_us = (await clerk.store.due_schedules(1)).now_us
    for name, seconds in (("a", 3), ("b", 1), ("c", 2)):
        await clerk.create(name, Schedule(Timing(at_us=now_us + bench.us(seconds))))
    await bench.advance(4)
    assert [seen.record.id for seen in (await clerk.store.due_schedules(2)).schedules] == ["b", "c"]


async def test_one_without_a_look_is_never_due(clerk, bench):
    """Paused, or over."""
    await clerk.create("s", msgspec.structs.replace(EVERY, paused=True))
    await bench.advance(600)
    found = await clerk.store.due_schedules(10)
    assert (found.schedules, found.next_due_us) == ([], None)


async def test_unfinished_tasks_are_named_if_the_policy_asks(clerk, bench):
    await clerk.create("allow")
    await clerk.create("skip", msgspec.structs.replace(EVERY, overlap="skip"))
    await bench.advance(61)
    await clerk.fire(await clerk.decide("allow"), await clerk.decide("skip"))
    (task,) = await clerk.tasks("skip")
    assert list((await clerk.see("allow"))[0].unfinished) == []
    assert list((await clerk.see("skip"))[0].unfinished) == [task]


@pytest.mark.verbs("submit", "claim", "settle", "force")
@pytest.mark.parametrize("end", ["succeeded", "cancelled"])
async def test_a_final_task_is_not_unfinished(clerk, bench, end):
    await clerk.create("s", msgspec.structs.replace(EVERY, overlap="skip"))
    await bench.advance(61)
    await clerk.fire(await clerk.decide())
    (task,) = await clerk.tasks()
    if end == "succeeded":
        lease = await bench.claim_one()
        assert (await clerk.see("s"))[0].unfinished == [task]
        await bench.settle(lease, Outcome.SUCCEEDED)
    else:
        await bench.store.force([Force(task, Action.CANCEL)])
    assert (await clerk.see("s"))[0].unfinished == []
    if end == "cancelled":
        await bench.store.force([Force(task, Action.REPLAY)])
        assert (await clerk.see("s"))[0].unfinished == [task]


async def test_unfinished_tasks_stand_in_the_order_of_their_times(clerk, bench):
    await clerk.create("s", msgspec.structs.replace(EVERY, overlap="queue"))
    for _ in range(3):
        await bench.advance(60)
        await clerk.fire(await clerk.decide())
    assert (await clerk.see("s"))[0].unfinished == await clerk.tasks()


# --- fires --------------------------------------------------------------------------------------------


@pytest.mark.verbs("claim", "submit", "settle")
async def test_a_fire_becomes_a_task_with_its_nominal_time(clerk, bench):
    """S1-58: cron tasks are made when they are due; the task knows its time, and so does its worker."""
    await clerk.create("s", EVERY, Template(LANE, b'{"n":1}', None, 9_000_000, b'{"team":"a"}', "named"))
    await bench.advance(61)
    line = await clerk.decide()
    fired = await clerk.fire(line)
    assert [head.lane for head in fired.ready] == [LANE]
    (fire,) = line.made
    task = await bench.get(fire.task.id)
    assert (task.schedule_id, task.fire_at_us, task.run_at_us) == ("s", fire.fire_us, fire.fire_us)
    assert (task.state, task.lane, task.payload, task.name) == (State.READY, LANE, b'{"n":1}', "named")
    assert (task.timeout_us, task.labels) == (9_000_000, b'{"team":"a"}')
    record = await clerk.record("s")
    assert (record.last_fire_us, record.last_task) == (fire.fire_us, task.id)
    assert fire.fire_us == record.rules.timing.anchor_us + 60_000_000
    lease = await bench.claim_one()
    assert (lease.task, lease.fire_at_us) == (task.id, fire.fire_us)
    assert [held.fire_at_us for held in await bench.claim(seq=1)] == [fire.fire_us]


@pytest.mark.verbs("claim", "submit", "settle")
async def test_a_submitted_task_has_no_fire(bench):
    (task,) = await bench.submit_many(1)
    assert ((await bench.get(task)).schedule_id, (await bench.get(task)).fire_at_us) == (None, None)
    assert (await bench.claim_one()).fire_at_us is None


@pytest.mark.breaks("forgotten_schedule")
async def test_with_jitter_it_runs_later_and_keeps_its_time(clerk, bench):
    await clerk.create()
    record = await clerk.record("s")
    now_us = (await clerk.store.due_schedules(1)).now_us
    fire = made(clerk, now_us, run_at_us=now_us + 3_600_000_000)
    await clerk.fire(FireLine("s", record.version, "m", record.standing, None, [fire]))
    task = await bench.get(fire.task.id)
    assert (task.state, task.fire_at_us, task.run_at_us) == (State.SCHEDULED, now_us, now_us + 3_600_000_000)


async def test_the_same_line_again_changes_nothing(clerk, bench):
    """The answer was lost on the way: who asks again hears the same, and nothing is made twice."""
    line = await clerk.line("s")
    first = await clerk.fire(line)
    assert (await clerk.fire(line)).answers == first.answers
    await bench.advance(61)
    line = await clerk.decide()
    first = await clerk.fire(line)
    record = await clerk.record("s")
    assert (await clerk.fire(line)).answers == first.answers == [record.version]
    assert await clerk.record("s") == record
    assert len((await clerk.store.fires("s", 10, None)).fires) == 1
    assert len(await clerk.tasks()) == 1


async def test_two_who_decide_at_once(clerk, bench):
    """Both have read the same; the second finds that it was decided without it."""
    await clerk.create()
    await bench.advance(61)
    one, other = await clerk.decide(), await clerk.decide()
    (first,) = (await clerk.fire(one)).answers
    (second,) = (await clerk.fire(other)).answers
    assert isinstance(first, int)
    assert second.code == "version_mismatch"
    assert await clerk.tasks() == [one.made[0].task.id]
    assert await clerk.store.get([other.made[0].task.id]) == [None]


async def test_two_decisions_about_one_schedule_in_one_call(clerk, bench):
    await clerk.create()
    await bench.advance(61)
    one, other = await clerk.decide(), await clerk.decide()
    first, second = (await clerk.fire(one, other)).answers
    assert isinstance(first, int)
    assert second.code == "version_mismatch"
    assert len(await clerk.tasks()) == 1


async def test_each_line_has_its_own_answer(clerk, bench):
    await clerk.create("a")
    await clerk.create("b")
    await bench.advance(61)
    stale = await clerk.decide("a")
    await clerk.fire(await clerk.decide("a"))
    answers = (await clerk.fire(stale, await clerk.decide("b"), FireLine("c", 1, "m", None, None))).answers
    assert [answer.code if isinstance(answer, Refused) else "ok" for answer in answers] == [
        "version_mismatch",
        "ok",
        "not_found",
    ]


@pytest.mark.breaks("forgotten_schedule")
async def test_a_fire_time_has_one_task_whoever_makes_it(clerk, bench):
    """Even a decision that forgot what came before it makes no second task for a fire time."""
    await clerk.create()
    await bench.advance(61)
    forgetful = await clerk.decide()
    await clerk.fire(forgetful)
    record = await clerk.record("s")
    later = made(clerk, forgetful.made[0].fire_us + 60_000_000)
    again = made(clerk, forgetful.made[0].fire_us)
    line = FireLine("s", record.version, "again", record.standing, None, [again, later])
    assert isinstance((await clerk.fire(line)).answers[0], int)
    assert await clerk.store.get([again.task.id]) == [None]
    assert (await bench.get(later.task.id)).fire_at_us == later.fire_us
    assert sorted(set(await clerk.tasks())) == sorted([forgetful.made[0].task.id, later.task.id])


async def test_many_fires_in_calls_of_many(clerk, bench):
    for n in range(300):
        await clerk.create(f"s{n:03}")
    await bench.advance(61)
    while due := (await clerk.store.due_schedules(100)).schedules:
        lines = [await clerk.decide(seen.record.id) for seen in due]
        fired = await clerk.fire(*lines)
        assert all(isinstance(answer, int) for answer in fired.answers)
    for n in range(300):
        assert len(await clerk.tasks(f"s{n:03}")) == 1


async def test_a_task_made_by_hand_before_a_fire_that_is_due(clerk, bench):
    """It is on record at once, the fire when it is decided. The last fire is the latest of both."""
    await clerk.create()
    await bench.advance(61)
    late = await clerk.decide()
    record = await clerk.record("s")
    by_hand = made(clerk, late.made[0].fire_us + 1)
    await clerk.fire(FireLine("s", record.version, "by hand", record.standing, record.next_us, [by_hand]))
    assert (await clerk.record("s")).next_us == record.next_us
    await clerk.fire(await clerk.decide())
    record = await clerk.record("s")
    assert len(await clerk.tasks()) == 2
    assert (record.last_fire_us, record.last_task) == (by_hand.fire_us, by_hand.task.id)


@pytest.mark.verbs("submit", "delete", "force")
async def test_a_key_makes_one_decision(clerk, bench):
    """Whoever repeats it learns what the first one has made, and nothing of the schedule changes; until the
    key expires."""
    await clerk.create()
    key = Idempotency("anna", "now", b"", bench.us(60))

    async def by_hand(second, key):
        record = await clerk.record("s")
        fire = made(clerk, record.next_us + second)
        line = FireLine("s", record.version, f"{second}", record.standing, record.next_us, [fire], key=key)
        return fire.task.id, (await clerk.fire(line)).answers[0]

    first, version = await by_hand(1, key)
    assert isinstance(version, int)
    before = await clerk.record("s")
    second, answer = await by_hand(2, key)
    assert isinstance(answer, Existing)
    assert [task.id for task in answer.tasks] == [first]
    assert await clerk.store.get([second]) == [None]
    assert await clerk.record("s") == before
    assert await clerk.tasks() == [first]
    for other in (None, Idempotency("anna", "later", b"", 1), Idempotency("bob", "now", b"", 1)):
        second, answer = await by_hand(len(await clerk.tasks()) + 10, other)
        assert isinstance(answer, int)
        assert (await bench.get(second)).schedule_id == "s"
    await clerk.store.force([Force(first, Action.CANCEL)])
    await clerk.store.delete([first])
    assert (await by_hand(3, key))[1] == Existing([])
    reused = Idempotency("anna", "now", b"another body", bench.us(60))
    assert (await by_hand(4, reused))[1].code == "idempotency_key_reused"
    await bench.advance(61)
    last, answer = await by_hand(5, key)
    assert isinstance(answer, int)
    assert (await by_hand(6, key))[1].tasks[0].id == last


# --- overlap ------------------------------------------------------------------------------------------


@pytest.mark.verbs("claim", "submit", "settle")
@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED])
async def test_a_queued_task_waits_for_those_before_it(clerk, bench, outcome):
    """However they end."""
    await clerk.create("s", msgspec.structs.replace(EVERY, overlap="queue"))
    for _ in range(2):
        await bench.advance(60)
        await clerk.fire(await clerk.decide())
    first, second = await clerk.tasks()
    assert await bench.states(first, second) == [State.READY, State.BLOCKED]
    stored = await bench.get(second)
    assert stored.depends_on == (first,)
    assert decode_policy(stored.policy).on_parent_failure is OnParentFailure.RUN
    await bench.settle(await bench.claim_one(), outcome, retryable=False)
    assert await bench.states(second) == [State.READY]


@pytest.mark.verbs("claim", "submit", "settle")
async def test_cancel_ends_what_waits_and_asks_what_runs(clerk, bench):
    await clerk.create("s", msgspec.structs.replace(EVERY, overlap="cancel"))
    await bench.advance(60)
    await clerk.fire(await clerk.decide())
    (waiting,) = await clerk.tasks()
    await bench.advance(60)
    fired = await clerk.fire(await clerk.decide())
    assert waiting in fired.finished
    _, running = await clerk.tasks()
    assert await bench.states(waiting, running) == [State.CANCELLED, State.READY]
    lease = await bench.claim_one()
    assert lease.task == running
    await bench.advance(60)
    await clerk.fire(await clerk.decide())
    *_, last = await clerk.tasks()
    assert (await bench.get(running)).cancel_requested_at_us is not None
    assert await bench.states(running, last) == [State.RUNNING, State.BLOCKED]
    await bench.settle(lease, Outcome.CANCELLED)
    assert await bench.states(running, last) == [State.CANCELLED, State.READY]


@pytest.mark.verbs("force", "delete")
async def test_one_that_was_waited_for_may_be_gone_by_now(clerk, bench):
    """It ended and was forgotten between the decision and its writing."""
    await clerk.create("s", msgspec.structs.replace(EVERY, overlap="queue"))
    await bench.advance(60)
    await clerk.fire(await clerk.decide())
    (first,) = await clerk.tasks()
    await bench.advance(60)
    line = await clerk.decide()
    assert line.made[0].task.depends_on == (first,)
    await bench.store.force([Force(first, Action.CANCEL)])
    assert await bench.store.delete([first]) == [None]
    assert isinstance((await clerk.fire(line)).answers[0], int)
    stored = await bench.get(line.made[0].task.id)
    assert (stored.state, stored.depends_on) == (State.READY, ())


@pytest.mark.verbs("set_limit")
async def test_a_full_queue_refuses_the_decision_whole(clerk, bench):
    await bench.store.set_limit(f"queue:{LANE.queue}", LimitRule(max_waiting=1))
    await clerk.create("a")
    await clerk.create("b")
    await bench.advance(61)
    line = await clerk.decide("b")
    first, second = (await clerk.fire(await clerk.decide("a"), line)).answers
    assert isinstance(first, int)
    assert second.code == "backlog_full"
    assert (await clerk.record("b")).version == line.version
    assert await clerk.tasks("b") == []


@pytest.mark.verbs("set_limit")
async def test_a_full_queue_refuses_a_new_schedule_that_is_due(clerk, bench):
    """Nothing of it stays."""
    await bench.store.set_limit(f"queue:{LANE.queue}", LimitRule(max_waiting=0))
    now_us = (await clerk.store.due_schedules(1)).now_us
    line = await clerk.line("s", Schedule(Timing(at_us=now_us - 5)))
    (answer,) = (await clerk.fire(line)).answers
    assert answer.code == "backlog_full"
    assert (await clerk.store.schedules(["s"])).schedules == [None]


async def test_a_value_that_cannot_be_stored_is_refused(clerk, bench):
    new = NewSchedule(EVERY, msgspec.structs.replace(TEMPLATE, name="\ud800"))
    line = FireLine("s", 0, "m", begin(EVERY, 0), 0, change=new)
    other = await clerk.line("t")
    first, second = (await clerk.fire(line, other)).answers
    assert isinstance(second, int)
    assert isinstance(first, int) or first.code == "invalid_input"


# --- skips, quarantine, records -----------------------------------------------------------------------


@pytest.mark.breaks("forgotten_schedule")
async def test_records_tell_fires_and_skips_newest_first(clerk, bench):
    await clerk.create()
    record = await clerk.record("s")
    fires = [made(clerk, 1_000_000), made(clerk, 7_000_000)]
    skips = [Skip("missed", 2_000_000, 6_000_000, 5), Skip("overlap", 8_000_000, 8_000_000, 1)]
    await clerk.fire(FireLine("s", record.version, "m", record.standing, None, fires, skips))
    page = await clerk.store.fires("s", 3, None)
    rest = await clerk.store.fires("s", 3, page.cursor)
    now_us = page.fires[0].decided_at_us
    assert page.fires == [
        FireRecord(now_us, 8_000_000, 8_000_000, reason="overlap"),
        FireRecord(now_us, 7_000_000, 7_000_000, task=fires[1].task.id),
        FireRecord(now_us, 2_000_000, 6_000_000, 5, reason="missed"),
    ]
    assert rest.fires == [FireRecord(now_us, 1_000_000, 1_000_000, task=fires[0].task.id)]
    assert rest.cursor is None
    assert now_us >= record.created_at_us


@pytest.mark.breaks("forgotten_schedule")
async def test_records_do_not_grow_without_end(clerk):
    await clerk.create()
    written = 0
    while written < 3 * FIRES_KEPT:
        record = await clerk.record("s")
        skips = [Skip("missed", n, n, 1) for n in range(written, written + 250)]
        await clerk.fire(FireLine("s", record.version, f"m{written}", record.standing, None, (), skips))
        written += 250
        kept = await clerk.store.fires("s", 10_000, None)
        assert min(written, FIRES_KEPT) <= len(kept.fires) <= 2 * FIRES_KEPT
        assert kept.fires[0].last_us == written - 1


async def test_quarantine_and_mending(clerk, bench):
    broken = Schedule(Timing(cron="* * * * *", zone="Mars/Olympus"))
    line = FireLine("s", 0, "m", begin(EVERY, 1), 1, change=NewSchedule(broken, TEMPLATE))
    await clerk.fire(line)
    await clerk.create("t")
    decided = await clerk.decide("s")
    assert "Mars" in decided.quarantine
    await clerk.fire(decided)
    record = await clerk.record("s")
    assert record.quarantine == decided.quarantine
    assert (record.next_us, record.standing) == (None, line.standing)
    assert (await clerk.store.due_schedules(10)).schedules == []
    await bench.advance(61)
    assert [seen.record.id for seen in (await clerk.store.due_schedules(10)).schedules] == ["t"]
    mended = FireLine(
        "s", record.version, "mended", begin(EVERY, 1), 60_000_000, change=NewSchedule(EVERY, TEMPLATE)
    )
    await clerk.fire(mended)
    assert (await clerk.record("s")).quarantine is None
    assert {seen.record.id for seen in (await clerk.store.due_schedules(10)).schedules} == {"s", "t"}


async def test_one_in_quarantine_is_looked_at_again(clerk, bench):
    """What it lacks may be installed by then."""
    broken = Schedule(Timing(cron="* * * * *", zone="Mars/Olympus"))
    await clerk.fire(FireLine("s", 0, "m", None, 0, change=NewSchedule(broken, TEMPLATE)))
    await clerk.fire(await clerk.decide("s"))
    assert (await clerk.store.due_schedules(10)).schedules == []
    await bench.advance(601 / bench.scale)
    assert [seen.record.id for seen in (await clerk.store.due_schedules(10)).schedules] == ["s"]


# --- leadership ---------------------------------------------------------------------------------------


@pytest.mark.verbs("take_term")
async def test_a_deposed_leaders_decision_is_refused(clerk, bench):
    """It was frozen between deciding and writing; meanwhile another leads, and has fired."""
    await clerk.create()
    old = await bench.store.take_term("one", bench.us(10))
    await bench.advance(61)
    late = await clerk.decide()
    new = await bench.store.take_term("two", bench.us(10))
    assert new.number > old.number
    (answer,) = (await clerk.fire(late, term=old.number)).answers
    assert answer.code == "deposed"
    assert await clerk.tasks() == []
    assert isinstance((await clerk.fire(await clerk.decide(), term=new.number)).answers[0], int)
    assert len(await clerk.tasks()) == 1


@pytest.mark.verbs("take_term")
async def test_a_term_that_ran_out_fires_nothing(clerk, bench):
    await clerk.create()
    term = await bench.store.take_term("one", bench.us(10))
    await bench.advance(61)
    (answer,) = (await clerk.fire(await clerk.decide(), term=term.number)).answers
    assert answer.code == "deposed"


# --- nodes and lost writes ----------------------------------------------------------------------------


@pytest.mark.several_nodes
@pytest.mark.verbs("submit", "claim", "settle")
async def test_many_nodes_fire_at_once_without_a_leader(clerk, bench):
    """Each fire time becomes a task once, whoever fires and however many."""
    nodes = [bench.store, bench.new_node(), bench.new_node()]
    for node in nodes[1:]:
        await node.open()
    try:
        for n in range(10):
            await clerk.create(f"s{n}")

        async def fire_all(store):
            due = await store.due_schedules(100)
            lines = [due_line(seen, due.now_us, bench.clock.new_id) for seen in due.schedules]
            await store.fire(lines, None)

        for _ in range(5):
            await bench.advance(60)
            await asyncio.gather(*[fire_all(store) for store in nodes for _ in range(2)])
        for n in range(10):
            tasks = await clerk.tasks(f"s{n}")
            times = [(await bench.get(task)).fire_at_us for task in tasks]
            assert len(times) == 5
            assert times == sorted(set(times))
    finally:
        for node in nodes[1:]:
            await node.close()


@pytest.mark.loses_writes
async def test_a_fire_that_is_lost_with_the_last_writes_is_made_again(clerk, bench):
    """Task, record and cursor are lost together, or not at all."""
    await clerk.create()
    await bench.mark()
    clerk.store = bench.store
    await bench.advance(61)
    line = await clerk.decide()
    await clerk.fire(line)
    await bench.lose_writes()
    clerk.store = bench.store
    assert await clerk.tasks() == []
    again = await clerk.decide()
    assert [fire.fire_us for fire in again.made] == [fire.fire_us for fire in line.made]
    assert isinstance((await clerk.fire(again)).answers[0], int)
    assert len(await clerk.tasks()) == 1


@pytest.mark.verbs("prune", "force")
async def test_a_pruned_task_does_not_come_back(clerk, bench):
    """What holds a fire time to one task, once the task is gone, is the cursor."""
    await clerk.create()
    await bench.advance(61)
    await clerk.fire(await clerk.decide())
    (task,) = await clerk.tasks()
    await bench.store.force([Force(task, Action.CANCEL)])
    await bench.advance(1)
    assert (await bench.store.prune(100, Retention(0, 0, 0), None)).count == 1
    line = await clerk.decide()
    assert (list(line.made), list(line.skips)) == ([], [])
    assert await clerk.tasks() == [task]
