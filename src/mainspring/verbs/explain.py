"""What surrounds one task, read as of one moment: enough to say why it is not running."""

from collections.abc import Mapping, Sequence

import msgspec

from mainspring.core.explain import OpenParent
from mainspring.core.model import Task
from mainspring.verbs.tasks import BoardView, WorkerInfo


class Surroundings(msgspec.Struct):
    """For a ready task `place` is how many tasks of its lane a claim takes before it, and `waiting` how many
    tasks each lane of the board has that may start, counted up to `turns.COUNTED`. Tasks past their deadline
    are in neither. `holders` are running tasks by the limited names that the task's lane falls under;
    `parents` are tasks that a blocked one still waits for."""

    task: Task
    board: BoardView
    workers: Sequence[WorkerInfo]
    place: int = 0
    waiting: Mapping[int, int] = {}
    holders: Mapping[str, Sequence[str]] = {}
    parents: Sequence[OpenParent] = ()
