"""Rows and their indexes. Nothing here decides; a copy of the whole is a snapshot of the store."""

import copy
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import msgspec

from mainspring.core.limits import LimitRule, LimitState
from mainspring.core.model import WAITING, Lane, State, Task
from mainspring.core.order import LaneHead, Share
from mainspring.core.progress import LogBlock, LogHead, Noted
from mainspring.core.workflows import NOTHING, Callback, Tally, tally
from mainspring.ports import Clock, FireRecord, ScheduleRecord, Transition, WorkerInfo


class StoreClock:
    """The store's own time: it never goes back, and what it mints rises strictly.

    Minted numbers are tokens, versions, terms, lane ids and places in line. A real store gets their rise
    after lost writes from the wall clock, which outlives a crash. In virtual time that clock may stand
    still, so this counter lives outside of the tables, and a restored snapshot does not turn it back.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._now_us = 0
        self._minted = 0

    def now_us(self) -> int:
        self._now_us = max(self._now_us, self._clock.now_us())
        return self._now_us

    def mint(self) -> int:
        self._minted = max(self._minted + 1, self._now_us)
        return self._minted

    def rise(self, number: int) -> None:
        """Numbers up to this one were minted elsewhere."""
        self._minted = max(self._minted, number)

    def highest(self) -> int:
        """No number that was minted is above this."""
        return max(self._minted, self._now_us)


class Row(Task):
    """A stored task, with what readers do not see. `ordinal` is its place among all tasks ever made.
    `callback` is what the task is there for, if it is no member of its workflow."""

    ordinal: int = 0
    lane_id: int = 0
    incarnation: str = ""
    claim_seq: int = 0
    settled_token: int = 0
    settled_digest: int = 0
    unique: bytes | None = None
    callback: Callback | None = None
    fingerprint: int | None = None
    noted: Noted = Noted()


class KeyUse(NamedTuple):
    """An idempotency key in use, and the tasks it made."""

    digest: bytes
    expires_us: int
    tasks: tuple[str, ...]


class TermRow(NamedTuple):
    holder: str
    number: int
    expires_us: int


class ScheduleRow(msgspec.Struct):
    """A stored schedule. Its record is replaced, never changed."""

    record: ScheduleRecord
    ordinal: int
    look_us: int | None = None
    mark: str = ""


class WorkflowRow(msgspec.Struct):
    """A stored workflow. `forgotten` counts members that are gone, by how they ended."""

    id: str
    ordinal: int
    created_at_us: int
    name: str | None
    labels: bytes | None
    callbacks: Mapping[Callback, str]
    forgotten: Tally = NOTHING


class Due(NamedTuple):
    """An entry of a heap. It counts only while the row still says the same: entries are not removed when
    a row moves on, they are passed over when they come up."""

    at_us: int
    ordinal: int
    task: str


class Tables:
    """Everything the store knows."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.ordinals: list[int] = []
        self.by_ordinal: dict[int, str] = {}
        self.counts: dict[tuple[str, State], int] = defaultdict(int)
        self.lane_ids: dict[Lane, int] = {}
        self.lanes: dict[int, Lane] = {}
        self.ready: dict[int, list[Due]] = {}
        self.ready_counts: dict[int, int] = defaultdict(int)
        self.scheduled: list[Due] = []
        self.deadlines: list[Due] = []
        self.running: dict[str, None] = {}
        self.held: dict[str, dict[str, None]] = {}
        self.claimed: dict[str, int] = {}
        self.dependents: dict[str, dict[str, bool]] = {}
        self.unresolved: dict[str, None] = {}
        self.uniques: dict[bytes, list[str]] = {}
        self.keys: dict[tuple[str, str], KeyUse] = {}
        self.keys_expiring: list[tuple[int, str, str]] = []
        self.paused: dict[str, str] = {}
        self.rules: dict[str, LimitRule] = {}
        self.usage: dict[str, LimitState] = {}
        self.shares: dict[str, Share] = {}
        self.workers: dict[str, tuple[WorkerInfo, int]] = {}
        self.term: TermRow | None = None
        self.schedules: dict[str, ScheduleRow] = {}
        self.looks: list[Due] = []
        self.fires: dict[str, list[tuple[int, FireRecord]]] = {}
        self.fired: dict[str, dict[int, str]] = {}
        self.fired_open: dict[str, dict[int, str]] = {}
        self.workflows: dict[str, WorkflowRow] = {}
        self.tasks_of: dict[str, dict[str, None]] = {}
        self.history: dict[str, list[Transition]] = {}
        self.steps: dict[str, dict[str, bytes]] = {}
        self.log_heads: dict[str, LogHead] = {}
        self.log_blocks: dict[str, list[LogBlock]] = {}
        self.loading: str | None = None

    def copy(self) -> "Tables":
        """Independent of this one: rows and counters are copied, immutable values are shared."""
        twin = Tables()
        for name, value in vars(self).items():
            setattr(twin, name, _copied(value))
        return twin

    # --- rows -----------------------------------------------------------------------------------

    def add(self, row: Row) -> None:
        self.rows[row.id] = row
        self.ordinals.append(row.ordinal)
        self.by_ordinal[row.ordinal] = row.id
        if row.unique is not None:
            self.uniques.setdefault(row.unique, []).append(row.id)

    def forget(self, row: Row) -> None:
        """Remove a final row and every trace of it but its idempotency key, whose promise outlives it."""
        del self.rows[row.id], self.by_ordinal[row.ordinal]
        del self.ordinals[bisect_left(self.ordinals, row.ordinal)]
        self.count(row, -1)
        self.dependents.pop(row.id, None)
        self.unresolved.pop(row.id, None)
        self.history.pop(row.id, None)
        self.steps.pop(row.id, None)
        self.log_heads.pop(row.id, None)
        self.log_blocks.pop(row.id, None)
        if row.schedule_id is not None and row.fire_at_us is not None:
            tasks = self.fired[row.schedule_id]
            del tasks[row.fire_at_us]
            if not tasks:
                del self.fired[row.schedule_id]
        if row.workflow is not None:
            self._leave_workflow(row, row.workflow)
        if row.unique is not None:
            makers = self.uniques[row.unique]
            makers.remove(row.id)
            if not makers:
                del self.uniques[row.unique]

    def _leave_workflow(self, row: Row, workflow: str) -> None:
        """The last task takes the workflow with it; until then a member's end goes on counting."""
        tasks, kept = self.tasks_of[workflow], self.workflows[workflow]
        del tasks[row.id]
        if not tasks:
            del self.tasks_of[workflow], self.workflows[workflow]
        elif row.callback is None:
            kept.forgotten = tally([(row.state, 1)], kept.forgotten)

    def count(self, row: Row, step: int) -> None:
        """Book the row as being in its state (1), or as leaving it (-1)."""
        place = (row.lane.queue, row.state)
        self.counts[place] += step
        if not self.counts[place]:
            del self.counts[place]
        if row.schedule_id is not None and not row.state.is_final:
            self._count_fire(row.schedule_id, row, step)

    def name_fire(self, row: Row, schedule: str, fire_at_us: int) -> None:
        """A row that was stored just now is the task of a fire."""
        row.schedule_id, row.fire_at_us = schedule, fire_at_us
        self.fired.setdefault(schedule, {})[fire_at_us] = row.id
        if not row.state.is_final:
            self._count_fire(schedule, row, 1)

    def _count_fire(self, schedule: str, row: Row, step: int) -> None:
        """Of a schedule's tasks the unfinished ones are asked for at each of its fires."""
        assert row.fire_at_us is not None
        tasks = self.fired_open.setdefault(schedule, {})
        if step > 0:
            tasks[row.fire_at_us] = row.id
        else:
            tasks.pop(row.fire_at_us, None)
            if not tasks:
                del self.fired_open[schedule]

    # --- lanes ----------------------------------------------------------------------------------

    def line_up(self, row: Row) -> None:
        """Put a ready row into its lane, at its place `seq`."""
        assert row.seq is not None
        heappush(self.ready.setdefault(row.lane_id, []), Due(row.seq, row.ordinal, row.id))
        self.ready_counts[row.lane_id] += 1

    def leave_line(self, lane_id: int) -> None:
        """A row of the lane is ready no more. Its entry stays until it comes up, or until such entries
        are the greater part of the lane."""
        self.ready_counts[lane_id] -= 1
        line = self.ready[lane_id]
        if not self.ready_counts[lane_id]:
            del self.ready[lane_id], self.ready_counts[lane_id]
        elif len(line) > 64 + 2 * self.ready_counts[lane_id]:
            line[:] = {entry for entry in line if self.in_line(entry, lane_id)}
            heapify(line)

    def in_line(self, entry: Due, lane_id: int) -> bool:
        row = self.rows.get(entry.task)
        return (
            row is not None and row.state is State.READY and row.seq == entry.at_us and row.lane_id == lane_id
        )

    def head(self, lane_id: int) -> LaneHead | None:
        line = self.ready.get(lane_id)
        while line:
            if self.in_line(line[0], lane_id):
                return LaneHead(lane_id, self.lanes[lane_id], line[0].at_us)
            heappop(line)
        return None

    # --- times ----------------------------------------------------------------------------------

    def next_scheduled(self) -> Due | None:
        """The scheduled task that is due first."""
        heap = self.scheduled
        while heap:
            row = self.rows.get(heap[0].task)
            if row is not None and row.state is State.SCHEDULED and row.run_at_us == heap[0].at_us:
                return heap[0]
            heappop(heap)
        return None

    def next_deadline(self) -> Due | None:
        """The waiting task whose deadline comes first."""
        heap = self.deadlines
        while heap:
            row = self.rows.get(heap[0].task)
            if row is not None and row.state in WAITING and row.deadline_us == heap[0].at_us:
                return heap[0]
            heappop(heap)
        return None


def _copied(value: object) -> object:
    """A copy deep enough: what is changed in place is copied, down to the structs' fields."""
    if isinstance(value, defaultdict):
        return defaultdict(value.default_factory, value)
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return value.copy()
    if isinstance(value, msgspec.Struct):
        return copy.copy(value)
    return value
