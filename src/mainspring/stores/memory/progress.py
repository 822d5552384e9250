"""What running tasks record on the way, and what is read of it: steps, logs, parents."""

from collections.abc import Sequence

from mainspring.core.progress import (
    LOG_BYTES_KEPT,
    LOG_BYTES_LIVE,
    RECALL_BYTES,
    LogHead,
    Noted,
    admit,
    is_late,
    surplus,
    unread,
    weight_of,
)
from mainspring.ports import Append, Glance, LogPage, Parent, Recall, Recalled, Refused
from mainspring.stores.memory.moves import Call
from mainspring.stores.memory.tables import Row, Tables
from mainspring.verbs import recall_too_large


def record(call: Call, row: Row, line: Append) -> None:
    """Write a line of the row's holder."""
    if not is_late(row.noted, line.token, line.number):
        _note(row, line)
    for name, result in line.steps.items():
        call.tables.steps.setdefault(row.id, {}).setdefault(name, result)
    if line.log:
        _write_log(call.tables, row.id, line)


def _note(row: Row, line: Append) -> None:
    if line.checkpoint is not None or line.progress is not None:
        row.noted = Noted(line.token, line.number)
    if line.checkpoint is not None:
        row.checkpoint = line.checkpoint
    if line.progress is not None:
        row.progress = line.progress


def _write_log(tables: Tables, task: str, line: Append) -> None:
    head, blocks = admit(tables.log_heads.get(task, LogHead()), line.token, line.log)
    tables.log_heads[task] = head
    tables.log_blocks.setdefault(task, []).extend(blocks)
    _cut(tables, task, LOG_BYTES_LIVE)


def _cut(tables: Tables, task: str, cap: int) -> None:
    head, blocks = tables.log_heads[task], tables.log_blocks[task]
    up_to, freed = surplus(((block.ends, block.weight) for block in blocks), head.kept, cap)
    if freed:
        tables.log_blocks[task] = [block for block in blocks if block.ends > up_to]
        tables.log_heads[task] = head._replace(kept=head.kept - freed)


def cut_ended(call: Call) -> None:
    """Of tasks that have ended, the log's tail is enough."""
    tables = call.tables
    for task, head in list(tables.log_heads.items()):
        if head.kept > LOG_BYTES_KEPT and tables.rows[task].state.is_final:
            _cut(tables, task, LOG_BYTES_KEPT)


def recalled(tables: Tables, row: Row, line: Recall) -> Recalled | Refused:
    found = Recalled()
    if line.steps:
        found.steps = dict(tables.steps.get(row.id, {}))
    if line.parents:
        parents = [tables.rows[parent] for parent in row.depends_on if parent in tables.rows]
        size = sum(len(parent.result or b"") + len(parent.error or b"") for parent in parents)
        if size > RECALL_BYTES:
            return recall_too_large(size)
        found.parents = [Parent(p.id, p.name, p.state, p.result, p.error) for p in parents]
    return found


def logs(call: Call, task: str, after: int, most: int) -> LogPage | None:
    tables = call.tables
    if task not in tables.rows:
        return None
    page, weight = LogPage([], tables.log_heads.get(task, LogHead()).ends), 0
    for block in tables.log_blocks.get(task, ()):
        if block.ends > after:
            pieces = unread(block.pieces, after)
            page.pieces += pieces
            weight += weight_of(pieces)
            if weight >= most:
                break
    return page


def glance(call: Call, tasks: Sequence[str]) -> list[Glance | None]:
    tables = call.tables
    return [
        Glance(row.state, row.version, row.progress, tables.log_heads.get(task, LogHead()).ends)
        if (row := tables.rows.get(task)) is not None
        else None
        for task in tasks
    ]
