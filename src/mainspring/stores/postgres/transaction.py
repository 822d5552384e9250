"""One transaction: its moment, the lanes and limits that it goes by, what it changed and has still to
write."""

import asyncio
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg
from asyncpg import Record

from mainspring.core.lifecycle import Cause
from mainspring.core.limits import LimitRule, LimitState, names
from mainspring.core.model import SECOND_US, WAITING, Lane, State
from mainspring.core.order import LaneHead
from mainspring.errors import StoreCorrupt
from mainspring.stores.postgres.known import Controls, Known
from mainspring.stores.postgres.limits import Usage, rules_of
from mainspring.stores.postgres.lines import CLOCK_STEP_US, DEADLINES
from mainspring.stores.postgres.rows import LANE_LOST, Row, lane_of
from mainspring.stores.postgres.runs import spans
from mainspring.stores.postgres.statements import STATEMENTS

if TYPE_CHECKING:
    from asyncpg import Connection

CHILDREN_RELEASED_AT_ONCE = 500
CLAIMANTS_KNOWN = 200


class Replay(Exception):
    """Somebody else was first: the same lines in a new transaction will see it."""


class BadValue(Exception):
    """A value that the database does not take: the lines are looked at one by one in a new transaction."""


class Step(NamedTuple):
    """One step of a task's life, as the history keeps it."""

    task: str
    at_us: int
    old: State | None
    cause: Cause
    new: State
    attempt: int
    token: int


class Transaction:
    """The driver's words to the database. Lanes it adds are known to others only after its commit.

    `exceeds_backlogs`: what it submits was accepted before, whatever the queue's limit.
    `is_replay`: an earlier try has lost a race. `is_careful`: an earlier try brought a value that the
    database does not take, so each line is looked at before it is sent. `gained` are the lanes that it gave
    ready tasks, `regained` those of them where one stands before others that came earlier. `heads` is what
    was found at the beginnings of lines.
    """

    def __init__(
        self,
        connection: "Connection[Record]",
        known: Known,
        *,
        is_replay: bool = False,
        is_careful: bool = False,
    ) -> None:
        self._connection = connection
        self._known = known
        self._known_lanes, self._known_lane_ids = known.lanes, known.lane_ids
        self._controls = known.controls
        self._lanes: dict[int, Lane] = {}
        self._lane_ids: dict[Lane, int] = {}
        self._counts: dict[tuple[int, State], int] = {}
        self.is_replay = is_replay
        self.is_careful = is_careful
        self.exceeds_backlogs = False
        self.now_us = 0
        self.gained: set[int] = set()
        self.regained: set[int] = set()
        self.freed: set[int] = set()
        self.heads: Sequence[LaneHead] | None = None
        self.finished: list[str] = []
        self.ended_parents: dict[str, State] = {}
        self.children_left = CHILDREN_RELEASED_AT_ONCE
        self.steps: list[Step] | None = [] if known.keeps_history else None
        self.moved: dict[str, Row] = {}
        self.unblocked: list[str] = []
        self.looking_us = 0
        self._whole_looks: dict[int, int] = {}
        self._line_ends: dict[int, int] = {}
        self._board: tuple[int, dict[int, int]] | None = None
        self._first_runs: tuple[dict[str, int], int, int] | None = None
        self._minted = 0

    async def rows(self, name: str, *values: object) -> list[Record]:
        return await self._connection.fetch(STATEMENTS[name], *values)

    async def row(self, name: str, *values: object) -> Record | None:
        return await self._connection.fetchrow(STATEMENTS[name], *values)

    async def value(self, name: str, *values: object) -> Any:
        return await self._connection.fetchval(STATEMENTS[name], *values)

    async def do(self, name: str, *values: object) -> int:
        """Returns how many rows were written."""
        tag = await self._connection.execute(STATEMENTS[name], *values)
        count = tag.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def do_many(self, name: str, lines: Iterable[Sequence[object]]) -> None:
        await self._connection.executemany(STATEMENTS[name], lines)

    async def copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Add rows. Raises `Replay` if somebody else has stored one under the same key meanwhile."""
        try:
            await self._connection.copy_records_to_table(
                table, schema_name="mainspring", columns=columns, records=rows
            )
        except asyncpg.UniqueViolationError as error:
            raise Replay from error

    async def copy_encoded(self, table: str, columns: Sequence[str], rows: AsyncIterable[bytes]) -> None:
        """As `copy`, of bytes as the server takes them."""
        try:
            await self._connection.copy_to_table(
                table, schema_name="mainspring", columns=columns, source=rows, format="binary"
            )
        except asyncpg.UniqueViolationError as error:
            raise Replay from error

    async def begin(self) -> None:
        (opening,) = await self.rows("opening")
        self.now_us = self._minted = opening["now_us"]
        if opening["generation"] != self._controls.generation:
            rules = rules_of(await self.rows("rules"))
            paused = {row["queue"]: row["by"] for row in await self.rows("paused")}
            caps_backlogs = any(rule.max_waiting is not None for rule in rules.values())
            self._controls = Controls(opening["generation"], rules, paused, caps_backlogs)
            self._known.controls = self._controls

    def begin_alone(self) -> None:
        """For one statement that is the whole transaction: its moment is not known before it has run."""
        self.now_us = self._known.now_us()

    def ran_alone(self, now_us: int) -> bool:
        """The statement's moment. Says whether it came before the one that it was taken for, because the
        server's clock was set back: places in line that were known mean nothing then."""
        was_set_back = now_us < self.now_us - CLOCK_STEP_US
        self.now_us = now_us
        return was_set_back

    async def finish(self) -> None:
        """Write what was counted and recorded. Last, although it is locked before tasks elsewhere: rows that
        a server process's transactions share are locked for the commit alone."""
        if self._counts:
            await self.find_lanes({lane_id for lane_id, _ in self._counts})
            counts: dict[tuple[str, State], int] = {}
            for (lane_id, state), n in self._counts.items():
                lane = self.lane(lane_id)
                if lane is not None and n:
                    counts[lane.queue, state] = counts.get((lane.queue, state), 0) + n
            changes = [(queue, state, n) for (queue, state), n in sorted(counts.items()) if n]
            if changes:
                await self.do("add_counts", *columns(changes))
        if self.steps:
            await self.do("add_steps", *columns(self.steps))

    def committed(self) -> None:
        self._known.saw(self.now_us)
        self._known.learn(self._lanes)
        lines = self._known.lines
        for lane_id, took_us in self._whole_looks.items():
            lines.looked(lane_id, self.now_us, took_us)
        for lane_id, end in self._line_ends.items():
            lines.claimed(lane_id, end)
        if self._first_runs is not None:
            self._known.runs.learned(*self._first_runs)
        places = {head.lane_id: head.seq for head in self.heads or ()}
        if self._board is not None:
            lines.saw_board(self.now_us, *self._board, places)
        else:
            for lane_id, place in places.items():
                lines.stands(lane_id, place)
        for lane_id in self.regained:
            lines.forget(lane_id)

    # --- what follows from changes --------------------------------------------------------------

    def mint(self) -> int:
        """A number that rises over every other of this transaction, and over those of earlier ones: a row
        costs more time to write than the microsecond by which it rises."""
        self._minted += 1
        return self._minted

    def mint_many(self, number: int) -> range:
        first = self._minted + 1
        self._minted += number
        return range(first, first + number)

    def count(self, lane_id: int, state: State, change: int) -> None:
        place = (lane_id, state)
        self._counts[place] = self._counts.get(place, 0) + change

    def count_move(self, lane_id: int, old: State, new: State, number: int = 1) -> None:
        self.count(lane_id, old, -number)
        self.count(lane_id, new, number)

    def pending(self, queue: str, states: Iterable[State]) -> int:
        """By how much the stored numbers of the queue will change with what this transaction did so far."""
        wanted = frozenset(states)
        return sum(
            n
            for (lane_id, state), n in self._counts.items()
            if state in wanted and (lane := self.lane(lane_id)) is not None and lane.queue == queue
        )

    def record(
        self, task: str, old: State | None, cause: Cause, new: State, attempt: int, token: int
    ) -> None:
        """Keep one step of a task's life, if the store keeps them."""
        if self.steps is not None:
            self.steps.append(Step(task, self.now_us, old, cause, new, attempt, token))

    def note_deadline(self, state: State, deadline_us: int | None) -> None:
        """A task that waits again stands in line by its deadline, too: before others, if that has passed."""
        if deadline_us is not None and deadline_us < self.now_us and state in WAITING:
            self.regained.add(DEADLINES)

    def ended(self, task: str, state: State, is_parent: bool) -> None:
        self.finished.append(task)
        if is_parent:
            self.ended_parents[task] = state

    # --- lanes ----------------------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """Of the node's picture of limits and pauses; 0 if it has none yet."""
        return self._controls.generation

    def known_lane_id(self, lane: Lane) -> int | None:
        return self._known_lane_ids.get(lane)

    async def need_lanes(self, lanes: Iterable[Lane]) -> None:
        """Every lane gets its number; those that nobody used before are added."""
        missing = sorted({lane for lane in lanes if lane not in self._known_lane_ids})
        if missing:
            values = columns(missing)
            await self.do("add_lanes", *values)
            self._learn(await self.rows("lanes_by_name", *values))

    async def find_lanes(self, numbers: Iterable[int]) -> None:
        """Look up the numbers that are not known yet."""
        missing = {number for number in numbers if self.lane(number) is None}
        if missing:
            self._learn(await self.rows("lanes_by_id", list(missing)))

    def _learn(self, rows: Iterable[Record]) -> None:
        for row in rows:
            self._lanes[row["id"]] = lane = lane_of(row)
            self._lane_ids[lane] = row["id"]

    def lane(self, number: int) -> Lane | None:
        return self._known_lanes.get(number) or self._lanes.get(number)

    def lane_of(self, row: Row) -> Lane:
        """Raises `StoreCorrupt` if it is lost."""
        lane = self.lane(row.lane_id)
        if lane is None:
            raise StoreCorrupt(LANE_LOST.format(row.id))
        return lane

    def lane_id(self, lane: Lane) -> int:
        number = self._known_lane_ids.get(lane)
        return self._lane_ids[lane] if number is None else number

    async def ready(self) -> list[LaneHead]:
        """The heads of the lanes that this transaction gave ready tasks, where any are left."""
        if not self.gained:
            return []
        await self.find_lanes(self.gained)
        lane_ids = list(self.gained)
        starts = [0 if lane_id in self.regained else self.known_start(lane_id) for lane_id in lane_ids]
        found = []
        for row in await self.rows("heads", lane_ids, starts):
            lane = self.lane(row["id"])
            if lane is not None:
                found.append(LaneHead(row["id"], lane, row["seq"]))
        self.heads = found
        return found

    def line_start(self, lane_id: int) -> int:
        """From which place on a claim looks."""
        # What this transaction gave back stands where it was claimed before.
        return 0 if lane_id in self.regained else self._known.lines.start(lane_id, self.now_us)

    def known_start(self, lane_id: int) -> int:
        """From which place on there may be tasks, as far as is known."""
        return self._known.lines.known_start(lane_id, self.now_us)

    def walked(self, whole: Iterable[int], took_us: int, ends: Mapping[int, int]) -> None:
        """A claim left no task before the `ends` of lanes; of the `whole` ones it saw all of the line."""
        self.looking_us += took_us
        self._whole_looks.update(dict.fromkeys(whole, took_us))
        self._line_ends.update(ends)

    def board_starts(self) -> dict[int, int]:
        """From which places on a look at all lanes looks at some; none if it is to see everything."""
        return self._known.lines.board_starts(self.now_us)

    def saw_board(self, took_us: int, starts: dict[int, int], heads: Sequence[LaneHead]) -> None:
        """A look at all lanes found these, and began at the `starts` of some."""
        self.heads = heads
        self._board = took_us, starts

    # --- runs -----------------------------------------------------------------------------------

    def first_runs(self) -> Mapping[str, int]:
        """From which claim on something of each worker runs, as far as it matters."""
        return self._known.runs.firsts(self.now_us)

    async def running(self, name: str, *values: object) -> list[Record]:
        """Rows of a statement that goes through the running tasks."""
        runs, firsts = self._known.runs, self.first_runs()
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        found = await (
            self.rows(f"{name}_of_known", *spans(firsts), *values) if firsts else self.rows(name, *values)
        )
        took_us = int((now_s() - began_s) * SECOND_US)
        if not firsts:
            runs.looked(self.now_us, took_us)
        if runs.may_learn(self.now_us, took_us):
            began_s = now_s()
            rows = await self.rows("first_runs", list(firsts), list(firsts.values()), CLAIMANTS_KNOWN)
            took_us = int((now_s() - began_s) * SECOND_US)
            self._first_runs = {row["incarnation"]: row["first"] for row in rows}, self.now_us, took_us
        return found

    # --- limits ---------------------------------------------------------------------------------

    @property
    def rules(self) -> Mapping[str, LimitRule]:
        return self._controls.rules

    @property
    def paused(self) -> Mapping[str, str]:
        return self._controls.paused

    @property
    def caps_backlogs(self) -> bool:
        return self._controls.caps_backlogs and not self.exceeds_backlogs

    async def lock_limits(self, lanes: Iterable[Lane]) -> None:
        """Nobody else starts tasks under these lanes' rules, or fills their queues, until the commit."""
        if self.rules:
            applying = {rule for lane in lanes for name in names(lane) for rule in self._rule_names(name)}
            await self.do("lock_limits", sorted(applying))

    def _rule_names(self, name: str) -> list[str]:
        family = name.split(":", 1)[0] + ":*"
        return [rule for rule in (name, family) if rule in self.rules]

    async def usage(self) -> Usage | None:
        """What names under a rule have in use; `None` without rules."""
        if not self.rules:
            return None
        usage = Usage(self.rules, self.now_us)
        for row in await self.rows("arrivals"):
            usage.states[row["name"]] = LimitState(0, row["arrival_us"])
        running = await self.running("running_by_lane")
        await self.find_lanes(row["lane_id"] for row in running)
        for row in running:
            lane = self.lane(row["lane_id"])
            if lane is not None:
                usage.run(lane, row["running"])
        return usage


def columns(rows: Sequence[Sequence[object]]) -> list[list[object]]:
    """Rows as one array a column, as `unnest` takes them. Must not be empty."""
    return [list(column) for column in zip(*rows, strict=True)]
