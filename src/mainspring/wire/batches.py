"""Many tasks in one submit, all or nothing, with names (`ref`) that siblings may depend on."""

from collections.abc import Sequence
from operator import attrgetter

import msgspec

from mainspring.core.dag import storing_order
from mainspring.core.model import NewTask
from mainspring.errors import InvalidInput, TooLarge
from mainspring.wire import fields
from mainspring.wire.bounds import BOUNDS, Bounds
from mainspring.wire.strict import Shape
from mainspring.wire.tasks import ACCEPTED, NewId, TaskIn, new_task


class BatchIn(msgspec.Struct, forbid_unknown_fields=True):
    """Tasks that are stored together or not at all."""

    tasks: list[TaskIn]


BATCH = Shape(BatchIn, envelope=3, accepted=ACCEPTED)


class Batch(msgspec.Struct):
    """`tasks` stand parents before children, as stores want them; `order[n]` is the place among them of
    the caller's n-th task."""

    tasks: list[NewTask]
    order: Sequence[int]

    def caller_place(self, row: int) -> int:
        """Which of the caller's tasks a row of `tasks` is."""
        return self.order.index(row)


def new_batch(given: Sequence[TaskIn], new_id: NewId, bounds: Bounds = BOUNDS) -> Batch:
    """Raises `InvalidInput` with a path such as `tasks[3].priority`; refuses cycles and unknown names."""
    if not given:
        raise InvalidInput("tasks", "is empty", f"1 to {bounds.batch_tasks} tasks")
    if len(given) > bounds.batch_tasks:
        raise TooLarge("tasks", f"has {len(given)} tasks", f"at most {bounds.batch_tasks}")
    ids = _names(given, new_id)
    linked = False
    tasks = []
    for place, task_in in enumerate(given):
        try:
            if task_in.depends_on:
                linked = True
                _resolve(task_in, ids)
            tasks.append(new_task(task_in, new_id, bounds))
        except InvalidInput as error:
            raise error.under(f"tasks[{place}]") from None
    _check_ids(tasks)
    return _sorted(tasks, ids) if linked and not _is_sorted(tasks) else Batch(tasks, range(len(tasks)))


def _names(given: Sequence[TaskIn], new_id: NewId) -> dict[str, str]:
    """The id behind every `ref`. A named task has its id minted here, so that children can name it."""
    ids: dict[str, str] = {}
    for place, task in enumerate(given):
        if task.ref is None:
            continue
        if not 0 < len(task.ref) <= 200 or not task.ref.isprintable() or fields.is_id(task.ref):
            raise InvalidInput(
                f"tasks[{place}].ref", "not a name", "1 to 200 printable characters, not an id"
            )
        if task.ref in ids:
            raise InvalidInput(
                f"tasks[{place}].ref", f"used twice: {task.ref!r}", "another name for each task"
            )
        if task.id is None:
            task.id = new_id()
        ids[task.ref] = task.id
    return ids


def _resolve(task: TaskIn, ids: dict[str, str]) -> None:
    parents = task.depends_on or []
    for place, parent in enumerate(parents):
        known = ids.get(parent)
        if known is not None:
            parents[place] = known
        elif not fields.is_id(parent):
            raise InvalidInput(
                f"depends_on[{place}]",
                f"no task has this ref: {parent[:40]!r}",
                "a ref of this batch, or an id",
            )


def _check_ids(tasks: list[NewTask]) -> None:
    if len({task.id for task in tasks}) < len(tasks):
        seen: set[str] = set()
        for place, task in enumerate(tasks):
            if task.id in seen:
                raise InvalidInput(f"tasks[{place}].id", f"used twice: {task.id}", "an id of its own")
            seen.add(task.id)


def _is_sorted(tasks: list[NewTask]) -> bool:
    """Whether parents stand before their children as given: nobody's order is changed without need."""
    later = set(map(attrgetter("id"), tasks))
    for task in tasks:
        if not later.isdisjoint(task.depends_on):
            return False
        later.discard(task.id)
    return True


def _sorted(tasks: list[NewTask], ids: dict[str, str]) -> Batch:
    """Parents before children: level by level, and in a level as given."""
    members = set(map(attrgetter("id"), tasks))
    refs = {task_id: ref for ref, task_id in ids.items()}

    def named(task_id: str) -> str:
        return refs.get(task_id, task_id)

    parents = {
        named(task.id): [named(parent) for parent in task.depends_on if parent in members] for task in tasks
    }
    ranks = {ref: rank for rank, ref in enumerate(storing_order(parents))}
    rows = sorted(range(len(tasks)), key=lambda place: ranks[named(tasks[place].id)])
    order = [0] * len(tasks)
    for row, place in enumerate(rows):
        order[place] = row
    return Batch([tasks[place] for place in rows], order)
