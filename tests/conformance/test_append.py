"""Checkpoints and progress of running tasks, fenced by the token."""

import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.verbs import Answer, Append

pytestmark = pytest.mark.verbs("submit", "claim", "settle", "append", "get")


async def test_both_are_recorded_and_none_leaves_as_it_is(bench):
    await bench.submit_many(1)
    lease = await bench.claim_one()
    task, token = lease.task, lease.token
    assert list(await bench.store.append([Append(task, token, b'{"line":1}', b'{"done":0.1}')])) == [
        Answer.OK
    ]
    await bench.store.append([Append(task, token, checkpoint=b'{"line":2}')])
    await bench.store.append([Append(task, token, progress=b'{"done":0.3}')])
    record = await bench.get(task)
    assert (record.checkpoint, record.progress) == (b'{"line":2}', b'{"done":0.3}')


async def test_a_later_run_resumes_from_the_checkpoint(bench):
    """S3-25: what a run saved is there for the next, after failure and after crash."""
    await bench.submit_many(1)
    lease = await bench.claim_one()
    await bench.store.append([Append(lease.task, lease.token, checkpoint=b'{"line":2}')])
    await bench.settle(lease, Outcome.LOST)
    assert (await bench.claim_one(worker="w2")).checkpoint == b'{"line":2}'


async def test_a_stranger_writes_nothing(bench):
    await bench.submit_many(2)
    one, two = await bench.claim(2)
    await bench.settle(two)
    answers = await bench.store.append(
        [
            Append(one.task, one.token + 1, b"1"),
            Append(two.task, two.token, b"2"),
            Append(bench.clock.new_id(), 1, b"3"),
        ]
    )
    assert list(answers) == [Answer.LOST] * 3
    assert (await bench.get(one.task)).checkpoint is None
    assert (await bench.get(two.task)).checkpoint is None


async def test_two_lines_for_one_task_in_a_batch(bench):
    """One after the other: the last word stands."""
    await bench.submit_many(1)
    lease = await bench.claim_one()
    lines = [Append(lease.task, lease.token, b"1", b"1"), Append(lease.task, lease.token, b"2")]
    assert list(await bench.store.append(lines)) == [Answer.OK, Answer.OK]
    record = await bench.get(lease.task)
    assert (record.checkpoint, record.progress) == (b"2", b"1")


async def test_the_old_holder_cannot_overwrite(bench):
    await bench.submit_many(1)
    old = await bench.claim_one()
    await bench.settle(old, Outcome.LOST)
    new = await bench.claim_one(worker="w2")
    await bench.store.append([Append(new.task, new.token, b'"new"')])
    assert list(await bench.store.append([Append(old.task, old.token, b'"old"')])) == [Answer.LOST]
    assert (await bench.get(new.task)).checkpoint == b'"new"'


async def test_a_line_that_was_overtaken_brings_no_old_checkpoint_back(bench):
    """A server was held up with it; its worker had sent it again by another one, and then the next."""
    await bench.submit_many(1)
    lease = await bench.claim_one()
    lines = [
        Append(lease.task, lease.token, b"1", b"10", number=1),
        Append(lease.task, lease.token, b"2", b"20", {"a": b"1"}, number=2),
    ]
    for line in (*lines, lines[0], lines[1]):
        assert list(await bench.store.append([line])) == [Answer.OK]
    assert list(await bench.store.append([lines[1], lines[0]])) == [Answer.OK, Answer.OK]
    record = await bench.get(lease.task)
    assert (record.checkpoint, record.progress) == (b"2", b"20")


async def test_each_run_counts_its_lines_anew(bench):
    """Nor are lines without a number ever too late."""
    await bench.submit_many(1)
    first = await bench.claim_one()
    await bench.store.append([Append(first.task, first.token, b"1", number=9)])
    await bench.settle(first, Outcome.LOST)
    second = await bench.claim_one(worker="w2")
    await bench.store.append([Append(second.task, second.token, b"2", number=1)])
    assert (await bench.get(second.task)).checkpoint == b"2"
    await bench.store.append([Append(second.task, second.token, b"3")])
    assert (await bench.get(second.task)).checkpoint == b"3"
