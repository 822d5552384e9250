"""What goes as one statement: it is one, it notices what other nodes have changed, and it repeats nothing."""

import asyncio
from contextlib import asynccontextmanager

import msgspec
import pytest

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Outcome, Report, digest, settle
from mainspring.core.limits import LimitRule
from mainspring.core.model import Lane, NewTask, State
from mainspring.core.order import Quota
from mainspring.ports import Accepted, Answer, Ask, Exchange, Group, PostgresOptions, Refused, Settlement
from mainspring.stores.postgres import connecting

LANE = Lane("default", "echo", "default", 5)
LEASE_US = 15_000_000
ONE = PostgresOptions(fewest=1, most=1)


def group(count=1, lane=LANE):
    clock = SystemClock()
    return Group([NewTask(clock.new_id(), lane, b"{}") for _ in range(count)])


async def submit(store, *groups):
    return (await store.exchange(Exchange(submits=groups))).submits


async def claim(store, claim_seq, limit=10):
    lane_ids = [head.lane_id for head in (await store.board()).heads]
    ask = Ask("w", "w-1", claim_seq, [Quota(lane_id, limit) for lane_id in lane_ids], limit, LEASE_US)
    (claimed,) = (await store.exchange(Exchange(claims=[ask]))).claims
    return claimed.leases


def success(lease):
    report = Report(lease.task, lease.token, Outcome.SUCCEEDED, result=b"1")
    change, if_cancelled = settle(report, lease, 0.5)
    return Settlement(lease.task, lease.token, lease.lane_id, digest(report), change, if_cancelled)


@asynccontextmanager
async def statements(store):
    """What is said on the store's only connection, but for hints."""
    said = []
    (connection,) = store._db._pool._idle
    with connection.query_logger(lambda record: said.append(record.query)):
        yield said
        await asyncio.sleep(0)  # the library tells of them in the next turn of the loop
    said[:] = [query for query in said if "mainspring.signals" not in query]


async def seasoned(store):
    """A store that knows the lane and the claimant, and the types of the values that it sends."""
    for claim_seq in (1, 2):
        await submit(store, group())
        assert len(await claim(store, claim_seq)) == 1


async def test_a_plain_submit_and_a_plain_claim_are_one_statement_each(new_database):
    async with new_database() as database, database.store(options=ONE) as store:
        await seasoned(store)
        async with statements(store) as said:
            (accepted,) = await submit(store, group(3))
        assert isinstance(accepted, Accepted)
        assert accepted.states == [State.READY] * 3
        assert len(said) == 1
        (head,) = (await store.board()).heads
        ask = Ask("w", "w-1", 3, [Quota(head.lane_id, 2)], 2, LEASE_US)
        async with statements(store) as said:
            answers = await store.exchange(Exchange(claims=[ask]))
        assert len(answers.claims[0].leases) == 2
        assert len(said) == 1
        stats = (await store.stats()).counts
        assert stats["default", State.READY] == 1
        assert stats["default", State.RUNNING] == 4


async def test_a_claim_that_finds_nothing_is_one_statement(new_database):
    async with new_database() as database, database.store(options=ONE) as store:
        await seasoned(store)
        (lane_id,) = store._db._known.lanes
        ask = Ask("w", "w-1", 3, [Quota(lane_id, 2)], 2, LEASE_US)
        async with statements(store) as said:
            answers = await store.exchange(Exchange(claims=[ask]))
        assert (answers.claims[0].leases, answers.claims[0].empty) == ([], [lane_id])
        assert len(said) == 1


async def test_a_connection_that_rested_goes_the_ordinary_way(new_database, monkeypatch):
    """A dead one would leave it open whether the tasks are stored."""
    async with new_database() as database, database.store(options=ONE) as store:
        await seasoned(store)
        monkeypatch.setattr(connecting, "WARM_S", -1.0)
        async with statements(store) as said:
            await submit(store, group())
        assert said[0].startswith("BEGIN")


async def test_a_repeated_claim_gets_the_same_leases(new_database):
    async with new_database() as database, database.store() as store:
        await seasoned(store)
        await submit(store, group(2))
        first = await claim(store, 3)
        await submit(store, group())
        again = await claim(store, 3)
        assert len(first) == 2
        assert [lease.token for lease in again] == [lease.token for lease in first]


async def test_an_id_that_is_taken_is_refused_and_the_others_are_stored(new_database):
    async with new_database() as database, database.store() as store:
        await seasoned(store)
        taken = group()
        await submit(store, taken)
        other = group()
        refused, accepted = await submit(store, taken, other)
        assert isinstance(refused, Refused)
        assert isinstance(accepted, Accepted)
        (task,) = await store.get([other.tasks[0].id])
        assert task.version == accepted.versions[0]


async def test_plain_successes_are_one_statement(new_database):
    async with new_database() as database, database.store(options=ONE) as store:
        await seasoned(store)
        await submit(store, group(3))
        leases = await claim(store, 3)
        await store.settle([success(leases.pop())])
        async with statements(store) as said:
            answers = await store.settle([success(lease) for lease in leases])
        assert answers == [Answer.OK] * 2
        assert len(said) == 1
        stats = (await store.stats()).counts
        assert stats["default", State.SUCCEEDED] == 3
        assert stats["default", State.RUNNING] == 2


async def test_what_a_plain_settle_leaves_out_goes_the_ordinary_way(new_database):
    """Each line gets its own answer, and whoever waited for a parent goes on at once."""
    async with new_database() as database, database.store() as store:
        await seasoned(store)
        parents, plain = group(), group(2)
        clock = SystemClock()
        child = Group([NewTask(clock.new_id(), LANE, b"{}", depends_on=(parents.tasks[0].id,))])
        await submit(store, parents, child, plain)
        leases = await claim(store, 3)
        first, parent, second = (
            next(lease for lease in leases if lease.task == task.id)
            for task in (plain.tasks[0], parents.tasks[0], plain.tasks[1])
        )
        assert await store.settle([success(first)]) == [Answer.OK]
        lost = msgspec.structs.replace(success(second), token=second.token - 1)
        lines = [success(first), success(second), success(parent), lost]
        answers = await store.exchange(Exchange(settles=lines))
        assert answers.settles == [Answer.ALREADY, Answer.OK, Answer.OK, Answer.LOST]
        assert [task.state for task in await store.get([child.tasks[0].id])] == [State.READY]


@pytest.mark.parametrize("change", ["pause", "limit"])
async def test_a_claim_keeps_what_another_node_has_just_set(new_database, change):
    async with new_database() as database, database.store() as store, database.store() as other:
        await seasoned(store)
        await submit(store, group(3))
        if change == "pause":
            await other.set_queue("default", "somebody")
        else:
            await other.set_limit("queue:default", LimitRule(max_running=3))
        assert len(await claim(store, 3)) == (0 if change == "pause" else 1)


async def test_a_submit_keeps_a_limit_that_another_node_has_just_set(new_database):
    async with new_database() as database, database.store() as store, database.store() as other:
        await seasoned(store)
        await other.set_limit("queue:default", LimitRule(max_waiting=1))
        accepted, refused = await submit(store, group(), group())
        assert isinstance(accepted, Accepted)
        assert refused.code == "backlog_full"


async def test_heads_are_those_of_the_whole_line(new_database):
    """The statement does not see what it adds, nor may it hide what was there before."""
    async with new_database() as database, database.store() as store:
        await seasoned(store)
        first, second, urgent = group(), group(), group(lane=LANE._replace(priority=9))
        await submit(store, urgent)
        found = [
            {head.lane.priority: head.seq for head in (await store.exchange(Exchange(submits=groups))).ready}
            for groups in ([first], [second, group(lane=urgent.tasks[0].lane)])
        ]
        (head,) = [head for head in (await store.board()).heads if head.lane.priority == 5]
        assert found[0] == {5: head.seq}
        assert found[1][5] == head.seq
        assert found[1][9] < head.seq
