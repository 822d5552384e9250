"""Idempotency keys: a submit that is repeated because its answer was lost makes no second task."""

import pytest

from mainspring.core.model import State, UniqueRule
from mainspring.verbs import Accepted, Existing, Group, Idempotency, Refused
from tests.conformance.bench import MS

pytestmark = pytest.mark.verbs("submit", "get")


def key(bench, digest=b"body", name="k1", principal="alice", ttl=60):
    return Idempotency(principal, name, digest, bench.us(ttl))


async def test_the_same_key_and_body_gives_the_same_tasks(bench):
    """In the order of the first group, whatever ids the repeat brings."""
    first = await bench.put_one(bench.task(), bench.task(), idempotency=key(bench))
    assert isinstance(first, Accepted)
    repeat = [bench.task(), bench.task()]
    again = await bench.put_one(*repeat, idempotency=key(bench))
    assert isinstance(again, Existing)
    assert [task.version for task in again.tasks] == list(first.versions)
    assert await bench.store.get([task.id for task in repeat]) == [None, None]


async def test_the_very_same_submit_again(bench):
    """S3-31: after an unknown outcome, the same ids under the same key find themselves."""
    tasks = [bench.task(), bench.task()]
    await bench.put_one(*tasks, idempotency=key(bench))
    again = await bench.put_one(*tasks, idempotency=key(bench))
    assert [task.id for task in again.tasks] == [task.id for task in tasks]


async def test_another_body_is_refused(bench):
    await bench.put_one(bench.task(), idempotency=key(bench))
    new = bench.task()
    refused = await bench.put_one(new, idempotency=key(bench, digest=b"other"))
    assert isinstance(refused, Refused)
    assert refused.code == "idempotency_key_reused"
    assert await bench.store.get([new.id]) == [None]


async def test_keys_belong_to_their_principal(bench):
    await bench.put_one(bench.task(), idempotency=key(bench))
    accepted = await bench.put_one(bench.task(), idempotency=key(bench, b"other", principal="bob"))
    assert isinstance(accepted, Accepted)


async def test_a_key_expires(bench):
    """Protocol check B-21: after its time a key is a new one."""
    await bench.put_one(bench.task(), idempotency=key(bench, ttl=20))
    await bench.advance(15)
    assert isinstance(await bench.put_one(bench.task(), idempotency=key(bench, ttl=20)), Existing)
    await bench.advance(10)
    accepted = await bench.put_one(bench.task(), idempotency=key(bench, b"other", ttl=20))
    assert isinstance(accepted, Accepted)
    assert isinstance(await bench.put_one(bench.task(), idempotency=key(bench, b"other", ttl=20)), Existing)


@pytest.mark.exact_time
async def test_a_key_expires_in_time(bench):
    await bench.put_one(bench.task(), idempotency=key(bench))
    bench.clock.offset_us += bench.us(60) - MS
    assert isinstance(await bench.put_one(bench.task(), idempotency=key(bench)), Existing)
    bench.clock.offset_us += 2 * MS
    assert isinstance(await bench.put_one(bench.task(), idempotency=key(bench)), Accepted)


async def test_a_refused_group_leaves_its_key_free(bench):
    """The caller mends the body and sends it under the same key."""
    bad = bench.task(depends_on=(bench.clock.new_id(),))
    assert isinstance(await bench.put_one(bad, idempotency=key(bench, b"bad")), Refused)
    assert isinstance(await bench.put_one(bench.task(), idempotency=key(bench, b"mended")), Accepted)


async def test_twice_in_a_batch(bench):
    one, two, other = bench.task(), bench.task(), bench.task()
    answers = await bench.put(
        [
            Group([one], key(bench)),
            Group([two], key(bench)),
            Group([other], key(bench, b"other")),
        ]
    )
    assert [type(answer) for answer in answers] == [Accepted, Existing, Refused]
    assert answers[1].tasks[0].id == one.id


@pytest.mark.verbs("claim", "settle")
async def test_the_answer_shows_the_task_as_it_is_now(bench):
    (task,) = [bench.task()]
    await bench.put_one(task, idempotency=key(bench))
    await bench.settle(await bench.claim_one(), result=b"1")
    again = await bench.put_one(bench.task(), idempotency=key(bench))
    assert (again.tasks[0].state, again.tasks[0].result) == (State.SUCCEEDED, b"1")


@pytest.mark.verbs("claim", "settle", "delete")
async def test_a_key_outlives_its_task(bench):
    """A repeat never runs the work a second time, even if the first task was forgotten already."""
    task = bench.task()
    await bench.put_one(task, idempotency=key(bench))
    await bench.settle(await bench.claim_one())
    await bench.store.delete([task.id])
    again = await bench.put_one(bench.task(), idempotency=key(bench))
    assert isinstance(again, Existing)
    assert list(again.tasks) == []


async def test_a_key_covers_the_tasks_that_a_unique_rule_found(bench):
    rule = UniqueRule(b"digest", frozenset(State))
    (first,) = await bench.submit(bench.task(unique=rule))
    await bench.put_one(bench.task(unique=rule), idempotency=key(bench))
    again = await bench.put_one(bench.task(unique=rule), idempotency=key(bench))
    assert [task.id for task in again.tasks] == [first]
