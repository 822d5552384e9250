"""A damaged task is mended field by field into what it should be; then it is brought into the state that it
belongs into by the one door that every task moves by, so that lines, dependents and numbers follow."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mainspring.core.fingerprint import fingerprint
from mainspring.core.laws import (
    DAMAGED_ERROR,
    LOST_LANE,
    PARENT_GONE_ERROR,
    Rebuilt,
    mended_state,
    rebuilt_edge,
)
from mainspring.core.lifecycle import Cause
from mainspring.core.model import OnParentFailure, State, decode_policy
from mainspring.stores.redis.auditing import graph, texts
from mainspring.stores.redis.auditing.records import COUNTERS, Record
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import FIELDS, Body, End, fingerprint_text, lane_text, pack

EDGES_AT_ONCE = 1_000
_LOST_LANE_ID = -1
_DUE = 0
_REBUILT = frozenset({"blocked_without_parent", "lost_edge", "parent_count"})


class Step(NamedTuple):
    """What a task is brought into, and why; `_DUE` is what its time says."""

    cause: Cause
    state: int


class Plan(NamedTuple):
    """The task from now on. `texts` are by table, `None` drops one; `open_parents` are all that it waits for,
    `None` if nothing is known to be wrong with them."""

    record: Record
    head: dict[str, Any]
    is_fenced: bool
    texts: dict[str, bytes | None]
    open_parents: list[str] | None
    step: Step | None
    what: list[str]


class Surroundings(NamedTuple):
    """What mending a task takes of others: the edges to its parents, the workflow that it names (`None`:
    there is none), and those whose edges name it as their child, if its parents cannot be read."""

    now_us: int
    edges: Sequence[graph.Edge]
    workflow: texts.Workflow | None
    parents_told: tuple[str, ...]


def plan(record: Record, around: Surroundings) -> Plan:
    """Mends everything that is wrong with the record."""
    broken = {finding.law for finding in record.findings()}
    head = _readable(record, around.now_us)
    aside = _texts(record, around)
    what = [f"{table} set" for table in aside]
    fields = _fields(record, head, around, broken)
    what += [f"{name.lower()} set" for name in fields]
    head |= fields
    is_fenced = record.facts.token > record.facts.highest
    state = mended_state(record.facts)
    step = None
    if state != head["STATE"]:
        step, ends = _step(head, state)
        is_fenced |= state in (State.READY, State.FAILED)
        aside |= ends
        what.append(f"now {state.label}")
    open_parents = None
    if state is State.BLOCKED and step is None and broken & _REBUILT:
        open_parents, step, ends, told = _rebuilt(record, head, around)
        aside |= ends
        what.append(told)
    return Plan(record, head, is_fenced, aside, open_parents, step, what)


# --- fields -----------------------------------------------------------------------------------------


def _readable(record: Record, now_us: int) -> dict[str, Any]:
    """The head, or the barest one where it cannot be read: a task whose run has ended, nobody knows how."""
    if record.head is None:
        bare: dict[str, Any] = dict.fromkeys(FIELDS, False)
        bare |= dict.fromkeys(("TOKEN", "VERSION", "SETTLED_TOKEN", "SETTLED_DIGEST", "KEPT", *COUNTERS), 0)
        bare |= dict.fromkeys(("CLAIM_SEQ", "OPEN_PARENTS", "NOTED_TOKEN", "NOTED"), 0)
        policy = None if record.body is None else record.body.policy
        rule = decode_policy(policy).on_parent_failure
        return bare | {
            "CREATED": now_us,
            "LANE": _LOST_LANE_ID,
            "ON_PARENT_FAILURE": int(rule),
            **_held(bare),
        }
    head = dict(record.head)
    if not 1 <= record.facts.state <= len(State):
        head |= {"STATE": int(State.RUNNING), **_held(head)}
    return head


def _held(head: Mapping[str, Any]) -> dict[str, Any]:
    """What a running task is found by: it is moved as one whose run has ended."""
    is_text = isinstance(head["INCARNATION"], str)
    return {
        "STATE": int(State.RUNNING),
        "INCARNATION": head["INCARNATION"] if is_text else "",
        "CLAIM_SEQ": head["CLAIM_SEQ"] if isinstance(head["CLAIM_SEQ"], int) else 0,
        "LEASE_UNTIL": False,
        "TIMEOUT_AT": False,
    }


def _fields(
    record: Record, head: Mapping[str, Any], around: Surroundings, broken: set[str]
) -> dict[str, Any]:
    """Those that do not fit, and what fits."""
    facts, now_us = record.facts, around.now_us
    fields: dict[str, Any] = {name: 0 for name in COUNTERS if not _is_count(head[name])}
    if not facts.lane_known:
        fields["LANE"] = _LOST_LANE_ID
    if "stray_time_limit" in broken:
        fields["TIMEOUT_AT"] = False
    if "scheduled_without_time" in broken:
        fields["RUN_AT"] = now_us
    if "final_without_end" in broken:
        fields["FINISHED"] = max(0, min(facts.version, now_us))
    if "held_while_waiting" in broken:
        fields |= {"WORKER": False, "CANCEL_AT": False}
    if "endless_lease" in broken:
        fields["LEASE_UNTIL"] = now_us
    if "running_without_holder" in broken:
        fields |= _held(head)
    if "stray_member" in broken:
        fields |= _part(record, around.workflow)
    if facts.version > facts.highest:
        fields["VERSION"] = 0
    if facts.token > facts.highest:
        fields["TOKEN"] = 0
    is_far = facts.place is not None and facts.place > facts.highest
    if is_far or broken & {"ready_without_place", "duplicate_place"}:
        fields["SEQ"] = False
    return fields


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 0


def _part(record: Record, workflow: texts.Workflow | None) -> dict[str, Any]:
    if workflow is None:
        return {"WORKFLOW": False, "CALLBACK": False}
    named = {task: int(part) for part, task in workflow.callbacks.items()}
    return {"CALLBACK": named.get(record.id, False)}


def _texts(record: Record, around: Surroundings) -> dict[str, bytes | None]:
    """The texts that are made anew."""
    damaged, found = record.facts.damaged, dict[str, bytes | None]()
    body = record.body or Body(b"", None, None)
    if not record.facts.has_payload or {"policy", "labels"} & set(damaged):
        mended = Body(
            body.payload or b"null",
            None if "policy" in damaged else body.policy,
            None if "labels" in damaged else body.labels,
        )
        found["bodies"] = pack(mended)
    if "attempts" in damaged:
        found["attempts"] = None
    if "depends_on" in damaged:
        found["parents"] = pack(around.parents_told) if around.parents_told else None
    return found


# --- states -----------------------------------------------------------------------------------------


def _step(head: dict[str, Any], state: State) -> tuple[Step, dict[str, bytes | None]]:
    """The step into the state, and how the task ends with it. Sets what tells a dead letter from others."""
    is_running = head["STATE"] == State.RUNNING
    if state is State.READY:
        return Step(Cause.RELEASE, state), {}
    if state is State.CANCELLED:
        return Step(Cause.CANCEL, state), {}
    if state is State.SUCCEEDED:
        return Step(Cause.SUCCEED, state), {}
    # Of which kind it was is not looked for: what is wrong with it is its record.
    head["FINGERPRINT"] = fingerprint_text(fingerprint(LOST_LANE.kind, DAMAGED_ERROR))
    cause = Cause.FAIL if is_running else Cause.EXPIRE
    return Step(cause, state), {"ends": pack(End(error=DAMAGED_ERROR))}


def _rebuilt(
    record: Record, head: Mapping[str, Any], around: Surroundings
) -> tuple[list[str], Step | None, dict[str, bytes | None], str]:
    """The edges to the parents that it names. Those that are there stay as they are, unless none is open:
    then some were closed that should not be, and nobody knows which."""
    none_is_open = not record.facts.open_edges
    stored = [edge for edge in around.edges if edge.facts.parent is not None]
    waits_for = [edge.parent for edge in stored if edge.facts.is_open or not edge.is_listed or none_is_open]
    rule = graph.RULES.get(head["ON_PARENT_FAILURE"], OnParentFailure.CANCEL)
    if len(stored) < len(around.edges) and rebuilt_edge(None, rule) is Rebuilt.CANCELS:
        end: dict[str, bytes | None] = {"ends": pack(End(error=PARENT_GONE_ERROR))}
        return waits_for, Step(Cause.DOOM, State.CANCELLED), end, "cancelled: a parent is lost"
    if waits_for:
        return waits_for, None, {}, "waits for its parents again"
    return [], Step(Cause.UNBLOCK, _DUE), {}, "nothing holds it back"


# --- writing ----------------------------------------------------------------------------------------


async def surroundings(db: Database, records: Iterable[Record]) -> dict[str, Surroundings]:
    wanted = list(records)
    told = {
        record.id: await parents_by_edges(db, record.id)
        for record in wanted
        if "depends_on" in record.facts.damaged
    }
    parents = {record.id: told.get(record.id) or record.parents for record in wanted}
    pairs = [(parent, task) for task, named in parents.items() for parent in named]
    edges = await graph.pairs(db, pairs)
    names = {_workflow_of(record) for record in wanted} - {None}
    reply, found = await texts.read(db, "workflows", [name for name in names if name])
    workflows = {text.name: texts.workflow_of(reply, text) for text in found}
    return {
        record.id: Surroundings(
            reply.now_us,
            [edges[parent, record.id] for parent in parents[record.id]],
            workflows.get(_workflow_of(record) or ""),
            told.get(record.id, ()),
        )
        for record in wanted
    }


def _workflow_of(record: Record) -> str | None:
    named = None if record.head is None else record.head["WORKFLOW"]
    return named if isinstance(named, str) else None


async def parents_by_edges(db: Database, task: str) -> tuple[str, ...]:
    """Those whose edges name the task as their child. Looks at all edges, some at a time."""
    found, cursor = dict[str, None](), "0"
    while True:
        reply = await db.run("audit_parents", task.encode(), cursor.encode(), EDGES_AT_ONCE)
        parents, cursor = reply.answers
        found.update(dict.fromkeys(parents))
        if cursor == "0":
            return tuple(found)


async def write(db: Database, plans: Sequence[Plan]) -> list[bool]:
    """Whether each task was still as it was read, and so is mended now."""
    blobs: list[bytes] = []
    lines = []
    for plan_ in plans:
        numbers = {}
        for table, text in plan_.texts.items():
            if text is not None:
                blobs.append(text)
            numbers[table] = 0 if text is None else len(blobs)
        step = plan_.step
        lines.append((
            plan_.record.id, plan_.record.digest, [plan_.head[name] for name in FIELDS], plan_.is_fenced,
            numbers, False if plan_.open_parents is None else plan_.open_parents,
            False if step is None else step.cause, False if step is None else step.state,
        ))  # fmt: skip
    reply = await db.run("mend_tasks", pack(lines), lane_text(LOST_LANE).encode(), *blobs)
    return list(reply.answers)
