"""A group's plan over the stored rows: nothing is written here."""

from collections.abc import Sequence

from mainspring.core.dag import holds_new
from mainspring.core.groups import GroupPlan
from mainspring.core.model import WAITING, NewTask, UniqueRule, decode_policy
from mainspring.ports import Refused
from mainspring.stores.sqlite.rows import Row, rows_by_id
from mainspring.stores.sqlite.transaction import Transaction

LATEST_UNIQUE = (
    "SELECT id FROM tasks INDEXED BY tasks_unique WHERE unique_digest = ? AND created_at_us > ?"
    " AND state IN ({states}) ORDER BY n DESC LIMIT 1"
)


class Plan(GroupPlan):
    """The group's plan, with what is stored of its tasks and their parents."""

    def __init__(self, tx: Transaction, tasks: Sequence[NewTask]) -> None:
        self._tx = tx
        super().__init__(tasks, self._latest)
        named = {task.id for task in tasks}.union(*(self.parents(task) for task in tasks))
        self._stored: dict[str, Row] = rows_by_id(tx.db, named)

    def refused(self) -> Refused | None:
        refusal = self.refusal(self._stored)
        if refusal is None and self._tx.caps_backlogs:
            refusal = self.backlog_refusal(self._tx.rules, self._waiting_in)
        return None if refusal is None else Refused(*refusal)

    def _waiting_in(self, queue: str) -> int:
        return sum(self._tx.counted(queue, state) for state in WAITING)

    def is_open(self, parent: str, task: NewTask) -> bool:
        """Whether the parent still holds the task back."""
        row = self._stored.get(parent)
        if row is None or not row.state.is_final:
            return True
        return holds_new(row.state, decode_policy(task.policy).on_parent_failure)

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

    def _latest(self, rule: UniqueRule) -> str | None:
        """The latest task under the rule. A task exactly `period_us` old is outside of the period."""
        since_us = -1 if rule.period_us is None else self._tx.now_us - rule.period_us
        sql = LATEST_UNIQUE.format(states=", ".join(str(int(state)) for state in sorted(rule.states)))
        found: str | None = self._tx.db.execute(sql, (rule.digest, since_us)).get
        return found
