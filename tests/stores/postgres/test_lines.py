"""Claims begin where the last one ended, and still find what stands before."""

import asyncio
import json
from typing import Any

import asyncpg
import pytest
from asyncpg import Record

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Outcome, Report, digest, settle
from mainspring.core.model import SECOND_US, Lane, Lease, NewTask
from mainspring.core.order import Quota
from mainspring.ports import Answer, Ask, Edit, Group, Refused, Renewal, Settlement
from mainspring.stores.postgres import PostgresStore, lines, tending
from mainspring.stores.postgres.lines import (
    DUE,
    LAG_US,
    LINES_KNOWN_AT_ONCE,
    LINES_OF_A_BOARD,
    WHOLE_LOOKS_SHARE,
    Lines,
)
from mainspring.stores.postgres.statements import STATEMENTS
from mainspring.stores.postgres.transaction import Transaction
from tests.stores.postgres.plans import pin_plans

LANE, LATE = Lane("default", "echo", "default", 5), Lane("late", "echo", "default", 5)
LIMIT_S = 60
NOW_US = 1_000 * SECOND_US


def test_a_line_nobody_has_looked_at_is_looked_at_whole():
    lines = Lines()
    lines.claimed(1, NOW_US)
    assert lines.start(1, NOW_US) == 0


def test_the_next_claim_begins_a_little_before_the_end_of_the_last():
    lines = Lines()
    lines.looked(1, NOW_US, 100)
    lines.claimed(1, NOW_US - 7)
    assert lines.start(1, NOW_US) == NOW_US - 7 - LAG_US
    lines.claimed(1, NOW_US - 9)
    assert lines.start(1, NOW_US) == NOW_US - 7 - LAG_US, "an end never goes back"
    assert lines.start(2, NOW_US) == 0


def test_now_and_then_the_whole_line_is_looked_at():
    lines = Lines()
    lines.looked(1, NOW_US, 100)
    lines.claimed(1, NOW_US)
    assert lines.start(1, NOW_US + SECOND_US - 1)
    assert lines.start(1, NOW_US + SECOND_US) == 0


def test_dear_looks_come_seldom():
    """One that took a second, because a transaction is held open, must not come each second."""
    lines = Lines()
    lines.looked(1, NOW_US, SECOND_US)
    lines.claimed(1, NOW_US)
    assert lines.start(1, NOW_US + (WHOLE_LOOKS_SHARE - 1) * SECOND_US)
    assert lines.start(1, NOW_US + WHOLE_LOOKS_SHARE * SECOND_US) == 0


def test_a_line_with_a_task_at_an_old_place_is_looked_at_whole():
    lines = Lines()
    lines.looked(1, NOW_US, 100)
    lines.claimed(1, NOW_US)
    lines.forget(1)
    assert lines.start(1, NOW_US) == 0


def test_lines_are_looked_at_whole_after_the_server_s_clock_was_set_back():
    """What is submitted from now on stands an hour before what was claimed last."""
    lines = Lines()
    hour_us = 3_600 * SECOND_US
    lines.looked(1, NOW_US, 100)
    lines.claimed(1, NOW_US)
    assert lines.start(1, NOW_US + 1)
    back_us = NOW_US - hour_us
    assert lines.start(1, back_us) == 0
    lines.looked(1, back_us, 100)
    lines.claimed(1, NOW_US)
    assert lines.start(1, back_us + SECOND_US) == 0, "looks come as often as before"


def test_the_moments_of_transactions_at_once_are_no_step_of_the_clock():
    lines = Lines()
    lines.looked(1, NOW_US, 100)
    lines.claimed(1, NOW_US)
    assert lines.start(1, NOW_US + 20_000)
    assert lines.start(1, NOW_US)


def test_lines_do_not_pile_up():
    lines = Lines()
    for lane_id in range(LINES_KNOWN_AT_ONCE + 1):
        lines.looked(lane_id, NOW_US, 100)
        lines.claimed(lane_id, NOW_US)
    assert lines.start(0, NOW_US) == 0
    assert lines.start(LINES_KNOWN_AT_ONCE, NOW_US)


def test_a_task_that_stands_earlier_moves_the_beginning_back():
    lines = Lines()
    lines.stands(1, 5)
    assert lines.known_start(1, NOW_US) == 0, "nothing is known of the line"
    lines.looked(1, NOW_US, 100)
    lines.claimed(1, NOW_US)
    lines.stands(1, NOW_US - LAG_US)
    assert lines.start(1, NOW_US) == NOW_US - LAG_US
    lines.stands(1, NOW_US - 2 * LAG_US)
    assert lines.start(1, NOW_US) == NOW_US - 2 * LAG_US
    lines.stands(1, NOW_US)
    assert lines.start(1, NOW_US) == NOW_US - 2 * LAG_US, "not on to a later one"


def test_doubts_bring_whole_looks_on_but_not_beyond_their_share():
    lines = Lines()
    for lane_id, took_us in ((1, 100), (2, SECOND_US)):
        lines.looked(lane_id, NOW_US, took_us)
        lines.claimed(lane_id, NOW_US)
    lines.doubt()
    assert lines.start(1, NOW_US + 100 * WHOLE_LOOKS_SHARE - 1)
    assert lines.start(1, NOW_US + 100 * WHOLE_LOOKS_SHARE) == 0
    assert lines.start(2, NOW_US + WHOLE_LOOKS_SHARE * SECOND_US - 1)


def test_looks_at_all_lanes_see_everything_in_their_share_of_the_time():
    lines = Lines()
    lines.looked(7, NOW_US, 100)
    lines.claimed(7, NOW_US)
    assert lines.board_starts(NOW_US) == {}
    lines.saw_board(NOW_US, SECOND_US, {}, {7: NOW_US})
    assert lines.board_starts(NOW_US + WHOLE_LOOKS_SHARE * SECOND_US - 1) == {7: NOW_US - LAG_US}
    assert lines.board_starts(NOW_US + WHOLE_LOOKS_SHARE * SECOND_US) == {}


def test_looks_at_all_lanes_pass_over_what_was_claimed_last():
    """Each lane costs such a look something: those go along that have the most to pass over."""
    lines = Lines()
    for lane_id in range(1, LINES_OF_A_BOARD + 2):
        lines.looked(lane_id, NOW_US, 100)
        lines.claimed(lane_id, NOW_US)
    lines.looked(DUE, NOW_US, 100)
    lines.claimed(DUE, NOW_US)
    lines.claimed(2, NOW_US + 1)
    lines.saw_board(NOW_US, 1, {}, {})
    starts = lines.board_starts(NOW_US)
    assert 2 in starts
    assert 1 not in starts
    assert DUE not in starts


def test_a_long_look_at_all_lanes_remembers_where_each_begins():
    """Others claim from them, too: what they left must not be walked over by each look."""
    lines = Lines()
    lines.looked(1, NOW_US, 100)
    lines.claimed(1, NOW_US - 5)
    lines.saw_board(NOW_US, SECOND_US, {}, {2: NOW_US - 7})
    assert lines.board_starts(NOW_US) == {1: NOW_US - LAG_US, 2: NOW_US - 7 - LAG_US}
    lines.saw_board(NOW_US + 9, SECOND_US, lines.board_starts(NOW_US), {1: NOW_US + 2, 3: NOW_US})
    assert lines.board_starts(NOW_US + 9) == {
        1: NOW_US + 2 - LAG_US,
        2: NOW_US + 9 - LAG_US,
        3: NOW_US - LAG_US,
    }


def test_a_short_look_at_all_lanes_moves_beginnings_back_alone():
    lines = Lines()
    lines.looked(1, NOW_US, 100)
    lines.claimed(1, NOW_US)
    lines.saw_board(NOW_US, 1, {}, {1: NOW_US - SECOND_US, 2: NOW_US})
    assert lines.known_start(1, NOW_US) == NOW_US - SECOND_US
    assert lines.known_start(2, NOW_US) == 0


def test_who_promotes_looks_at_everything_as_often_as_the_share_allows():
    lines = Lines()
    lines.looked(DUE, NOW_US, 100)
    lines.claimed(DUE, NOW_US)
    assert lines.start(DUE, NOW_US + 100 * WHOLE_LOOKS_SHARE - 1)
    assert lines.start(DUE, NOW_US + 100 * WHOLE_LOOKS_SHARE) == 0


async def test_looks_stay_short_while_a_transaction_is_held_open(new_database, monkeypatch):
    """What was claimed, promoted and ended since leaves entries in the indexes, and no look walks over them,
    but for the whole looks, of which there are none here after the first."""
    monkeypatch.setattr(lines, "LAG_US", 0)
    monkeypatch.setattr(tending, "LAG_US", 0)
    monkeypatch.setattr(lines, "WHOLE_LOOKS_APART_US", 1 << 60)
    monkeypatch.setattr(lines, "WHOLE_LOOKS_SHARE", 1 << 60)
    # Which of their values say where to begin.
    looks = {"claim": 9, "heads": 1, "all_heads": 1, "promote": 1, "next_due": 0, "past_deadline": 1}
    sent: dict[str, tuple[Any, ...]] = {}
    rows = Transaction.rows

    async def noted(tx: Transaction, name: str, *values: object) -> list[Record]:
        if name in ("claim", "claim_plain"):
            # Without a claimant: one that was answered looks at nothing again.
            sent["claim"] = (*values[:10], False)
        else:
            sent[name] = values
        return await rows(tx, name, *values)

    monkeypatch.setattr(Transaction, "rows", noted)

    def from_the_start(name: str) -> tuple[object, ...]:
        if name == "all_heads":
            return [], [], [0], [1 << 62]
        place = looks[name]
        start: object = [0] * len(sent[name][place]) if isinstance(sent[name][place], list) else 0
        return *sent[name][:place], start, *sent[name][place + 1 :]

    async with (
        new_database() as database,
        database.store() as store,
        database.connection() as admin,
        database.connection() as other,
        other.transaction(isolation="repeatable_read"),
    ):
        await other.fetch("SELECT count(*) FROM mainspring.tasks")
        for seq in range(1, 9):
            await _live(store, seq, 250)
        await _live(store, 9, 1)
        late = {name: await _pages(admin, name, sent[name]) for name in looks}
        whole = {name: await _pages(admin, name, from_the_start(name)) for name in looks}
    assert {name for name in looks if whole[name] < 60} == set(), "there are entries to walk over"
    assert {name for name in looks if late[name] > 30} == set(), (late, whole)


async def _live(store: PostgresStore, seq: int, many: int) -> None:
    """Tasks that are ready at once, that wait for a time, and that miss their deadlines, until all have
    ended."""
    soon_us = 20_000
    deadline_us = (await store.board()).now_us + soon_us
    await _submit(store, many, LANE)
    await _submit(store, many, LANE, delay_us=soon_us)
    await _submit(store, many, LATE, deadline_us=deadline_us)
    await store.board()
    promoted = expired = 0
    async with asyncio.timeout(LIMIT_S):
        while promoted < many or expired < many:
            promoted += (await store.promote(10 * many)).count
            expired += len((await store.overdue(10 * many, 0)).expired)
            await asyncio.sleep(0.01)
    (head,) = (await store.board()).heads
    ask = Ask("w", "w-1", seq, [Quota(head.lane_id, 3 * many)], 3 * many, 15 * SECOND_US)
    (claimed,) = await store.claim([ask])
    assert len(claimed.leases) == 2 * many
    assert set(await store.settle([_settlement(lease, Outcome.SUCCEEDED) for lease in claimed.leases])) == {
        Answer.OK
    }


async def _submit(
    store: PostgresStore, many: int, lane: Lane, *, delay_us: int = 0, deadline_us: int | None = None
) -> None:
    clock = SystemClock()
    tasks = [
        NewTask(clock.new_id(), lane, b"{}", delay_us=delay_us, deadline_us=deadline_us) for _ in range(many)
    ]
    await store.submit([Group(tasks)])


def _settlement(lease: Lease, outcome: Outcome) -> Settlement:
    told = Report(lease.task, lease.token, outcome, result=b"1" if outcome is Outcome.SUCCEEDED else None)
    change, if_cancelled = settle(told, lease, 0.5)
    return Settlement(lease.task, lease.token, lease.lane_id, digest(told), change, if_cancelled, False)


async def _pages(admin: "asyncpg.Connection[Record]", name: str, values: tuple[object, ...]) -> int:
    """How many pages the server reads for it."""
    transaction = admin.transaction()
    await transaction.start()
    try:
        await pin_plans(admin)
        explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {STATEMENTS[name]}"
        plan = json.loads(await admin.fetchval(explained, *values))[0]["Plan"]
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
    finally:
        await transaction.rollback()


async def test_what_is_handed_back_keeps_its_place_while_a_transaction_is_held_open(new_database):
    async with new_database() as database, database.store() as store, database.connection() as other:
        clock = SystemClock()
        await store.submit([Group([NewTask(clock.new_id(), LANE, b"{}") for _ in range(30)])])
        (head,) = (await store.board()).heads

        async def claim(seq: int, incarnation: str) -> list[str]:
            ask = Ask("w", incarnation, seq, [Quota(head.lane_id, 10)], 10, 15 * SECOND_US)
            (claimed,) = await store.claim([ask])
            return [lease.task for lease in claimed.leases]

        async with other.transaction(isolation="repeatable_read"):
            await other.fetch("SELECT count(*) FROM mainspring.tasks")
            first, second = await claim(1, "w-1"), await claim(1, "w-2")
            await store.renew([Renewal("w-1", 2, [], 15 * SECOND_US)])
            assert await claim(2, "w-2") == first
            third = await claim(3, "w-2")
        assert len({*first, *second, *third}) == 30


async def test_a_late_task_that_gets_more_time_is_claimed_though_claims_have_passed_it_by(
    new_database, monkeypatch
):
    """Both would be found by a look at the whole line, of which there is none here after the first."""
    monkeypatch.setattr(lines, "LAG_US", 0)
    monkeypatch.setattr(lines, "WHOLE_LOOKS_APART_US", 1 << 60)
    monkeypatch.setattr(lines, "WHOLE_LOOKS_SHARE", 1 << 60)
    async with new_database() as database, database.store() as store:
        late, plain = SystemClock().new_id(), NewTask(SystemClock().new_id(), LANE, b"{}")
        now_us = (await store.board()).now_us
        await store.submit([Group([NewTask(late, LANE, b"{}", deadline_us=now_us + 1), plain])])
        (head,) = (await store.board()).heads

        async def claim(seq: int) -> list[str]:
            ask = Ask("w", "w-1", seq, [Quota(head.lane_id, 10)], 10, 15 * SECOND_US)
            return [lease.task for lease in (await store.claim([ask]))[0].leases]

        assert await claim(1) == [plain.id]
        (task,) = await store.get([late])
        assert task is not None
        edit = Edit(task.lane, task.payload, None, None, None, now_us + 3600 * SECOND_US, None)
        assert not isinstance(await store.amend(late, task.version, edit), Refused)
        assert await claim(2) == [late]


@pytest.mark.parametrize("comes_back", ["released", "handed back"])
async def test_a_run_that_comes_back_past_its_deadline_is_found(new_database, monkeypatch, comes_back):
    """Looks for deadlines have passed it by while it ran."""
    monkeypatch.setattr(lines, "LAG_US", 0)
    monkeypatch.setattr(tending, "LAG_US", 0)
    monkeypatch.setattr(lines, "WHOLE_LOOKS_SHARE", 1 << 60)
    async with new_database() as database, database.store() as store:
        deadline_us = (await store.board()).now_us + 4 * SECOND_US
        late = SystemClock().new_id()
        await store.submit([Group([NewTask(late, LANE, b"{}", deadline_us=deadline_us)])])
        (head,) = (await store.board()).heads
        ask = Ask("w", "w-1", 1, [Quota(head.lane_id, 1)], 1, 600 * SECOND_US)
        (lease,) = (await store.claim([ask]))[0].leases
        while (await store.board()).now_us <= deadline_us:
            await asyncio.sleep(0.05)
        assert list((await store.overdue(10, 0)).expired) == []
        if comes_back == "released":
            assert list(await store.settle([_settlement(lease, Outcome.RELEASED)])) == [Answer.OK]
        else:
            await store.renew([Renewal("w-1", 2, [], 15 * SECOND_US)])
        assert list((await store.overdue(10, 0)).expired) == [late]
