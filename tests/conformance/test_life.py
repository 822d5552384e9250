"""A store's own life: opening, closing, its clock, and what a crash that loses writes must not break."""

import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.core.model import Lane, State
from mainspring.errors import StoreUnavailable
from mainspring.verbs import Answer, Exchange, Query
from tests.conformance.bench import LANE, VERBS

# --- open and close ----------------------------------------------------------------------------------


@pytest.mark.verbs("find")
async def test_a_closed_store_says_so(bench):
    await bench.store.close()
    with pytest.raises(StoreUnavailable):
        await bench.store.find(Query())
    with pytest.raises(StoreUnavailable):
        await bench.store.exchange(Exchange())
    await bench.store.open()


async def test_what_was_stored_is_there_after_closing(bench):
    await bench.submit_many(2)
    one, two = await bench.claim(2)
    await bench.settle(one, result=b"1")
    await bench.store.close()
    await bench.store.open()
    assert await bench.states(one.task, two.task) == [State.SUCCEEDED, State.RUNNING]
    assert await bench.settle(two) is Answer.OK


@pytest.mark.verbs("find")
async def test_features_are_told(bench):
    features = bench.store.features
    assert features.name
    assert features.durability in {"A", "B", "C", "none"}


def test_the_suite_knows_every_verb():
    """A verb that is added to the port appears among those that a driver may declare."""
    assert {"submit", "claim", "settle", "renew", "resolve", "take_term", "set_weight"} <= VERBS
    assert not {"open", "close", "exchange"} & VERBS


# --- the clock ---------------------------------------------------------------------------------------


@pytest.mark.exact_time
@pytest.mark.verbs("submit", "claim", "settle")
@pytest.mark.breaks("clock_ahead")
async def test_a_clock_that_steps_back_takes_no_lease_away(bench):
    """The store's time stands still until the clock has caught up; numbers rise all the same."""
    await bench.submit_many(2)
    before = await bench.claim_one()
    bench.clock.offset_us -= bench.us(3600)
    after = await bench.claim_one()
    assert after.token > before.token
    assert after.lease_until_us >= before.lease_until_us
    assert await bench.settle(before, Outcome.LOST, only_if_lapsed=True) is Answer.LOST
    assert await bench.settle(before) is Answer.OK


@pytest.mark.exact_time
@pytest.mark.verbs("submit", "claim", "settle", "get")
async def test_numbers_rise_while_the_clock_stands_still(bench):
    """Places in line, tokens and versions are told apart within one microsecond."""
    tasks = [*await bench.submit_many(50), *await bench.submit_many(50)]
    leases = await bench.claim(100)
    assert [lease.task for lease in leases] == tasks
    for lease in leases[:10]:
        before = (await bench.get(lease.task)).version
        await bench.settle(lease, Outcome.RELEASED)
        assert (await bench.get(lease.task)).version > before
    for old, new in zip(leases, await bench.claim(10), strict=False):
        assert (new.task, new.token > old.token) == (old.task, True)


# --- lost writes -------------------------------------------------------------------------------------


@pytest.mark.loses_writes
async def test_what_was_written_before_the_mark_is_there(bench):
    (kept,) = await bench.submit_many(1)
    await bench.mark()
    (lost,) = await bench.submit_many(1)
    await bench.lose_writes()
    assert [record and record.id for record in await bench.store.get([kept, lost])] == [kept, None]


@pytest.mark.loses_writes
async def test_a_token_never_comes_twice(bench):
    """Two holders, one before and one after the crash: only the second can write."""
    await bench.submit_many(1)
    await bench.mark()
    before = await bench.claim_one(worker="w1")
    await bench.lose_writes()
    after = await bench.claim_one(worker="w2")
    assert after.task == before.task
    assert after.token > before.token
    assert await bench.settle(before, result=b"1") is Answer.LOST
    assert await bench.renew(before) == [Answer.LOST]
    assert await bench.settle(after, result=b"2") is Answer.OK
    assert (await bench.get(after.task)).result == b"2"


@pytest.mark.loses_writes
async def test_a_settlement_that_was_lost_can_be_repeated(bench):
    """The row runs again, as it did before: the worker's repeat is written, not refused."""
    await bench.submit_many(1)
    lease = await bench.claim_one()
    await bench.mark()
    assert await bench.settle(lease, result=b"1") is Answer.OK
    await bench.lose_writes()
    assert await bench.settle(lease, result=b"1") is Answer.OK


@pytest.mark.loses_writes
async def test_terms_and_versions_rise_over_the_loss(bench):
    (task,) = await bench.submit_many(1)
    await bench.mark()
    term = await bench.store.take_term("n1", bench.us(6))
    lease = await bench.claim_one()
    await bench.settle(lease, Outcome.RELEASED)
    version = (await bench.get(task)).version
    await bench.lose_writes()
    newer = await bench.store.take_term("n2", bench.us(6))
    assert newer.holder == "n2"
    assert newer.number > term.number
    await bench.claim_one()
    assert (await bench.get(task)).version > version


@pytest.mark.loses_live_writes
async def test_a_lane_number_never_means_another_lane(bench):
    """A node may still claim by a number that was lost: it must not get work of another kind."""
    await bench.submit_many(1)
    await bench.mark()
    gone = Lane("mail", "send", "acme", 5)
    await bench.submit_many(1, gone)
    number = bench.lane_ids[gone]
    await bench.lose_writes()
    await bench.submit_many(1, LANE._replace(kind="other"))
    assert bench.lane_ids[LANE._replace(kind="other")] != number


@pytest.mark.loses_writes
async def test_losing_writes_twice(bench):
    """The same state can be lost back to again."""
    await bench.submit_many(1)
    await bench.mark()
    tokens = []
    for _ in range(3):
        tokens.append((await bench.claim_one()).token)
        await bench.lose_writes()
    assert tokens == sorted(set(tokens))
