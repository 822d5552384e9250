"""What would become of a group of new tasks: which are stored, which stand for an earlier task that their
unique rule found, and whether the group may be stored at all. Reads, and writes nothing."""

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from typing import NamedTuple

from mainspring.core.limits import LimitRule, rule_for
from mainspring.core.model import NewTask, UniqueRule


class Refusal(NamedTuple):
    """Why the whole group is not stored. `row` is the offending task's place in it."""

    code: str
    detail: str
    row: int


class GroupPlan:
    """`new` are the tasks to store; `ids` says for every task of the group which one it stands for.

    `earlier` finds the stored task that a unique rule forbids to double, if there is one.
    """

    def __init__(self, tasks: Sequence[NewTask], earlier: Callable[[UniqueRule], str | None]) -> None:
        self._tasks = tasks
        self._earlier = earlier
        self._unique: dict[bytes, str] = {}
        self.new: list[NewTask] = []
        self.ids: dict[str, str] = {}
        for task in tasks:
            found = self._duplicate_of(task)
            self.ids.setdefault(task.id, found or task.id)
            if found is None:
                self.new.append(task)
                if task.unique is not None:
                    self._unique[task.unique.digest] = task.id

    def _duplicate_of(self, task: NewTask) -> str | None:
        """Of the same group first: two rows under one rule must not both be stored."""
        if task.unique is None:
            return None
        return self._unique.get(task.unique.digest) or self._earlier(task.unique)

    def parents(self, task: NewTask) -> tuple[str, ...]:
        """The tasks that it depends on, duplicates replaced by what they stand for."""
        return tuple(dict.fromkeys(self.ids.get(parent, parent) for parent in task.depends_on))

    def refusal(self, stored: Container[str]) -> Refusal | None:
        """Refuse an id that is taken and a parent that does not exist. `stored` are ids of stored tasks."""
        seen: set[str] = set()
        for row, task in enumerate(self._tasks):
            if task.id in seen or task.id in stored:
                return Refusal("id_taken", f"there is a task {task.id} already", row)
            seen.add(task.id)
            for parent in task.depends_on:
                if parent not in self.ids and parent not in stored:
                    return Refusal("unknown_parent", f"it depends on {parent}, which is not stored", row)
        return None

    def backlog_refusal(
        self, rules: Mapping[str, LimitRule], waiting_in: Callable[[str], int]
    ) -> Refusal | None:
        """Refuse what would lift a queue over its cap. `waiting_in` counts the queue's waiting tasks."""
        waiting: Counter[str] = Counter()
        for row, task in enumerate(self._tasks):
            queue = task.lane.queue
            rule = rule_for(f"queue:{queue}", rules) if self.ids[task.id] == task.id else None
            if rule is None or rule.max_waiting is None:
                continue
            if queue not in waiting:
                waiting[queue] = waiting_in(queue)
            waiting[queue] += 1
            if waiting[queue] > rule.max_waiting:
                return Refusal("backlog_full", f"queue {queue} may hold {rule.max_waiting} waiting", row)
        return None
