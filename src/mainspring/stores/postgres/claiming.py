"""Claiming: the heads of lanes, under every guard that a node's board may have missed."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from asyncpg import Record

from mainspring.core.lifecycle import Cause
from mainspring.core.limits import room_for
from mainspring.core.model import SECOND_US, Lane, Lease, State
from mainspring.core.order import Quota
from mainspring.ports import Ask, Claimed
from mainspring.stores.postgres.limits import Usage
from mainspring.stores.postgres.rows import can_be_stored, lease_of
from mainspring.stores.postgres.transaction import Transaction
from mainspring.verbs import CLAIM_BYTES

# Takes up to so many, and about so many bytes, from the heads of lanes for a claim, in the order asked.
Take = Callable[[Transaction, Ask, Sequence[Quota], int, int], Awaitable[Claimed]]


async def claim(
    tx: Transaction, asks: Sequence[Ask], usage: Usage | None, take: Take | None = None
) -> list[Claimed]:
    """`usage` is what limits have in use, `None` if there are none. `take` is another way to the heads of
    lanes, for a store that knows some of them beforehand."""
    return [
        await _claim(tx, ask, usage, take or take_heads)
        if not tx.is_careful or _may_ask(ask)
        else Claimed([])
        for ask in asks
    ]


def _may_ask(ask: Ask) -> bool:
    """A worker with a name that cannot be stored gets nothing, and the others are not its victims."""
    return can_be_stored(ask.worker) and can_be_stored(ask.incarnation)


async def _claim(tx: Transaction, ask: Ask, usage: Usage | None, take: Take) -> Claimed:
    unknown = [quota.lane_id for quota in ask.lanes if tx.lane(quota.lane_id) is None]
    lanes = [(quota, lane) for quota in ask.lanes if (lane := tx.lane(quota.lane_id)) is not None]
    open_lanes = [quota for quota, lane in lanes if lane.queue not in tx.paused]
    if usage is None and ask.term is None and take is take_heads:
        # Nearly always all is as the node thinks, and one statement does.
        claimed = await take_heads(tx, ask, open_lanes, ask.limit, CLAIM_BYTES, as_next=True)
        if claimed.leases:
            _book(tx, claimed.leases)
            return Claimed(claimed.leases, unknown + claimed.empty)
    last = await tx.value("claimant", ask.incarnation)
    if last is None:
        await tx.do("new_claimant", ask.incarnation)
        last = await tx.value("claimant", ask.incarnation)
    if ask.claim_seq <= last:
        # The answer to a repeated claim: its first answer may have been lost on the way.
        return Claimed(await leases(tx, "still_held", ask.incarnation, ask.claim_seq))
    if ask.term is not None and not await tx.value("leads", ask.term):
        return Claimed([])
    if usage is not None:
        claimed = await _take_guarded(tx, ask, lanes, usage, take)
    else:
        claimed = await take(tx, ask, open_lanes, ask.limit, CLAIM_BYTES)
    if claimed.leases:
        await tx.do("claimed", ask.incarnation, ask.claim_seq)
        _book(tx, claimed.leases)
    return Claimed(claimed.leases, unknown + claimed.empty)


async def _take_guarded(
    tx: Transaction, ask: Ask, lanes: Sequence[tuple[Quota, Lane]], usage: Usage, take: Take
) -> Claimed:
    """Lane by lane, since lanes share the slots of a name."""
    claimed = Claimed([], [])
    room_bytes = CLAIM_BYTES
    for quota, lane in lanes:
        room = room_for(lane, tx.paused, tx.rules, usage.states, tx.now_us)
        count = min(quota.limit, ask.limit - len(claimed.leases), room)
        if count > 0 and room_bytes > 0:
            taken = await take(tx, ask, [Quota(quota.lane_id, count)], count, room_bytes)
            room_bytes -= sum(lease.size_bytes for lease in taken.leases)
            claimed.leases += taken.leases
            claimed.empty += taken.empty
            if taken.leases:
                usage.start(lane, len(taken.leases))
    return claimed


async def take_heads(
    tx: Transaction,
    ask: Ask,
    quotas: Sequence[Quota],
    limit: int,
    room_bytes: int,
    *,
    as_next: bool = False,
) -> Claimed:
    """A lane asked twice goes on where its first quota ends. A lane that gave less than it was asked for
    is empty, unless the ask was full, or too heavy, by then. `as_next`: nothing, unless it is the claimant's
    next claim."""
    if not quotas or limit <= 0:
        return Claimed([], [])
    now_s = asyncio.get_running_loop().time
    asked = asked_for(tx, ask, quotas, limit, room_bytes)
    began_s = now_s()
    rows = await tx.rows("claim", *asked, as_next)
    return taken(tx, asked, rows, now_s() - began_s, bool(rows) or not as_next)


class Asked(NamedTuple):
    """A claim, as the statements take it."""

    lane_ids: list[int]
    leave: list[int]
    take: list[int]
    limit: int
    worker: str
    incarnation: str
    claim_seq: int
    lease_us: int
    room_bytes: int
    starts: list[int]


def asked_for(
    tx: Transaction, ask: Ask, quotas: Sequence[Quota], limit: int, room_bytes: int = CLAIM_BYTES
) -> Asked:
    asked: Counter[int] = Counter()
    leave = []
    for quota in quotas:
        leave.append(asked[quota.lane_id])
        asked[quota.lane_id] += quota.limit
    lane_ids = [quota.lane_id for quota in quotas]
    starts = [tx.line_start(lane_id) for lane_id in lane_ids]
    return Asked(
        lane_ids, leave, [quota.limit for quota in quotas], limit,
        ask.worker, ask.incarnation, ask.claim_seq, ask.lease_us, room_bytes, starts,
    )  # fmt: skip


def taken(tx: Transaction, asked: Asked, rows: list[Record], took_s: float, has_looked: bool) -> Claimed:
    """What a claim got, in the order asked; nothing, if it has not looked at the lanes at all."""
    rows.sort(key=lambda row: row["place"])
    whole = [lane_id for lane_id, start in zip(asked.lane_ids, asked.starts, strict=True) if not start]
    gave = Counter(row["ask"] for row in rows)
    leases = granted(tx, rows)
    is_full = len(rows) == asked.limit or sum(lease.size_bytes for lease in leases) >= asked.room_bytes
    reached = max(gave, default=0) if is_full else len(asked.take) + 1
    wanted = zip(asked.lane_ids, asked.take, strict=True)
    empty = [lane_id for n, (lane_id, take) in enumerate(wanted, 1) if n < reached and gave[n] < take]
    ends = {row["lane_id"]: row["seq"] for row in rows}
    if has_looked:
        ends |= dict.fromkeys(empty, tx.now_us)
    tx.walked(whole, int(took_s * SECOND_US), ends)
    return Claimed(leases, empty)


def _book(tx: Transaction, started: Sequence[Lease]) -> None:
    for lane_id, count in Counter(lease.lane_id for lease in started).items():
        tx.count_move(lane_id, State.READY, State.RUNNING, count)
    if tx.steps is not None:
        for lease in started:
            tx.record(lease.task, State.READY, Cause.CLAIM, State.RUNNING, lease.attempt, lease.token)


async def leases(tx: Transaction, statement: str, *values: object) -> list[Lease]:
    """The leases of a statement that selects `lease`."""
    return await found_leases(tx, await tx.rows(statement, *values))


async def found_leases(tx: Transaction, rows: Sequence[Record]) -> list[Lease]:
    await tx.find_lanes({row["lane_id"] for row in rows})
    return granted(tx, rows)


def granted(tx: Transaction, rows: Sequence[Record]) -> list[Lease]:
    """Tasks of no lane are left out: the auditor tells of them."""
    return [lease_of(row, lane) for row in rows if (lane := tx.lane(row["lane_id"])) is not None]
