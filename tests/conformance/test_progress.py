"""Steps and logs of running tasks: fenced, safe to repeat, there for the next run, gone with their task."""

from itertools import pairwise

import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.core.model import OnParentFailure, Policy, RetryPolicy, State
from mainspring.core.progress import (
    LOG_BYTES_KEPT,
    LOG_BYTES_LIVE,
    RECALL_BYTES,
    LogPiece,
    end_of,
    weight_of,
)
from mainspring.ports import (
    Answer,
    Append,
    Force,
    Glance,
    LogPage,
    Parent,
    Recall,
    Recalled,
    Refused,
    Retention,
)
from mainspring.verbs import Action

pytestmark = pytest.mark.verbs(
    "submit", "claim", "settle", "append", "recall", "logs", "glance", "get", "delete", "force", "prune",
    "resolve",
)  # fmt: skip
KEEP_ALL = Retention(None, None, None)


async def running(bench, **fields):
    await bench.submit(bench.task(**fields))
    return await bench.claim_one()


async def again(bench, lease, worker="w2", outcome=Outcome.LOST):
    """The next run of the task, after its worker was lost."""
    assert await bench.settle(lease, outcome) is Answer.OK
    return await bench.claim_one(worker=worker)


async def append(bench, lease, **fields):
    (answer,) = await bench.store.append([Append(lease.task, lease.token, **fields)])
    return answer


async def recall(bench, lease, **parts):
    (answer,) = await bench.store.recall([Recall(lease.task, lease.token, **parts)])
    return answer


async def log_of(bench, task, after=0, most=1 << 30):
    return await bench.store.logs(task, after, most)


def piece(offset, text, stream="stdout", at_us=1):
    return LogPiece(offset, stream, at_us, text)


def pieces(count, text, offset=0):
    return [piece(offset + n * len(text), text) for n in range(count)]


# --- steps ------------------------------------------------------------------------------------------


async def test_the_next_run_finds_the_steps_of_the_one_before(bench):
    """S3-25: work that is recorded is not done again, after a crash too."""
    lease = await running(bench)
    assert await append(bench, lease, steps={"b": b"1", "a": b'{"x":[2]}'}) is Answer.OK
    assert await append(bench, lease, steps={"c": b"null"}, checkpoint=b"7") is Answer.OK
    second = await again(bench, lease)
    found = await recall(bench, second)
    assert list(found.steps.items()) == [("b", b"1"), ("a", b'{"x":[2]}'), ("c", b"null")]
    assert (found.parents, second.checkpoint) == ([], b"7")


async def test_a_repeated_step_keeps_its_first_result(bench):
    """The answer to its recording was lost: the same line comes again."""
    lease = await running(bench)
    for result in (b"1", b"1", b"2"):
        assert await append(bench, lease, steps={"a": result}) is Answer.OK
    assert (await recall(bench, lease)).steps == {"a": b"1"}


async def test_a_stranger_records_and_learns_nothing(bench):
    """S3-25: a run that lost its lease can neither write nor read over the one that has it."""
    old = await running(bench)
    await append(bench, old, steps={"a": b"1"}, log=[piece(0, "old\n")])
    new = await again(bench, old)
    late = {"steps": {"a": b"9", "b": b"9"}, "log": [piece(4, "late\n")], "checkpoint": b"9"}
    assert await append(bench, old, **late) is Answer.LOST
    assert await recall(bench, old) == Refused("lease_lost", (await recall(bench, old)).detail)
    assert (await recall(bench, new)).steps == {"a": b"1"}
    assert [p.text for p in (await log_of(bench, new.task)).pieces] == ["old\n"]
    assert (await bench.get(new.task)).checkpoint is None
    await bench.settle(new)
    assert await append(bench, new, steps={"b": b"9"}) is Answer.LOST
    assert (await recall(bench, new)).code == "lease_lost"
    (unknown,) = await bench.store.recall([Recall(bench.clock.new_id(), 1)])
    assert unknown.code == "lease_lost"


async def test_each_line_of_a_batch_is_answered_by_itself(bench):
    await bench.submit_many(2)
    one, two = await bench.claim(2)
    lines = [
        Append(one.task, one.token, steps={"a": b"1"}),
        Append(two.task, two.token + 1, steps={"a": b"2"}),
        Append(two.task, two.token, log=[piece(0, "x")], progress=b"0.5"),
        Append(one.task, one.token, steps={"b": b"3"}, log=[piece(0, "y")]),
    ]
    assert list(await bench.store.append(lines)) == [Answer.OK, Answer.LOST, Answer.OK, Answer.OK]
    answers = await bench.store.recall([Recall(two.task, two.token), Recall(one.task, one.token)])
    assert [answer.steps for answer in answers] == [{}, {"a": b"1", "b": b"3"}]


async def test_what_cannot_be_stored_harms_nobody_else(bench):
    await bench.submit_many(2)
    one, two = await bench.claim(2)
    lines = [
        Append(one.task, one.token, steps={"good": b"1", "\ud800": b"1"}),
        Append(two.task, two.token, steps={"good": b"2"}),
    ]
    assert list(await bench.store.append(lines))[1] is Answer.OK
    assert (await recall(bench, two)).steps == {"good": b"2"}


async def test_a_replay_by_hand_goes_on_from_the_steps(bench):
    """As from the checkpoint: what was done is done."""
    lease = await running(bench)
    await append(bench, lease, steps={"a": b"1"}, checkpoint=b"2", log=[piece(0, "first\n")])
    await bench.settle(lease, Outcome.FAILED, retryable=False)
    await bench.store.force([Force(lease.task, Action.REPLAY)])
    second = await bench.claim_one()
    assert (second.attempt, second.checkpoint) == (1, b"2")
    assert (await recall(bench, second)).steps == {"a": b"1"}
    assert [p.text for p in (await log_of(bench, lease.task)).pieces] == ["first\n"]


@pytest.mark.loses_writes
async def test_a_store_that_lost_its_last_writes_goes_on_from_what_is_left(bench):
    """The run writes on from where it was: what the store lost is a gap."""
    lease = await running(bench)
    await append(bench, lease, steps={"a": b"1"}, log=[piece(0, "kept")])
    await bench.mark()
    await append(bench, lease, steps={"b": b"2"}, log=[piece(4, "lost")])
    await bench.lose_writes()
    assert await append(bench, lease, steps={"c": b"3"}, log=[piece(8, "new")]) is Answer.OK
    assert (await recall(bench, lease)).steps == {"a": b"1", "c": b"3"}
    found = (await log_of(bench, lease.task)).pieces
    assert [(p.offset, p.text) for p in found] == [(0, "kept"), (8, "new")]


# --- parents ----------------------------------------------------------------------------------------


async def test_a_child_learns_how_its_parents_ended(bench):
    first, second = bench.task(name="fetch"), bench.task()
    third = bench.task(policy=Policy(max_retries=0))
    child = bench.task(
        depends_on=(third.id, first.id, second.id),
        policy=Policy(on_parent_failure=OnParentFailure.RUN),
    )
    await bench.submit(first, second, third, child)
    for lease in await bench.claim(3):
        if lease.task == third.id:
            await bench.settle(lease, Outcome.FAILED, error=b'{"type":"E"}', error_type="E")
        else:
            await bench.settle(lease, result=b'{"rows":3}' if lease.task == first.id else b"null")
    await bench.resolve_all()
    lease = await bench.claim_one()
    assert await recall(bench, lease, steps=False) == Recalled(
        {},
        [
            Parent(third.id, None, State.FAILED, None, b'{"type":"E"}'),
            Parent(first.id, "fetch", State.SUCCEEDED, b'{"rows":3}', None),
            Parent(second.id, None, State.SUCCEEDED, b"null", None),
        ],
    )
    assert await recall(bench, lease, parents=False) == Recalled()


async def test_parents_that_are_too_much_to_hand_on_are_refused(bench):
    parents = [bench.task() for _ in range(3)]
    child = bench.task(depends_on=tuple(parent.id for parent in parents))
    await bench.submit(*parents, child)
    for lease in await bench.claim(3):
        await bench.settle(lease, result=b'"' + b"x" * (RECALL_BYTES // 3) + b'"')
    lease = await bench.claim_one()
    answer = await recall(bench, lease)
    assert answer.code == "too_large"
    assert await recall(bench, lease, parents=False) == Recalled()


# --- logs -------------------------------------------------------------------------------------------


async def test_a_log_is_read_while_its_task_runs_and_after(bench):
    """S1-43: what a command says can be followed live."""
    lease = await running(bench)
    assert await log_of(bench, lease.task) == LogPage([], 0)
    first = [piece(0, "1/10\n", at_us=5), piece(5, "wärn\n", "stderr", 6)]
    await append(bench, lease, log=first)
    page = await log_of(bench, lease.task)
    assert (page.pieces, page.ends) == (first, 11)
    await append(bench, lease, log=[piece(11, "2/10\n")])
    await bench.settle(lease)
    page = await log_of(bench, lease.task, after=11)
    assert (page.pieces, page.ends) == ([piece(11, "2/10\n")], 16)
    assert (await log_of(bench, lease.task, after=16)).pieces == []
    assert [p.text for p in (await log_of(bench, lease.task, after=6)).pieces] == ["wärn\n", "2/10\n"]
    assert await log_of(bench, bench.clock.new_id()) is None


async def test_a_repeated_piece_is_not_doubled(bench):
    """The answer to an append was lost; the same line comes again, alone or with more behind it."""
    lease = await running(bench)
    for count in (2, 2, 3, 1, 4):
        assert await append(bench, lease, log=pieces(count, "line\n")) is Answer.OK
    page = await log_of(bench, lease.task)
    assert (page.pieces, page.ends) == (pieces(4, "line\n"), 20)


async def test_the_next_run_writes_behind_the_one_before(bench):
    """Each run counts its bytes from 0."""
    lease = await running(bench)
    await append(bench, lease, log=[piece(0, "one\n")])
    second = await again(bench, lease)
    for _ in range(2):
        await append(bench, second, log=[piece(0, "two\n"), piece(4, "three\n")])
    third = await again(bench, second, "w3", Outcome.RELEASED)
    await append(bench, third, log=[piece(0, "four\n")])
    found = (await log_of(bench, lease.task)).pieces
    assert [(p.offset, p.text) for p in found] == [(0, "one\n"), (4, "two\n"), (8, "three\n"), (14, "four\n")]


async def test_what_the_worker_left_out_is_a_gap(bench):
    lease = await running(bench)
    await append(bench, lease, log=[piece(0, "a"), piece(101, "b")])
    page = await log_of(bench, lease.task)
    assert ([(p.offset, p.text) for p in page.pieces], page.ends) == ([(0, "a"), (101, "b")], 102)


async def test_a_long_log_loses_its_oldest_and_nothing_else(bench):
    lease, text = await running(bench), "x" * 1_000
    for start in range(0, 2_000, 100):
        await append(bench, lease, log=pieces(100, text, start * 1_000))
    page = await log_of(bench, lease.task)
    assert LOG_BYTES_LIVE * 0.9 < weight_of(page.pieces) <= LOG_BYTES_LIVE
    assert page.pieces[0].offset > 0
    assert page.ends == end_of(page.pieces[-1]) == 2_000_000
    assert all(one.offset + 1_000 == two.offset for one, two in pairwise(page.pieces))


async def test_of_an_ended_task_the_tail_is_kept(bench):
    """Nothing is cut while it runs, nor when a log is short."""
    await bench.submit_many(2)
    long, short = await bench.claim(2)
    await append(bench, long, log=pieces(500, "x" * 1_000))
    await append(bench, short, log=pieces(50, "x" * 1_000))
    await bench.settle(short)
    await bench.store.prune(100, KEEP_ALL, None)
    assert len((await log_of(bench, long.task)).pieces) == 500
    await bench.settle(long)
    for _ in range(2):
        await bench.store.prune(100, KEEP_ALL, None)
    page = await log_of(bench, long.task)
    assert LOG_BYTES_KEPT / 2 < weight_of(page.pieces) <= LOG_BYTES_KEPT
    assert page.ends == end_of(page.pieces[-1]) == 500_000
    assert len((await log_of(bench, short.task)).pieces) == 50


async def test_many_empty_or_tiny_lines_count_under_the_cap(bench):
    lease = await running(bench)
    for start in range(0, 60_000, 10_000):
        await append(bench, lease, log=[*pieces(10_000, "\n", start), piece(start + 10_000, "")])
    page = await log_of(bench, lease.task)
    assert 20_000 < len(page.pieces) < 40_000
    assert all(p.text for p in page.pieces)


async def test_a_page_is_cut_at_about_its_size_and_the_next_one_follows(bench):
    lease = await running(bench)
    await append(bench, lease, log=pieces(300, "y" * 1_000))
    found, after, pages = [], 0, 0
    while after < (page := await log_of(bench, lease.task, after, 50_000)).ends:
        assert 0 < weight_of(page.pieces) < 150_000
        found += page.pieces
        after = end_of(page.pieces[-1])
        pages += 1
    assert found == pieces(300, "y" * 1_000)
    assert pages > 2


async def test_a_glance_shows_what_has_changed(bench):
    first = await running(bench)
    other = await running(bench)
    absent = bench.clock.new_id()
    glances = [await bench.store.glance([first.task, absent, other.task])]
    await append(bench, first, progress=b"0.1")
    glances.append(await bench.store.glance([first.task]))
    await append(bench, first, log=[piece(0, "abc")])
    glances.append(await bench.store.glance([first.task]))
    await bench.settle(first)
    glances.append(await bench.store.glance([first.task]))
    (zero, none, same), (one,), (two,), (three,) = glances
    assert none is None
    assert same.version == (await bench.get(other.task)).version
    assert (zero.progress, zero.log_ends) == (None, 0)
    assert one == Glance(State.RUNNING, zero.version, b"0.1", 0)
    assert two == Glance(State.RUNNING, zero.version, b"0.1", 3)
    assert three == Glance(State.SUCCEEDED, (await bench.get(first.task)).version, b"0.1", 3)
    assert three.version > zero.version
    assert list(await bench.store.glance([])) == []


async def test_with_its_task_all_of_it_is_forgotten(bench):
    """And a later task, whatever its place, inherits nothing."""
    lease = await running(bench)
    await append(bench, lease, steps={"a": b"1"}, log=[piece(0, "gone\n")])
    await bench.settle(lease)
    await bench.store.delete([lease.task])
    assert await log_of(bench, lease.task) is None
    later = await running(bench)
    assert await recall(bench, later) == Recalled()
    assert (await log_of(bench, later.task)).pieces == []
    await append(bench, later, log=[piece(0, "new\n")], steps={"a": b"2"})
    await bench.settle(later)
    await bench.store.prune(100, Retention(0, 0, 0), None)
    assert list(await bench.store.glance([later.task])) == [None]


async def test_a_retry_after_a_failure_recalls_too(bench):
    at_once = Policy(retry=RetryPolicy(strategy="fixed", delay_s=0.0))
    lease = await running(bench, policy=at_once)
    await append(bench, lease, steps={"a": b"1"})
    await bench.settle(lease, Outcome.FAILED, error=b"{}", error_type="E")
    assert (await recall(bench, await bench.claim_one())).steps == {"a": b"1"}
