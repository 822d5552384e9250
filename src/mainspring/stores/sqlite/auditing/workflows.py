"""Workflows: breaches in their own rows, and what is put in their place."""

from collections.abc import Callable
from typing import Any

import msgspec

from mainspring.core.workflows import Callback, Tally
from mainspring.stores.sqlite.connection import Database
from mainspring.stores.sqlite.transaction import Transaction
from mainspring.verbs.audit import Finding

_ROW = (
    "SELECT w.n, w.id, w.callbacks, w.labels, w.forgotten, EXISTS (SELECT 1 FROM tasks t INDEXED BY"
    " tasks_workflow WHERE t.workflow = w.n) FROM workflows w"
)
FROM_CURSOR = f"{_ROW} WHERE w.n > ? ORDER BY w.n LIMIT ?"
ONE = f"{_ROW} WHERE w.n = ?"
DROP = "DELETE FROM workflows WHERE n = ?"
CALLBACKS_OF = "SELECT callback, id FROM tasks INDEXED BY tasks_workflow WHERE workflow = ? AND callback > 0"
READ_CALLBACKS = "SELECT callbacks FROM workflows WHERE n = ?"

_callbacks = msgspec.json.Decoder(dict[Callback, str])
FIELDS: tuple[tuple[str, Callable[[bytes], object]], ...] = (
    ("callbacks", _callbacks.decode),
    ("labels", msgspec.json.Decoder(dict[str, Any]).decode),
    ("forgotten", msgspec.json.Decoder(Tally).decode),
)


def look(db: Database, after: int, limit: int) -> tuple[list[Finding], list[int]]:
    rows = db.execute(FROM_CURSOR, (after, limit)).fetchall()
    return [finding for row in rows for finding in _findings(*row)], [row[0] for row in rows]


def _findings(n: int, id_: str, *values: bytes | None) -> list[Finding]:
    *stored, has_tasks = values
    found = []
    damaged = _damaged(stored)
    if damaged:
        detail = f"its {', '.join(damaged)} cannot be read"
        found.append(Finding("unreadable_workflow", f"workflow {id_}", detail, ("workflow", n)))
    if not has_tasks:
        found.append(Finding("empty_workflow", f"workflow {id_}", "it has no task", ("workflow", n)))
    return found


def _damaged(stored: list[bytes | None]) -> list[str]:
    names = []
    for (name, decode), value in zip(FIELDS, stored, strict=True):
        try:
            if value is not None:
                decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
            names.append(name)
    return names


def mend(tx: Transaction, n: int, law: str) -> str | None:
    """What was done, or `None` if the workflow does not break the law any more."""
    row = tx.db.execute(ONE, (n,)).fetchone()
    if row is None or law not in {finding.law for finding in _findings(*row)}:
        return None
    if law == "empty_workflow":
        tx.db.execute(DROP, (n,))
        return "removed"
    damaged = _damaged(list(row[2:5]))
    for name in damaged:
        tx.db.execute(f"UPDATE workflows SET {name} = ? WHERE n = ?", (_anew(tx, n, name), n))
    return f"{', '.join(damaged)} made anew"


def _anew(tx: Transaction, n: int, name: str) -> bytes | None:
    """Callbacks are told by the tasks that have that part; what else is lost is lost."""
    return msgspec.json.encode(dict(tx.db.execute(CALLBACKS_OF, (n,)))) if name == "callbacks" else None


def part_of(tx: Transaction, n: int, task: str) -> Callback | None:
    """What the workflow has the task for, `None` for a member."""
    stored = tx.db.execute(READ_CALLBACKS, (n,)).get
    try:
        callbacks = _callbacks.decode(stored) if stored else {}
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return next((callback for callback, named in callbacks.items() if named == task), None)
