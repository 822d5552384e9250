"""Plain tasks as the bytes of a binary COPY, which takes half the time of an INSERT for thousands of rows.

What many of them have in common, such as lane and policy, is encoded once: value by value, a node took as
long to tell of a task as the server takes to store it.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from struct import Struct

from mainspring.core.lifecycle import Cause
from mainspring.core.model import NewTask, State
from mainspring.stores.postgres.moves import due_state
from mainspring.stores.postgres.planning import due_at_us, rule_of
from mainspring.stores.postgres.transaction import Transaction

# A row: what is its own, and what it has in common with others.
COLUMNS = (
    "version", "seq", "id", "payload",
    "lane_id", "state", "created_at_us", "run_at_us", "policy", "timeout_us", "deadline_us", "labels", "name",
    "rule",
)  # fmt: skip
_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
# Each value stands behind its length; -1 says that there is none.
_NO_VALUE = b"\xff\xff\xff\xff"
_LENGTH, _SMALLINT = Struct("!i"), Struct("!ih")
PIECE_BYTES, _ABOUT_A_ROW = 1 << 16, 250
_IN_LINE, _IN_NO_LINE = Struct("!hiqiqi"), Struct("!hiqii")


class _Common:
    """What tasks have in common, and how many they are."""

    __slots__ = ("count", "lane_id", "state", "values")

    def __init__(self, tx: Transaction, task: NewTask, run_at_us: int | None) -> None:
        self.lane_id = tx.lane_id(task.lane)
        self.state = due_state(tx, run_at_us)
        self.count = 0
        self.values = b"".join((
            _number(self.lane_id), _SMALLINT.pack(2, self.state), _number(tx.now_us), _number(run_at_us),
            _bytes(task.policy), _number(task.timeout_us), _number(task.deadline_us), _bytes(task.labels),
            _bytes(None if task.name is None else task.name.encode()), _SMALLINT.pack(2, rule_of(task)),
        ))  # fmt: skip


class Rows:
    """New tasks that touch no others: `states` as they come to be, and the bytes of their rows. Counted and
    recorded in the transaction."""

    def __init__(self, tx: Transaction, tasks: Sequence[NewTask]) -> None:
        """Raises `UnicodeEncodeError` and `OverflowError` for what cannot be stored."""
        self._tasks = tasks
        self._common: list[_Common] = []
        known: dict[object, _Common] = {}
        for task in tasks:
            run_at_us = due_at_us(tx, task)
            sort = (
                task.lane,
                run_at_us,
                task.policy,
                task.timeout_us,
                task.deadline_us,
                task.labels,
                task.name,
            )
            common = known.get(sort)
            if common is None:
                common = known[sort] = _Common(tx, task, run_at_us)
            common.count += 1
            self._common.append(common)
        for common in known.values():
            tx.count(common.lane_id, common.state, common.count)
            if common.state is State.READY:
                tx.gained.add(common.lane_id)
        self.states = [common.state for common in self._common]
        self.versions = tx.mint_many(len(tasks))
        if tx.steps is not None:
            for task, state in zip(tasks, self.states, strict=True):
                tx.record(task.id, None, Cause.SUBMIT, state, 0, 0)

    async def pieces(self) -> AsyncIterator[bytes]:
        """One after the other, so that the server stores the first ones while the others are encoded."""
        pieces, size = [_SIGNATURE], 0
        for version, task, common in zip(self.versions, self._tasks, self._common, strict=True):
            pieces += _row(version, task, common)
            size += len(task.payload) + _ABOUT_A_ROW
            if size >= PIECE_BYTES:
                yield b"".join(pieces)
                pieces, size = [], 0
                await asyncio.sleep(0)  # or the loop would keep it until all is written
        pieces.append(_END)
        yield b"".join(pieces)


def _row(version: int, task: NewTask, common: _Common) -> tuple[bytes, ...]:
    name, payload, width = task.id.encode(), task.payload, len(COLUMNS)
    if common.state is State.READY:
        head = _IN_LINE.pack(width, 8, version, 8, version, len(name))
    else:
        head = _IN_NO_LINE.pack(width, 8, version, -1, len(name))
    return head, name, _LENGTH.pack(len(payload)), payload, common.values


def _bytes(value: bytes | None) -> bytes:
    return _NO_VALUE if value is None else _LENGTH.pack(len(value)) + value


def _number(value: int | None) -> bytes:
    return _NO_VALUE if value is None else _LENGTH.pack(8) + value.to_bytes(8, signed=True)
