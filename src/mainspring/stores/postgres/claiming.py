"""Claiming: the heads of lanes, under every guard that a node's board may have missed."""

from collections import Counter
from collections.abc import Sequence

from asyncpg import Record

from mainspring.core.limits import UNLIMITED, LimitState, allowance, names, rule_for, start
from mainspring.core.model import Lane, Lease
from mainspring.core.order import Quota
from mainspring.ports import Ask, Claimed
from mainspring.stores.postgres.rows import lease_of
from mainspring.stores.postgres.transaction import Transaction


async def claim(tx: Transaction, asks: Sequence[Ask]) -> list[Claimed]:
    if not asks:
        return []
    usage = await tx.usage()
    answers = [await _claim(tx, ask, usage) for ask in asks]
    await _keep_arrivals(tx, usage)
    return answers


async def _claim(tx: Transaction, ask: Ask, usage: dict[str, LimitState]) -> Claimed:
    last = await tx.value("claimant", ask.incarnation)
    if last is None:
        await tx.do("new_claimant", ask.incarnation)
        last = await tx.value("claimant", ask.incarnation)
    if ask.claim_seq <= last:
        return Claimed(await _leases(tx, "held", ask.incarnation, ask.claim_seq))
    if ask.term is not None and not await tx.value("leads", ask.term):
        return Claimed([])
    empty = [quota.lane_id for quota in ask.lanes if tx.lane(quota.lane_id) is None]
    open_lanes = [
        (quota, lane)
        for quota in ask.lanes
        if (lane := tx.lane(quota.lane_id)) is not None and not tx.is_paused(lane)
    ]
    if tx.rules:
        claimed = await _take_guarded(tx, ask, open_lanes, usage)
    else:
        claimed = await _take(tx, ask, [quota for quota, _ in open_lanes], ask.limit)
    if claimed.leases:
        await tx.do("claimed", ask.incarnation, ask.claim_seq)
    return Claimed(claimed.leases, empty + claimed.empty)


async def _take_guarded(
    tx: Transaction, ask: Ask, lanes: Sequence[tuple[Quota, Lane]], usage: dict[str, LimitState]
) -> Claimed:
    """Lane by lane, since lanes share the slots of a name."""
    claimed = Claimed([], [])
    for quota, lane in lanes:
        rules = [(name, rule) for name in names(lane) if (rule := rule_for(name, tx.rules)) is not None]
        states = [(rule, usage.setdefault(name, LimitState())) for name, rule in rules]
        room = min((allowance(rule, state, tx.now_us) for rule, state in states), default=UNLIMITED)
        count = min(quota.limit, ask.limit - len(claimed.leases), room)
        if count > 0:
            taken = await _take(tx, ask, [Quota(quota.lane_id, count)], count)
            claimed.leases += taken.leases
            claimed.empty += taken.empty
            for rule, state in states:
                start(rule, state, len(taken.leases), tx.now_us)
    return claimed


async def _take(tx: Transaction, ask: Ask, quotas: Sequence[Quota], limit: int) -> Claimed:
    """A lane asked twice goes on where its first quota ends. A lane that gave less than it was asked for
    is empty, unless the ask was full by then."""
    if not quotas or limit <= 0:
        return Claimed([], [])
    asked: Counter[int] = Counter()
    leave = []
    for quota in quotas:
        leave.append(asked[quota.lane_id])
        asked[quota.lane_id] += quota.limit
    rows = await tx.rows(
        "claim", [q.lane_id for q in quotas], leave, [q.limit for q in quotas], limit,
        ask.worker, ask.incarnation, ask.claim_seq, ask.lease_us,
    )  # fmt: skip
    rows.sort(key=lambda row: row["place"])
    gave = Counter(row["n"] for row in rows)
    reached = max(gave, default=0) if len(rows) == limit else len(quotas) + 1
    empty = [quota.lane_id for n, quota in enumerate(quotas, 1) if n < reached and gave[n] < quota.limit]
    return Claimed([_lease(tx, row) for row in rows], empty)


async def _leases(tx: Transaction, statement: str, *values: object) -> list[Lease]:
    rows = await tx.rows(statement, *values)
    await tx.find_lanes({row["lane_id"] for row in rows})
    return [_lease(tx, row) for row in rows]


def _lease(tx: Transaction, row: Record) -> Lease:
    lane = tx.lane(row["lane_id"])
    assert lane is not None
    return lease_of(row, lane)


async def _keep_arrivals(tx: Transaction, usage: dict[str, LimitState]) -> None:
    rated = {name: state.arrival_us for name, state in usage.items() if state.arrival_us > tx.now_us}
    if rated:
        await tx.do("put_arrivals", list(rated), list(rated.values()))
