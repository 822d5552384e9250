"""Submitting: the batch is planned in memory against what is stored, then written by one insert.

Groups are planned one after the other; each sees those that were accepted before it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from zlib import crc32

from mainspring.core.dag import Effect, effect
from mainspring.core.limits import rule_for
from mainspring.core.model import NewTask, OnParentFailure, State, Task, UniqueRule, decode_policy
from mainspring.ports import Accepted, Existing, Group, Idempotency, Refused
from mainspring.stores.postgres.rows import decode_ids, encode_ids, task_of
from mainspring.stores.postgres.transaction import Replay, Transaction

STRIPES = 128
Answered = Accepted | Existing | Refused


class KeyUse(NamedTuple):
    digest: bytes
    tasks: tuple[str, ...]


class Planned(NamedTuple):
    """A task of an accepted group, with its parents as they came to be after unique rules."""

    task: NewTask
    parents: tuple[str, ...]


async def lock_submits(tx: Transaction, groups: Sequence[Group]) -> None:
    """Whoever submits under the same digest or key waits, so that each sees what the other stored.

    Stripes instead of one lock each: a batch of thousands must not use up the server's lock table.
    """
    wanted = [task.unique.digest for group in groups for task in group.tasks if task.unique]
    wanted += [_key_name(group.idempotency).encode() for group in groups if group.idempotency]
    if wanted:
        await tx.do("submit_lock", sorted({crc32(name) % STRIPES for name in wanted}))


async def submit(tx: Transaction, groups: Sequence[Group]) -> list[Answered]:
    if not groups:
        return []
    plan = Plan(tx, groups)
    await plan.look_up()
    outcomes = [plan.group(group) for group in groups]
    await Storing(tx, plan).store()
    return [await plan.answer(outcome) for outcome in outcomes]


class Plan:
    """What would become of each group, and what is to be written for those accepted."""

    def __init__(self, tx: Transaction, groups: Sequence[Group]) -> None:
        self._tx = tx
        self._groups = groups
        self._stored: set[str] = set()
        self._unique: dict[tuple[bytes, int, int | None], str] = {}
        self._made: dict[bytes, list[str]] = {}
        self._waiting: Counter[str] = Counter()
        self.keys: dict[tuple[str, str], KeyUse] = {}
        self.new_keys: list[tuple[Idempotency, tuple[str, ...]]] = []
        self.new: dict[str, Planned] = {}
        self.states: dict[str, State] = {}
        self.versions: dict[str, int] = {}

    # --- reading --------------------------------------------------------------------------------

    async def look_up(self) -> None:
        """Everything that the decisions need; for plain tasks that is nothing."""
        tasks = [task for group in self._groups for task in group.tasks]
        await self._look_up_keys()
        rules = {_rule_key(task.unique): task.unique for task in tasks if task.unique}
        if rules:
            found = await self._tx.rows("unique_matches", *_rule_columns(list(rules.values())))
            keys = list(rules)
            self._unique = {keys[row["n"] - 1]: row["id"] for row in found}
        wanted = {parent for task in tasks for parent in task.depends_on}
        if wanted or rules or self._tx.is_replay:
            # Plain tasks are inserted unseen: a taken id shows in the count, and the batch is replayed.
            wanted.update(task.id for task in tasks)
            self._stored = {row["id"] for row in await self._tx.rows("stored", list(wanted))}
        for queue in {task.lane.queue for task in tasks}:
            cap = self._cap(queue)
            if cap is not None:
                self._waiting[queue] = await self._tx.value("waiting", queue, cap + 1)

    async def _look_up_keys(self) -> None:
        keys = [group.idempotency for group in self._groups if group.idempotency]
        if keys:
            rows = await self._tx.rows("keys", [k.principal for k in keys], [k.key for k in keys])
            for row in rows:
                self.keys[row["principal"], row["key"]] = KeyUse(row["digest"], decode_ids(row["tasks"]))

    def _cap(self, queue: str) -> int | None:
        rule = rule_for(f"queue:{queue}", self._tx.rules)
        return None if rule is None else rule.max_waiting

    # --- deciding -------------------------------------------------------------------------------

    def group(self, group: Group) -> Refused | KeyUse | tuple[Sequence[NewTask], dict[str, str]]:
        key = group.idempotency
        if key is not None and (use := self.keys.get((key.principal, key.key))) is not None:
            if use.digest == key.digest:
                return use
            return Refused("idempotency_key_reused", f"the key {key.key} came with another body before")
        ids = self._stand_ins(group.tasks)
        refused = self._refusal(group.tasks, ids)
        if refused is not None:
            return refused
        for task in group.tasks:
            if ids[task.id] == task.id:
                self._accept(task, ids)
        if key is not None:
            tasks = tuple(ids[task.id] for task in group.tasks)
            self.keys[key.principal, key.key] = KeyUse(key.digest, tasks)
            self.new_keys.append((key, tasks))
        return group.tasks, ids

    def _stand_ins(self, tasks: Sequence[NewTask]) -> dict[str, str]:
        """For each id the task that it comes to: itself, or the one that its unique rule found."""
        ids: dict[str, str] = {}
        own: dict[bytes, str] = {}
        for task in tasks:
            found = None
            if task.unique is not None:
                found = own.get(task.unique.digest) or self._unique_match(task.unique)
                if found is None:
                    own[task.unique.digest] = task.id
            ids.setdefault(task.id, found or task.id)
        return ids

    def _unique_match(self, rule: UniqueRule) -> str | None:
        for task in reversed(self._made.get(rule.digest, [])):
            if self._first_state(self.new[task].task) in rule.states:
                return task
        return self._unique.get(_rule_key(rule))

    def _refusal(self, tasks: Sequence[NewTask], ids: dict[str, str]) -> Refused | None:
        seen: set[str] = set()
        for place, task in enumerate(tasks):
            if task.id in seen or self._is_stored(task.id):
                return Refused("id_taken", f"there is a task {task.id} already", place)
            seen.add(task.id)
            for parent in task.depends_on:
                if parent not in ids and not self._is_stored(parent):
                    return Refused("unknown_parent", f"it depends on {parent}, which is not stored", place)
        return self._backlog_refusal([task for task in tasks if ids[task.id] == task.id], tasks)

    def _is_stored(self, task: str) -> bool:
        return task in self._stored or task in self.new

    def _backlog_refusal(self, new: Sequence[NewTask], tasks: Sequence[NewTask]) -> Refused | None:
        waiting = self._waiting.copy()
        for task in new:
            cap = self._cap(task.lane.queue)
            waiting[task.lane.queue] += 1
            if cap is not None and waiting[task.lane.queue] > cap:
                place = tasks.index(task)
                return Refused("backlog_full", f"queue {task.lane.queue} may hold {cap} waiting", place)
        return None

    def _accept(self, task: NewTask, ids: dict[str, str]) -> None:
        parents = tuple(dict.fromkeys(ids.get(parent, parent) for parent in task.depends_on))
        self.new[task.id] = Planned(task, parents)
        self._waiting[task.lane.queue] += 1
        if task.unique is not None:
            self._made.setdefault(task.unique.digest, []).append(task.id)

    def _first_state(self, task: NewTask) -> State:
        if self.new[task.id].parents:
            return State.BLOCKED
        run_at_us = self.run_at_us(task)
        return State.SCHEDULED if run_at_us is not None and run_at_us > self._tx.now_us else State.READY

    def run_at_us(self, task: NewTask) -> int | None:
        return self._tx.now_us + task.delay_us if task.delay_us > 0 else task.run_at_us

    # --- answering ------------------------------------------------------------------------------

    async def answer(self, outcome: Refused | KeyUse | tuple[Sequence[NewTask], dict[str, str]]) -> Answered:
        if isinstance(outcome, Refused):
            return outcome
        if isinstance(outcome, KeyUse):
            found = await self._read(outcome.tasks)
            return Existing([found[task] for task in outcome.tasks if task in found])
        tasks, ids = outcome
        stood_in = [ids[task.id] for task in tasks if ids[task.id] != task.id]
        found = await self._read(stood_in) if stood_in else {}
        rows = [found[ids[task.id]] if ids[task.id] != task.id else None for task in tasks]
        return Accepted(
            self._tx.now_us,
            [row.state if row else self.states[task.id] for task, row in zip(tasks, rows, strict=True)],
            [row.version if row else self.versions[task.id] for task, row in zip(tasks, rows, strict=True)],
            {place: row for place, row in enumerate(rows) if row is not None},
        )

    async def _read(self, tasks: Iterable[str]) -> dict[str, Task]:
        return {row["id"]: task_of(row) for row in await self._tx.rows("get", list(tasks))}


class Storing:
    """Writes a plan: states, edges and rows."""

    def __init__(self, tx: Transaction, plan: Plan) -> None:
        self._tx = tx
        self._plan = plan
        self._edges: list[tuple[str, str, bool]] = []
        self._late: set[str] = set()

    async def store(self) -> None:
        plan = self._plan
        if plan.new:
            ended = await self._become_parents()
            parents = {parent for planned in plan.new.values() for parent in planned.parents}
            rows = [
                self._row(planned, place, ended, parents)
                for place, planned in enumerate(plan.new.values(), start=1)
            ]
            tag = await self._tx.do("insert_tasks", *_columns(rows))
            if int(tag.rpartition(" ")[2]) != len(rows):
                raise Replay
        if self._edges:
            await self._tx.do("insert_edges", *_columns(self._edges))
        if self._late:
            await self._tx.do("put_unresolved", sorted(self._late))
        if plan.new_keys:
            await self._tx.do("put_keys", *_columns([_key_row(key, ids) for key, ids in plan.new_keys]))

    async def _become_parents(self) -> dict[str, State]:
        """The states of the parents that were stored before this batch."""
        new = self._plan.new
        outside = {parent for planned in new.values() for parent in planned.parents} - new.keys()
        if not outside:
            return {}
        rows = await self._tx.rows("become_parents", sorted(outside))
        if len(rows) != len(outside):
            raise Replay
        return {row["id"]: State(row["state"]) for row in rows if State(row["state"]).is_final}

    def _row(
        self, planned: Planned, place: int, ended: dict[str, State], parents: set[str]
    ) -> tuple[object, ...]:
        task, plan, tx = planned.task, self._plan, self._tx
        rule = decode_policy(task.policy).on_parent_failure if planned.parents else OnParentFailure.CANCEL
        open_parents = self._open_edges(planned, rule, ended)
        run_at_us = plan.run_at_us(task)
        delayed = run_at_us is not None and run_at_us > tx.now_us
        state = State.BLOCKED if open_parents else State.SCHEDULED if delayed else State.READY
        version = tx.now_us + place
        lane_id = tx.lane_id(task.lane)
        if state is State.READY:
            tx.gained.add(lane_id)
        plan.states[task.id], plan.versions[task.id] = state, version
        return (
            task.id, lane_id, state, task.payload, tx.now_us, version,
            version if state is State.READY else None, run_at_us, task.policy, task.timeout_us,
            task.deadline_us, task.labels, task.name, task.unique.digest if task.unique else None,
            open_parents, rule, task.id in parents, encode_ids(planned.parents),
        )  # fmt: skip

    def _open_edges(self, planned: Planned, rule: OnParentFailure, ended: dict[str, State]) -> int:
        """How many of the task's parents it still waits for. One that has failed already is `resolve`'s."""
        count, late = 0, []
        for parent in planned.parents:
            state = ended.get(parent)
            is_open = state is None or effect(state, rule) is not Effect.RELEASE
            self._edges.append((parent, planned.task.id, is_open))
            count += is_open
            if state is not None:
                late.append(parent)
        if count:
            self._late.update(late)
        return count


def _columns(rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _key_name(key: Idempotency) -> str:
    return f"{key.principal}\n{key.key}"


def _key_row(key: Idempotency, tasks: tuple[str, ...]) -> tuple[object, ...]:
    return key.principal, key.key, key.digest, key.ttl_us, encode_ids(tasks) or b"[]"


def _rule_key(rule: UniqueRule) -> tuple[bytes, int, int | None]:
    return rule.digest, sum(1 << state for state in rule.states), rule.period_us


def _rule_columns(rules: Sequence[UniqueRule]) -> list[list[object]]:
    return _columns([_rule_key(rule) for rule in rules])
