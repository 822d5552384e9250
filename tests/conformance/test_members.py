"""Workers as they report themselves, and the term that says who may lead."""

import pytest

from mainspring.verbs import WorkerInfo

workers = pytest.mark.verbs("beat", "leave", "workers")
terms = pytest.mark.verbs("take_term", "term", "resign")


def info(worker="w1", incarnation="a", **fields):
    return WorkerInfo(worker, incarnation, "node-1", ("echo",), ("default",), 4, **fields)


# --- workers -----------------------------------------------------------------------------------------


@workers
async def test_a_worker_registers_and_is_listed(bench):
    await bench.store.beat(info(running=2, draining=True, version="1.0"))
    (found,) = await bench.store.workers()
    age_us, found.age_us = found.age_us, 0
    assert found == info(running=2, draining=True, version="1.0")
    assert 0 <= age_us < bench.us(10)


@workers
async def test_the_age_counts_from_the_last_beat(bench):
    await bench.store.beat(info())
    await bench.advance(10)
    (found,) = await bench.store.workers()
    assert bench.us(10) <= found.age_us < bench.us(20)
    await bench.store.beat(info(running=3))
    (found,) = await bench.store.workers()
    assert found.running == 3
    assert found.age_us < bench.us(5)


@workers
async def test_a_worker_leaves(bench):
    await bench.store.beat(info("w1"))
    await bench.store.beat(info("w2"))
    await bench.store.leave("w1", "a")
    await bench.store.leave("w1", "a")
    assert [found.worker for found in await bench.store.workers()] == ["w2"]


@workers
async def test_an_old_incarnation_cannot_send_the_new_one_away(bench):
    """The old process says goodbye after the new one has taken its name."""
    await bench.store.beat(info(incarnation="a"))
    await bench.store.beat(info(incarnation="b"))
    await bench.store.leave("w1", "a")
    assert [found.incarnation for found in await bench.store.workers()] == ["b"]


@workers
@pytest.mark.verbs("submit", "claim", "settle")
async def test_what_a_worker_held_stays_its_own_until_it_lapses(bench):
    await bench.submit_many(1)
    lease = await bench.claim_one(worker="w1")
    await bench.store.leave("w1", lease.worker)
    assert await bench.claim(1, worker="w2") == []
    assert (await bench.settle(lease)).name == "OK"


# --- terms -------------------------------------------------------------------------------------------


@terms
async def test_the_first_candidate_leads(bench):
    term = await bench.store.take_term("n1", bench.us(60))
    assert term.holder == "n1"
    assert term.number > 0
    assert bench.us(50) < term.expires_in_us <= bench.us(60)


@terms
async def test_the_second_waits_and_learns_who_leads(bench):
    """S3-20, S3-40: on every store, Redis among them."""
    first = await bench.store.take_term("n1", bench.us(60))
    await bench.advance(20)
    answer = await bench.store.take_term("n2", bench.us(60))
    assert (answer.holder, answer.number) == ("n1", first.number)
    assert answer.expires_in_us <= bench.us(40)


@terms
async def test_renewing_keeps_the_number(bench):
    first = await bench.store.take_term("n1", bench.us(60))
    await bench.advance(40)
    again = await bench.store.take_term("n1", bench.us(60))
    assert (again.holder, again.number) == ("n1", first.number)
    await bench.advance(40)
    assert (await bench.store.take_term("n2", bench.us(60))).holder == "n1"


@terms
async def test_an_expired_term_goes_to_the_next(bench):
    """S1-48: within the term's length after a leader's death."""
    first = await bench.store.take_term("n1", bench.us(60))
    await bench.advance(70)
    second = await bench.store.take_term("n2", bench.us(60))
    assert second.holder == "n2"
    assert second.number > first.number
    assert (await bench.store.take_term("n1", bench.us(60))).holder == "n2"


@terms
async def test_the_same_node_elected_again_has_a_new_term(bench):
    """What it did not renew in time, it lost: its old work is fenced, too."""
    first = await bench.store.take_term("n1", bench.us(60))
    await bench.advance(70)
    second = await bench.store.take_term("n1", bench.us(60))
    assert second.number > first.number


@terms
async def test_resigning_makes_way_at_once(bench):
    first = await bench.store.take_term("n1", bench.us(60))
    await bench.store.resign("n1", first.number)
    second = await bench.store.take_term("n2", bench.us(60))
    assert second.holder == "n2"
    assert second.number > first.number


@terms
async def test_only_the_holder_can_resign_and_only_this_term(bench):
    first = await bench.store.take_term("n1", bench.us(60))
    await bench.store.resign("n2", first.number)
    await bench.store.resign("n1", first.number - 1)
    assert (await bench.store.take_term("n2", bench.us(60))).holder == "n1"
    await bench.advance(70)
    second = await bench.store.take_term("n1", bench.us(60))
    await bench.store.resign("n1", first.number)
    assert (await bench.store.take_term("n2", bench.us(60))).number == second.number


@terms
async def test_numbers_rise_over_many_terms(bench):
    numbers = []
    for holder in ("n1", "n2") * 5:
        term = await bench.store.take_term(holder, bench.us(60))
        assert term.holder == holder
        numbers.append(term.number)
        await bench.store.resign(holder, term.number)
    assert numbers == sorted(set(numbers))


@terms
async def test_who_leads_is_told_without_taking_part(bench):
    assert await bench.store.term() is None
    first = await bench.store.take_term("n1", bench.us(60))
    for _ in range(2):
        told = await bench.store.term()
        assert told[:2] == first[:2]
        assert bench.us(50) < told.expires_in_us <= bench.us(60)
    await bench.advance(70)
    assert await bench.store.term() is None
    second = await bench.store.take_term("n2", bench.us(60))
    assert (await bench.store.term())[:2] == second[:2]
    await bench.store.resign("n2", second.number)
    assert await bench.store.term() is None


@terms
@pytest.mark.verbs("submit", "claim")
async def test_a_claim_under_a_term(bench):
    """A leader-only pool is granted work under the current term alone."""
    tasks = await bench.submit_many(3)
    assert await bench.claim(1, term=1) == []
    term = await bench.store.take_term("n1", bench.us(60))
    assert await bench.claim(1, term=term.number - 1) == []
    assert await bench.claimed_ids(1, term=term.number) == tasks[:1]
    await bench.advance(70)
    assert await bench.claim(1, term=term.number) == []
    newer = await bench.store.take_term("n2", bench.us(60))
    assert await bench.claim(1, term=term.number) == []
    assert await bench.claimed_ids(1, term=newer.number) == tasks[1:2]
