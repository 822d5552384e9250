"""Finished rows are in nobody's way, and what is written over and over leaves little behind."""

import asyncio

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Outcome, Report, digest, settle
from mainspring.core.model import Lane, NewTask
from mainspring.core.order import Quota
from mainspring.verbs import Answer, Ask, Exchange, Group, Held, Renewal, Settlement

LANE = Lane("default", "echo", "default", 5)
# Of the tasks of which something is asked after their end, by whoever gave them that.
ASKED_FOR = {"tasks_unique", "tasks_fires", "tasks_workflow", "tasks_ended_badly", "tasks_dead"}


async def submit(store, count):
    groups = [Group([NewTask(SystemClock().new_id(), LANE, b"1")]) for _ in range(count)]
    await store.exchange(Exchange(submits=groups))


async def claim(store, count):
    quotas = [Quota(head.lane_id, count) for head in (await store.board()).heads]
    ask = Ask("w", "i", 1, quotas, count, 15_000_000)
    (claimed,) = (await store.exchange(Exchange(claims=[ask]))).claims
    return claimed.leases


def succeeded(lease):
    told = Report(lease.task, lease.token, Outcome.SUCCEEDED, result=b"1")
    change, if_cancelled = settle(told, lease, 0.5)
    return Settlement(lease.task, lease.token, lease.lane_id, digest(told), change, if_cancelled, False)


async def test_a_finished_row_is_in_no_index_but_the_keys(new_database):
    """However many there are, they lengthen no way that a claim, a service or a heartbeat goes."""
    async with new_database() as database, database.store() as store, database.connection() as admin:
        await submit(store, 3)
        leases = await claim(store, 3)
        await store.exchange(Exchange(settles=[succeeded(lease) for lease in leases]))
        indexes = await admin.fetch(
            "SELECT indexrelid::regclass::text AS name, indisprimary AS is_key,"
            " pg_get_expr(indpred, indrelid) AS condition"
            " FROM pg_index WHERE indrelid = 'mainspring.tasks'::regclass"
        )
        assert len(indexes) >= 8
        for index in indexes:
            if not index["is_key"]:
                assert index["condition"], f"{index['name']} holds every row"
                counted = f"SELECT count(*) FROM mainspring.tasks WHERE {index['condition']}"
                assert await admin.fetchval(counted) == 0, index["name"]
        lasting = {
            index["name"].removeprefix("mainspring.")
            for index in indexes
            if not index["is_key"] and "state" not in index["condition"]
        }
        assert lasting <= ASKED_FOR | {"tasks_fires_open"}


async def test_heartbeats_are_heap_only(new_database):
    """The server itself counts them: no index is written, and the room on the page is used again."""
    async with new_database() as database, database.store() as store, database.connection() as admin:
        await submit(store, 20)
        leases = await claim(store, 20)
        before = await _updates(admin, 20)
        held = [Held(lease.task, lease.token) for lease in leases]
        for _ in range(5):
            answers = await store.renew([Renewal("i", 1, held, 15_000_000)])
            assert answers == [[Answer.OK] * 20]
        after = await _updates(admin, before[0] + 100)
        assert (after[0] - before[0], after[1] - before[1]) == (100, 100)


async def _updates(admin, wanted):
    """All updates of tasks, and the heap-only ones, once the server has counted so many."""
    sql = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'tasks'"
    while (found := tuple(await admin.fetchrow(sql)))[0] < wanted:
        await asyncio.sleep(0.05)
    return found


async def test_hot_tables_are_cleaned_up_by_rules_of_their_own(new_database):
    async with new_database() as database, database.store(), database.connection() as admin:
        rows = await admin.fetch(
            "SELECT relname, reloptions FROM pg_class WHERE relnamespace = 'mainspring'::regnamespace"
            " AND relkind = 'r' AND array_to_string(reloptions, ' ') LIKE '%autovacuum_vacuum_scale_factor%'"
        )
        assert {row["relname"] for row in rows} >= {
            "tasks", "edges", "idempotency", "unresolved", "counts", "claimants", "shares", "submissions",
        }  # fmt: skip
