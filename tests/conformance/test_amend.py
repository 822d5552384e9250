"""Editing a waiting task, under the guard of its version."""

import pytest

from mainspring.core.model import Policy, State, encode_policy
from mainspring.verbs import Edit, Refused
from tests.conformance.bench import LANE

pytestmark = pytest.mark.verbs("submit", "claim", "settle", "amend", "get", "board")
HIGH = LANE._replace(priority=9)


def edit_of(task, **changes):
    """What the task is, with changes."""
    fields = ("lane", "payload", "run_at_us", "policy", "timeout_us", "deadline_us", "labels")
    return Edit(**{field: getattr(task, field) for field in fields} | changes)


async def amend(bench, task, version=None, **changes):
    record = await bench.get(task)
    edit = edit_of(record, **changes)
    return await bench.store.amend(task, record.version if version is None else version, edit)


async def test_every_field_can_be_edited(bench):
    (task,) = await bench.submit_many(1)
    before = await bench.get(task)
    lane = LANE._replace(queue="mail", tenant="acme", priority=9, key="k")
    policy = encode_policy(Policy(max_retries=9))
    changes = {
        "lane": lane,
        "payload": b'{"n":2}',
        "policy": policy,
        "timeout_us": 5_000_000,
        "deadline_us": 4_000_000_000_000_000,
        "labels": b'{"a":"b"}',
    }
    record = await amend(bench, task, **changes)
    assert {field: getattr(record, field) for field in changes} == changes
    assert record.version > before.version
    assert (record.state, record.created_at_us) == (State.READY, before.created_at_us)
    assert await bench.get(task) == record


async def test_what_is_none_is_removed(bench):
    new = bench.task(timeout_us=1, deadline_us=4_000_000_000_000_000, labels=b'{"a":"b"}', policy=Policy(9))
    (task,) = await bench.submit(new)
    record = await amend(bench, task, timeout_us=None, deadline_us=None, labels=None, policy=None)
    assert (record.timeout_us, record.deadline_us, record.labels, record.policy) == (None,) * 4


async def test_a_claim_sees_the_edited_task(bench):
    """From its new lane only."""
    (task,) = await bench.submit_many(1)
    await amend(bench, task, lane=HIGH, payload=b"2")
    await bench.refresh_lanes()
    assert await bench.claim(10, [LANE]) == []
    lease = await bench.claim_one(lanes=[HIGH])
    assert (lease.task, lease.payload, lease.lane) == (task, b"2", HIGH)


async def test_the_board_follows_the_edit(bench):
    (task,) = await bench.submit_many(1)
    await amend(bench, task, lane=HIGH)
    assert [head.lane for head in (await bench.store.board()).heads] == [HIGH]
    await amend(bench, task, lane=LANE)
    assert [head.lane for head in (await bench.store.board()).heads] == [LANE]


@pytest.mark.verbs("stats")
async def test_the_counts_follow_the_edit(bench):
    (task,) = await bench.submit_many(1)
    await amend(bench, task, lane=LANE._replace(queue="mail"))
    counts = (await bench.store.stats()).counts
    assert {place: count for place, count in counts.items() if count} == {("mail", State.READY): 1}


async def test_a_ready_task_can_be_put_off(bench):
    one, two = await bench.submit_many(2)
    later = (await bench.get(one)).created_at_us + bench.us(60)
    record = await amend(bench, one, run_at_us=later)
    assert (record.state, record.run_at_us) == (State.SCHEDULED, later)
    assert await bench.claimed_ids(10) == [two]


@pytest.mark.verbs("promote")
async def test_a_scheduled_task_can_be_moved_in_time(bench):
    """It is due at its new time, not at the old one."""
    (task,) = await bench.submit(bench.task(delay=20))
    created = (await bench.get(task)).created_at_us
    assert (await amend(bench, task, run_at_us=created + bench.us(5))).state is State.SCHEDULED
    assert (await amend(bench, task, run_at_us=created + bench.us(40))).state is State.SCHEDULED
    await bench.advance(30)
    assert (await bench.promote()).count == 0
    await bench.advance(20)
    assert (await bench.promote()).count == 1
    assert await bench.claimed_ids(10) == [task]


@pytest.mark.parametrize("run_at_us", [None, 1_000_000])
async def test_a_scheduled_task_can_be_made_due(bench, run_at_us):
    (task,) = await bench.submit(bench.task(delay=60))
    assert (await amend(bench, task, run_at_us=run_at_us)).state is State.READY
    await bench.refresh_lanes()
    assert await bench.claimed_ids(10) == [task]


@pytest.mark.verbs("resolve")
async def test_a_blocked_task_stays_blocked(bench):
    """A new time counts once its parents are done."""
    parent = bench.task()
    (_, child) = await bench.submit(parent, bench.task(depends_on=(parent.id,)))
    later = (await bench.get(child)).created_at_us + bench.us(600)
    record = await amend(bench, child, run_at_us=later, payload=b"2")
    assert (record.state, record.payload) == (State.BLOCKED, b"2")
    await bench.settle(await bench.claim_one())
    await bench.resolve_all()
    assert (await bench.get(child)).state is State.SCHEDULED


@pytest.mark.verbs("overdue")
async def test_a_new_deadline_counts(bench):
    one, two = await bench.submit_many(2)
    created = (await bench.get(one)).created_at_us
    await amend(bench, one, deadline_us=created + bench.us(5))
    await amend(bench, two, deadline_us=created + bench.us(5))
    await amend(bench, two, deadline_us=created + bench.us(500))
    await bench.advance(10)
    assert list((await bench.store.overdue(10, 0)).expired) == [one]


async def test_a_task_that_was_passed_over_runs_once_its_deadline_is_lifted(bench):
    """In its place in line: claims that skipped it did not lose it."""
    created = (await bench.put_one(bench.task(delay=900))).created_at_us
    tasks = await bench.submit(bench.task(deadline_us=created + bench.us(5)), bench.task(), bench.task())
    await bench.advance(6)
    assert await bench.claimed_ids(1) == tasks[1:2]
    await amend(bench, tasks[0], deadline_us=None)
    assert await bench.claimed_ids(10) == [tasks[0], tasks[2]]


async def test_a_deadline_is_lifted_behind_those_that_were_claimed_since(bench):
    """The task stands before them all, where nobody looks for any."""
    now_us = (await bench.store.board()).now_us
    (late,) = await bench.submit_many(1, deadline_us=now_us + bench.us(1))
    await bench.advance(2)
    (task,) = await bench.submit_many(1)
    assert await bench.claimed_ids(10) == [task]
    await amend(bench, late, deadline_us=None)
    assert await bench.claimed_ids(10) == [late]


async def test_an_old_version_changes_nothing(bench):
    (task,) = await bench.submit_many(1)
    before = await bench.get(task)
    refused = await amend(bench, task, version=before.version - 1, payload=b"2")
    assert isinstance(refused, Refused)
    assert refused.code == "version_mismatch"
    assert await bench.get(task) == before


async def test_only_one_of_two_editors_wins(bench):
    (task,) = await bench.submit_many(1)
    version = (await bench.get(task)).version
    assert not isinstance(await amend(bench, task, version=version, payload=b"1"), Refused)
    assert (await amend(bench, task, version=version, payload=b"2")).code == "version_mismatch"
    assert (await bench.get(task)).payload == b"1"


@pytest.mark.parametrize("ended", [False, True])
async def test_running_and_final_tasks_cannot_be_edited(bench, ended):
    await bench.submit_many(1)
    lease = await bench.claim_one()
    if ended:
        await bench.settle(lease)
    before = await bench.get(lease.task)
    assert (await amend(bench, lease.task, payload=b"2")).code == "wrong_state"
    assert await bench.get(lease.task) == before


async def test_an_unknown_task(bench):
    (task,) = await bench.submit_many(1)
    edit = edit_of(await bench.get(task))
    assert (await bench.store.amend(bench.clock.new_id(), 1, edit)).code == "not_found"
