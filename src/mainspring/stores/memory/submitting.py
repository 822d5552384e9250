"""Submitting: a group is looked at whole before anything of it is written."""

from collections.abc import Sequence
from functools import partial
from heapq import heappop, heappush

from mainspring.core.dag import holds_new
from mainspring.core.groups import GroupPlan
from mainspring.core.lifecycle import Cause
from mainspring.core.model import WAITING, NewTask, State, Task, UniqueRule, decode_policy
from mainspring.ports import Accepted, Existing, Group, Idempotency, Refused
from mainspring.stores.memory.moves import Call
from mainspring.stores.memory.reading import view
from mainspring.stores.memory.tables import KeyUse, Row
from mainspring.stores.memory.workflows import add_workflow


def submit(call: Call, group: Group) -> Accepted | Existing | Refused:
    earlier = _earlier_use(call, group.idempotency)
    if earlier is not None:
        return earlier
    plan = _Plan(call, group.tasks)
    refusal = plan.refusal(call.tables.rows) or plan.backlog_refusal(call.tables.rules, plan.waiting_in)
    if refusal is not None:
        return Refused(*refusal)
    if group.workflow is not None and plan.new and group.workflow.id in call.tables.workflows:
        return Refused("id_taken", f"there is a workflow {group.workflow.id} already")
    rows = [_store(call, plan, task) for task in plan.new]
    if group.workflow is not None and rows:
        add_workflow(call, group.workflow, rows)
    if group.idempotency is not None:
        _remember_key(call, group.idempotency, [plan.ids[task.id] for task in group.tasks])
    for row in rows:
        _doom_if_too_late(call, row)
    return plan.accepted()


class _Plan(GroupPlan):
    """The group's plan over these tables."""

    def __init__(self, call: Call, tasks: Sequence[NewTask]) -> None:
        self._call = call
        super().__init__(tasks, partial(_unique_match, call))

    def waiting_in(self, queue: str) -> int:
        return sum(self._call.tables.counts.get((queue, state), 0) for state in WAITING)

    def accepted(self) -> Accepted:
        rows = [self._call.tables.rows[self.ids[task.id]] for task in self._tasks]
        existing: dict[int, Task] = {
            place: view(row)
            for place, (task, row) in enumerate(zip(self._tasks, rows, strict=True))
            if row.id != task.id
        }
        return Accepted(self._call.now_us, [r.state for r in rows], [r.version for r in rows], existing)


def _unique_match(call: Call, rule: UniqueRule) -> str | None:
    """The latest task under the rule. A task exactly `period_us` old is outside of the period."""
    for task in reversed(call.tables.uniques.get(rule.digest, ())):
        row = call.tables.rows[task]
        if rule.period_us is not None and call.now_us - row.created_at_us >= rule.period_us:
            return None
        if row.state in rule.states:
            return task
    return None


def _store(call: Call, plan: _Plan, task: NewTask) -> Row:
    tables = call.tables
    depends_on = plan.parents(task)
    row = Row(
        id=task.id,
        lane=task.lane,
        state=State.BLOCKED,
        payload=task.payload,
        created_at_us=call.now_us,
        version=0,
        run_at_us=call.now_us + task.delay_us if task.delay_us > 0 else task.run_at_us,
        policy=task.policy,
        timeout_us=task.timeout_us,
        deadline_us=task.deadline_us,
        labels=task.labels,
        name=task.name,
        depends_on=depends_on,
        ordinal=call.mint(),
        lane_id=call.lane_id(task.lane),
        unique=task.unique.digest if task.unique else None,
    )
    rule = decode_policy(task.policy).on_parent_failure
    for parent_id in depends_on:
        parent = tables.rows.get(parent_id)
        ended = parent is not None and parent.state.is_final
        is_open = parent is None or not ended or holds_new(parent.state, rule)
        tables.dependents.setdefault(parent_id, {})[row.id] = is_open
        row.open_parents += is_open
    state = State.BLOCKED if row.open_parents else call.due_state(row.run_at_us)
    call.move(row, Cause.SUBMIT, state)
    return row


def _doom_if_too_late(call: Call, row: Row) -> None:
    """A parent that has failed already is work for `resolve`, like one that fails later."""
    for parent_id in row.depends_on:
        if row.open_parents and call.tables.rows[parent_id].state.is_final:
            call.tables.unresolved[parent_id] = None


# --- idempotency keys -------------------------------------------------------------------------------


def _earlier_use(call: Call, key: Idempotency | None) -> Existing | Refused | None:
    forget_expired_keys(call)
    if key is None:
        return None
    use = call.tables.keys.get((key.principal, key.key))
    if use is None:
        return None
    if use.digest != key.digest:
        return Refused("idempotency_key_reused", f"the key {key.key} came with another body before")
    rows = call.tables.rows
    return Existing([view(rows[task]) for task in use.tasks if task in rows])


def _remember_key(call: Call, key: Idempotency, tasks: Sequence[str]) -> None:
    expires_us = call.now_us + key.ttl_us
    call.tables.keys[key.principal, key.key] = KeyUse(key.digest, expires_us, tuple(tasks))
    heappush(call.tables.keys_expiring, (expires_us, key.principal, key.key))


def forget_expired_keys(call: Call) -> None:
    expiring = call.tables.keys_expiring
    while expiring and expiring[0][0] <= call.now_us:
        _, principal, key = heappop(expiring)
        del call.tables.keys[principal, key]
