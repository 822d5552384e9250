"""Workflows: founding one, reading how it stands, and what is left of one whose tasks are forgotten."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from mainspring.core.model import State
from mainspring.core.workflows import Callback, Tally, may_be_forgotten, tally, was_spared
from mainspring.ports import Retention
from mainspring.stores.postgres.pages import has_label, parse_cursor
from mainspring.stores.postgres.rows import Row, can_be_stored, decode_ids, state_of
from mainspring.stores.postgres.transaction import Transaction
from mainspring.verbs import (
    MEMBERS_COUNTED,
    CallbackRecord,
    Member,
    NewWorkflow,
    WorkflowGraph,
    WorkflowPage,
    WorkflowQuery,
    WorkflowRecord,
)

if TYPE_CHECKING:
    from asyncpg import Record

LOOKED_AT_ONCE = 200

_callbacks = msgspec.json.Decoder(dict[Callback, str])
_tally = msgspec.json.Decoder(Tally)


def new_workflow_rows(tx: Transaction, new: Iterable[NewWorkflow]) -> list[tuple[object, ...]]:
    return [
        (each.id, tx.now_us, each.name, each.labels, msgspec.json.encode(each.callbacks))
        for each in sorted(new, key=lambda each: each.id)
    ]


# --- reading ----------------------------------------------------------------------------------------


async def get(tx: Transaction, workflow: str) -> WorkflowRecord | None:
    found = await tx.row("workflow", workflow) if can_be_stored(workflow) else None
    return None if found is None else (await _records(tx, [found]))[0]


async def graph(tx: Transaction, workflow: str) -> WorkflowGraph | None:
    record = await get(tx, workflow)
    if record is None:
        return None
    rows = await tx.rows("workflow_graph", workflow)
    await tx.find_lanes({row["lane_id"] for row in rows})
    return WorkflowGraph(tx.now_us, record, [_member(tx, row) for row in rows])


async def find(tx: Transaction, query: WorkflowQuery) -> WorkflowPage:
    """Newest first. Counts a bounded number of tasks, and says where it stopped."""
    last = parse_cursor(query.cursor) if query.cursor else 1 << 62
    records: list[WorkflowRecord] = []
    counted = 0
    while True:
        rows = await tx.rows("workflows_before", last, LOOKED_AT_ONCE)
        wanted = [row for row in rows if _is_wanted(query, row)]
        seen = {record.id: record for record in await _records(tx, wanted)}
        for row in rows:
            if len(records) == query.limit or counted >= MEMBERS_COUNTED:
                return WorkflowPage(records, str(last))
            counted, last = counted + 1, row["n"]
            record = seen.get(row["id"])
            if record is None:
                continue
            counted += record.members.total
            if not query.states or record.state in query.states:
                records.append(record)
        if len(rows) < LOOKED_AT_ONCE:
            return WorkflowPage(records, None)


def _is_wanted(query: WorkflowQuery, row: "Record") -> bool:
    if query.name not in (None, row["name"]):
        return False
    return query.label is None or has_label(row["labels"], query.label)


async def _records(tx: Transaction, rows: Sequence["Record"]) -> list[WorkflowRecord]:
    if not rows:
        return []
    ids = [row["id"] for row in rows]
    counts: dict[str, list[tuple[State, int]]] = {id_: [] for id_ in ids}
    for row in await tx.rows("count_members", ids):
        counts[row["workflow"]].append((state_of(row["state"]), row["n"]))
    states: dict[str, dict[int, tuple[State, bytes | None]]] = {id_: {} for id_ in ids}
    for row in await tx.rows("callbacks_of", ids):
        states[row["workflow"]][row["callback"]] = (state_of(row["state"]), row["error"])
    return [
        WorkflowRecord(
            row["id"],
            row["created_at_us"],
            _plus(row["forgotten"], counts[row["id"]]),
            row["name"],
            row["labels"],
            _shown(_callbacks.decode(row["callbacks"]), states[row["id"]]),
        )
        for row in rows
    ]


def _shown(
    callbacks: Mapping[Callback, str], states: Mapping[int, tuple[State, bytes | None]]
) -> dict[Callback, CallbackRecord]:
    return {
        callback: CallbackRecord(task, None)
        if callback not in states
        else CallbackRecord(task, states[callback][0], was_spared(*states[callback]))
        for callback, task in callbacks.items()
    }


def _plus(forgotten: bytes | None, counts: Iterable[tuple[State, int]]) -> Tally:
    return tally(counts, _tally.decode(forgotten)) if forgotten else tally(counts)


def _member(tx: Transaction, row: "Record") -> Member:
    lane, callback = tx.lane(row["lane_id"]), row["callback"]
    return Member(
        row["id"], row["name"], "" if lane is None else lane.kind, state_of(row["state"]),
        None if callback is None else Callback(callback), row["attempt"], row["retries"], row["run_at_us"],
        row["started_at_us"], row["finished_at_us"], row["worker"], decode_ids(row["depends_on"]),
    )  # fmt: skip


# --- retention --------------------------------------------------------------------------------------


async def past_workflows(tx: Transaction, workflows: Iterable[str], retention: Retention) -> set[str | None]:
    """Those that may be forgotten as a whole; `None`, which is no workflow, is among them."""
    past: set[str | None] = {None}
    wanted = sorted(workflows)
    if not wanted:
        return past
    ends: dict[str, dict[State, int]] = {workflow: {} for workflow in wanted}
    for row in await tx.rows("last_ends", wanted):
        ends[row["workflow"]][state_of(row["state"])] = row["end_us"]
    kept_us = retention.by_state
    return past | {workflow for workflow in wanted if may_be_forgotten(ends[workflow], kept_us, tx.now_us)}


async def leave_workflows(tx: Transaction, gone: Sequence[Row]) -> None:
    """Tasks of workflows are gone. The last one takes its workflow along; until then its end goes on
    counting."""
    touched = sorted({row.workflow for row in gone if row.workflow is not None})
    if not touched:
        return
    for record in await tx.rows("lock_workflows", touched):
        if record["is_empty"]:
            continue
        ends = [(row.state, 1) for row in gone if row.workflow == record["id"] and row.callback is None]
        sums = _plus(record["forgotten"], ends)
        await tx.do("put_forgotten", record["id"], msgspec.json.encode(sums))
    await tx.do("drop_empty_workflows", touched)
