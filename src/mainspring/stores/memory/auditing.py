"""The laws of `core.laws`, looked up in the tables."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from math import inf, isfinite
from typing import Any

import msgspec

from mainspring.core.laws import (
    LONGEST_TERM_US,
    EdgeFacts,
    TaskFacts,
    arrival_breach,
    breaches,
    count_breach,
    edge_breach,
)
from mainspring.core.limits import LimitState, names, rule_for
from mainspring.core.model import SECOND_US, Attempt, OnParentFailure, State, decode_policy, read_policy
from mainspring.core.schedule_laws import ScheduleFacts, Span, schedule_breaches
from mainspring.core.schedules import Standing
from mainspring.errors import InvalidInput
from mainspring.stores.memory.moves import Call
from mainspring.stores.memory.tables import Row, Tables
from mainspring.verbs import FIRES_KEPT
from mainspring.verbs.audit import Audit, Finding

COUNTED_AT_ONCE = 20_000

_DECODERS = (
    ("policy", read_policy),
    ("labels", msgspec.json.Decoder(dict[str, Any]).decode),
    ("attempts", msgspec.json.Decoder(list[Attempt]).decode),
)


def audit(call: Call, highest: int, cursor: str | None, limit: int) -> Audit:
    """A slice of the rows with the edges to their children; the books when a sweep begins."""
    tables = call.tables
    findings = [] if cursor is not None else books(call, whole=len(tables.rows) <= COUNTED_AT_ONCE)
    first = bisect_left(tables.ordinals, _parse(cursor)) if cursor is not None else 0
    chosen = tables.ordinals[first : first + limit]
    rest = tables.ordinals[first + limit : first + limit + 1]
    for ordinal in chosen:
        row = tables.rows[tables.by_ordinal[ordinal]]
        findings += task_findings(call, row, highest)
        findings += edge_findings(tables, row.id)
    return Audit(findings, str(rest[0]) if rest else None, len(chosen))


def inspect(call: Call) -> list[Finding]:
    return [finding for finding in books(call, whole=True) if finding.key[0] in ("count", "lane")]


def _parse(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit()) or len(cursor) > 20:
        raise InvalidInput("cursor", "this cursor was not given out by this store")
    return int(cursor)


# --- tasks and edges --------------------------------------------------------------------------------


def task_findings(call: Call, row: Row, highest: int) -> list[Finding]:
    found = breaches(facts_of(call, row, highest))
    findings = [Finding(law, f"task {row.id}", detail, ("task", row.id)) for law, detail in found]
    waiting = len(waits_for(call.tables, row))
    if row.state == State.BLOCKED and row.open_parents != waiting:
        detail = f"{row.open_parents} are booked, {waiting} are there"
        findings.append(Finding("parent_count", f"task {row.id}", detail, ("task", row.id)))
    return findings


def waits_for(tables: Tables, row: Row) -> list[str]:
    return [parent for parent in row.depends_on if tables.dependents.get(parent, {}).get(row.id)]


def facts_of(call: Call, row: Row, highest: int) -> TaskFacts:
    tables, is_blocked = call.tables, row.state == State.BLOCKED
    lease_left_us = None if row.lease_until_us is None else row.lease_until_us - call.now_us
    return TaskFacts(
        int(row.state),
        highest,
        row.token,
        row.version,
        row.seq,
        lane_known=tables.lanes.get(row.lane_id) == row.lane,
        held=_is_held(tables, row) if row.state == State.RUNNING else row.worker is not None,
        lease_left_us=lease_left_us,
        started=row.started_at_us is not None,
        ended=row.finished_at_us is not None,
        has_run_at=row.run_at_us is not None,
        has_time_limit=row.timeout_at_us is not None,
        cancel_wanted=row.cancel_requested_at_us is not None,
        lowest_counter=min(row.attempt, row.retries, row.losses, row.snoozes),
        parents=sum(parent in tables.rows for parent in row.depends_on) if is_blocked else 0,
        edges=sum(row.id in tables.dependents.get(p, {}) for p in row.depends_on) if is_blocked else 0,
        open_edges=len(waits_for(tables, row)) if is_blocked else 0,
        damaged=tuple(_damaged(row)),
        has_payload=bool(row.payload),
        has_known_part=row.workflow is None or row.id in tables.tasks_of.get(row.workflow, ()),
        has_settled_result=row.result is not None and row.settled_token == row.token > 0,
    )


def _is_held(tables: Tables, row: Row) -> bool:
    return row.id in tables.running and row.id in tables.held.get(row.incarnation, ())


def _damaged(row: Row) -> Iterator[str]:
    for name, decode in _DECODERS:
        value = getattr(row, name)
        try:
            if value is not None:
                decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            yield name


def edge_findings(tables: Tables, parent: str) -> Iterator[Finding]:
    for child, is_open in tables.dependents.get(parent, {}).items():
        breach = edge_breach(edge_of(tables, parent, child, is_open))
        if breach is not None:
            subject = f"edge of tasks {parent} and {child}"
            yield Finding(breach.law, subject, breach.detail, ("edge", parent, child))


def edge_of(tables: Tables, parent: str, child: str, is_open: int) -> EdgeFacts:
    above, below = tables.rows.get(parent), tables.rows.get(child)
    return EdgeFacts(
        int(is_open),
        None if above is None else int(above.state),
        None if below is None else int(below.state),
        OnParentFailure.CANCEL if below is None else decode_policy(below.policy).on_parent_failure,
        parent in tables.unresolved,
    )


# --- books ------------------------------------------------------------------------------------------


def books(call: Call, *, whole: bool) -> list[Finding]:
    tables = call.tables
    found: list[Finding] = []
    if whole:
        found += _count_findings(tables)
        found += _lane_findings(tables)
        found += _schedule_findings(tables)
    for parent in tables.dependents.keys() - tables.rows.keys():
        found += edge_findings(tables, parent)
    for task in tables.unresolved.keys() - tables.rows.keys():
        found.append(_breach("stray_unresolved", f"task {task}", "there is no such task", "unresolved", task))
    for task in tables.running:
        row = tables.rows.get(task)
        if row is None or row.state is not State.RUNNING:
            found.append(_breach("stray_lease", f"task {task}", "it is booked as held", "lease", task))
    found += _usage_findings(call)
    for workflow in tables.workflows:
        if not tables.tasks_of.get(workflow):
            found.append(
                _breach("empty_workflow", f"workflow {workflow}", "it has no task", "workflow", workflow)
            )
    for tenant, share in tables.shares.items():
        if not (0 < share.weight < inf and isfinite(share.virtual_us)):
            detail = f"weight {share.weight}, {share.virtual_us} us used"
            found.append(_breach("unreadable_share", f"share of tenant {tenant}", detail, "share", tenant))
    term = tables.term
    if term is not None and term.expires_us - call.now_us > LONGEST_TERM_US:
        detail = f"it ends in {(term.expires_us - call.now_us) // SECOND_US} s"
        found.append(_breach("endless_term", "the leader's term", detail, "term"))
    return found


def _breach(law: str, subject: str, detail: str, *key: str | int) -> Finding:
    return Finding(law, subject, detail, key)


def _count_findings(tables: Tables) -> Iterator[Finding]:
    counted = Counter((row.lane.queue, int(row.state)) for row in tables.rows.values())
    booked = {(queue, int(state)): n for (queue, state), n in tables.counts.items()}
    for queue, state in sorted(counted.keys() | booked.keys()):
        breach = count_breach(booked.get((queue, state), 0), counted[queue, state])
        if breach is not None and 1 <= state <= len(State):
            subject = f"number of {State(state).label} tasks in queue {queue}"
            yield _breach(breach.law, subject, breach.detail, "count", queue, state)


def _lane_findings(tables: Tables) -> Iterator[Finding]:
    """What waits in line by the rows, by the numbers, and by the lines that claims read."""
    ready = {row.id: row for row in tables.rows.values() if row.state is State.READY}
    counted = Counter(row.lane_id for row in ready.values())
    active = counted.keys() | {lane for lane, n in tables.ready_counts.items() if n}
    for lane_id in sorted(active & tables.lanes.keys()):
        if counted[lane_id] != tables.ready_counts.get(lane_id, 0):
            detail = f"{tables.ready_counts.get(lane_id, 0)} ready tasks are booked, {counted[lane_id]} there"
            yield _breach("stray_lane", f"lane {lane_id}", detail, "lane", lane_id)
    in_line = {e.task for lane, line in tables.ready.items() for e in line if tables.in_line(e, lane)}
    for task in sorted(ready.keys() - in_line):
        if ready[task].seq is not None:
            yield _breach("not_in_line", f"task {task}", "no claim can find it", "task", task)


def _schedule_findings(tables: Tables) -> Iterator[Finding]:
    for id_, row in tables.schedules.items():
        standing, quarantine = row.record.standing, row.record.quarantine
        if standing is not None and quarantine is None:
            for law, detail in schedule_breaches(schedule_facts(tables, id_, standing)):
                yield _breach(law, f"schedule {id_}", detail, "schedule", id_)


def schedule_facts(tables: Tables, id_: str, standing: Standing) -> ScheduleFacts:
    row = tables.schedules[id_]
    records = [record for _, record in tables.fires.get(id_, ())]
    spans = [Span(one.first_us, one.last_us, (one.task or one.reason) is not None) for one in records]
    since_us = row.record.updated_at_us
    return ScheduleFacts(standing, row.look_us, since_us, spans, len(spans) >= FIRES_KEPT)


def _usage_findings(call: Call) -> Iterator[Finding]:
    tables = call.tables
    running = Counter(
        name for task in tables.running if task in tables.rows for name in names(tables.rows[task].lane)
    )
    for name in sorted(running.keys() | tables.usage.keys()):
        usage = tables.usage.get(name) or LimitState()
        if usage.running != running[name]:
            detail = f"{usage.running} running tasks are booked, {running[name]} are there"
            yield _breach("limit_usage", f"limit {name}", detail, "limit", name)
        elif breach := arrival_breach(rule_for(name, tables.rules), usage.arrival_us, call.now_us):
            yield _breach(breach.law, f"limit {name}", breach.detail, "limit", name)
