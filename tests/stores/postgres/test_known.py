"""What a node remembers between its transactions, while others are under way and after it is no more true."""

import asyncio

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Outcome, Report, digest, settle
from mainspring.core.model import Lane, NewTask, State, UniqueRule
from mainspring.core.order import Quota
from mainspring.errors import StoreUnavailable
from mainspring.ports import Accepted, Answer, Ask, Exchange, Group, Settlement
from mainspring.stores.postgres import known
from mainspring.stores.postgres.transaction import Transaction

LANE = Lane("default", "echo", "default", 5)
LEASE_US = 15_000_000
LIMIT_S = 60
OURS = "pg_stat_activity WHERE application_name = 'mainspring' AND datname = current_database()"
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


def group(lane=LANE, unique=None):
    return Group([NewTask(SystemClock().new_id(), lane, b"{}", unique=unique)])


async def submit(store, *groups):
    return (await store.exchange(Exchange(submits=groups))).submits


def asked(lane_id, claim_seq):
    return Ask("w", "w-1", claim_seq, [Quota(lane_id, 10)], 10, LEASE_US)


async def claim(store, lane_id, claim_seq):
    (claimed,) = (await store.exchange(Exchange(claims=[asked(lane_id, claim_seq)]))).claims
    return claimed.leases


def success(lease):
    report = Report(lease.task, lease.token, Outcome.SUCCEEDED, result=b"1")
    change, if_cancelled = settle(report, lease, 0.5)
    return Settlement(lease.task, lease.token, lease.lane_id, digest(report), change, if_cancelled)


async def until_it_waits(watcher):
    async with asyncio.timeout(LIMIT_S):
        while not await watcher.fetchval(WAITING):
            await asyncio.sleep(0.005)


async def learn_others(store):
    """More lanes than are kept at once."""
    for n in range(3):
        await submit(store, group(Lane(f"q{n}", "echo", "default", 5)))


async def test_lanes_that_are_forgotten_during_a_claim_are_not_lost_to_it(new_database, monkeypatch):
    """Its tasks were given to nobody until their leases ran out."""
    monkeypatch.setattr(known, "LANES_KNOWN_AT_ONCE", 2)
    async with (
        new_database() as database,
        database.connection() as other,
        database.connection() as watcher,
        database.store() as store,
    ):
        for claim_seq in (1, 2):
            await submit(store, group())
            (head,) = (await store.board()).heads
            assert len(await claim(store, head.lane_id, claim_seq)) == 1
        await submit(store, group())
        await store.board()
        async with other.transaction():
            await other.execute("SELECT FROM mainspring.claimants FOR UPDATE")
            claiming = asyncio.create_task(claim(store, head.lane_id, 3))
            await until_it_waits(watcher)
            await learn_others(store)
        assert len(await claiming) == 1


async def test_lanes_that_are_forgotten_during_a_submit_are_not_lost_to_it(new_database, monkeypatch):
    """All that was submitted with it was refused as a bug."""
    monkeypatch.setattr(known, "LANES_KNOWN_AT_ONCE", 2)
    async with (
        new_database() as database,
        database.connection() as other,
        database.connection() as watcher,
        database.store() as store,
    ):
        await submit(store, group())
        async with other.transaction():
            await other.execute(
                "SELECT pg_advisory_xact_lock(1297696577, stripe) FROM generate_series(0, 127) AS s (stripe)"
            )
            rule = UniqueRule(b"one", frozenset({State.READY}), None)
            submitting = asyncio.create_task(submit(store, group(unique=rule)))
            await until_it_waits(watcher)
            await learn_others(store)
        (accepted,) = await submitting
        assert isinstance(accepted, Accepted)


async def test_a_pause_holds_though_an_older_picture_of_the_queues_comes_late(new_database, monkeypatch):
    async with (
        new_database() as database,
        database.connection() as other,
        database.connection() as watcher,
        database.store() as store,
        database.store() as elsewhere,
    ):
        await submit(store, group())
        (head,) = (await store.board()).heads
        (lease,) = await claim(store, head.lane_id, 1)
        await submit(store, group())
        await elsewhere.set_queue("another", "me")

        held, goes_on, rows = asyncio.Event(), asyncio.Event(), Transaction.rows

        async def held_rows(tx, name, *values):
            found = await rows(tx, name, *values)
            if name == "paused" and not held.is_set():
                held.set()
                await goes_on.wait()
            return found

        monkeypatch.setattr(Transaction, "rows", held_rows)
        looking = asyncio.create_task(store.board())
        await held.wait()
        await elsewhere.set_queue("default", "me")
        async with other.transaction():
            await other.execute("SELECT FROM mainspring.tasks FOR UPDATE")
            batch = Exchange(settles=[success(lease)], claims=[asked(head.lane_id, 2)])
            exchanging = asyncio.create_task(store.exchange(batch))
            await until_it_waits(watcher)
            goes_on.set()
            await looking
        answers = await exchanging
        assert (answers.settles, answers.claims[0].leases) == ([Answer.OK], [])


async def test_a_change_of_controls_in_place_of_one_that_was_lost_is_noticed(new_database):
    """A standby that has taken over too early does not know the last changes."""
    async with (
        new_database() as database,
        database.connection() as admin,
        database.store() as store,
        database.store() as elsewhere,
    ):
        await submit(store, group())
        (head,) = (await store.board()).heads
        before = await admin.fetchval("SELECT generation FROM mainspring.controls")
        await elsewhere.set_queue("another", "me")
        assert (await store.board()).paused == {"another": "me"}
        await admin.execute("DELETE FROM mainspring.paused")
        await admin.execute("UPDATE mainspring.controls SET generation = $1", before)
        await elsewhere.set_queue("default", "me")
        assert await claim(store, head.lane_id, 1) == []
        assert (await store.board()).paused == {"default": "me"}


async def test_what_is_submitted_into_a_lane_that_was_lost_is_found_by_other_nodes(new_database):
    """A node remembered its number: whatever came there after a standby had taken over was never run."""
    async with new_database() as database, database.connection() as admin, database.store() as store:
        await submit(store, group())
        for table in ("tasks", "lanes", "counts"):
            await admin.execute(f"DELETE FROM mainspring.{table}")
        while await admin.fetchval(f"SELECT count(pg_terminate_backend(pid)) FROM {OURS}"):
            await asyncio.sleep(0.01)
        late, accepted = group(), None
        while accepted is None:
            try:
                (accepted,) = await submit(store, late)
            except StoreUnavailable:
                await asyncio.sleep(0.01)
        async with database.store() as elsewhere:
            (head,) = (await elsewhere.board()).heads
            assert [lease.task for lease in await claim(elsewhere, head.lane_id, 1)] == [late.tasks[0].id]
