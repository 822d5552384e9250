"""Lines about what users write in transactions of their own: submissions, which the store has yet to take in.

A user's transaction may last for hours and must not hold up anybody, so a submission is a row of a table of
its own, as its submitter wrote it. It is validated when it is taken in: then it becomes a task, or a dead
letter with the reason.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from mainspring.core.model import NewTask, State
from mainspring.verbs.tasks import Accepted, Existing, Moved, Refused


class Submission(NamedTuple):
    """A committed row. `n` names it: in order of writing, and never given again. `id` is the task's;
    `document` is what was written, not looked at yet."""

    n: int
    id: str
    document: bytes


class TakeIn(NamedTuple):
    """What is to become of a submission: the task is stored and the row goes, both or neither. Without a task
    the row just goes. With `end`, which is FAILED or CANCELLED, the task ends at once with `error`, and
    nothing runs."""

    n: int
    task: NewTask | None
    end: State | None = None
    error: bytes | None = None


class TakenIn(msgspec.Struct):
    """One answer a line. The row stays if its task was refused, or an earlier one stands for it
    (`Accepted.existing`). `None`: it is not this call's to take, because another node has it in hand, or
    because a parent was submitted before it and is not taken in yet."""

    answers: Sequence[Accepted | Existing | Refused | None]
    moved: Moved
