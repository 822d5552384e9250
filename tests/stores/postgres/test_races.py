"""Statements that waited for another transaction: they go by what it left behind, in every line."""

import asyncio

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Outcome, Report, digest, settle
from mainspring.core.model import Lane, NewTask
from mainspring.core.order import Quota
from mainspring.stores.postgres.statements import STATEMENTS
from mainspring.verbs import Answer, Ask, Group, Held, Renewal, Settlement

LANE = Lane("default", "echo", "default", 5)
TASKS = 8
LEASE_US = 15_000_000
# The plan for few rows of a large table, which is the one that went wrong.
ROW_BY_ROW = ("enable_hashjoin", "enable_mergejoin", "enable_seqscan", "enable_bitmapscan")
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


async def leases_of(store):
    clock = SystemClock()
    await store.submit([Group([NewTask(clock.new_id(), LANE, b"{}") for _ in range(TASKS)])])
    (head,) = (await store.board()).heads
    ask = Ask("w", "w-1", 1, [Quota(head.lane_id, TASKS)], TASKS, LEASE_US)
    (claimed,) = await store.claim([ask])
    assert len(claimed.leases) == TASKS
    return claimed.leases


def settlement(lease):
    report = Report(lease.task, lease.token, Outcome.SUCCEEDED, result=b"1")
    change, if_cancelled = settle(report, lease, 0.5)
    return Settlement(lease.task, lease.token, lease.lane_id, digest(report), change, if_cancelled)


async def during_a_heartbeat(new_database, call):
    """What `call(store, leases)` answers if it has to wait for a heartbeat that renews the same leases."""
    async with new_database() as database, database.connection() as other, database.connection() as watcher:
        name = await other.fetchval("SELECT current_database()")
        for setting in ROW_BY_ROW:
            await other.execute(f"ALTER DATABASE {name} SET {setting} = off")
        async with database.store() as store:
            leases = await leases_of(store)
            heartbeat = [
                [lease.task for lease in leases],
                [lease.token for lease in leases],
                [True] * TASKS,
                [LEASE_US] * TASKS,
            ]
            async with other.transaction():
                assert len(await other.fetch(STATEMENTS["renew"], *heartbeat)) == TASKS
                waiting = asyncio.create_task(call(store, leases))
                while not await watcher.fetchval(WAITING):
                    await asyncio.sleep(0.005)
            return await waiting


async def test_reports_that_waited_for_a_heartbeat_are_all_heard(new_database):
    """All but the first were told that their lease is lost: their tasks ran a second time."""

    async def report(store, leases):
        return await store.settle([settlement(lease) for lease in leases])

    assert await during_a_heartbeat(new_database, report) == [Answer.OK] * TASKS


async def test_a_heartbeat_that_waited_for_another_renews_all(new_database):
    async def renew(store, leases):
        (answers,) = await store.renew(
            [Renewal("w-1", 1, [Held(lease.task, lease.token) for lease in leases], LEASE_US)]
        )
        return answers

    assert await during_a_heartbeat(new_database, renew) == [Answer.OK] * TASKS


async def test_a_heartbeat_that_names_nothing_hands_all_back(new_database):
    async def forget(store, leases):
        await store.renew([Renewal("w-1", 1, [], LEASE_US)])
        return await store.claim([Ask("w", "w-1", 2, [Quota(leases[0].lane_id, 100)], 100, LEASE_US)])

    (claimed,) = await during_a_heartbeat(new_database, forget)
    assert len(claimed.leases) == TASKS
