"""What the reaper reads: lapsed leases, runs past their time, waiting tasks past their deadline."""

import msgspec
import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.core.model import State
from mainspring.verbs import Answer, Append, Held

pytestmark = pytest.mark.verbs(
    "submit", "claim", "settle", "renew", "expired", "overdue", "leases", "append", "promote", "get"
)


async def test_live_leases_are_not_expired(bench):
    await bench.submit_many(1)
    await bench.claim_one(lease=10)
    await bench.advance(5)
    assert list(await bench.store.expired(10)) == []


async def test_lapsed_leases_oldest_first(bench):
    """As complete as they were granted, so that the reaper can judge them."""
    await bench.submit_many(3)
    late, early, live = (
        await bench.claim_one(lease=10),
        await bench.claim_one(lease=5),
        await bench.claim_one(lease=60),
    )
    await bench.advance(15)
    assert list(await bench.store.expired(10)) == [early, late]
    assert list(await bench.store.expired(1)) == [early]
    assert await bench.settle(live) is Answer.OK


async def test_reading_changes_nothing(bench):
    await bench.submit_many(1)
    lease = await bench.claim_one(lease=5)
    await bench.advance(6)
    before = await bench.get(lease.task)
    await bench.store.expired(10)
    assert list(await bench.store.expired(10)) == [lease]
    assert await bench.get(lease.task) == before


async def test_renewed_and_settled_leases_are_not_expired(bench):
    await bench.submit_many(3)
    renewed, settled, lapsed = await bench.claim(3, lease=5)
    await bench.advance(3)
    await bench.renew(renewed, settled, lapsed, lease=5)
    await bench.settle(settled)
    await bench.advance(3)
    await bench.renew(renewed, lease=15)
    await bench.advance(4)
    assert [lease.task for lease in await bench.store.expired(10)] == [lapsed.task]


async def test_a_lapsed_lease_carries_the_latest_checkpoint(bench):
    await bench.submit_many(1)
    lease = await bench.claim_one(lease=5)
    await bench.store.append([Append(lease.task, lease.token, checkpoint=b"7")])
    await bench.advance(6)
    assert [found.checkpoint for found in await bench.store.expired(10)] == [b"7"]


async def test_more_than_a_batch_of_lapsed_leases(bench):
    """Settled batch by batch, each is seen once and none is hidden behind others."""
    tasks = await bench.submit_many(25)
    await bench.claim(25, lease=5)
    await bench.advance(6)
    seen = []
    while leases := await bench.store.expired(10):
        seen += [lease.task for lease in leases]
        lines = [bench.line(lease, Outcome.LOST, only_if_lapsed=True) for lease in leases]
        assert await bench.settle_lines(*lines) == [Answer.OK] * len(lines)
    assert sorted(seen) == sorted(tasks)


# --- leases behind a token ---------------------------------------------------------------------------


async def test_leases_by_task_and_token(bench):
    """For a node that did not grant them."""
    await bench.submit_many(2)
    one, two = await bench.claim(2)
    await bench.settle(two)
    held = [
        Held(one.task, one.token),
        Held(one.task, one.token + 1),
        Held(two.task, two.token),
        Held(bench.clock.new_id(), 1),
    ]
    assert list(await bench.store.leases(held)) == [one, None, None, None]


# --- runs past their time ----------------------------------------------------------------------------


async def test_a_run_past_its_timeout(bench):
    """S4-31: watched by the server, not only by the worker."""
    await bench.submit(
        bench.task(timeout_us=bench.us(10)), bench.task(timeout_us=bench.us(100)), bench.task()
    )
    late, _, unlimited = await bench.claim(3, lease=600)
    await bench.advance(5)
    assert list((await bench.store.overdue(10, 0)).leases) == []
    await bench.advance(6)
    assert list((await bench.store.overdue(10, 0)).leases) == [late]
    assert (await bench.get(unlimited.task)).timeout_at_us is None


async def test_the_grace_is_given(bench):
    """The worker stops the run itself; the server steps in only when it did not."""
    await bench.submit_many(1, timeout_us=bench.us(10))
    lease = await bench.claim_one(lease=600)
    await bench.advance(12)
    assert list((await bench.store.overdue(10, bench.us(5))).leases) == []
    await bench.advance(5)
    assert list((await bench.store.overdue(10, bench.us(5))).leases) == [lease]


async def test_the_earlier_of_timeout_and_deadline_holds(bench):
    created = (await bench.put_one(bench.task(delay=900))).created_at_us
    await bench.submit(
        bench.task(timeout_us=bench.us(100), deadline_us=created + bench.us(10)),
        bench.task(timeout_us=bench.us(10), deadline_us=created + bench.us(100)),
        bench.task(timeout_us=bench.us(100), deadline_us=created + bench.us(100)),
    )
    one, two, _ = await bench.claim(3, lease=600)
    await bench.advance(15)
    overdue = await bench.store.overdue(10, 0)
    assert sorted(lease.task for lease in overdue.leases) == sorted([one.task, two.task])
    assert list(overdue.expired) == []


async def test_the_timeout_counts_from_the_latest_start(bench):
    await bench.submit_many(1, timeout_us=bench.us(20))
    first = await bench.claim_one(lease=600)
    await bench.advance(15)
    await bench.settle(first, Outcome.RELEASED)
    await bench.claim_one(lease=600)
    await bench.advance(15)
    assert list((await bench.store.overdue(10, 0)).leases) == []


async def test_a_settled_run_is_not_overdue(bench):
    await bench.submit_many(1, timeout_us=bench.us(5))
    await bench.settle(await bench.claim_one(lease=600))
    await bench.advance(10)
    assert list((await bench.store.overdue(10, 0)).leases) == []


# --- waiting past the deadline -----------------------------------------------------------------------


async def test_waiting_tasks_past_their_deadline_fail(bench):
    """Ready, scheduled and blocked alike: never run late, but a dead letter with the reason."""
    created = (await bench.put_one(bench.task(delay=900))).created_at_us
    deadline_us = created + bench.us(10)
    ready = bench.task(deadline_us=deadline_us)
    scheduled = bench.task(deadline_us=deadline_us, delay=500)
    blocked = bench.task(deadline_us=deadline_us, depends_on=(scheduled.id,))
    later = bench.task(deadline_us=created + bench.us(1000))
    tasks = await bench.submit(ready, scheduled, blocked, later)
    await bench.advance(5)
    assert list((await bench.store.overdue(10, 0)).expired) == []
    await bench.advance(6)
    overdue = await bench.store.overdue(10, bench.us(60))
    assert sorted(overdue.expired) == sorted(tasks[:3])
    record = await bench.get(ready.id)
    assert record.state is State.FAILED
    assert msgspec.json.decode(record.error)["type"] == "DeadlineExceeded"
    assert record.finished_at_us is not None
    assert await bench.states(*tasks[1:]) == [State.FAILED, State.FAILED, State.READY]
    assert list((await bench.store.overdue(10, 0)).expired) == []


async def test_expiry_in_passes_of_the_limit(bench):
    created = (await bench.put_one(bench.task(delay=900))).created_at_us
    await bench.submit_many(5, deadline_us=created + bench.us(5))
    await bench.advance(6)
    passes = [len((await bench.store.overdue(2, 0)).expired) for _ in range(4)]
    assert passes == [2, 2, 1, 0]


async def test_a_task_that_waits_again_past_its_deadline_fails(bench):
    """It was running when its deadline passed, and was handed back."""
    created = (await bench.put_one(bench.task(delay=900))).created_at_us
    (task,) = await bench.submit(bench.task(deadline_us=created + bench.us(5)))
    lease = await bench.claim_one(lease=600)
    await bench.advance(6)
    assert list((await bench.store.overdue(10, 0)).expired) == []
    await bench.settle(lease, Outcome.RELEASED)
    assert await bench.claimed_ids(10) == []
    assert list((await bench.store.overdue(10, 0)).expired) == [task]


@pytest.mark.exact_time
async def test_exactly_at_its_deadline_a_task_still_starts(bench):
    created = (await bench.put_one(bench.task(delay=900))).created_at_us
    await bench.submit_many(2, deadline_us=created + 10_000_000)
    bench.clock.offset_us += 10_000_000
    assert list((await bench.store.overdue(10, 0)).expired) == []
    assert len(await bench.claim(1)) == 1
    bench.clock.offset_us += 1
    assert await bench.claim(1) == []
    assert len((await bench.store.overdue(10, 0)).expired) == 1
