"""Renewing: a heartbeat lengthens what it names and gives back what it does not."""

import msgspec
import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.core.model import State
from mainspring.verbs import Action, Answer, Force, Held

pytestmark = pytest.mark.verbs("submit", "claim", "settle", "renew")


async def lapsed(bench, lease):
    """Whether the reaper could take this lease now."""
    return await bench.settle(lease, Outcome.LOST, only_if_lapsed=True) is Answer.OK


async def test_renewing_lengthens_the_lease(bench):
    await bench.submit_many(2)
    kept, left = await bench.claim(2, lease=10)
    await bench.advance(6)
    assert await bench.renew(kept, lease=10) == [Answer.OK]
    await bench.advance(6)
    assert await lapsed(bench, left)
    assert not await lapsed(bench, kept)
    await bench.advance(6)
    assert await lapsed(bench, kept)


async def test_one_answer_per_line(bench):
    await bench.submit_many(3)
    one, two, three = await bench.claim(3)
    await bench.settle(two)
    stranger = Held(three.task, three.token + 1)
    unknown = Held(bench.clock.new_id(), 1)
    answers = await bench.renew(one, two, three, stranger, unknown)
    assert answers == [Answer.OK, Answer.LOST, Answer.OK, Answer.LOST, Answer.LOST]


async def test_several_renewals_in_one_call(bench):
    await bench.submit_many(2)
    one, two = (await bench.claim(1, worker="w1"))[0], (await bench.claim(1, worker="w2"))[0]
    answers = await bench.store.renew(
        [bench.renewal(one, worker="w1", seq=1), bench.renewal(two, worker="w2", seq=1)]
    )
    assert [list(lines) for lines in answers] == [[Answer.OK], [Answer.OK]]
    assert await bench.store.renew([]) in ([], ())


async def test_a_lapsed_lease_that_nobody_took_can_be_renewed(bench):
    await bench.submit_many(1)
    lease = await bench.claim_one(lease=5)
    await bench.advance(8)
    assert await bench.renew(lease) == [Answer.OK]
    assert not await lapsed(bench, lease)


async def test_a_lost_lease_stays_lost(bench):
    """A worker that slept too long learns it at its next heartbeat, and cannot take the task back."""
    await bench.submit_many(1)
    old = await bench.claim_one(lease=5)
    await bench.advance(8)
    assert await lapsed(bench, old)
    new = await bench.claim_one(worker="w2")
    assert await bench.renew(old) == [Answer.LOST]
    assert await bench.settle(new) is Answer.OK


@pytest.mark.verbs("force")
async def test_the_heartbeat_learns_of_a_cancellation(bench):
    """The lease stands meanwhile: the worker has time to stop."""
    await bench.submit_many(1)
    lease = await bench.claim_one(lease=10)
    await bench.store.force([Force(lease.task, Action.CANCEL)])
    await bench.advance(6)
    assert await bench.renew(lease, lease=10) == [Answer.CANCEL]
    await bench.advance(6)
    assert not await lapsed(bench, lease)
    assert await bench.settle(lease, Outcome.CANCELLED) is Answer.CANCEL


# --- leases whose answer was lost --------------------------------------------------------------------


async def test_what_a_worker_does_not_name_goes_back_uncounted(bench):
    tasks = await bench.submit_many(3)
    one, two, three = await bench.claim(3, seq=1)
    assert await bench.renew(two, seq=1) == [Answer.OK]
    again = await bench.claim(5, worker="w2")
    assert [lease.task for lease in again] == [tasks[0], tasks[2]]
    assert [(lease.attempt, lease.losses, lease.retries) for lease in again] == [(1, 0, 0)] * 2
    assert await bench.settle(one) is Answer.LOST
    assert await bench.settle(three) is Answer.LOST
    assert await bench.settle(two) is Answer.OK


async def test_leases_of_a_later_claim_are_left_alone(bench):
    """The heartbeat may have left before that claim's answer arrived."""
    await bench.submit_many(2)
    early = await bench.claim_one(seq=1)
    late = await bench.claim_one(seq=2)
    assert await bench.renew(early, seq=1) == [Answer.OK]
    assert await bench.settle(late) is Answer.OK


async def test_leases_of_another_incarnation_are_left_alone(bench):
    await bench.submit_many(2)
    mine = await bench.claim_one(worker="w1", seq=1)
    other = await bench.claim_one(worker="w2", seq=1)
    assert await bench.renew(mine, worker="w1", seq=9) == [Answer.OK]
    assert await bench.settle(other) is Answer.OK


async def test_naming_a_lease_by_a_wrong_token_is_not_naming_it(bench):
    await bench.submit_many(1)
    lease = await bench.claim_one(seq=1)
    stranger = msgspec.structs.replace(lease, token=lease.token - 1)
    assert await bench.renew(stranger, seq=1) == [Answer.LOST]
    assert len(await bench.claim(5, worker="w2")) == 1


async def test_a_worker_that_names_nothing_gives_all_back(bench):
    tasks = await bench.submit_many(3)
    await bench.claim(3, seq=4)
    assert await bench.renew(seq=4) == []
    assert await bench.claimed_ids(5, worker="w2") == tasks


@pytest.mark.verbs("get", "force")
async def test_an_unnamed_lease_under_cancellation_ends_cancelled(bench):
    await bench.submit_many(1)
    lease = await bench.claim_one(seq=1)
    await bench.store.force([Force(lease.task, Action.CANCEL)])
    await bench.renew(seq=1)
    assert (await bench.get(lease.task)).state is State.CANCELLED


# --- run time ----------------------------------------------------------------------------------------


@pytest.mark.verbs("get")
async def test_run_time_counts_from_the_start_of_the_run(bench):
    """A task that waits in the worker is not running yet: its timeout begins anew."""
    await bench.submit_many(2, timeout_us=bench.us(30))
    waiting, started = await bench.claim(2)
    await bench.advance(8)
    lines = [Held(waiting.task, waiting.token, started=False), Held(started.task, started.token)]
    assert await bench.renew(*lines) == [Answer.OK, Answer.OK]
    fresh, old = await bench.get(waiting.task), await bench.get(started.task)
    assert fresh.started_at_us >= waiting.started_at_us + bench.us(7)
    assert fresh.timeout_at_us == fresh.started_at_us + bench.us(30)
    assert old.started_at_us == started.started_at_us
    assert old.timeout_at_us == started.started_at_us + bench.us(30)


@pytest.mark.verbs("expired")
async def test_a_lease_made_shorter_lapses_when_it_says(bench):
    """Also if its claim came after all that the heartbeat speaks for: another claim was still on its way."""
    await bench.submit_many(1)
    lease = await bench.claim_one(lease=600, seq=5)
    assert await bench.renew(lease, seq=4, lease=10) == [Answer.OK]
    assert await bench.store.expired(10) in ([], ())
    await bench.advance(20)
    assert [late.task for late in await bench.store.expired(10)] == [lease.task]


async def test_one_lease_named_twice_is_renewed(bench):
    """Neither line is told that the lease is lost: the worker would give its run up."""
    await bench.submit_many(1)
    lease = await bench.claim_one(lease=10)
    assert await bench.renew(lease, lease, lease=60) == [Answer.OK, Answer.OK]
    renewals = [bench.renewal(lease, lease=60), bench.renewal(lease, lease=60)]
    assert [list(lines) for lines in await bench.store.renew(renewals)] == [[Answer.OK], [Answer.OK]]
    await bench.advance(30)
    assert not await lapsed(bench, lease)
