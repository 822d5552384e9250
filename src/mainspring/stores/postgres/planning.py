"""What would become of the groups of one call: nothing is written here but marks on parents.

Plain tasks are not looked up at all. Groups that name keys, parents, unique rules, a workflow or a capped
queue are planned one after the other; each sees those that were accepted before it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mainspring.core.dag import holds_new
from mainspring.core.groups import GroupPlan
from mainspring.core.model import WAITING, NewTask, OnParentFailure, State, UniqueRule, decode_policy
from mainspring.ports import Group, Idempotency, Refused
from mainspring.stores.postgres.moves import due_state
from mainspring.stores.postgres.rows import can_be_stored, decode_ids, state_of
from mainspring.stores.postgres.transaction import Replay, Transaction, columns
from mainspring.verbs import NewWorkflow

_BIGINT = range(-(1 << 63), 1 << 63)


class KeyUse(NamedTuple):
    """An idempotency key that was used before, with the tasks that it made."""

    digest: bytes
    tasks: tuple[str, ...]


class Planned(NamedTuple):
    """A task to store. `ends` are its parents that have ended already and hold it back all the same."""

    task: NewTask
    state: State
    run_at_us: int | None
    parents: tuple[str, ...] = ()
    open_parents: frozenset[str] = frozenset()
    ends: frozenset[str] = frozenset()
    workflow: NewWorkflow | None = None


class Plans:
    """The groups of one call, and all that is to be written for those accepted."""

    def __init__(self, tx: Transaction, groups: Sequence[Group]) -> None:
        self._tx = tx
        self._groups = groups
        self._parents: dict[str, State] = {}
        self._stored: set[str] = set()
        self._earlier: dict[tuple[bytes, int, int | None], str] = {}
        self._made: dict[bytes, list[Planned]] = {}
        self._waiting: Counter[str] = Counter()
        self._keys: dict[tuple[str, str], KeyUse] = {}
        self.workflows: dict[str, NewWorkflow] = {}
        self.keys: list[tuple[Idempotency, tuple[str, ...]]] = []
        self.new: dict[str, Planned] = {}

    # --- reading --------------------------------------------------------------------------------

    async def look_up(self) -> None:
        """Everything that the decisions need; for plain tasks that is nothing."""
        tx = self._tx
        groups = [group for group in self._groups if not self._is_plain(group)]
        if tx.is_careful:
            # To ask for what the database does not take would fail all the others again.
            groups = [group for group in groups if _unstorable(group) is None]
        if not groups:
            return
        tasks = [task for group in groups for task in group.tasks]
        await self._look_up_keys(groups)
        await self._look_up_unique(tasks)
        named = {parent for task in tasks for parent in task.depends_on}
        if named:
            # A parent may be a task that stands for one of the group, found by its unique rule.
            wanted = sorted(named | set(self._earlier.values()))
            self._parents = {
                row["id"]: state_of(row["state"]) for row in await tx.rows("become_parents", wanted)
            }
        taken = await tx.rows("stored", sorted({task.id for task in tasks}))
        self._stored = {row["id"] for row in taken} | self._parents.keys() | set(self._earlier.values())
        for queue in {task.lane.queue for task in tasks} if tx.caps_backlogs else ():
            stored = await tx.value("counted", queue, sorted(WAITING))
            self._waiting[queue] = stored + tx.pending(queue, WAITING)
        workflows = [group.workflow.id for group in groups if group.workflow is not None]
        if workflows and await tx.rows("taken_workflows", workflows):
            self._taken_workflows = {row["id"] for row in await tx.rows("taken_workflows", workflows)}

    _taken_workflows: frozenset[str] | set[str] = frozenset()

    def _is_plain(self, group: Group) -> bool:
        # A taken id shows when it is stored; then the call is played again, and looked up.
        return not (self._tx.caps_backlogs or self._tx.is_replay) and is_plain(group)

    async def _look_up_keys(self, groups: Iterable[Group]) -> None:
        keys = [group.idempotency for group in groups if group.idempotency]
        if keys:
            rows = await self._tx.rows("keys", [key.principal for key in keys], [key.key for key in keys])
            for row in rows:
                self._keys[row["principal"], row["key"]] = KeyUse(row["digest"], decode_ids(row["tasks"]))

    async def _look_up_unique(self, tasks: Iterable[NewTask]) -> None:
        rules = list({_rule_key(task.unique) for task in tasks if task.unique})
        if rules:
            rows = await self._tx.rows("unique_matches", *columns(rules))
            self._earlier = {rules[row["n"] - 1]: row["id"] for row in rows}

    # --- deciding -------------------------------------------------------------------------------

    def group(self, group: Group) -> Refused | KeyUse | Sequence[str]:
        """Why the group is refused, what its key made before, or the ids that its tasks come to."""
        if self._tx.is_careful and (problem := _unstorable(group)) is not None:
            return problem
        if self._is_plain(group):
            for task in group.tasks:
                if task.id in self.new:
                    raise Replay
                run_at_us = due_at_us(self._tx, task)
                self.new[task.id] = Planned(task, due_state(self._tx, run_at_us), run_at_us)
                self._stored.add(task.id)
            return [task.id for task in group.tasks]
        return self._earlier_use(group.idempotency) or self._decide(group)

    def _earlier_use(self, key: Idempotency | None) -> Refused | KeyUse | None:
        use = None if key is None else self._keys.get((key.principal, key.key))
        if use is None or key is None:
            return None
        if use.digest == key.digest:
            return use
        return Refused("idempotency_key_reused", f"the key {key.key} came with another body before")

    def _decide(self, group: Group) -> Refused | Sequence[str]:
        plan = GroupPlan(group.tasks, self._latest)
        refusal = plan.refusal(self._stored)
        if refusal is None and self._tx.caps_backlogs:
            refusal = plan.backlog_refusal(self._tx.rules, self._waiting.__getitem__)
        if refusal is not None:
            return Refused(*refusal)
        workflow = group.workflow if plan.new else None
        if workflow is not None:
            if workflow.id in self._taken_workflows or workflow.id in self.workflows:
                return Refused("id_taken", f"there is a workflow {workflow.id} already")
            self.workflows[workflow.id] = workflow
        for task in plan.new:
            self._accept(task, plan.parents(task), workflow)
        ids = tuple(plan.ids[task.id] for task in group.tasks)
        if (key := group.idempotency) is not None:
            self._keys[key.principal, key.key] = KeyUse(key.digest, ids)
            self.keys.append((key, ids))
        return ids

    def _accept(self, task: NewTask, parents: tuple[str, ...], workflow: NewWorkflow | None) -> None:
        rule = rule_of(task)
        ended = {parent: state for parent in parents if (state := self._parents.get(parent)) is not None}
        ends = frozenset(
            parent for parent, state in ended.items() if state.is_final and holds_new(state, rule)
        )
        open_parents = ends | {
            parent for parent in parents if parent not in ended or not ended[parent].is_final
        }
        run_at_us = due_at_us(self._tx, task)
        state = State.BLOCKED if open_parents else due_state(self._tx, run_at_us)
        planned = Planned(task, state, run_at_us, parents, open_parents, ends, workflow)
        self.new[task.id] = planned
        self._stored.add(task.id)
        self._waiting[task.lane.queue] += 1
        if task.unique is not None:
            self._made.setdefault(task.unique.digest, []).append(planned)

    def _latest(self, rule: UniqueRule) -> str | None:
        for planned in reversed(self._made.get(rule.digest, [])):
            if planned.state in rule.states:
                return planned.task.id
        return self._earlier.get(_rule_key(rule))


def is_plain(group: Group) -> bool:
    """Whether it is told by its own tasks alone what becomes of it."""
    if group.idempotency is not None or group.workflow is not None:
        return False
    for task in group.tasks:  # noqa: SIM110 (a generator would cost as much as the rest of a submit)
        if task.depends_on or task.unique is not None:
            return False
    return True


def due_at_us(tx: Transaction, task: NewTask) -> int | None:
    return tx.now_us + task.delay_us if task.delay_us > 0 else task.run_at_us


def rule_of(task: NewTask) -> OnParentFailure:
    return OnParentFailure.CANCEL if task.policy is None else decode_policy(task.policy).on_parent_failure


def _rule_key(rule: UniqueRule) -> tuple[bytes, int, int | None]:
    return rule.digest, sum(1 << state for state in rule.states), rule.period_us


def _unstorable(group: Group) -> Refused | None:
    """Why a value of the group cannot be stored, if there is one. Looked at only after one has been met."""
    key, workflow = group.idempotency, group.workflow
    texts = [] if key is None else [key.principal, key.key]
    if workflow is not None:
        texts += [workflow.id, workflow.name or "", *workflow.callbacks.values()]
    for task in group.tasks:
        lane = task.lane
        texts += [task.id, lane.queue, lane.kind, lane.tenant, lane.key, task.name or "", *task.depends_on]
        numbers = (task.delay_us, task.run_at_us, task.timeout_us, task.deadline_us)
        if any(number is not None and number not in _BIGINT for number in numbers):
            return Refused("invalid_input", "a value cannot be stored: a number is too large")
    for text in texts:
        if not can_be_stored(text):
            return Refused("invalid_input", f"a value cannot be stored: {text!r}")
    return None
