"""Looks for lapsed leases begin where something still runs, and miss nothing."""

import json
from typing import Any

from asyncpg import Record

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Outcome, Report, digest, settle
from mainspring.core.limits import LimitRule
from mainspring.core.model import SECOND_US, Lane, Lease, NewTask, State
from mainspring.core.order import Quota
from mainspring.ports import Answer, Ask, Group, Renewal, Settlement
from mainspring.stores.postgres import PostgresStore, runs
from mainspring.stores.postgres.runs import FIRST_OF_ALL, LAST_OF_ALL, LONG_LOOK_US, Runs, spans
from mainspring.stores.postgres.statements import STATEMENTS
from mainspring.stores.postgres.transaction import Transaction

LANE = Lane("default", "echo", "default", 5)
NOW_US = 1_000 * SECOND_US


def test_as_long_as_looks_are_short_they_go_through_everything():
    known = Runs()
    known.looked(NOW_US, LONG_LOOK_US - 1)
    assert not known.may_learn(NOW_US, LONG_LOOK_US - 1)
    known.learned({"w": 7}, NOW_US, 1)
    assert known.firsts(NOW_US) == {}


def test_after_a_long_look_others_begin_where_something_runs_until_its_time_has_come():
    known = Runs()
    known.looked(NOW_US, SECOND_US)
    assert known.may_learn(NOW_US, SECOND_US)
    known.learned({"w": 7}, NOW_US, SECOND_US)
    share_us = runs.WHOLE_LOOKS_SHARE * SECOND_US
    assert known.firsts(NOW_US + share_us - 1) == {"w": 7}
    assert not known.may_learn(NOW_US + share_us - 1, SECOND_US)
    assert known.firsts(NOW_US + share_us) == {}
    assert known.may_learn(NOW_US + share_us, SECOND_US)
    known.looked(NOW_US + share_us, SECOND_US)
    assert known.firsts(NOW_US + share_us) == {"w": 7}, "whether or not there was time to learn anew"
    known.looked(NOW_US + 2 * share_us, LONG_LOOK_US - 1)
    assert known.firsts(NOW_US + share_us) == {}, "nothing is in the way any more"


def test_a_clock_that_was_set_back_brings_a_look_at_everything():
    known = Runs()
    known.firsts(NOW_US)
    known.looked(NOW_US, SECOND_US)
    known.learned({"w": 7}, NOW_US, SECOND_US)
    assert known.firsts(NOW_US - 600 * SECOND_US) == {}


def test_spans_leave_nobody_out():
    assert spans({}) == ([FIRST_OF_ALL], [0], [LAST_OF_ALL])
    assert spans({"b": 7, "a": 3}) == ([FIRST_OF_ALL, "a", "b"], [0, 3, 7], ["a", "b", LAST_OF_ALL])


async def test_looks_pass_over_runs_that_have_ended_while_a_transaction_is_held_open(
    new_database, monkeypatch
):
    monkeypatch.setattr(runs, "LONG_LOOK_US", 0)
    monkeypatch.setattr(runs, "WHOLE_LOOKS_SHARE", 1 << 60)
    sent: dict[str, tuple[Any, ...]] = {}
    rows = Transaction.rows

    async def noted(tx: Transaction, name: str, *values: object) -> list[Record]:
        sent[name] = values
        return await rows(tx, name, *values)

    monkeypatch.setattr(Transaction, "rows", noted)
    async with (
        new_database() as database,
        database.store() as store,
        database.connection() as admin,
        database.connection() as other,
        other.transaction(isolation="repeatable_read"),
    ):
        await other.fetch("SELECT count(*) FROM mainspring.tasks")
        left = [(await _run(store, "b", seq, 300, left=seq == 8))[-1] for seq in range(1, 9)][-1]
        assert await _expired(store) == [left.task]
        assert await _expired(store) == [left.task]
        # Another worker, of whom nothing was known then, and the next claim of one.
        new = [(await _run(store, name, 9, 1, left=True))[0].task for name in ("a", "b", "c")]
        assert set(await _expired(store)) == {left.task, *new}
        assert (await store.overdue(10, 0)).leases == []
        await store.set_limit("queue:default", LimitRule(max_running=99))
        assert (await store.board()).usage["queue:default"].running == 4
        # Nothing is named: what runs was never heard of.
        await store.renew([Renewal("b", 9, [], SECOND_US)])
        states = {task.id: task.state for task in await store.get([left.task, *new]) if task is not None}
        assert [states[task] for task in (left.task, *new)] == [
            State.READY,
            State.RUNNING,
            State.READY,
            State.RUNNING,
        ]
        known = {name: sent[name] for name in sent if name.endswith("_of_known") or name == "granted"}
        assert len(known) == 4
        pages = {name: await _pages(admin, name, values) for name, values in known.items()}
        assert max(pages.values()) < 40, pages
        assert await _pages(admin, "running_by_lane", ()) > 100, "there are entries to walk over"


async def _run(store: PostgresStore, worker: str, seq: int, many: int, *, left: bool) -> list[Lease]:
    """Tasks that are claimed and end, but for the last one if it is to be `left`. Leases lapse at once."""
    clock = SystemClock()
    await store.submit([Group([NewTask(clock.new_id(), LANE, b"{}") for _ in range(many)])])
    (head,) = (await store.board()).heads
    (claimed,) = await store.claim([Ask(worker, worker, seq, [Quota(head.lane_id, many)], many, 1)])
    leases = list(claimed.leases)
    assert len(leases) == many
    ended = [_succeeded(lease) for lease in (leases[:-1] if left else leases)]
    assert set(await store.settle(ended)) <= {Answer.OK}
    return leases


async def _expired(store: PostgresStore) -> list[str]:
    return [lease.task for lease in await store.expired(10)]


def _succeeded(lease: Lease) -> Settlement:
    told = Report(lease.task, lease.token, Outcome.SUCCEEDED, result=b"1")
    change, if_cancelled = settle(told, lease, 0.5)
    return Settlement(lease.task, lease.token, lease.lane_id, digest(told), change, if_cancelled, False)


async def _pages(admin: Any, name: str, values: tuple[Any, ...]) -> int:
    """How many pages the server reads for it."""
    async with admin.transaction():
        await admin.fetch(STATEMENTS["opening"])
        explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {STATEMENTS[name]}"
        plan = json.loads(await admin.fetchval(explained, *values))[0]["Plan"]
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
