"""Transactions of users beside running nodes: what they hold open, and what they are allowed to do."""

import asyncio
import contextlib
import itertools
import random
import re
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import msgspec
import pytest

from mainspring import hints
from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Outcome, Report, digest, settle
from mainspring.core.model import Lane, NewTask, State
from mainspring.core.order import Quota
from mainspring.scheduler.intake import Intake
from mainspring.stores.postgres.statements import STATEMENTS
from mainspring.verbs import Answer, Ask, Exchange, Group, Held, Query, Renewal, Settlement, TakeIn
from tests.wakeups import Woken

CLOCK = SystemClock()
PAGE = (Path(__file__).parents[3] / "docs/transactions.md").read_text()
LANE = Lane("default", "echo", "default", 5)
LEASE_US = 60_000_000
SUBMIT = "INSERT INTO mainspring.submissions (task) VALUES ('{}') RETURNING id"
COMPLETE = "INSERT INTO mainspring.completions (task, token, result) VALUES ($1, $2, '1')"


def plain():
    return NewTask(CLOCK.new_id(), LANE, b"1")


async def claimed(store, count=1):
    """Leases of new tasks."""
    stored = await store.exchange(Exchange(submits=[Group([plain() for _ in range(count)])]))
    ask = Ask("w", "w-1", 1, [Quota(stored.ready[0].lane_id, count)], count, LEASE_US)
    (answer,) = (await store.exchange(Exchange(claims=[ask]))).claims
    assert len(answer.leases) == count
    return answer.leases


def line(lease, outcome=Outcome.SUCCEEDED):
    told = Report(lease.task, lease.token, outcome, error=b'{"type":"E"}')
    return Settlement(lease.task, lease.token, lease.lane_id, digest(told), *settle(told, lease, 0.5))


async def state(store, task):
    (record,) = await store.get([task])
    return record and record.state


async def take_in(store):
    return await Intake(store, lambda _: None).take_in()


@pytest.fixture
def scene(new_database):
    @asynccontextmanager
    async def make(**options):
        async with (
            new_database() as database,
            database.store(**options) as store,
            database.connection() as user,
        ):
            yield database, store, user

    return make


# --- what a transaction holds up while it is open: nothing -------------------------------------------


async def test_an_open_transaction_holds_up_nobody(scene):
    """It has submitted, and completed a task. Its worker's other tasks live on, and so does all else."""
    async with scene() as (database, store, user), database.connection() as other:
        done, lives = await claimed(store, 2)
        transaction = user.transaction()
        await transaction.start()
        mine = await user.fetchval(SUBMIT)
        await user.execute(COMPLETE, done.task, done.token)
        theirs = await other.fetchval(SUBMIT)
        # The open row comes first, and is seen by nobody.
        assert await take_in(store) == 1
        assert await state(store, theirs) is State.READY
        assert not (await store.promote(10)).submissions
        renewal = Renewal("w-1", 1, [Held(done.task, done.token), Held(lives.task, lives.token)], LEASE_US)
        assert await store.renew([renewal]) == [[Answer.OK, Answer.OK]]
        exchanged = await store.exchange(Exchange(submits=[Group([plain()])], settles=[line(lives)]))
        assert exchanged.settles == [Answer.OK]
        await transaction.commit()
        assert await state(store, done.task) is State.SUCCEEDED
        assert await take_in(store) == 1
        assert await state(store, mine) is State.READY


async def test_several_completed_at_once_and_a_heartbeat_wait_for_each_other_in_one_order(scene):
    """Whichever order they were completed in: the heartbeat has one and waits for the next, and so does
    the commit. None of the two may be thrown out."""
    async with (
        scene() as (database, store, user),
        database.connection() as heart,
        database.connection() as other,
    ):
        low, high = sorted(await claimed(store, 2), key=lambda lease: lease.task)
        held = other.transaction()
        await held.start()
        await other.execute("SELECT FROM mainspring.tasks WHERE id = $1 FOR UPDATE", low.task)
        tasks, tokens = [low.task, high.task], [low.token, high.token]
        values = tasks, tokens, [True, True], [LEASE_US, LEASE_US]
        beats = asyncio.create_task(heart.fetch(STATEMENTS["renew"], *values))
        await waiting(other, heart)
        completes = user.transaction()
        await completes.start()
        for lease in (high, low):
            await user.execute(COMPLETE, lease.task, lease.token)
        commits = asyncio.create_task(completes.commit())
        await waiting(other, user)
        await held.rollback()
        assert len(await beats) == 2
        await commits
        assert [await state(store, task) for task in tasks] == [State.SUCCEEDED] * 2
        counts = {state: count for (_, state), count in (await store.stats()).counts.items() if count}
        assert counts == {State.SUCCEEDED: 2}


async def waiting(observer, connection):
    """Until the connection waits for a lock."""
    sql = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $1"
    async with asyncio.timeout(60):
        while await observer.fetchval(sql, connection.get_server_pid()) != "Lock":
            await asyncio.sleep(0.005)


async def test_many_completed_at_once(scene):
    """One of them a parent. The same words again are refused."""
    async with scene(history=True) as (_, store, user):
        leases = await claimed(store, 50)
        child = msgspec.structs.replace(plain(), depends_on=(leases[7].task,))
        await store.exchange(Exchange(submits=[Group([child])]))
        async with user.transaction():
            await user.executemany(COMPLETE, [(lease.task, lease.token) for lease in leases])
        assert {await state(store, lease.task) for lease in leases} == {State.SUCCEEDED}
        assert (await store.resolve(10)).count == 1
        assert await state(store, child.id) is State.READY
        assert [step.new for step in await store.history(leases[3].task)][-1] is State.SUCCEEDED
        assert await user.fetch("SELECT * FROM mainspring.completions") == []
        with pytest.raises(asyncpg.PostgresError, match="lease_lost"):
            await user.executemany(COMPLETE, [(lease.task, lease.token) for lease in leases])


async def test_a_zombie_that_has_not_committed_holds_up_nobody(scene):
    """The task was lost and is another worker's now, who completes it while the first is still at it."""
    async with scene() as (database, store, first), database.connection() as second:
        (lease,) = await claimed(store)
        late = first.transaction()
        await late.start()
        await first.execute(COMPLETE, lease.task, lease.token)
        await store.exchange(Exchange(settles=[line(lease, Outcome.RELEASED)]))
        ask = Ask("v", "v-1", 1, [Quota(lease.lane_id, 1)], 1, LEASE_US)
        (answer,) = (await store.exchange(Exchange(claims=[ask]))).claims
        (again,) = answer.leases
        async with second.transaction():
            await second.execute(COMPLETE, again.task, again.token)
        with pytest.raises(asyncpg.PostgresError, match="lease_lost") as refused:
            await late.commit()
        assert refused.value.sqlstate == "MS409"
        (record,) = await store.get([lease.task])
        assert (record.state, record.token) == (State.SUCCEEDED, again.token)


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.RELEASED, Outcome.FAILED])
async def test_a_lease_lost_before_the_commit_takes_the_effects_with_it(scene, outcome):
    async with scene() as (_, store, user):
        await user.execute("CREATE TABLE effects (note text)")
        (lease,) = await claimed(store)

        async def complete():
            async with user.transaction():
                await user.execute("INSERT INTO effects VALUES ('charged')")
                await user.execute(COMPLETE, lease.task, lease.token)
                await store.exchange(Exchange(settles=[line(lease, outcome)]))

        with pytest.raises(asyncpg.PostgresError, match="lease_lost"):
            await complete()
        assert await user.fetch("SELECT * FROM effects") == []
        assert await user.fetch("SELECT * FROM mainspring.completions") == []


async def test_a_task_completed_twice_in_one_transaction_is_not_completed(scene):
    async with scene() as (_, store, user):
        (lease,) = await claimed(store)

        async def complete():
            async with user.transaction():
                await user.execute(COMPLETE, lease.task, lease.token)
                await user.execute(COMPLETE, lease.task, lease.token)

        with pytest.raises(asyncpg.PostgresError, match="lease_lost"):
            await complete()
        assert await state(store, lease.task) is State.RUNNING


async def test_several_tasks_may_complete_together(scene):
    async with scene() as (_, store, user):
        leases = await claimed(store, 20)
        async with user.transaction():
            for lease in leases:
                await user.execute(COMPLETE, lease.task, lease.token)
        assert {await state(store, lease.task) for lease in leases} == {State.SUCCEEDED}
        counts = (await store.stats()).counts
        assert {place: n for place, n in counts.items() if n} == {("default", State.SUCCEEDED): 20}
        assert not await store.inspect()


@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read", "serializable"])
async def test_every_isolation_will_do(scene, isolation):
    async with scene() as (_, store, user):
        (lease,) = await claimed(store)
        async with user.transaction(isolation=isolation):
            task = await user.fetchval(SUBMIT)
            await user.execute(COMPLETE, lease.task, lease.token)
        assert await take_in(store) == 1
        assert await state(store, task) is State.READY
        assert await state(store, lease.task) is State.SUCCEEDED


async def test_a_heartbeat_in_between_fails_a_stricter_isolation(scene):
    """As any row would that somebody has changed meanwhile; the same transaction once more succeeds."""
    async with scene() as (_, store, user):
        (lease,) = await claimed(store)

        async def complete(heartbeat):
            async with user.transaction(isolation="repeatable_read"):
                await user.execute(COMPLETE, lease.task, lease.token)
                if heartbeat:
                    await store.renew([Renewal("w-1", 1, [Held(lease.task, lease.token)], LEASE_US)])

        with pytest.raises(asyncpg.SerializationError):
            await complete(heartbeat=True)
        await complete(heartbeat=False)
        assert await state(store, lease.task) is State.SUCCEEDED


async def test_effects_happen_once_whoever_loses_his_lease(scene):
    """Workers that are slower than their leases, give up in the middle, or hand back what they have completed
    already, beside one who takes lapsed leases away: of each task there is one effect, however many runs."""
    tasks, chance, runs = 200, random.Random(5), Counter()
    async with scene(history=True) as (database, store, admin):
        await admin.execute("CREATE TABLE effects (task text, run bigint)")
        new = [plain() for _ in range(tasks)]
        (head,) = (await store.exchange(Exchange(submits=[Group(new)]))).ready

        async def run(connection, lease):
            runs[lease.task] += 1
            await asyncio.sleep(chance.choice([0, 0, 0, 0.24]))
            async with connection.transaction():
                await connection.execute("INSERT INTO effects VALUES ($1, $2)", lease.task, lease.token)
                await connection.execute(COMPLETE, lease.task, lease.token)
                await asyncio.sleep(chance.choice([0, 0, 0, 0.24]))
                if chance.random() < 0.1:
                    raise ConnectionError("in the middle")

        async def work(worker):
            async with database.connection() as connection:
                for seq in itertools.count(1):
                    ask = Ask(worker, worker, seq, [Quota(head.lane_id, 1)], 1, 200_000)
                    (answer,) = (await store.exchange(Exchange(claims=[ask]))).claims
                    for lease in answer.leases:
                        with contextlib.suppress(asyncpg.PostgresError, ConnectionError):
                            await run(connection, lease)
                        await give_back([lease])
                    if (await store.stats()).counts.get(("default", State.SUCCEEDED)) == tasks:
                        return

        async def give_back(leases):
            await store.exchange(Exchange(settles=[line(lease, Outcome.RELEASED) for lease in leases]))

        async def take_away():
            while True:
                await give_back(await store.expired(100))
                await asyncio.sleep(0.01)

        taking = asyncio.create_task(take_away())
        try:
            await asyncio.gather(*[work(f"w{number}") for number in range(6)])
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
        effects = {row["task"]: row["run"] for row in await admin.fetch("SELECT task, run FROM effects")}
        assert await admin.fetchval("SELECT count(*) FROM effects") == tasks
        assert sum(runs.values()) > tasks  # some ran more than once
        assert effects == {task.id: task.token for task in await store.get([task.id for task in new])}
        assert not await store.inspect()
        assert not (await store.audit(None, 1000)).findings


# --- who takes in -----------------------------------------------------------------------------------


async def test_nodes_take_in_side_by_side_each_row_once(scene):
    async with scene() as (database, one, user), database.store() as other:
        ids = [await user.fetchval(SUBMIT) for _ in range(300)]

        async def work(store):
            count = 0
            while await user_left(database):
                count += await Intake(store, lambda _: None).take_in(40)
            return count

        counts = await asyncio.gather(work(one), work(other), work(one), work(other))
        assert sum(counts) == 300
        counted = (await one.stats()).counts
        assert counted["default", State.READY] == 300
        assert {await state(one, task) for task in ids} == {State.READY}
        assert not await one.inspect()


async def user_left(database):
    async with database.connection() as connection:
        return await connection.fetchval("SELECT count(*) FROM mainspring.submissions")


async def test_a_node_that_dies_while_it_takes_in_leaves_all_to_the_next(scene):
    """Its server process ends in the middle of the transaction, as if by a SIGKILL of the node."""
    async with scene() as (database, store, user), database.connection() as dying:
        task = await user.fetchval(SUBMIT)
        await dying.execute("BEGIN")
        (n,) = await dying.fetchrow("SELECT n FROM mainspring.submissions FOR UPDATE")
        assert await take_in(store) == 0  # it has the row in hand
        assert (await store.take_in([TakeIn(n, plain())])).answers == [None]
        await dying.execute("DELETE FROM mainspring.submissions")
        await user.fetchval("SELECT pg_terminate_backend($1)", dying.get_server_pid())
        while await take_in(store) == 0:
            pass
        assert await state(store, task) is State.READY


async def test_a_child_waits_while_another_node_takes_in_its_parent(scene):
    async with scene() as (database, store, user), database.connection() as other:
        parent = await user.fetchval(SUBMIT)
        child = await user.fetchval(
            "INSERT INTO mainspring.submissions (task)"
            " VALUES (json_build_object('depends_on', json_build_array($1::text))) RETURNING id",
            parent,
        )
        async with other.transaction():
            await other.fetch("SELECT 1 FROM mainspring.submissions WHERE id = $1 FOR UPDATE", parent)
            assert await take_in(store) == 0
        assert await take_in(store) == 2
        assert await state(store, child) is State.BLOCKED


# --- who may ----------------------------------------------------------------------------------------


async def test_two_grants_are_all_that_a_role_needs(scene):
    async with scene() as (_, store, admin):
        (lease,) = await claimed(store)
        await admin.execute("CREATE ROLE shop")
        try:
            await admin.execute(
                "GRANT USAGE ON SCHEMA mainspring TO shop;"
                "GRANT INSERT ON mainspring.submissions, mainspring.completions TO shop"
            )
            await admin.execute("SET ROLE shop")
            async with admin.transaction():
                await admin.execute("INSERT INTO mainspring.submissions (task) VALUES ('{}')")
                await admin.execute(COMPLETE, lease.task, lease.token)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await admin.execute(SUBMIT)  # RETURNING is reading
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await admin.fetch("SELECT * FROM mainspring.tasks")
            await admin.execute("RESET ROLE")
            await admin.execute("GRANT SELECT (id) ON mainspring.submissions TO shop; SET ROLE shop")
            await admin.execute(SUBMIT)
            await admin.execute("RESET ROLE")
            assert await take_in(store) == 2
            assert await state(store, lease.task) is State.SUCCEEDED
        finally:
            await admin.execute("RESET ROLE")
            await admin.execute("DROP OWNED BY shop")
            await admin.execute("DROP ROLE shop")


async def test_a_notification_wakes_the_nodes(scene, monkeypatch):
    """For whoever cannot wait for the next look: nothing else tells of a submission."""
    for name in ("LOOK_SOON_S", "LOOK_LATE_S", "LOOK_WHILE_HEARING_S"):
        monkeypatch.setattr(hints, name, 3600.0)
    async with scene() as (_, store, user):
        woken = asyncio.Event()
        store.listen(Woken(woken.set))
        await woken.wait()  # it listens from now on
        woken.clear()
        await user.execute("NOTIFY mainspring")
        await woken.wait()


async def test_the_statements_of_the_page_do_what_it_says(scene):
    one, many, complete = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    async with scene() as (_, store, user):
        await user.execute(
            "CREATE TABLE orders (id integer, item text);"
            "CREATE TABLE customers (id integer, region text, last_seen timestamptz);"
            "INSERT INTO customers VALUES (1, 'eu', '2001-01-01'), (2, 'us', '2001-01-01'), (3, 'eu', now())"
        )
        await user.execute(one)
        await user.execute(many)
        (lease,) = await claimed(store)
        await user.execute(complete, lease.task, lease.token)
        assert await take_in(store) == 3
        tasks = (await store.find(Query())).tasks
        assert sorted(
            (task.lane.kind, task.lane.queue, task.lane.tenant, task.payload) for task in tasks
        ) == [
            ("charge", "payments", "default", b'{"args": [7], "kwargs": {}}'),
            ("echo", "default", "default", b"1"),
            ("remind", "default", "eu", b'{"customer" : 1}'),
            ("remind", "default", "us", b'{"customer" : 2}'),
        ]
        assert [task.result for task in tasks if task.state is State.SUCCEEDED] == [b'{"paid": 7}']
        assert await user.fetch("SELECT id FROM orders")
