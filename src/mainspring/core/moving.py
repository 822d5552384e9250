"""What becomes of a task that moves from one store to another, and how two stores are told to hold the same.

A lease is a promise of the store that gave it, so none is carried. A running task comes over as handed back:
ready, at its place in line, with the attempt not counted and a token above the old one. Whoever still runs it
is refused by the new store. Was it asked to stop, it comes over as cancelled.
"""

from hashlib import blake2b
from zlib import crc32

import msgspec

from mainspring.core.lifecycle import Cause
from mainspring.core.model import State, Task

_DIGEST_BYTES = 16
SHELVES = 1024


def at_rest(task: Task) -> Task:
    """The task as it comes over. Its dependencies and its workflow are records of their own."""
    resting = msgspec.structs.replace(
        task, open_parents=0, depends_on=(), workflow=None, lease_until_us=None, timeout_at_us=None
    )
    if task.state is State.RUNNING:
        _hand_back(resting)
    if not resting.state.is_final:
        resting.worker = None
    return resting


def _hand_back(task: Task) -> None:
    task.attempt -= 1
    if task.cancel_requested_at_us is not None:
        task.state, task.finished_at_us = State.CANCELLED, task.cancel_requested_at_us
    else:
        # A place by which it was claimed; a row without one was claimed no earlier than its token was minted.
        task.state, task.seq = State.READY, task.token if task.seq is None else task.seq
    task.token += 1
    task.version += 1


def step_to_rest(task: Task) -> tuple[Cause, State] | None:
    """The step that moving adds to the history of a running task."""
    if task.state is not State.RUNNING:
        return None
    if task.cancel_requested_at_us is not None:
        return Cause.CANCEL, State.CANCELLED
    return Cause.RELEASE, State.READY


def highest_number(task: Task) -> int:
    """No token, version or place of the task is above this."""
    return max(task.token, task.version, task.seq or 0)


def shelf_of(name: str) -> int:
    """Which of the `SHELVES` the record of this name counts on."""
    return crc32(name.encode()) % SHELVES


class Sum:
    """How many records, and one number of them that does not depend on their order: the sum of their hashes.
    Unlike an exclusive or, it tells a record that is there twice from one that is not there.

    It is kept by shelves, so that what differs can be found by reading again, with a thousandth of the
    records in memory."""

    def __init__(self) -> None:
        self.count = 0
        self._totals = [0] * SHELVES

    def add(self, name: str, record: bytes) -> None:
        self.count += 1
        self._totals[shelf_of(name)] += int.from_bytes(
            blake2b(record, digest_size=_DIGEST_BYTES).digest(), "big"
        )

    @property
    def digest(self) -> str:
        return f"{sum(self._totals) % (1 << 8 * _DIGEST_BYTES):0{2 * _DIGEST_BYTES}x}"

    def differing(self, other: "Sum") -> list[int]:
        """The shelves with records that not both have."""
        return [n for n in range(SHELVES) if self._totals[n] != other._totals[n]]
