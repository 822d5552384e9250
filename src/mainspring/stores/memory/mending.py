"""What is done about findings: rows are mended, then every index and number is built anew from them."""

from collections import Counter
from collections.abc import Sequence
from heapq import heapify, heappush
from math import inf, isfinite

import msgspec

from mainspring.core.laws import (
    DAMAGED_ERROR,
    LOST_LANE,
    PARENT_GONE_ERROR,
    Rebuilt,
    TaskFacts,
    mended_state,
    rebuilt_edge,
)
from mainspring.core.limits import LimitState, names
from mainspring.core.model import WAITING, State, decode_policy
from mainspring.core.schedule_laws import gaps, recorded
from mainspring.core.schedules import LOST
from mainspring.ports import FireRecord
from mainspring.stores.memory.auditing import (
    books,
    edge_findings,
    facts_of,
    schedule_facts,
    task_findings,
    waits_for,
)
from mainspring.stores.memory.moves import Call
from mainspring.stores.memory.tables import Due, Row, Tables
from mainspring.verbs.audit import Finding, Mended, Mending


def repair(call: Call, highest: int, findings: Sequence[Finding]) -> list[Mended]:
    """One answer per finding. What is not found any more is left alone."""
    standing = {finding.law: set[tuple[int | str, ...]]() for finding in findings}
    for finding in _found_again(call, highest, findings):
        standing.setdefault(finding.law, set()).add(finding.key)
    broken = [finding for finding in findings if finding.key in standing[finding.law]]
    for key in dict.fromkeys(finding.key for finding in broken):
        _KINDS.get(str(key[0]), _nothing)(call, highest, key)
    if broken:
        rebuild(call)
    return [
        Mended(finding, Mending.REPAIRED, "mended, and every index built anew")
        if finding in broken
        else Mended(finding, Mending.GONE, "it was not broken any more")
        for finding in findings
    ]


def _found_again(call: Call, highest: int, findings: Sequence[Finding]) -> list[Finding]:
    tables = call.tables
    found = books(call, whole=True)
    for task in {str(finding.key[1]) for finding in findings if finding.key[0] == "task"}:
        if task in tables.rows:
            found += task_findings(call, tables.rows[task], highest)
    for parent in {str(finding.key[1]) for finding in findings if finding.key[0] == "edge"}:
        found += edge_findings(tables, parent)
    return found


# --- rows -------------------------------------------------------------------------------------------


def _mend_task(call: Call, highest: int, key: tuple[int | str, ...]) -> None:
    row = call.tables.rows[str(key[1])]
    facts = facts_of(call, row, highest)
    laws = {finding.law for finding in task_findings(call, row, highest)}
    state = mended_state(facts)
    _mend_fields(call, row, facts, laws)
    if state != row.state:
        _move(call, row, state)
    if row.state is State.BLOCKED and laws & {"blocked_without_parent", "lost_edge"}:
        _rebuild_edges(call, row, none_is_open=not facts.open_edges)
    row.version = call.mint()


def _mend_fields(call: Call, row: Row, facts: TaskFacts, laws: set[str]) -> None:
    if "unknown_lane" in laws:
        row.lane, row.lane_id = LOST_LANE, call.lane_id(LOST_LANE)
    for name in ("attempt", "retries", "losses", "snoozes"):
        setattr(row, name, max(0, getattr(row, name)))
    for name in facts.damaged:
        setattr(row, name, None)
    if "scheduled_without_time" in laws:
        row.run_at_us = call.now_us
    if "final_without_end" in laws:
        row.finished_at_us = call.now_us
    if "held_while_waiting" in laws:
        row.worker = row.cancel_requested_at_us = None
    if "stray_time_limit" in laws:
        row.timeout_at_us = None
    row.payload = row.payload or b"null"
    if "stray_member" in laws and row.workflow in call.tables.workflows:
        call.tables.tasks_of.setdefault(row.workflow, {})[row.id] = None
    elif "stray_member" in laws:
        row.workflow = row.callback = None
    if "endless_lease" in laws:
        row.lease_until_us = call.now_us
    if facts.token > facts.highest:
        row.token = call.mint()
    if laws & {"ready_without_place", "duplicate_place"} or (row.seq or 0) > facts.highest:
        row.seq = call.mint()


def _move(call: Call, row: Row, state: State) -> None:
    """By hand: the door trusts the indexes, which are built anew after this."""
    row.state = state
    row.lease_until_us = row.timeout_at_us = None
    row.open_parents = 0
    if state is State.READY:
        row.token, row.worker = call.mint(), None
        row.seq = row.seq or call.mint()
    elif state.is_final:
        row.finished_at_us = row.finished_at_us or call.now_us
        if state is State.FAILED:
            row.token, row.error = call.mint(), DAMAGED_ERROR
        call.tables.unresolved[row.id] = None
        call.finished.append(row.id)


# --- edges ------------------------------------------------------------------------------------------


def _rebuild_edges(call: Call, row: Row, *, none_is_open: bool) -> None:
    """Give a blocked task an edge to each parent that it names. Edges that are there stay as they are, unless
    all are closed: then some were closed that should not be, and nobody knows which."""
    tables = call.tables
    for parent in row.depends_on:
        if parent in tables.rows and (row.id not in tables.dependents.get(parent, {}) or none_is_open):
            _put(tables, row, parent)
    is_lost = any(parent not in tables.rows for parent in row.depends_on)
    _go_on(
        call,
        row,
        rebuilt_edge(None, decode_policy(row.policy).on_parent_failure) if is_lost else Rebuilt.OPEN,
    )


def _put(tables: Tables, row: Row, parent: str) -> None:
    tables.dependents.setdefault(parent, {})[row.id] = True
    if (
        rebuilt_edge(int(tables.rows[parent].state), decode_policy(row.policy).on_parent_failure)
        is Rebuilt.NOTED
    ):
        tables.unresolved[parent] = None


def _go_on(call: Call, row: Row, verdict: Rebuilt) -> None:
    """What a blocked task does when its edges are as they should be. `verdict` is that on a lost parent."""
    if verdict is Rebuilt.CANCELS:
        row.error = PARENT_GONE_ERROR
        _move(call, row, State.CANCELLED)
    elif not waits_for(call.tables, row):
        _move(call, row, call.due_state(row.run_at_us))


def _mend_edge(call: Call, highest: int, key: tuple[int | str, ...]) -> None:
    parent, child = str(key[1]), str(key[2])
    tables = call.tables
    below = tables.rows.get(child)
    was_open = tables.dependents[parent].pop(child)
    if below is None or below.state is not State.BLOCKED:
        return
    if parent in tables.rows:
        _put(tables, below, parent)
    elif was_open:
        _go_on(call, below, rebuilt_edge(None, decode_policy(below.policy).on_parent_failure))


# --- books ------------------------------------------------------------------------------------------


def _mend_unresolved(call: Call, highest: int, key: tuple[int | str, ...]) -> None:
    del call.tables.unresolved[str(key[1])]


def _mend_limit(call: Call, highest: int, key: tuple[int | str, ...]) -> None:
    call.tables.usage.pop(str(key[1]), None)


def _mend_share(call: Call, highest: int, key: tuple[int | str, ...]) -> None:
    share = call.tables.shares[str(key[1])]
    share.weight = share.weight if 0 < share.weight < inf else 1.0
    share.virtual_us = share.virtual_us if isfinite(share.virtual_us) else 0.0


def _mend_term(call: Call, highest: int, key: tuple[int | str, ...]) -> None:
    if call.tables.term is not None:
        call.tables.term = call.tables.term._replace(expires_us=call.now_us)


def _mend_workflow(call: Call, highest: int, key: tuple[int | str, ...]) -> None:
    del call.tables.workflows[str(key[1])]


def _mend_schedule(call: Call, highest: int, key: tuple[int | str, ...]) -> None:
    tables, id_ = call.tables, str(key[1])
    row, records = tables.schedules[id_], tables.fires.setdefault(id_, [])
    row.look_us = call.now_us
    heappush(tables.looks, Due(row.look_us, row.ordinal, id_))
    fired = tables.fired.get(id_, {})
    for place, (number, record) in enumerate(records):
        if record.task is None and record.reason is None:
            task = fired.get(record.first_us) if record.count == 1 else None
            told = msgspec.structs.replace(record, task=task, reason=None if task else LOST)
            records[place] = number, told
    standing = row.record.standing
    if standing is None:
        return
    for gap in gaps(schedule_facts(tables, id_, standing)):
        made = {fire_us: fired[fire_us] for fire_us in fired if gap.after_us < fire_us < gap.before_us}
        for fate in recorded(standing.rules, gap, made):
            records.append((call.mint(), FireRecord(call.now_us, *fate)))


def _nothing(call: Call, highest: int, key: tuple[int | str, ...]) -> None:
    """An index or a number: building all of them anew is its mending."""


_KINDS = {
    "task": _mend_task,
    "edge": _mend_edge,
    "unresolved": _mend_unresolved,
    "limit": _mend_limit,
    "schedule": _mend_schedule,
    "workflow": _mend_workflow,
    "share": _mend_share,
    "term": _mend_term,
}


def rebuild(call: Call) -> None:
    """Every index and every number, from the rows. Those that are yet to be mended may not fit in."""
    tables = call.tables
    rows = [tables.rows[tables.by_ordinal[ordinal]] for ordinal in tables.ordinals]
    tables.counts.clear()
    tables.fired_open.clear()
    for row in rows:
        tables.count(row, 1)
    tables.ready.clear()
    tables.ready_counts.clear()
    for row in rows:
        if row.state is State.READY and row.seq is not None:
            call.line_up(row)
    scheduled = [row for row in rows if row.state is State.SCHEDULED]
    tables.scheduled[:] = [Due(row.run_at_us or 0, row.ordinal, row.id) for row in scheduled]
    waiting = [row for row in rows if row.state in WAITING and row.deadline_us is not None]
    tables.deadlines[:] = [Due(row.deadline_us or 0, row.ordinal, row.id) for row in waiting]
    heapify(tables.scheduled)
    heapify(tables.deadlines)
    _rebuild_leases(tables, rows)
    _rebuild_dependents(tables, rows)


def _rebuild_leases(tables: Tables, rows: Sequence[Row]) -> None:
    tables.running.clear()
    tables.held.clear()
    in_use: Counter[str] = Counter()
    for row in rows:
        if row.state is State.RUNNING:
            tables.running[row.id] = None
            tables.held.setdefault(row.incarnation, {})[row.id] = None
            in_use.update(names(row.lane))
    for name in in_use.keys() | tables.usage.keys():
        tables.usage.setdefault(name, LimitState()).running = in_use[name]


def _rebuild_dependents(tables: Tables, rows: Sequence[Row]) -> None:
    for parent in list(tables.dependents):
        children = tables.dependents[parent]
        for child in list(children):
            below = tables.rows.get(child)
            if below is None or below.state.is_final:
                del children[child]
            elif below.state is not State.BLOCKED:
                children[child] = False
        if not children or parent not in tables.rows:
            del tables.dependents[parent]
    for row in rows:
        row.open_parents = len(waits_for(tables, row)) if row.state is State.BLOCKED else 0
