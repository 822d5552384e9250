"""Workflows: breaches in their own rows, and what is put in their place."""

from collections.abc import Callable
from typing import Any

import msgspec
from asyncpg import Record

from mainspring.core.workflows import Callback, Tally
from mainspring.stores.postgres.transaction import Transaction
from mainspring.verbs.audit import Finding

_callbacks = msgspec.json.Decoder(dict[Callback, str])
FIELDS: tuple[tuple[str, Callable[[bytes], object]], ...] = (
    ("callbacks", _callbacks.decode),
    ("labels", msgspec.json.Decoder(dict[str, Any]).decode),
    ("forgotten", msgspec.json.Decoder(Tally).decode),
)


async def look(tx: Transaction, after: str, limit: int) -> tuple[list[Finding], list[str]]:
    rows = await tx.rows("workflows_to_audit", after, limit)
    return [finding for row in rows for finding in _findings(row)], [row["id"] for row in rows]


def _findings(row: Record) -> list[Finding]:
    found = []
    subject, key = f"workflow {row['id']}", ("workflow", row["id"])
    damaged = _damaged(row)
    if damaged:
        detail = f"its {', '.join(damaged)} cannot be read"
        found.append(Finding("unreadable_workflow", subject, detail, key))
    if not row["has_tasks"]:
        found.append(Finding("empty_workflow", subject, "it has no task", key))
    return found


def _damaged(row: Record) -> list[str]:
    names = []
    for name, decode in FIELDS:
        try:
            if row[name] is not None:
                decode(row[name])
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
            names.append(name)
    return names


async def mend(tx: Transaction, workflow: str, law: str) -> str | None:
    """What was done, or `None` if the workflow does not break the law any more."""
    row = await tx.row("workflow_to_mend", workflow)
    if row is None or law not in {finding.law for finding in _findings(row)}:
        return None
    if law == "empty_workflow":
        await tx.do("drop_empty_workflows", [workflow])
        return "removed"
    damaged = _damaged(row)
    if "callbacks" in damaged:
        # Told by the tasks that have that part; what else is lost is lost.
        told = {each["callback"]: each["id"] for each in await tx.rows("callback_ids", workflow)}
        await tx.do("put_callbacks", workflow, msgspec.json.encode(told))
    await tx.do("empty_fields", workflow, "labels" in damaged, "forgotten" in damaged)
    return f"{', '.join(damaged)} made anew"


async def part_of(tx: Transaction, workflow: str, task: str) -> Callback | None:
    """What the workflow has the task for, `None` for a member."""
    row = await tx.row("workflow", workflow)
    try:
        callbacks = _callbacks.decode(row["callbacks"]) if row is not None else {}
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return next((callback for callback, named in callbacks.items() if named == task), None)
