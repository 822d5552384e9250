"""Claims begin where the last one ended, and still find what stands before."""

from mainspring.clock import SystemClock
from mainspring.core.model import SECOND_US, Lane, NewTask
from mainspring.core.order import Quota
from mainspring.ports import Ask, Group, Renewal
from mainspring.stores.postgres.lines import LAG_US, LINES_KNOWN_AT_ONCE, WHOLE_LOOKS_SHARE, Lines

LANE = Lane("default", "echo", "default", 5)
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
