"""What surrounds one task: enough to say why it is not running."""

from collections.abc import Sequence
from itertools import islice

from mainspring.core.explain import OpenParent
from mainspring.core.limits import names
from mainspring.core.model import State
from mainspring.core.turns import COUNTED
from mainspring.ports import Surroundings, WorkerInfo
from mainspring.stores.memory.moves import Call
from mainspring.stores.memory.reading import board, view
from mainspring.stores.memory.tables import Due, Row


def surroundings(call: Call, task: str, shown: int, workers: Sequence[WorkerInfo]) -> Surroundings | None:
    row = call.tables.rows.get(task)
    if row is None:
        return None
    found = Surroundings(view(row), board(call), workers)
    if row.state is State.BLOCKED:
        found.parents = list(islice(_open_parents(call, row), shown))
    elif row.state is State.READY:
        found.place = sum(entry < _entry(row) for entry in _may_start(call, row.lane_id))
        found.waiting = {
            lane_id: min(COUNTED, len(_may_start(call, lane_id))) for lane_id in call.tables.ready
        }
        found.holders = {
            name: _holders(call, name)[:shown] for name in names(row.lane) if name in found.board.usage
        }
    return found


def _entry(row: Row) -> Due:
    assert row.seq is not None
    return Due(row.seq, row.ordinal, row.id)


def _may_start(call: Call, lane_id: int) -> list[Due]:
    """The lane's line, without those that a claim passes over: tasks past their deadline."""
    tables, found = call.tables, []
    for entry in tables.ready[lane_id]:
        if tables.in_line(entry, lane_id):
            deadline_us = tables.rows[entry.task].deadline_us
            if deadline_us is None or deadline_us >= call.now_us:
                found.append(entry)
    return found


def _holders(call: Call, name: str) -> list[str]:
    rows = call.tables.rows
    return [task for task in call.tables.running if name in names(rows[task].lane)]


def _open_parents(call: Call, row: Row) -> list[OpenParent]:
    tables, found = call.tables, []
    for parent_id in row.depends_on:
        parent = tables.rows.get(parent_id)
        if parent is not None and tables.dependents.get(parent_id, {}).get(row.id):
            found.append(OpenParent(parent.id, parent.name, parent.state))
    return found
