"""One transaction: its moment, the lanes and limits that it goes by, and what it changed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from asyncpg import Record
from asyncpg.pool import PoolConnectionProxy

from mainspring.core.lifecycle import DOOMED_ERROR
from mainspring.core.limits import LimitRule, LimitState, names, rule_for
from mainspring.core.model import Lane, State
from mainspring.core.order import LaneHead
from mainspring.stores.postgres.rows import lane_of
from mainspring.stores.postgres.statements import STATEMENTS

CHILDREN_RELEASED_AT_ONCE = 500
_rule = msgspec.json.Decoder(LimitRule)


class Replay(Exception):
    """Somebody else was first: the same lines in a new transaction will see it."""


class Step(NamedTuple):
    """A row that left its lease or its line, and where it came to."""

    task: str
    state: State
    lane_id: int
    is_parent: bool


class Known:
    """What a node remembers between transactions: lanes never change, controls have a generation."""

    def __init__(self) -> None:
        self.lanes: dict[int, Lane] = {}
        self.lane_ids: dict[Lane, int] = {}
        self.generation = 0
        self.rules: dict[str, LimitRule] = {}
        self.paused: frozenset[str] = frozenset()

    def learn(self, lanes: Mapping[int, Lane]) -> None:
        self.lanes.update(lanes)
        self.lane_ids.update({lane: number for number, lane in lanes.items()})


class Transaction:
    """The driver's words to the database. Lanes it adds are known to others only after its commit."""

    def __init__(self, connection: "PoolConnectionProxy[Record]", known: Known, attempt: int) -> None:
        self._connection = connection
        self._known = known
        self.is_replay = attempt > 0
        self.lanes: dict[int, Lane] = {}
        self.lane_ids: dict[Lane, int] = {}
        self.now_us = 0
        self.gained: set[int] = set()
        self.freed: set[int] = set()
        self._children_left = CHILDREN_RELEASED_AT_ONCE

    async def rows(self, name: str, *values: object) -> list[Record]:
        return await self._connection.fetch(STATEMENTS[name], *values)

    async def value(self, name: str, *values: object) -> Any:
        return await self._connection.fetchval(STATEMENTS[name], *values)

    async def do(self, name: str, *values: object) -> str:
        """Returns the command's tag, such as `INSERT 0 7`."""
        return await self._connection.execute(STATEMENTS[name], *values)

    async def do_many(self, name: str, lines: Iterable[Sequence[object]]) -> None:
        await self._connection.executemany(STATEMENTS[name], lines)

    async def begin(self) -> None:
        (opening,) = await self.rows("opening")
        self.now_us = opening["now_us"]
        if opening["generation"] != self._known.generation:
            self._known.rules = {row["name"]: _rule.decode(row["rule"]) for row in await self.rows("rules")}
            self._known.paused = frozenset(row["queue"] for row in await self.rows("paused"))
            self._known.generation = opening["generation"]

    def commit(self) -> None:
        self._known.learn(self.lanes)

    # --- lanes ----------------------------------------------------------------------------------

    async def need_lanes(self, lanes: Iterable[Lane]) -> None:
        """Every lane gets its number; those that nobody used before are added."""
        missing = sorted({lane for lane in lanes if lane not in self._known.lane_ids})
        if missing:
            columns = [list(column) for column in zip(*missing, strict=True)]
            await self.do("add_lanes", *columns)
            self._learn(await self.rows("lanes_by_name", *columns))

    async def find_lanes(self, numbers: Iterable[int]) -> None:
        """Look up the numbers that are not known yet."""
        missing = {number for number in numbers if self.lane(number) is None}
        if missing:
            self._learn(await self.rows("lanes_by_id", list(missing)))

    def _learn(self, rows: Iterable[Record]) -> None:
        for row in rows:
            self.lanes[row["id"]] = lane = lane_of(row)
            self.lane_ids[lane] = row["id"]

    def lane(self, number: int) -> Lane | None:
        return self._known.lanes.get(number) or self.lanes.get(number)

    def lane_id(self, lane: Lane) -> int:
        number = self._known.lane_ids.get(lane)
        return self.lane_ids[lane] if number is None else number

    async def ready(self) -> list[LaneHead]:
        """The heads of the lanes that this transaction gave ready tasks, where any are left."""
        if not self.gained:
            return []
        await self.find_lanes(self.gained)
        found = []
        for row in await self.rows("heads", list(self.gained)):
            lane = self.lane(row["id"])
            if lane is not None:
                found.append(LaneHead(row["id"], lane, row["seq"]))
        return found

    # --- what an end of a run moves -------------------------------------------------------------

    async def moved(self, steps: Sequence[Step]) -> None:
        self.freed.update(step.lane_id for step in steps)
        self.gained.update(step.lane_id for step in steps if step.state is State.READY)
        ended = {step.task: step.state for step in steps if step.is_parent and step.state.is_final}
        if ended:
            # Up to 500 children in a transaction. The rest, and those that a failed parent dooms, are left to
            # `resolve`: a wide or deep graph must not end in one transaction.
            self._children_left -= len(await self.apply_ends(ended, self._children_left, doom=False))
            await self.do("leave_unresolved", *_ends(ended))

    async def apply_ends(self, ended: Mapping[str, State], limit: int, doom: bool) -> list[Step]:
        """Apply final parents to up to `limit` of their children, which may be doomed only if `doom`."""
        parents, succeeded = _ends(ended)
        rows = await self.rows("lock_children", parents, succeeded, doom, limit)
        if not rows:
            return []
        children = [row["id"] for row in rows]
        rows = await self.rows("apply_ends", parents, succeeded, doom, children, DOOMED_ERROR)
        steps = [Step(row["id"], State(row["state"]), row["lane_id"], row["is_parent"]) for row in rows]
        await self.moved(steps)
        return steps

    # --- limits ---------------------------------------------------------------------------------

    @property
    def rules(self) -> dict[str, LimitRule]:
        return self._known.rules

    def is_paused(self, lane: Lane) -> bool:
        return lane.queue in self._known.paused

    async def lock_limits(self, lanes: Iterable[Lane]) -> None:
        """Nobody else starts tasks under these lanes' rules, or fills their queues, until the commit."""
        if self.rules:
            applying = {rule for lane in lanes for name in names(lane) for rule in self._rule_names(name)}
            await self.do("lock_limits", sorted(applying))

    def _rule_names(self, name: str) -> list[str]:
        family = name.split(":", 1)[0] + ":*"
        return [rule for rule in (name, family) if rule in self.rules]

    async def usage(self) -> dict[str, LimitState]:
        """What names under a rule have in use, those included that this transaction freed.

        Running tasks are counted, not kept as a number: no number can drift, and no row is shared.
        """
        if not self.rules:
            return {}
        running = {row["lane_id"]: row["running"] for row in await self.rows("running_by_lane")}
        running.update({number: 0 for number in self.freed if number not in running})
        await self.find_lanes(running)
        usage: dict[str, LimitState] = {}
        for number, count in running.items():
            lane = self.lane(number)
            for name in names(lane) if lane is not None else ():
                if rule_for(name, self.rules) is not None:
                    usage.setdefault(name, LimitState()).running += count
        for row in await self.rows("arrivals"):
            if rule_for(row["name"], self.rules) is not None:
                usage.setdefault(row["name"], LimitState()).arrival_us = row["arrival_us"]
        return usage


def _ends(ended: Mapping[str, State]) -> tuple[list[str], list[bool]]:
    return list(ended), [state is State.SUCCEEDED for state in ended.values()]
