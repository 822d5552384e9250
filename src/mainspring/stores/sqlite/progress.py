"""What running tasks record on the way, and what is read of it: checkpoints, steps, logs, parents."""

from collections.abc import Sequence
from typing import Any

import msgspec

from mainspring.core.progress import (
    LOG_BYTES_KEPT,
    LOG_BYTES_LIVE,
    RECALL_BYTES,
    LogHead,
    LogPiece,
    admit,
    surplus,
    unread,
    weight_of,
)
from mainspring.ports import Answer, Append, Glance, LogPage, Parent, Recall, Recalled, Refused
from mainspring.stores.sqlite.connection import DATA_ERRORS, Database
from mainspring.stores.sqlite.reading import Reader
from mainspring.stores.sqlite.rows import NULL, STORED_NULL, state_of, texts
from mainspring.stores.sqlite.transaction import Transaction
from mainspring.verbs import lease_lost, recall_too_large

# But for a line that comes too late: `is_late` of core/progress.py.
APPEND = (
    "UPDATE tasks INDEXED BY tasks_id SET checkpoint = coalesce(?1, checkpoint),"
    " progress = coalesce(?2, progress), noted_token = ?4, noted = ?5"
    " WHERE id = ?3 AND token = ?4 AND state = 4"
    " AND (noted_token IS NOT ?4 OR noted <= ?5 OR ?5 = 0)"
)
HOLDS = "SELECT n FROM tasks INDEXED BY tasks_id WHERE id = ? AND token = ? AND state = 4"
ADD_STEP = (
    "INSERT INTO steps (task, n, name, result)"
    " SELECT ?1, (SELECT count(*) FROM steps WHERE task = ?1), ?2, ?3 WHERE true"
    " ON CONFLICT (task, name) DO NOTHING"
)
STEPS = "SELECT name, result FROM steps WHERE task = ? ORDER BY n"

HEAD = "SELECT token, base, ends, kept FROM logged WHERE task = ?"
PUT_HEAD = "INSERT OR REPLACE INTO logged (task, token, base, ends, kept) VALUES (?, ?, ?, ?, ?)"
ADD_BLOCK = "INSERT INTO logs (task, ends, weight, pieces) VALUES (?, ?, ?, ?)"
OLDEST = "SELECT ends, weight FROM logs WHERE task = ? ORDER BY ends"
DROP_OLDEST = "DELETE FROM logs WHERE task = ? AND ends <= ?"
SET_KEPT = "UPDATE logged SET kept = ? WHERE task = ?"
LONG_AND_ENDED = (
    "SELECT l.task, l.kept FROM logged l INDEXED BY logged_long JOIN tasks t ON t.n = l.task"
    f" WHERE l.kept > {LOG_BYTES_KEPT} AND t.state >= 5 LIMIT ?"
)
NUMBER_OF = "SELECT n FROM tasks INDEXED BY tasks_id WHERE id = ?"
LOG_ENDS = "SELECT ends FROM logged WHERE task = ?"
BLOCKS = "SELECT pieces FROM logs WHERE task = ? AND ends > ? ORDER BY ends"
GLANCES = (
    "SELECT t.id, t.state, t.version, t.progress, coalesce(l.ends, 0) FROM tasks t INDEXED BY tasks_id"
    " LEFT JOIN logged l ON l.task = t.n WHERE t.id IN carray(?)"
)
PARENTS_SIZE = (
    "SELECT coalesce(sum(coalesce(length(t.result), 0) + coalesce(length(t.error), 0)), 0)"
    " FROM edges e INDEXED BY edges_child JOIN tasks t ON t.n = e.parent WHERE e.child = ?"
)
PARENTS = (
    "SELECT t.id, t.name, t.state, t.result, t.error FROM edges e INDEXED BY edges_child"
    " JOIN tasks t ON t.n = e.parent WHERE e.child = ?"
)
PARENTS_IN_ORDER = "SELECT parents FROM dependencies WHERE task = ?"
FORGET = (
    "DELETE FROM steps WHERE task = ?",
    "DELETE FROM logged WHERE task = ?",
    "DELETE FROM logs WHERE task = ?",
)

CUT_AT_ONCE = 20

_encode = msgspec.msgpack.Encoder().encode
_pieces = msgspec.msgpack.Decoder(list[LogPiece])
_ids = msgspec.json.Decoder(tuple[str, ...])


# --- recording --------------------------------------------------------------------------------------


def append(tx: Transaction, line: Append) -> Answer:
    """One line: all of it, or nothing. One with a value that cannot be stored harms no other."""
    try:
        if not line.steps and not line.log:
            return _update(tx.db, line)
        with tx.db:
            return _append(tx.db, line)
    except DATA_ERRORS:
        return Answer.LOST


def _update(db: Database, line: Append) -> Answer:
    before = db.total_changes()
    db.execute(APPEND, (line.checkpoint, line.progress, line.task, line.token, line.number))
    if db.total_changes() > before or db.execute(HOLDS, (line.task, line.token)).get is not None:
        return Answer.OK
    return Answer.LOST


def _append(db: Database, line: Append) -> Answer:
    if line.checkpoint is not None or line.progress is not None:
        _update(db, line)
    n = db.execute(HOLDS, (line.task, line.token)).get
    if n is None:
        return Answer.LOST
    for name, result in line.steps.items():
        db.execute(ADD_STEP, (n, name, result))
    if line.log:
        _write_log(db, n, line)
    return Answer.OK


def _write_log(db: Database, n: int, line: Append) -> None:
    stored = db.execute(HEAD, (n,)).fetchone()
    head, blocks = admit(LogHead(*stored) if stored else LogHead(), line.token, line.log)
    for block in blocks:
        db.execute(ADD_BLOCK, (n, block.ends, block.weight, _encode(block.pieces)))
    kept = head.kept
    if kept > LOG_BYTES_LIVE:
        kept -= _cut(db, n, kept, LOG_BYTES_LIVE)
    db.execute(PUT_HEAD, (n, head.token, head.base, head.ends, kept))


def _cut(db: Database, n: int, kept: int, cap: int) -> int:
    """Drop the oldest of a log that is over its cap; the weight of what was dropped."""
    oldest = db.execute(OLDEST, (n,))
    up_to, freed = surplus(oldest, kept, cap)
    oldest.close()
    db.execute(DROP_OLDEST, (n, up_to))
    return freed


def cut_ended(tx: Transaction) -> None:
    """Of tasks that have ended, the log's tail is enough. A few a pass: each may free hundreds of pages."""
    for n, kept in tx.db.execute(LONG_AND_ENDED, (CUT_AT_ONCE,)).fetchall():
        tx.db.execute(SET_KEPT, (kept - _cut(tx.db, n, kept, LOG_BYTES_KEPT), n))


def forget(tx: Transaction, n: int) -> None:
    for sql in FORGET:
        tx.db.execute(sql, (n,))


# --- reading ----------------------------------------------------------------------------------------


def recall(reader: Reader, lines: Sequence[Recall]) -> list[Recalled | Refused]:
    return [_recall(reader.db, line) for line in lines]


def _recall(db: Database, line: Recall) -> Recalled | Refused:
    try:
        n = db.execute(HOLDS, (line.task, line.token)).get
    except DATA_ERRORS:
        n = None
    if n is None:
        return lease_lost(line.task)
    found = Recalled()
    if line.steps:
        found.steps = dict(db.execute(STEPS, (n,)).fetchall())
    if line.parents:
        size = db.execute(PARENTS_SIZE, (n,)).get
        if size > RECALL_BYTES:
            return recall_too_large(size)
        found.parents = _parents(db, n)
    return found


def _parents(db: Database, n: int) -> list[Parent]:
    stored = db.execute(PARENTS_IN_ORDER, (n,)).get
    if stored is None:
        return []
    found: dict[str, Parent] = {}
    rows: list[Any] = db.execute(PARENTS, (n,)).fetchall()
    for task, name, state, result, error in rows:
        found[task] = Parent(task, name, state_of(state), NULL if result == STORED_NULL else result, error)
    return [found[task] for task in _ids.decode(stored) if task in found]


def logs(reader: Reader, task: str, after: int, most: int) -> LogPage | None:
    db = reader.db
    n = db.execute(NUMBER_OF, (task,)).get
    if n is None:
        return None
    page, weight = LogPage([], db.execute(LOG_ENDS, (n,)).get or 0), 0
    rows = db.execute(BLOCKS, (n, after))
    for (stored,) in rows:
        pieces = unread(_pieces.decode(stored), after)
        page.pieces += pieces
        weight += weight_of(pieces)
        if weight >= most:
            break
    rows.close()
    return page


def glance(reader: Reader, tasks: Sequence[str]) -> list[Glance | None]:
    if not tasks:
        return []
    rows = reader.db.execute(GLANCES, (texts(tasks),))
    found = {task: Glance(state_of(state), *rest) for task, state, *rest in rows}
    return [found.get(task) for task in tasks]
