"""Dependencies: children run after their parents, and a failed parent decides by the child's rule."""

from collections import Counter

import msgspec
import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.core.model import OnParentFailure, Policy, State
from mainspring.verbs import Action, Edit, Force

pytestmark = pytest.mark.verbs("submit", "claim", "settle", "get")
RUN, BLOCK, CANCEL = (
    Policy(on_parent_failure=rule)
    for rule in (OnParentFailure.RUN, OnParentFailure.BLOCK, OnParentFailure.CANCEL)
)
WIDE = 10_000


async def fail(bench, lease):
    error = b'{"type":"ValueError","message":"no"}'
    await bench.settle(lease, Outcome.FAILED, error=error, retryable=False)


async def family(bench, *policies, delay=0):
    """One parent, running, and a child for each policy."""
    parent = bench.task()
    children = [bench.task(depends_on=(parent.id,), policy=policy, delay=delay) for policy in policies]
    await bench.submit(parent, *children)
    return await bench.claim_one(), [child.id for child in children]


async def test_a_child_runs_after_its_parent(bench):
    """S0-68: and is ready in the very transaction that ends the parent."""
    lease, (child,) = await family(bench, None)
    assert (await bench.get(child)).state is State.BLOCKED
    answers = await bench.exchange(settles=[bench.line(lease)])
    assert [head.lane for head in answers.ready] == [lease.lane]
    record = await bench.get(child)
    assert (record.state, record.open_parents) == (State.READY, 0)
    assert await bench.claimed_ids(10) == [child]


async def test_a_child_waits_for_all_its_parents(bench):
    parents = [bench.task() for _ in range(3)]
    (*_, child) = await bench.submit(*parents, bench.task(depends_on=tuple(p.id for p in parents)))
    for left, lease in zip((2, 1, 0), await bench.claim(3), strict=True):
        await bench.settle(lease)
        assert (await bench.get(child)).open_parents == left
    assert (await bench.get(child)).state is State.READY


async def test_two_parents_end_in_one_batch(bench):
    parents = [bench.task() for _ in range(2)]
    (*_, child) = await bench.submit(*parents, bench.task(depends_on=tuple(p.id for p in parents)))
    one, two = await bench.claim(2)
    await bench.settle_lines(bench.line(one), bench.line(two))
    assert (await bench.get(child)).state is State.READY


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.RELEASED, Outcome.SNOOZED, Outcome.LOST])
@pytest.mark.verbs("resolve")
async def test_a_run_that_is_not_the_end_releases_nobody(bench, outcome):
    lease, (child,) = await family(bench, None)
    await bench.settle(lease, outcome, delay=60)
    assert await bench.resolve_all() == []
    assert (await bench.get(child)).state is State.BLOCKED


async def test_the_longer_of_delay_and_parents_holds(bench):
    """S0-68: the child's own delay counts from the submit."""
    lease, (child,) = await family(bench, None, delay=20)
    await bench.settle(lease)
    assert (await bench.get(child)).state is State.SCHEDULED
    lease, (late,) = await family(bench, None, delay=20)
    await bench.advance(25)
    await bench.settle(lease)
    assert (await bench.get(late)).state is State.READY


async def test_stored_parents(bench):
    """A finished parent is no obstacle; an unfinished one is."""
    (parent,) = await bench.submit_many(1)
    accepted = await bench.put_one(bench.task(depends_on=(parent,)))
    assert list(accepted.states) == [State.BLOCKED]
    await bench.settle(await bench.claim_one())
    accepted = await bench.put_one(bench.task(depends_on=(parent,)))
    assert list(accepted.states) == [State.READY]


# --- failed parents ----------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["fail", "cancel", "kill", "expire"])
@pytest.mark.verbs("resolve", "force", "overdue")
async def test_the_rule_decides_however_the_parent_ends(bench, end):
    """on_parent_failure = cancel | run | block, for failure, cancellation and expiry alike."""
    now_us = (await bench.put_one(bench.task(delay=900))).created_at_us
    parent = bench.task(deadline_us=now_us + bench.us(10))
    rules = (CANCEL, RUN, BLOCK)
    children = [bench.task(depends_on=(parent.id,), policy=policy) for policy in rules]
    await bench.submit(parent, *children)
    if end == "expire":
        await bench.advance(11)
        assert list((await bench.store.overdue(10, 0)).expired) == [parent.id]
    elif end == "fail":
        await fail(bench, await bench.claim_one())
    else:
        await bench.store.force([Force(parent.id, Action[end.upper()])])
    await bench.resolve_all()
    states = await bench.states(*[child.id for child in children])
    assert states == [State.CANCELLED, State.READY, State.BLOCKED]


@pytest.mark.verbs("resolve")
async def test_a_doomed_child_says_why(bench):
    lease, (child,) = await family(bench, CANCEL)
    await fail(bench, lease)
    moved = (await bench.resolve_all())[0]
    assert list(moved.finished) == [child]
    record = await bench.get(child)
    assert record.state is State.CANCELLED
    assert msgspec.json.decode(record.error)["type"] == "ParentFailed"
    assert record.finished_at_us is not None


async def test_children_that_run_anyway_are_released_at_once(bench):
    lease, (child,) = await family(bench, RUN)
    await fail(bench, lease)
    assert (await bench.get(child)).state is State.READY


@pytest.mark.verbs("resolve")
async def test_one_bad_parent_among_good_ones(bench):
    """It dooms the child at once: the others need not end first."""
    parents = [bench.task() for _ in range(3)]
    (*_, child) = await bench.submit(*parents, bench.task(depends_on=tuple(p.id for p in parents)))
    good, bad, running = await bench.claim(3)
    await bench.settle(good)
    await fail(bench, bad)
    await bench.resolve_all()
    assert (await bench.get(child)).state is State.CANCELLED
    await bench.settle(running)
    assert await bench.resolve_all() == []
    assert (await bench.get(child)).state is State.CANCELLED


@pytest.mark.verbs("resolve")
async def test_mixed_rules_of_several_parents(bench):
    """A child that runs anyway still waits for every parent's end."""
    parents = [bench.task() for _ in range(2)]
    (*_, child) = await bench.submit(
        *parents, bench.task(depends_on=tuple(p.id for p in parents), policy=RUN)
    )
    one, two = await bench.claim(2)
    await fail(bench, one)
    await bench.resolve_all()
    assert (await bench.get(child)).state is State.BLOCKED
    await bench.settle(two)
    assert (await bench.get(child)).state is State.READY


@pytest.mark.verbs("resolve")
async def test_a_parent_is_applied_to_a_child_once(bench):
    """Passes for its other children must not count it again, and release the child too early."""
    (failing, other) = await bench.submit_many(2)
    (patient, doomed) = await bench.submit(
        bench.task(depends_on=(failing, other), policy=RUN), bench.task(depends_on=(failing,))
    )
    await fail(bench, await bench.claim_one())
    assert (await bench.get(patient)).open_parents == 1
    await bench.resolve_all()
    assert (await bench.get(doomed)).state is State.CANCELLED
    record = await bench.get(patient)
    assert (record.state, record.open_parents) == (State.BLOCKED, 1)


@pytest.mark.verbs("resolve")
async def test_a_parent_that_failed_before_the_submit(bench):
    (parent,) = await bench.submit_many(1)
    await fail(bench, await bench.claim_one())
    children = [bench.task(depends_on=(parent,), policy=policy) for policy in (CANCEL, RUN, BLOCK)]
    accepted = await bench.put_one(*children)
    assert list(accepted.states) == [State.BLOCKED, State.READY, State.BLOCKED]
    await bench.resolve_all()
    states = await bench.states(*[child.id for child in children])
    assert states == [State.CANCELLED, State.READY, State.BLOCKED]


@pytest.mark.verbs("resolve")
async def test_doom_goes_level_by_level(bench):
    """A deep chain is no deep transaction: one level a pass."""
    chain = [bench.task()]
    for _ in range(5):
        chain.append(bench.task(depends_on=(chain[-1].id,)))
    await bench.submit(*chain)
    await fail(bench, await bench.claim_one())
    passes = await bench.resolve_all()
    assert [list(moved.finished) for moved in passes] == [[task.id] for task in chain[1:]]


@pytest.mark.verbs("resolve")
async def test_a_cancelled_child_passes_it_on_by_rule(bench):
    """A grandchild that runs anyway is released by the doomed child's end."""
    parent = bench.task()
    child = bench.task(depends_on=(parent.id,))
    grandchild = bench.task(depends_on=(child.id,), policy=RUN)
    await bench.submit(parent, child, grandchild)
    await fail(bench, await bench.claim_one())
    await bench.resolve_all()
    assert await bench.states(child.id, grandchild.id) == [State.CANCELLED, State.READY]


@pytest.mark.verbs("resolve", "force")
async def test_cancelling_a_child_by_hand_is_not_undone(bench):
    lease, (child,) = await family(bench, None)
    await bench.store.force([Force(child, Action.CANCEL)])
    await bench.settle(lease)
    await bench.resolve_all()
    record = await bench.get(child)
    assert (record.state, record.open_parents) == (State.CANCELLED, 0)


# --- parents that come back --------------------------------------------------------------------------


@pytest.mark.verbs("resolve", "force")
async def test_a_held_child_runs_when_its_parent_is_replayed(bench):
    lease, (child,) = await family(bench, BLOCK)
    await fail(bench, lease)
    await bench.resolve_all()
    await bench.store.force([Force(lease.task, Action.REPLAY)])
    await bench.settle(await bench.claim_one())
    await bench.resolve_all()
    assert (await bench.get(child)).state is State.READY


@pytest.mark.verbs("resolve", "force")
async def test_a_parent_replayed_before_the_pass_dooms_nobody(bench):
    """The pass looks at the parent as it is now."""
    lease, (child,) = await family(bench, CANCEL)
    await fail(bench, lease)
    await bench.store.force([Force(lease.task, Action.REPLAY)])
    assert await bench.resolve_all() == []
    assert (await bench.get(child)).state is State.BLOCKED
    await bench.settle(await bench.claim_one())
    assert (await bench.get(child)).state is State.READY


@pytest.mark.verbs("resolve", "amend")
async def test_a_held_child_can_be_edited_to_give_up(bench):
    """The new rule is applied to the parent that failed before."""
    lease, (child,) = await family(bench, BLOCK)
    await fail(bench, lease)
    await bench.resolve_all()
    record = await bench.get(child)
    edit = Edit(record.lane, record.payload, None, None, None, None, None)
    await bench.store.amend(child, record.version, edit)
    await bench.resolve_all()
    assert (await bench.get(child)).state is State.CANCELLED


@pytest.mark.verbs("resolve", "delete")
async def test_a_held_child_keeps_its_parent(bench):
    lease, (_child,) = await family(bench, BLOCK)
    await fail(bench, lease)
    await bench.resolve_all()
    (refused,) = await bench.store.delete([lease.task])
    assert refused.code == "wrong_state"


# --- width -------------------------------------------------------------------------------------------


async def count_states(bench):
    counts = Counter()
    for (_, state), count in (await bench.store.stats()).counts.items():
        counts[state] += count
    return {state: count for state, count in counts.items() if count}


@pytest.mark.parametrize("limit", [500, 4000])
@pytest.mark.verbs("resolve", "stats")
async def test_a_fan_out_of_ten_thousand(bench, limit):
    """The settle releases some, passes of the limit the rest; each child once."""
    lease, _ = await family(bench, *[None] * WIDE)
    await bench.settle(lease)
    first = await count_states(bench)
    assert 0 < first[State.READY] < WIDE
    passes = await bench.resolve_all(limit)
    assert all(moved.count <= limit for moved in passes)
    assert first[State.READY] + sum(moved.count for moved in passes) == WIDE
    assert await count_states(bench) == {State.READY: WIDE, State.SUCCEEDED: 1}


@pytest.mark.verbs("resolve", "stats")
async def test_many_parents_of_many_children_end_in_one_batch(bench):
    """What a settle releases is bounded for the whole call, not for each parent."""
    parents = [bench.task() for _ in range(4)]
    children = [bench.task(depends_on=(parent.id,)) for parent in parents for _ in range(300)]
    await bench.submit(*parents, *children)
    leases = await bench.claim(4)
    await bench.settle_lines(*[bench.line(lease) for lease in leases])
    assert (await count_states(bench))[State.READY] == 500
    await bench.resolve_all()
    assert await count_states(bench) == {State.READY: 1200, State.SUCCEEDED: 4}


@pytest.mark.verbs("resolve", "stats")
async def test_a_small_fan_out_needs_no_pass(bench):
    lease, _ = await family(bench, *[None] * 100)
    await bench.settle(lease)
    assert await count_states(bench) == {State.READY: 100, State.SUCCEEDED: 1}
    assert await bench.resolve_all() == []


@pytest.mark.verbs("resolve", "stats")
async def test_a_doomed_fan_out_of_ten_thousand(bench):
    lease, _ = await family(bench, *[None] * WIDE)
    await fail(bench, lease)
    passes = await bench.resolve_all(1000)
    assert sum(len(moved.finished) for moved in passes) == WIDE
    assert await count_states(bench) == {State.CANCELLED: WIDE, State.FAILED: 1}


@pytest.mark.verbs("resolve")
async def test_a_fan_in_of_ten_thousand(bench):
    """S0-68: the last parent releases the child, and no earlier one."""
    parents = [bench.task() for _ in range(WIDE)]
    child = bench.task(depends_on=tuple(parent.id for parent in parents))
    await bench.submit(*parents, child)
    leases = await bench.claim(WIDE)
    assert len(leases) == WIDE
    await bench.settle_lines(*[bench.line(lease) for lease in leases[:-1]])
    await bench.resolve_all()
    record = await bench.get(child.id)
    assert (record.state, record.open_parents, len(record.depends_on)) == (State.BLOCKED, 1, WIDE)
    await bench.settle(leases[-1])
    await bench.resolve_all()
    assert (await bench.get(child.id)).state is State.READY
