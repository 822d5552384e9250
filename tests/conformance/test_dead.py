"""Dead letters by what killed them, and replays that are spread over time."""

from collections import Counter

import msgspec
import pytest

from mainspring.core.fingerprint import fingerprint
from mainspring.core.lifecycle import EXPIRED_ERROR, Outcome
from mainspring.core.model import Policy, State
from mainspring.errors import InvalidInput
from mainspring.verbs import Action, Force, Query
from tests.conformance.bench import LANE, MS

pytestmark = pytest.mark.verbs("submit", "claim", "settle", "get", "force", "dead_groups")
NO_RETRIES = Policy(max_retries=0, max_losses=1)


def error(type_: str = "ValueError", message: str = "no") -> bytes:
    return msgspec.json.encode({"type": type_, "message": message, "place": "jobs.py:charge:7"})


async def dead_letter(bench, body=None, lane=LANE, outcome=Outcome.FAILED):
    """A task that failed for good; its id."""
    (task,) = await bench.submit(bench.task(lane, policy=NO_RETRIES))
    (lease,) = await bench.claim(1, [lane])
    assert lease.task == task
    await bench.settle(lease, outcome, error=body or error())
    return task


async def groups(bench, limit=100):
    """All of them, page by page."""
    found, cursor = [], None
    while True:
        page = await bench.store.dead_groups(limit, cursor)
        assert len(page.groups) <= limit
        found += page.groups
        cursor = page.cursor
        if cursor is None:
            return found


async def test_no_dead_letters(bench):
    await bench.submit_many(3)
    assert await groups(bench) == []


async def test_letters_that_failed_alike_are_one_group(bench):
    """Whatever their messages say. The sample is the letter that failed last, with its own error."""
    mail = LANE._replace(kind="mail", queue="other")
    for number in range(3):
        await dead_letter(bench, error(message=f"no customer {number}"))
        await bench.advance(100)
    alone = await dead_letter(bench, error(), mail)
    many, one = await groups(bench)
    assert (many.kind, many.count, many.fingerprint) == ("echo", 3, fingerprint("echo", error()))
    assert b"no customer 2" in many.error
    assert many.last_us - many.first_us == pytest.approx(bench.us(200), abs=bench.us(60))
    assert (await bench.get(many.sample)).finished_at_us == many.last_us
    assert (one.kind, one.count, one.sample) == ("mail", 1, alone)
    assert one.first_us == one.last_us


async def test_every_way_to_die_is_counted(bench):
    """Failed, lost too often, and expired before it ran."""
    await dead_letter(bench)
    await dead_letter(bench, error("LeaseLost"), outcome=Outcome.LOST)
    assert {group.fingerprint for group in await groups(bench)} == {
        fingerprint("echo", error()),
        fingerprint("echo", error("LeaseLost")),
    }


@pytest.mark.verbs("overdue")
async def test_an_expired_task_is_in_a_group_too(bench):
    created = (await bench.put_one(bench.task())).created_at_us
    await bench.submit(bench.task(deadline_us=created + bench.us(5)))
    await bench.advance(10)
    assert len((await bench.store.overdue(10, 0)).expired) == 1
    (group,) = await groups(bench)
    assert (group.fingerprint, group.error) == (fingerprint("echo", EXPIRED_ERROR), EXPIRED_ERROR)


@pytest.mark.verbs("delete")
async def test_only_dead_letters_are_in_a_group(bench):
    """A letter that is replayed, or deleted, leaves its group; its next death brings it back."""
    replayed, deleted, left = [await dead_letter(bench) for _ in range(3)]
    await bench.store.force([Force(replayed, Action.REPLAY)])
    assert await bench.store.delete([deleted]) == [None]
    (group,) = await groups(bench)
    assert (group.count, group.sample) == (1, left)
    await bench.settle(await bench.claim_one(), Outcome.FAILED, error=error("KeyError"))
    assert Counter(group.count for group in await groups(bench)) == {1: 2}


async def test_cancelled_tasks_are_no_dead_letters(bench):
    await dead_letter(bench, outcome=Outcome.CANCELLED)
    assert await groups(bench) == []


@pytest.mark.verbs("find")
async def test_the_largest_group_first_in_pages(bench):
    """Each group once; groups of one size by their number."""
    sizes = {"A": 3, "B": 1, "C": 2, "D": 1, "E": 1}
    for type_, size in sizes.items():
        for _ in range(size):
            await dead_letter(bench, error(type_))
    found = await groups(bench)
    assert [group.count for group in found] == [3, 2, 1, 1, 1]
    ones = [group.fingerprint for group in found[2:]]
    assert ones == sorted(ones)
    for limit in (1, 2, 5):
        assert await groups(bench, limit) == found
    largest = await bench.store.find(Query(frozenset({State.FAILED}), fingerprint=found[0].fingerprint))
    assert len(largest.tasks) == 3
    assert {msgspec.json.decode(task.error)["type"] for task in largest.tasks} == {"A"}
    assert (await bench.store.find(Query(fingerprint=1))).tasks == []


@pytest.mark.parametrize("cursor", ["x", "1", "1-", "-1", "1-x", "9" * 40 + "-1", "1-²"])
async def test_a_cursor_of_nobody(bench, cursor):
    with pytest.raises(InvalidInput):
        await bench.store.dead_groups(10, cursor)


# --- replay, later -----------------------------------------------------------------------------------


@pytest.mark.exact_time
@pytest.mark.verbs("promote", "board")
@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.CANCELLED])
async def test_a_replay_may_be_put_off(bench, outcome):
    """Durable: the task is scheduled, and becomes ready at its time whoever asked for it."""
    task = await dead_letter(bench, outcome=outcome)
    (record,) = await bench.store.force([Force(task, Action.REPLAY, None, bench.us(5))])
    assert (record.state, record.attempt, record.error) == (State.SCHEDULED, 0, None)
    assert await groups(bench) == []
    await bench.advance(5 - 2 * MS / 1e6)
    assert (await bench.promote()).count == 0
    await bench.advance(4 * MS / 1e6)
    assert (await bench.promote()).count == 1
    assert await bench.claimed_ids(10) == [task]


async def test_a_delay_is_for_replays_alone(bench):
    (task,) = await bench.submit(bench.task(delay=60))
    (record,) = await bench.store.force([Force(task, Action.RUN_NOW, None, bench.us(5))])
    assert record.state is State.READY


@pytest.mark.loses_writes
async def test_groups_after_lost_writes(bench):
    """What is lost is lost whole: a letter and its place in a group."""
    await dead_letter(bench)
    await bench.mark()
    await dead_letter(bench)
    await bench.lose_writes()
    assert [group.count for group in await groups(bench)] == [1]
