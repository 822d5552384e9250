"""What services do on every node: due tasks, deadlines, open edges, retention. Rows are taken by guard."""

from bisect import bisect_left
from heapq import heappop

from mainspring.core.fingerprint import fingerprint
from mainspring.core.lifecycle import EXPIRED_ERROR, Cause
from mainspring.core.model import State
from mainspring.ports import Moved, Pruned, Retention
from mainspring.stores.memory.moves import Call
from mainspring.stores.memory.progress import cut_ended
from mainspring.stores.memory.reading import parse_cursor
from mainspring.stores.memory.submitting import forget_expired_keys
from mainspring.stores.memory.tables import Row
from mainspring.stores.memory.workflows import is_past


def promote(call: Call, limit: int) -> Moved:
    tables, count = call.tables, 0
    while count < limit and (due := tables.next_scheduled()) is not None and due.at_us <= call.now_us:
        heappop(tables.scheduled)
        call.move(tables.rows[due.task], Cause.PROMOTE, State.READY)
        count += 1
    due = tables.next_scheduled()
    next_due_us = None if due is None else max(0, due.at_us - call.now_us)
    return Moved(count, call.gained(), next_due_us=next_due_us)


def expire(call: Call, limit: int) -> list[str]:
    """Fail waiting tasks past their deadline; exactly at it a task may still start."""
    tables = call.tables
    while (
        len(call.finished) < limit and (due := tables.next_deadline()) is not None and due.at_us < call.now_us
    ):
        heappop(tables.deadlines)
        row = tables.rows[due.task]
        row.error, row.fingerprint = EXPIRED_ERROR, fingerprint(row.lane.kind, EXPIRED_ERROR)
        call.move(row, Cause.EXPIRE, State.FAILED)
    return call.finished


def resolve(call: Call, limit: int) -> Moved:
    tables, count = call.tables, 0
    for task in list(tables.unresolved):
        if count == limit:
            break
        parent = tables.rows.get(task)
        if parent is None or not parent.state.is_final:
            # Replayed meanwhile: its next end decides.
            del tables.unresolved[task]
        else:
            count += call.apply_parent(parent, limit - count, doom=True)
    return Moved(count, call.gained(), call.finished)


def prune(call: Call, limit: int, retention: Retention, cursor: str | None) -> Pruned:
    forget_expired_keys(call)
    cut_ended(call)
    tables = call.tables
    first = bisect_left(tables.ordinals, parse_cursor(cursor)) if cursor else 0
    chosen = tables.ordinals[first : first + limit]
    rest = tables.ordinals[first + limit : first + limit + 1]
    count = 0
    past: dict[str, bool] = {}
    for ordinal in chosen:
        row = tables.rows[tables.by_ordinal[ordinal]]
        if _is_past(call, row, retention) and row.id not in tables.dependents:
            workflow = row.workflow
            if workflow is not None and workflow not in past:
                past[workflow] = is_past(call, workflow, retention)
            if workflow is None or past[workflow]:
                tables.forget(row)
                count += 1
    return Pruned(count, str(rest[0]) if rest else None)


def _is_past(call: Call, row: Row, retention: Retention) -> bool:
    kept_us = retention.by_state.get(row.state)
    return kept_us is not None and (row.finished_at_us or 0) + kept_us <= call.now_us
