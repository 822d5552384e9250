"""Lines and answers about what running tasks record on the way, and what a later run asks for."""

from typing import NamedTuple

import msgspec

from mainspring.core.model import State
from mainspring.core.progress import RECALL_BYTES, LogPiece
from mainspring.verbs.tasks import Refused


class Append(msgspec.Struct):
    """What a running task records on the way. `None` leaves a field as it is.

    A step that is recorded already keeps its first result. Of `log`, pieces that this run has sent before
    are passed over; offsets count from the run's start. So a line may be repeated.

    Lines may overtake each other on the way: of a run's numbered lines (`number` above 0, rising) one that
    comes after a higher one changes neither checkpoint nor progress.
    """

    task: str
    token: int
    checkpoint: bytes | None = None
    progress: bytes | None = None
    steps: dict[str, bytes] = {}
    log: list[LogPiece] = []
    number: int = 0


class Recall(NamedTuple):
    """A run asks what earlier runs of its task have recorded, and how the tasks it depends on have ended."""

    task: str
    token: int
    steps: bool = True
    parents: bool = True


class Parent(msgspec.Struct):
    """A task that the asking one depends on. `result` and `error` are JSON text."""

    id: str
    name: str | None
    state: State
    result: bytes | None = None
    error: bytes | None = None


class Recalled(msgspec.Struct):
    """Steps by name, in the order of their recording; parents in the order in which they were named. What
    was not asked for is empty."""

    steps: dict[str, bytes] = {}
    parents: list[Parent] = []


def lease_lost(task: str) -> Refused:
    return Refused("lease_lost", f"the lease on task {task} is not the caller's any more")


def recall_too_large(size: int) -> Refused:
    detail = f"the results of the tasks it depends on have {size} bytes; at most {RECALL_BYTES} are handed on"
    return Refused("too_large", detail)


class LogPage(msgspec.Struct):
    """Pieces of a task's log, oldest first. `ends` is where the log ends by now: a page that stops before
    it was cut, and the next one follows it. A piece that starts behind where the reader was shows that the
    bytes between were left out."""

    pieces: list[LogPiece]
    ends: int


class Glance(NamedTuple):
    """Enough to see whether a task has changed: its version, its progress, and where its log ends."""

    state: State
    version: int
    progress: bytes | None
    log_ends: int
