"""Claims by known heads: what Redis had of a lane is taken by its ids, the rest from the lane's own line."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence

from mainspring.core.model import SECOND_US, Lease
from mainspring.core.order import Quota
from mainspring.ports import Ask, Claimed
from mainspring.stores.postgres.claiming import granted, take_heads
from mainspring.stores.postgres.transaction import Transaction, columns
from mainspring.stores.tandem.heads import Head, Taken

# How many claims one look ahead is to serve, and how far it goes: for one lane, and for all of an exchange.
CLAIMS_A_LOOK = 10
LEAST_AHEAD, MOST_AHEAD = 200, 1_000
ALL_AHEAD = 2_000
# A lane that had nothing for one more claim is left alone for so long: looking ahead costs a statement.
SHALLOW_S: float = 1.0
LANES_REMEMBERED = 10_000


class Depths:
    """Which lanes have more than one claim takes, as far as this node has seen. Only these are worth a look
    into Redis."""

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


class Taking:
    """The claims of one transaction, and what it sees behind the tasks that they take."""

    def __init__(self, taken: Mapping[int, Taken]) -> None:
        self._marks = {lane: found.mark for lane, found in taken.items()}
        self._known = {lane: deque(found.heads) for lane, found in taken.items()}
        self._asked: Counter[int] = Counter()
        self.now_us = 0
        self.is_deep: dict[int, bool] = {}
        self.ahead: dict[int, tuple[bytes, list[Head]]] = {}

    @property
    def unused(self) -> list[int]:
        """Lanes of which heads were taken from Redis that no claim has asked for."""
        return [lane for lane, heads in self._known.items() if heads]

    # --- claiming -------------------------------------------------------------------------------

    async def take(self, tx: Transaction, ask: Ask, quotas: Sequence[Quota], limit: int) -> Claimed:
        """As `claiming.take_heads`."""
        known = self._pick(tx, quotas, limit)
        if not known:
            return await self._take_unknown(tx, ask, quotas, limit)
        rows = await tx.rows(
            "claim_known", *columns(known), ask.worker, ask.incarnation, ask.claim_seq, ask.lease_us
        )
        rows.sort(key=lambda row: row["place"])
        gave = Counter(row["ask"] for row in rows)
        rest = [
            Quota(quota.lane_id, quota.limit - gave[n])
            for n, quota in enumerate(quotas)
            if quota.limit > gave[n]
        ]
        claimed = await self._take_unknown(tx, ask, rest, limit - len(rows))
        return Claimed(_in_order(granted(tx, rows) + claimed.leases, quotas), claimed.empty)

    def _pick(self, tx: Transaction, quotas: Sequence[Quota], limit: int) -> list[tuple[str, int, int, int]]:
        """Known heads for the quotas that fill the claim, if every lane gives what it is asked for."""
        picked = []
        for n, quota in enumerate(quotas):
            count = min(quota.limit, limit)
            if count <= 0:
                break
            limit -= count
            heads = self._known.get(quota.lane_id)
            # A lane to which this very transaction gave back an older task has another head now.
            if heads and quota.lane_id not in tx.regained:
                for head in [heads.popleft() for _ in range(min(count, len(heads)))]:
                    if head.is_fresh(tx.now_us):
                        picked.append((head.task, quota.lane_id, head.seq, n))
        return picked

    async def _take_unknown(self, tx: Transaction, ask: Ask, quotas: Sequence[Quota], limit: int) -> Claimed:
        claimed = await take_heads(tx, ask, quotas, limit)
        gave = Counter(lease.lane_id for lease in claimed.leases)
        for quota in quotas:
            if limit <= 0:
                break
            asked = min(quota.limit, limit)
            limit -= asked
            self.is_deep[quota.lane_id] = gave[quota.lane_id] >= asked
            gave[quota.lane_id] -= asked
            self._asked[quota.lane_id] += asked
        return claimed

    # --- looking ahead --------------------------------------------------------------------------

    async def look_ahead(self, tx: Transaction) -> None:
        """Once the claims are through: who comes next in lanes that gave all they were asked for, where
        Redis had nobody (any more)."""
        self.now_us = tx.now_us
        lanes = [lane for lane, is_deep in self.is_deep.items() if is_deep and lane in self._marks]
        if not lanes:
            return
        most = max(1, min(MOST_AHEAD, ALL_AHEAD // len(lanes)))
        depths = [min(most, max(LEAST_AHEAD, CLAIMS_A_LOOK * self._asked[lane])) for lane in lanes]
        ahead: dict[int, list[Head]] = {lane: [] for lane in lanes}
        for row in await tx.rows("look_ahead", lanes, depths):
            ahead[row["lane_id"]].append(Head(row["id"], row["seq"], tx.now_us))
        self.ahead = {lane: (self._marks[lane], heads) for lane, heads in ahead.items()}

    def serves_another(self, lane: int) -> bool:
        """Whether a look ahead has found enough for one more claim."""
        return len(self.ahead[lane][1]) >= self._asked[lane]


def _in_order(leases: list[Lease], quotas: Sequence[Quota]) -> list[Lease]:
    """In the order of the lanes asked, whichever way each of them came."""
    order: dict[int, int] = {}
    for n, quota in enumerate(quotas):
        order.setdefault(quota.lane_id, n)
    return sorted(leases, key=lambda lease: order[lease.lane_id])
