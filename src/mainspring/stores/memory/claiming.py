"""Claiming: the heads of lanes, under every guard that a node's board may have missed."""

from heapq import heappop, heappush

from mainspring.core.lifecycle import Cause
from mainspring.core.model import Lease, State
from mainspring.ports import Ask, Claimed
from mainspring.stores.memory.moves import Call
from mainspring.stores.memory.reading import lease_of
from mainspring.stores.memory.tables import Due, Row
from mainspring.verbs import CLAIM_BYTES


def claim(call: Call, ask: Ask) -> Claimed:
    tables = call.tables
    if ask.claim_seq <= tables.claimed.get(ask.incarnation, -1):
        return Claimed(_still_held(call, ask))
    if ask.term is not None and not leads(call, ask.term):
        return Claimed([])
    claimed = Claimed([], [])
    room_bytes = CLAIM_BYTES
    for quota in ask.lanes:
        wanted = min(quota.limit, ask.limit - len(claimed.leases)) if room_bytes > 0 else 0
        lane = tables.lanes.get(quota.lane_id)
        if lane is None:
            claimed.empty.append(quota.lane_id)
        elif wanted > 0:
            leases, more = _take(call, ask, quota.lane_id, min(wanted, call.room(lane)), room_bytes)
            claimed.leases += leases
            room_bytes -= sum(lease.size_bytes for lease in leases)
            if not more:
                claimed.empty.append(quota.lane_id)
    if claimed.leases:
        tables.claimed[ask.incarnation] = ask.claim_seq
    return claimed


def _still_held(call: Call, ask: Ask) -> list[Lease]:
    """The answer to a repeated claim: its first answer may have been lost on the way."""
    rows = [call.tables.rows[task] for task in call.tables.held.get(ask.incarnation, ())]
    return [lease_of(row) for row in rows if row.claim_seq == ask.claim_seq]


def leads(call: Call, number: int) -> bool:
    term = call.tables.term
    return term is not None and term.number == number and term.expires_us > call.now_us


def _take(call: Call, ask: Ask, lane_id: int, count: int, room_bytes: int) -> tuple[list[Lease], bool]:
    """Up to `count` tasks from the head of a lane, and whether more could be claimed there.

    A task past its deadline is passed over and keeps its place, for `overdue` to fail it.
    """
    tables = call.tables
    line = tables.ready.get(lane_id, [])
    leases: list[Lease] = []
    late: list[Due] = []
    more = False
    while line and not more:
        row = tables.rows.get(line[0].task)
        if row is None or not tables.in_line(line[0], lane_id):
            heappop(line)
        elif row.deadline_us is not None and row.deadline_us < call.now_us:
            late.append(heappop(line))
        elif len(leases) == count or room_bytes <= 0:
            more = True
        else:
            heappop(line)
            leases.append(_grant(call, ask, row))
            room_bytes -= leases[-1].size_bytes
    for entry in late:
        heappush(line, entry)
    return leases, more


def _grant(call: Call, ask: Ask, row: Row) -> Lease:
    row.token = max(row.token + 1, call.mint())
    row.attempt += 1
    row.worker, row.incarnation, row.claim_seq = ask.worker, ask.incarnation, ask.claim_seq
    row.lease_until_us = call.now_us + ask.lease_us
    start_run(call, row)
    call.move(row, Cause.CLAIM, State.RUNNING)
    return lease_of(row)


def start_run(call: Call, row: Row) -> None:
    """The run's time counts from now; the earlier of timeout and deadline ends it."""
    row.started_at_us = call.now_us
    timeout_at_us = None if row.timeout_us is None else call.now_us + row.timeout_us
    ends = [at_us for at_us in (timeout_at_us, row.deadline_us) if at_us is not None]
    row.timeout_at_us = min(ends, default=None)
