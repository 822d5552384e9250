"""Which tasks a claim takes next: a pure ranking over the board of lanes.

    1. drop lanes that are paused, at their limit, or that the worker has no handler for;
    2. higher priority first;
    3. within one priority, the tenant that has used the least worker time for its weight;
    4. within one tenant, the lane whose head has waited longest;
    5. and one claim in 16 goes to the oldest head of a lower priority that has waited over 60 s, so
       nothing starves, however much of the highest priority there is.

The answer is an ordered list of `(lane, quota)`; the store takes the heads of those lanes in that
order until the worker's free slots are full. Sharing by virtual time is start-time fair queueing
(Goyal, Vin and Cheng, 1996): a tenant that returns starts at the least active one, so that it can
neither hoard credit while away nor be punished for it.
"""

from collections import defaultdict, deque
from collections.abc import Iterable
from heapq import heapify, heapreplace
from math import inf
from typing import NamedTuple

import msgspec

from mainspring.core.limits import LimitRule, LimitState, room_for
from mainspring.core.model import SECOND_US, Lane

AGEING_PERIOD = 16
AGEING_AFTER_US = 60 * SECOND_US
ESTIMATE_UNKNOWN_US = 1 * SECOND_US
OLDER_RUNS_WEIGH = 0.875
LANES_RANKED = 64
# A claim for many slots takes several tasks from each of so many lanes rather than one from each of all:
# a look at a lane costs the store as much as several tasks of it. The turns even out.
LANES_A_CLAIM = 50
# Tenants whose virtual times are this close count as equal and take turns. Finer than the noise of short
# runs, a ranking would hop between tenants at random, and with it the store between pages of its file.
EVEN_US = SECOND_US // 10


class LaneHead(NamedTuple):
    """A lane with ready tasks. `seq` is its oldest task's place in line: the store's clock, in
    microseconds, at the moment that task became ready."""

    lane_id: int
    lane: Lane
    seq: int


class Quota(NamedTuple):
    """Up to `limit` tasks from the head of a lane."""

    lane_id: int
    limit: int


class Share(msgspec.Struct):
    """A tenant's weight and the worker time it has used, divided by that weight."""

    weight: float = 1.0
    virtual_us: float = 0.0


class Wanted(msgspec.Struct, frozen=True):
    """What a worker can take. Empty `queues` means every queue."""

    kinds: frozenset[str]
    queues: frozenset[str] = frozenset()

    def takes(self, lane: Lane) -> bool:
        return lane.kind in self.kinds and (not self.queues or lane.queue in self.queues)


class Board:
    """A node's picture of what could be claimed. It may lag behind the store, which guards every claim."""

    def __init__(self) -> None:
        self.heads: dict[int, LaneHead] = {}
        self.paused: frozenset[str] = frozenset()
        self.rules: dict[str, LimitRule] = {}
        self.usage: dict[str, LimitState] = {}
        self.shares: dict[str, Share] = {}
        self.unearned_us: dict[str, float] = {}
        self._estimates_us: dict[str, float] = {}
        self.floor_us = 0.0
        self.claimed = 0

    def add(self, heads: Iterable[LaneHead]) -> None:
        """Lanes that gained ready tasks. A known head stays: it is older."""
        for head in heads:
            self.heads.setdefault(head.lane_id, head)

    def drop(self, lane_ids: Iterable[int]) -> None:
        """Lanes that a claim found empty."""
        for lane_id in lane_ids:
            self.heads.pop(lane_id, None)

    def room(self, lane: Lane, now_us: int) -> int:
        """How many tasks of the lane may start now, by its queue's pause and by every limit on it."""
        return room_for(lane, self.paused, self.rules, self.usage, now_us)

    def charge(self, tenant: str, cost_us: float) -> None:
        """Book worker time on a tenant: an estimate at the claim, the difference at the settle."""
        share = self.shares.setdefault(tenant, Share())
        share.virtual_us = max(share.virtual_us, self.floor_us) + cost_us / share.weight

    def advance(self, tenant: str, estimate_us: float) -> None:
        """What of a tenant's charge is only an estimate: added at the claim, taken off when the run ends."""
        share = self.shares.get(tenant)
        change_us = estimate_us / (share.weight if share is not None else 1.0)
        left_us = self.unearned_us.get(tenant, 0.0) + change_us
        if left_us > 0.0:
            self.unearned_us[tenant] = left_us
        else:
            self.unearned_us.pop(tenant, None)

    def virtual_us(self, tenant: str) -> float:
        share = self.shares.get(tenant)
        return share.virtual_us if share is not None else 0.0

    def earned_us(self, tenant: str) -> float:
        """The tenant's virtual time without estimates: it will not be corrected to less than this."""
        return self.virtual_us(tenant) - self.unearned_us.get(tenant, 0.0)

    def estimate_us(self, kind: str) -> float:
        return self._estimates_us.get(kind, ESTIMATE_UNKNOWN_US)

    def learn(self, kind: str, took_us: float) -> None:
        """A task of the kind has run for so long."""
        known_us = self._estimates_us.get(kind, took_us)
        self._estimates_us[kind] = took_us + (known_us - took_us) * OLDER_RUNS_WEIGH


def rank(board: Board, wanted: Wanted, slots: int, now_us: int) -> list[Quota]:
    """The lanes to claim from, in order. Pure but for `board.floor_us`, which rises with the ranking."""
    open_lanes = [
        (head, room)
        for head in board.heads.values()
        if wanted.takes(head.lane) and (room := board.room(head.lane, now_us)) > 0
    ]
    if not open_lanes:
        return []
    if board.shares:
        # Here, not where tenants compete: a tenant that runs alone must lift the floor, too, or one that
        # comes back later would be served alone until it had caught up. Not by what is only estimated: the
        # correction of an estimate that was too high would then end at the floor, and be lost.
        lowest_us = min(board.earned_us(head.lane.tenant) for head, _ in open_lanes)
        board.floor_us = max(board.floor_us, lowest_us)
    if len(open_lanes) == 1:
        head, room = open_lanes[0]
        return [Quota(head.lane_id, min(slots, room))]
    ranked = _aged(board, open_lanes, slots, now_us)
    levels: dict[int, list[tuple[LaneHead, int]]] = defaultdict(list)
    for entry in open_lanes:
        levels[entry[0].lane.priority].append(entry)
    for priority in sorted(levels, reverse=True):
        ranked += _fair(board, levels[priority], slots)
        if len(ranked) >= LANES_RANKED:
            break
    return ranked


def _aged(board: Board, lanes: list[tuple[LaneHead, int]], slots: int, now_us: int) -> list[Quota]:
    """One in 16 of the tasks claimed by this node, for heads that have waited over 60 s and that the order
    passes over. Those of the highest priority are served anyway: a backlog of them would take these turns."""
    turns = (board.claimed + slots) // AGEING_PERIOD - board.claimed // AGEING_PERIOD
    if not turns:
        return []
    highest = max(head.lane.priority for head, _ in lanes)
    old = sorted(
        (head.seq, head.lane_id, room)
        for head, room in lanes
        if now_us - head.seq > AGEING_AFTER_US and head.lane.priority < highest
    )[:turns]
    if not old:
        return []
    # Fewer old lanes than turns: the tasks behind their heads have most likely waited as long.
    share, rest = divmod(turns, len(old))
    return [Quota(lane_id, min(room, share + (place < rest))) for place, (_, lane_id, room) in enumerate(old)]


def _fair(board: Board, lanes: list[tuple[LaneHead, int]], slots: int) -> list[Quota]:
    """Share `slots` among the lanes of one priority by their tenants' virtual time."""
    if len(lanes) == 1:
        head, room = lanes[0]
        return [Quota(head.lane_id, min(slots, room))]
    lanes.sort(key=lambda entry: entry[0].seq)
    tenants: dict[str, deque[tuple[LaneHead, int]]] = defaultdict(deque)
    for entry in lanes:
        tenants[entry[0].lane.tenant].append(entry)
    used = {name: max(board.virtual_us(name), board.floor_us) for name in tenants}
    turns = [(used[name] // EVEN_US, turn, used[name], name) for turn, name in enumerate(tenants)]
    heapify(turns)
    quantum = max(1, slots // min(len(lanes), LANES_A_CLAIM))
    quotas: dict[int, int] = {}
    while slots > 0 and tenants:
        _, turn, used_us, name = turns[0]
        queue = tenants[name]
        if not queue:
            # Every lane of this tenant has its full quota: leave it out of the race.
            del tenants[name]
            heapreplace(turns, (inf, turn, used_us, name))
            continue
        head, room = queue.popleft()
        take = min(quantum, room, slots)
        quotas[head.lane_id] = quotas.get(head.lane_id, 0) + take
        slots -= take
        if room > take:
            queue.append((head, room - take))
        weight = board.shares[name].weight if name in board.shares else 1.0
        used_us += take * board.estimate_us(head.lane.kind) / weight
        heapreplace(turns, (used_us // EVEN_US, turn + len(turns), used_us, name))
    return [Quota(lane_id, limit) for lane_id, limit in quotas.items()]
