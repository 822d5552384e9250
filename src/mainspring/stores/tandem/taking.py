"""Claims by known heads: what Redis had of a lane is taken by its ids, the rest from the lane's own line.

    a claim of PostgreSQL's own was slow ─► the next ones ask Redis ─► a slow one again: it looks ahead
                                             for the lane's heads        and puts what it sees

A call of Redis costs a claim about as much as looking for a few tasks in PostgreSQL. So Redis is asked where
looking costs more than that: many nodes at one lane, or a line full of what was claimed before.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from asyncpg import Record

from mainspring.core.model import SECOND_US, Lease
from mainspring.core.order import Quota
from mainspring.ports import Ask, Claimed
from mainspring.stores.postgres.claiming import granted, take_heads
from mainspring.stores.postgres.transaction import Transaction, columns
from mainspring.stores.tandem.heads import Head, Heads, Line, Taken, decode

# How many claims one look ahead is to serve, and how far it goes: for one lane, and for all of an exchange.
CLAIMS_A_LOOK = 10
LEAST_AHEAD, MOST_AHEAD = 200, 1_000
ALL_AHEAD = 2_000
# How often a claim goes back to Redis for heads that turned out to be none.
TRIES = 3
# What looking in PostgreSQL must take at least, and more for each task that it found, so that Redis is worth
# its while: several times what it takes where nothing is in the way.
SLOW_S: float = 0.005
SLOW_A_TASK_S = 0.0002
# A lane that had nothing for one more claim is left alone for so long: looking ahead costs a statement.
SHALLOW_S: float = 1.0
LANES_REMEMBERED = 10_000


class Known(NamedTuple):
    """A known head, for the `n`th quota of a claim."""

    task: str
    lane_id: int
    seq: int
    n: int


class Depths:
    """Which lanes have more than one claim takes, and give it slowly, as far as this node has seen. Only
    these are worth a look into Redis."""

    def __init__(self) -> None:
        self._deep: set[int] = set()
        self._shallow_until_us: dict[int, int] = {}

    def wanted(self, asks: Iterable[Ask]) -> dict[int, int]:
        """How many heads these claims could use of each lane, if every lane gives what it is asked for."""
        wanted: Counter[int] = Counter()
        for ask in asks:
            left = ask.limit
            for quota in ask.lanes:
                count = min(quota.limit, left)
                if count <= 0:
                    break
                left -= count
                if quota.lane_id in self._deep:
                    wanted[quota.lane_id] += count
        return wanted

    def learn(self, lane_id: int, is_deep: bool, now_us: int) -> None:
        if not is_deep:
            self._deep.discard(lane_id)
        elif now_us >= self._shallow_until_us.get(lane_id, 0):
            if len(self._deep) >= LANES_REMEMBERED:
                self._deep.clear()
            self._deep.add(lane_id)

    def rest(self, lane_id: int, now_us: int) -> None:
        """Nothing to be had there for a while."""
        if len(self._shallow_until_us) >= LANES_REMEMBERED:
            self._shallow_until_us.clear()
        self._shallow_until_us[lane_id] = now_us + int(SHALLOW_S * SECOND_US)
        self._deep.discard(lane_id)


def depths(
    quotas: Iterable[Quota], limit: int, leases: Iterable[Lease], took_us: int
) -> Iterator[tuple[int, bool]]:
    """Of the lanes that a claim of PostgreSQL's own has reached: whether each gave all that it was asked for,
    and looking for it was slow."""
    gave = Counter(lease.lane_id for lease in leases)
    is_slow = took_us >= (SLOW_S + SLOW_A_TASK_S * gave.total()) * SECOND_US
    for quota in quotas:
        asked = min(quota.limit, limit)
        if asked <= 0:
            break
        limit -= asked
        yield quota.lane_id, is_slow and gave[quota.lane_id] >= asked
        gave[quota.lane_id] -= asked


class Taking:
    """The claims of one transaction, and what it sees behind the tasks that they take."""

    def __init__(self, heads: Heads, wanted: Mapping[int, int], taken: Mapping[int, Taken]) -> None:
        self._heads = heads
        self._wanted = wanted
        self._taken = dict(taken)
        self._known = {lane: deque(found.heads) for lane, found in taken.items()}
        self.now_us = 0
        self.is_deep: dict[int, bool] = {}
        self.ahead: dict[int, Line] = {}

    @property
    def unused(self) -> list[int]:
        """Lanes of which heads were taken from Redis that no claim has asked for."""
        return [lane for lane, heads in self._known.items() if heads]

    # --- claiming -------------------------------------------------------------------------------

    async def take(
        self, tx: Transaction, ask: Ask, quotas: Sequence[Quota], limit: int, room_bytes: int
    ) -> Claimed:
        """As `claiming.take_heads`."""
        placed: list[tuple[int, Lease]] = []
        gave: Counter[int] = Counter()
        for _ in range(TRIES):
            known = self._pick(tx, quotas, gave, limit - len(placed))
            if not known:
                break
            asked = (ask.worker, ask.incarnation, ask.claim_seq, ask.lease_us, room_bytes)
            rows = await tx.rows("claim_known", *columns(known), *asked)
            rows.sort(key=lambda row: row["place"])
            leases = granted(tx, rows)
            placed += zip([row["ask"] for row in rows], leases, strict=True)
            room_bytes -= sum(lease.size_bytes for lease in leases)
            tx.walked((), 0, {row["lane_id"]: row["seq"] for row in rows})
            gave.update(row["ask"] for row in rows)
            if len(rows) == len(known) or room_bytes <= 0:
                break
            # Some were no heads any more. Their lane's own line is no place to look for others: who comes
            # next there is known already, and would then be taken from under the next claims.
            await self._take_more(known, rows)
        rest = [(n, Quota(quota.lane_id, quota.limit - gave[n])) for n, quota in enumerate(quotas)]
        rest = [(n, quota) for n, quota in rest if quota.limit > 0]
        wanted = [quota for _, quota in rest]
        count = limit - len(placed) if room_bytes > 0 else 0
        claimed = await self._take_unknown(tx, ask, wanted, count, room_bytes)
        placed += _placed(claimed.leases, rest)
        # In the order asked, whichever way each of them came.
        placed.sort(key=itemgetter(0))
        return Claimed([lease for _, lease in placed], claimed.empty)

    def _pick(
        self, tx: Transaction, quotas: Sequence[Quota], gave: Mapping[int, int], limit: int
    ) -> list[Known]:
        """Known heads for the quotas that fill the claim, if every lane gives what it is asked for."""
        picked = []
        for n, quota in enumerate(quotas):
            count = min(quota.limit - gave[n], limit)
            limit -= count
            heads = self._known.get(quota.lane_id)
            # A lane to which this very transaction gave back an older task has another head now.
            if heads and quota.lane_id not in tx.regained:
                for head in [heads.popleft() for _ in range(min(count, len(heads)))]:
                    if head.is_fresh(tx.now_us):
                        picked.append(Known(head.task, quota.lane_id, head.seq, n))
        return picked

    async def _take_more(self, known: Sequence[Known], found: Sequence[Record]) -> None:
        missing = Counter(head.lane_id for head in known)
        missing.subtract(row["lane_id"] for row in found)
        wanted = {lane: count for lane, count in missing.items() if count > 0 and self._taken[lane].left}
        for lane, taken in (await self._heads.take(wanted)).items() if wanted else ():
            fills = taken.fills or self._taken[lane].fills
            self._taken[lane] = taken._replace(fills=fills)
            self._known[lane].extend(taken.heads)

    async def _take_unknown(
        self, tx: Transaction, ask: Ask, quotas: Sequence[Quota], limit: int, room_bytes: int
    ) -> Claimed:
        before_us = tx.looking_us
        claimed = await take_heads(tx, ask, quotas, limit, room_bytes)
        took_us = tx.looking_us - before_us
        self.is_deep.update(depths(quotas, limit, claimed.leases, took_us))
        return claimed

    # --- looking ahead --------------------------------------------------------------------------

    async def look_ahead(self, tx: Transaction) -> None:
        """Once the claims are through: who comes next in the lanes that are this node's to fill."""
        self.now_us = tx.now_us
        lanes = {
            lane: last
            for lane, taken in self._taken.items()
            if taken.fills and ((last := self._last(lane)) is not None or self.is_deep.get(lane))
        }
        if not lanes:
            return
        most = max(1, min(MOST_AHEAD, ALL_AHEAD // len(lanes)))
        depths = [min(most, max(LEAST_AHEAD, CLAIMS_A_LOOK * self._wanted[lane])) for lane in lanes]
        starts = {lane: tx.line_start(lane) for lane, last in lanes.items() if last is None}
        behind = [starts[lane] - 1 if last is None else last.seq for lane, last in lanes.items()]
        found: dict[int, list[Head]] = {lane: [] for lane in lanes}
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        rows = await tx.rows("look_ahead", list(lanes), behind, depths)
        whole = [lane for lane, start in starts.items() if not start]
        tx.walked(whole, int((now_s() - began_s) * SECOND_US), {})
        for row in rows:
            last = lanes[row["lane_id"]]
            begun_us = tx.now_us if last is None else last.seen_us
            found[row["lane_id"]].append(Head(row["id"], row["seq"], begun_us))
        self.ahead = {
            lane: Line(self._taken[lane].mark, b"" if last is None else self._taken[lane].last, found[lane])
            for lane, last in lanes.items()
        }

    def _last(self, lane: int) -> Head | None:
        """The last head of a list that goes on; `None` where a new one begins."""
        last = decode(self._taken[lane].last)
        return last if last is not None and last.is_young(self.now_us) else None

    def serves_another(self, lane: int) -> bool:
        """Whether there is enough for one more claim."""
        return len(self.ahead[lane].heads) + self._taken[lane].left >= self._wanted[lane]


def _placed(leases: Iterable[Lease], quotas: Iterable[tuple[int, Quota]]) -> Iterator[tuple[int, Lease]]:
    """Leases in the order of the quotas that they fill, each with the number of its own."""
    left = deque(leases)
    for n, quota in quotas:
        count = 0
        while left and left[0].lane_id == quota.lane_id and count < quota.limit:
            yield n, left.popleft()
            count += 1
