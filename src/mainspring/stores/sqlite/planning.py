"""What would become of a group: which rows are new, which stand for an earlier task, and whether the group
may be stored at all. Nothing is written here."""

from collections import Counter
from collections.abc import Sequence

from mainspring.core.dag import Effect, effect
from mainspring.core.limits import rule_for
from mainspring.core.model import WAITING, NewTask, UniqueRule, decode_policy
from mainspring.ports import Refused
from mainspring.stores.sqlite.rows import Row, rows_by_id
from mainspring.stores.sqlite.transaction import Transaction

LATEST_UNIQUE = (
    "SELECT id FROM tasks INDEXED BY tasks_unique WHERE unique_digest = ? AND created_at_us > ?"
    " AND state IN ({states}) ORDER BY n DESC LIMIT 1"
)


class Plan:
    """`new` are the rows to store; `ids` says for every row of the group which task it stands for."""

    def __init__(self, tx: Transaction, tasks: Sequence[NewTask]) -> None:
        self._tx = tx
        self._tasks = tasks
        self.new: list[NewTask] = []
        self.ids: dict[str, str] = {}
        self._unique: dict[bytes, str] = {}
        for task in tasks:
            found = self._duplicate_of(task)
            self.ids.setdefault(task.id, found or task.id)
            if found is None:
                self.new.append(task)
                if task.unique is not None:
                    self._unique[task.unique.digest] = task.id
        named = {task.id for task in tasks}.union(*(self.parents(task) for task in tasks))
        self._stored: dict[str, Row] = rows_by_id(tx.db, named)

    def parents(self, task: NewTask) -> tuple[str, ...]:
        """The tasks that it depends on, duplicates replaced by what they stand for."""
        return tuple(dict.fromkeys(self.ids.get(parent, parent) for parent in task.depends_on))

    def is_open(self, parent: str, task: NewTask) -> bool:
        """Whether the parent still holds the task back."""
        row = self._stored.get(parent)
        if row is None or not row.state.is_final:
            return True
        return effect(row.state, decode_policy(task.policy).on_parent_failure) is not Effect.RELEASE

    def is_blocked(self, task: NewTask) -> bool:
        return any(self.is_open(parent, task) for parent in self.parents(task))

    def ended_badly(self) -> set[str]:
        """Final parents that hold a new task back: like those that end so later, work for `resolve`."""
        found: set[str] = set()
        for task in self.new:
            for parent in self.parents(task):
                row = self._stored.get(parent)
                if row is not None and row.state.is_final and self.is_open(parent, task):
                    found.add(parent)
        return found

    def refusal(self) -> Refused | None:
        seen: set[str] = set()
        for place, task in enumerate(self._tasks):
            if task.id in seen or task.id in self._stored:
                return Refused("id_taken", f"there is a task {task.id} already", place)
            seen.add(task.id)
            for parent in task.depends_on:
                if parent not in self.ids and parent not in self._stored:
                    return Refused("unknown_parent", f"it depends on {parent}, which is not stored", place)
        return self._backlog_refusal() if self._tx.caps_backlogs else None

    def _backlog_refusal(self) -> Refused | None:
        waiting: Counter[str] = Counter()
        for place, task in enumerate(self._tasks):
            if self.ids[task.id] != task.id:
                continue
            queue = task.lane.queue
            rule = rule_for(f"queue:{queue}", self._tx.rules)
            if rule is None or rule.max_waiting is None:
                continue
            if queue not in waiting:
                waiting[queue] = sum(self._tx.counted(queue, state) for state in WAITING)
            waiting[queue] += 1
            if waiting[queue] > rule.max_waiting:
                return Refused("backlog_full", f"queue {queue} may hold {rule.max_waiting} waiting", place)
        return None

    def _duplicate_of(self, task: NewTask) -> str | None:
        if task.unique is None:
            return None
        return self._unique.get(task.unique.digest) or self._latest(task.unique)

    def _latest(self, rule: UniqueRule) -> str | None:
        """The latest task under the rule. A task exactly `period_us` old is outside of the period."""
        since_us = -1 if rule.period_us is None else self._tx.now_us - rule.period_us
        sql = LATEST_UNIQUE.format(states=", ".join(str(int(state)) for state in sorted(rule.states)))
        found: str | None = self._tx.db.execute(sql, (rule.digest, since_us)).get
        return found
