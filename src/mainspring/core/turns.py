"""When a ready task's turn comes: what one claim would take now, and how many tasks go before it.

`taken` is the claim itself, played on the board: the same ranking, the same room, and the lanes' numbers of
waiting tasks in place of the tasks. `ahead` looks further than one claim, and is an estimate: the order
depends on how long the runs take and on what comes meanwhile.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from copy import copy

from mainspring.core.limits import LimitState, room_for, ruled, start
from mainspring.core.order import Board, LaneHead, Wanted, rank

# A lane's tasks are counted up to so many: a claim takes far fewer, and an estimate needs no more.
COUNTED = 10_000


def taken(
    board: Board, wanted: Wanted, slots: int, waiting: Mapping[int, int], now_us: int
) -> dict[int, int]:
    """How many tasks of each lane a worker's claim for `slots` tasks would take now. `waiting` says how many
    each lane has to give."""
    usage = {name: copy(state) for name, state in board.usage.items()}
    counts: dict[int, int] = {}
    for lane_id, limit in rank(board, wanted, slots, now_us):
        lane = board.heads[lane_id].lane
        room = room_for(lane, board.paused, board.rules, usage, now_us)
        had = counts.get(lane_id, 0)
        count = min(limit, slots, room, waiting.get(lane_id, 0) - had)
        if count <= 0:
            continue
        counts[lane_id] = had + count
        slots -= count
        for name, rule in ruled(lane, board.rules):
            start(rule, usage.setdefault(name, LimitState()), count, now_us)
    return counts


def ahead(
    board: Board,
    own: LaneHead,
    place: int,
    wanted: Sequence[Wanted],
    waiting: Mapping[int, int],
    now_us: int,
) -> int:
    """About how many tasks start before the one at `place` (from 0) of the lane `own`: all of a higher
    priority that have room, what other tenants' shares give them, and what its own tenant has before it."""
    before = 0
    levels: dict[str, list[tuple[LaneHead, int]]] = defaultdict(list)
    for head in board.heads.values():
        count = min(waiting.get(head.lane_id, 0), board.room(head.lane, now_us))
        if count <= 0 or head.lane_id == own.lane_id or not any(each.takes(head.lane) for each in wanted):
            continue
        if head.lane.priority > own.lane.priority:
            before += count
        elif head.lane.priority == own.lane.priority:
            levels[head.lane.tenant].append((head, count))
    # A tenant's lanes take turns, the one that has waited longest first.
    mine = place + sum(
        min(count, place + (head.seq < own.seq)) for head, count in levels.pop(own.lane.tenant, ())
    )
    turn_us = _used_us(board, own.lane.tenant) + mine * _cost_us(board, own)
    for tenant, lanes in levels.items():
        lag_us = turn_us - _used_us(board, tenant)
        due = int(max(0.0, lag_us) / _cost_us(board, lanes[0][0]))
        before += min(due, sum(count for _, count in lanes))
    return before + mine


def _used_us(board: Board, tenant: str) -> float:
    return max(board.virtual_us(tenant), board.floor_us)


def _cost_us(board: Board, head: LaneHead) -> float:
    """What one task of the lane adds to its tenant's virtual time."""
    share = board.shares.get(head.lane.tenant)
    return max(1.0, board.estimate_us(head.lane.kind)) / (share.weight if share is not None else 1.0)
