"""The one door for every change of state, and what follows from one: indexes, history, dependents."""

from collections.abc import Iterable
from heapq import heappush

from mainspring.core.dag import Effect, effect, may_run
from mainspring.core.lifecycle import DOOMED_ERROR, KEEPS_PLACE, SPARED_ERROR, Cause, allows
from mainspring.core.limits import LimitRule, LimitState, names, room_for, rule_for, start
from mainspring.core.model import WAITING, Lane, State, decode_policy
from mainspring.core.order import LaneHead
from mainspring.errors import StoreError
from mainspring.ports import Transition
from mainspring.stores.memory.tables import Due, Row, StoreClock, Tables

CHILDREN_RELEASED_AT_ONCE = 500
_NO_RULE = LimitRule()


class Call:
    """One call of a verb: its moment, and what it changed."""

    def __init__(self, tables: Tables, clock: StoreClock) -> None:
        self.tables = tables
        self.now_us = clock.now_us()
        self.mint = clock.mint
        self.finished: list[str] = []
        self._gained: dict[int, None] = {}
        self._freed: dict[str, None] = {}
        self._children_left = CHILDREN_RELEASED_AT_ONCE

    # --- the door -------------------------------------------------------------------------------

    def move(self, row: Row, cause: Cause, new: State) -> None:
        """Bring a row, stored or new, into state `new`. Fields that the state reads (`run_at_us`,
        `worker` ...) are set before. Raises `StoreError` for a step that the lifecycle does not have."""
        stored = row.id in self.tables.rows
        old = row.state if stored else None
        if not allows(old, cause, new):
            raise StoreError(f"{cause.name} must not move a task from {old and old.label} to {new.label}")
        if stored:
            self._leave(row)
        else:
            self.tables.add(row)
        row.state = new
        row.version = self.mint()
        self._enter(row, keeps_place=cause in KEEPS_PLACE)
        steps = self.tables.history.setdefault(row.id, [])
        steps.append(Transition(row.id, self.now_us, old, cause, new, row.attempt, row.token))
        if new.is_final:
            self._finish(row)

    def _leave(self, row: Row) -> None:
        self.tables.count(row, -1)
        if row.state is State.READY:
            self.tables.leave_line(row.lane_id)
        elif row.state is State.BLOCKED:
            row.open_parents = 0
        elif row.state is State.FAILED:
            row.fingerprint = None
        elif row.state is State.RUNNING:
            row.lease_until_us = row.timeout_at_us = None
            del self.tables.running[row.id]
            held = self.tables.held[row.incarnation]
            del held[row.id]
            if not held:
                del self.tables.held[row.incarnation]
            self._free(row.lane)

    def _enter(self, row: Row, keeps_place: bool) -> None:
        tables, state = self.tables, row.state
        tables.count(row, 1)
        if state is State.READY:
            if row.seq is None or not keeps_place:
                row.seq = self.mint()
            self.line_up(row)
        elif state is State.SCHEDULED:
            assert row.run_at_us is not None
            heappush(tables.scheduled, Due(row.run_at_us, row.ordinal, row.id))
        elif state is State.RUNNING:
            tables.running[row.id] = None
            tables.held.setdefault(row.incarnation, {})[row.id] = None
            for name in names(row.lane):
                usage = tables.usage.setdefault(name, LimitState())
                start(rule_for(name, tables.rules) or _NO_RULE, usage, 1, self.now_us)
        if state in WAITING:
            row.worker = None
            self.watch_deadline(row)

    def _finish(self, row: Row) -> None:
        row.finished_at_us = self.now_us
        self.finished.append(row.id)
        for parent in row.depends_on:
            siblings = self.tables.dependents.get(parent)
            if siblings is not None:
                siblings.pop(row.id, None)
                if not siblings:
                    del self.tables.dependents[parent]
        self._children_left -= self.apply_parent(row, self._children_left, doom=False)

    # --- lines and deadlines --------------------------------------------------------------------

    def line_up(self, row: Row) -> None:
        self.tables.line_up(row)
        self._gained[row.lane_id] = None

    def watch_deadline(self, row: Row) -> None:
        if row.deadline_us is not None:
            heappush(self.tables.deadlines, Due(row.deadline_us, row.ordinal, row.id))

    def lane_id(self, lane: Lane) -> int:
        """The lane's number. It is minted, so that a number that was lost with the last writes never
        comes to mean another lane: a node may still claim by it."""
        lane_id = self.tables.lane_ids.get(lane)
        if lane_id is None:
            lane_id = self.tables.lane_ids[lane] = self.mint()
            self.tables.lanes[lane_id] = lane
        return lane_id

    def gained(self) -> list[LaneHead]:
        """The lanes that this call gave ready tasks, where any are left."""
        return [head for lane_id in self._gained if (head := self.tables.head(lane_id)) is not None]

    # --- dependencies ---------------------------------------------------------------------------

    def apply_parent(self, parent: Row, limit: int, doom: bool) -> int:
        """Apply a final parent to up to `limit` of its blocked children; how many. Children that it dooms
        are left to a later pass unless `doom`: a wide and deep graph must not end in one transaction."""
        edges = self.tables.dependents.get(parent.id, {})
        applied, left = 0, False
        for child_id, is_open in list(edges.items()):
            child = self.tables.rows[child_id]
            if not is_open or child.state is not State.BLOCKED:
                continue
            verdict = effect(parent.state, decode_policy(child.policy).on_parent_failure)
            if verdict is Effect.HOLD:
                continue
            if applied == limit or (verdict is Effect.DOOM and not doom):
                left = True
                continue
            applied += 1
            edges[child_id] = False
            if verdict is Effect.DOOM:
                child.error = DOOMED_ERROR
                self.move(child, Cause.DOOM, State.CANCELLED)
            else:
                self._release(child)
        if left:
            self.tables.unresolved[parent.id] = None
        else:
            self.tables.unresolved.pop(parent.id, None)
        return applied

    def _release(self, child: Row) -> None:
        child.open_parents -= 1
        if child.open_parents:
            return
        rule = decode_policy(child.policy).on_parent_failure
        rows = self.tables.rows
        if may_run(rule, [rows[parent].state for parent in child.depends_on if parent in rows]):
            self.move(child, Cause.UNBLOCK, self.due_state(child.run_at_us))
        else:
            child.error = SPARED_ERROR
            self.move(child, Cause.SPARE, State.CANCELLED)

    def wait_again(self, parent: Row) -> None:
        """A parent that had ended runs once more: children that are still blocked wait for it as before."""
        edges = self.tables.dependents.get(parent.id, {})
        for child_id, is_open in edges.items():
            child = self.tables.rows[child_id]
            if not is_open and child.state is State.BLOCKED:
                edges[child_id] = True
                child.open_parents += 1

    def due_state(self, run_at_us: int | None) -> State:
        return State.SCHEDULED if run_at_us is not None and run_at_us > self.now_us else State.READY

    # --- limits ---------------------------------------------------------------------------------

    def room(self, lane: Lane) -> int:
        """How many tasks of the lane may start now, by its queue's pause and by every limit on it."""
        tables = self.tables
        return room_for(lane, tables.paused, tables.rules, tables.usage, self.now_us)

    def _free(self, lane: Lane) -> None:
        for name in names(lane):
            usage = self.tables.usage[name]
            usage.running -= 1
            self._freed[name] = None
            if usage.running == 0 and usage.arrival_us <= self.now_us:
                del self.tables.usage[name]

    def limited_usage(self) -> dict[str, LimitState]:
        """What names under a limit have in use, those included that this call freed."""
        if not self.tables.rules:
            return {}
        return self._usage({**dict.fromkeys(self.tables.usage), **self._freed})

    def _usage(self, wanted: Iterable[str]) -> dict[str, LimitState]:
        found = {}
        for name in wanted:
            if rule_for(name, self.tables.rules) is not None:
                usage = self.tables.usage.get(name) or LimitState()
                found[name] = LimitState(usage.running, usage.arrival_us)
        return found
