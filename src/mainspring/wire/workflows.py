"""A submitted workflow: tasks that name each other, and what to run when they are through."""

from collections.abc import Sequence

import msgspec

from mainspring.core.dag import circle, circular
from mainspring.core.model import NewTask, decode_policy, encode_policy
from mainspring.core.workflows import Callback
from mainspring.errors import InvalidInput, TooLarge
from mainspring.verbs import NewWorkflow
from mainspring.wire import fields
from mainspring.wire.batches import Batch, new_batch
from mainspring.wire.bounds import BOUNDS, Bounds
from mainspring.wire.strict import Shape
from mainspring.wire.tasks import ACCEPTED, NewId, TaskIn, new_task

NAME_ACCEPTED = "1 to 200 printable characters, not an id"
MEMBER_ACCEPTED = f"{NAME_ACCEPTED}; each name once"


class WorkflowIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A workflow to submit, all or nothing. Tasks say by `depends_on` which of their names they wait for.

    `on_complete` runs once after the last of them has ended, however it did; `on_success` if all of them
    succeeded; `on_failure` if one failed or was cancelled.
    """

    tasks: list[TaskIn]
    name: str | None = None
    labels: dict[str, str] | None = None
    on_complete: TaskIn | None = None
    on_success: TaskIn | None = None
    on_failure: TaskIn | None = None


WORKFLOW = Shape(WorkflowIn, envelope=3, accepted={**ACCEPTED, "name": NAME_ACCEPTED})


class Document(msgspec.Struct):
    """A workflow with its tasks as stores want them: members first, parents before children."""

    workflow: NewWorkflow
    tasks: list[NewTask]
    members: Batch

    def caller_place(self, row: int) -> int | None:
        """Which of the caller's `tasks` a row is; `None` for a callback."""
        return self.members.caller_place(row) if row < len(self.members.tasks) else None


def new_workflow(given: WorkflowIn, new_id: NewId, bounds: Bounds = BOUNDS) -> Document:
    """Raises `InvalidInput` with a path such as `tasks[3].depends_on[0]`: for names that are missing, used
    twice or unknown, for circles, and for what a task of a workflow cannot be."""
    if not given.tasks:
        raise InvalidInput("tasks", "is empty", f"1 to {bounds.batch_tasks} tasks")
    if len(given.tasks) > bounds.batch_tasks:
        raise TooLarge("tasks", f"has {len(given.tasks)} tasks", f"at most {bounds.batch_tasks}")
    if given.name is not None and not _is_name(given.name):
        raise InvalidInput("name", "not a name", NAME_ACCEPTED)
    labels = None
    if given.labels:
        labels = msgspec.json.encode(fields.labels(given.labels, bounds.labels))
    _check_members(given.tasks)
    for member in given.tasks:
        member.ref = member.name
    members = new_batch(given.tasks, new_id, bounds)
    tasks, callbacks = list(members.tasks), dict[Callback, str]()
    # In the caller's order: so a callback is handed the results.
    parents = tuple(members.tasks[row].id for row in members.order)
    for callback in Callback:
        task_in = getattr(given, callback.label)
        if task_in is not None:
            task = _callback(task_in, callback, parents, new_id, bounds)
            callbacks[callback] = task.id
            tasks.append(task)
    return Document(NewWorkflow(new_id(), given.name, labels, callbacks), tasks, members)


def _is_name(name: str) -> bool:
    return 0 < len(name) <= 200 and name.isprintable() and not fields.is_id(name)


def _check_members(tasks: Sequence[TaskIn]) -> None:
    places: dict[str, int] = {}
    for place, task in enumerate(tasks):
        at = f"tasks[{place}]"
        if task.name is None:
            raise InvalidInput(f"{at}.name", "missing", MEMBER_ACCEPTED)
        if not _is_name(task.name):
            raise InvalidInput(f"{at}.name", f"not a name: {task.name[:40]!r}", MEMBER_ACCEPTED)
        if task.name in places:
            raise InvalidInput(f"{at}.name", f"used twice: {task.name[:40]!r}", MEMBER_ACCEPTED)
        places[task.name] = place
        _refuse(task, ("ref", "unique"), at)
    linked = False
    for place, task in enumerate(tasks):
        for number, parent in enumerate(task.depends_on or ()):
            linked = True
            if parent not in places and not fields.is_id(parent):
                raise InvalidInput(
                    f"tasks[{place}].depends_on[{number}]",
                    f"no task of this workflow has this name: {parent[:40]!r}",
                    "a name of this workflow, or the id of a task",
                )
    if linked:
        _refuse_circles(tasks, places)


def _refuse_circles(tasks: Sequence[TaskIn], places: dict[str, int]) -> None:
    graph = {
        task.name or "": [parent for parent in task.depends_on or () if parent in places] for task in tasks
    }
    found = circle(graph)
    if found:
        child = places[found[0]]
        number = (tasks[child].depends_on or []).index(found[1])
        raise InvalidInput(f"tasks[{child}].depends_on[{number}]", circular(found), "no circle")


def _refuse(task: TaskIn, names: Sequence[str], at: str) -> None:
    """Fields that a task has elsewhere, but that would mean nothing here, or something else."""
    for name in names:
        if getattr(task, name) is not None:
            raise InvalidInput(f"{at}.{name}", _WHY_NOT[name], f"no {name}")


_WHY_NOT = {
    "ref": "tasks of a workflow know each other by their names",
    "unique": "a workflow has tasks of its own, and none stands for another one",
    "depends_on": "it waits for every task of the workflow",
    "on_parent_failure": "what it is there for says when it runs",
}


def _callback(
    given: TaskIn, callback: Callback, parents: tuple[str, ...], new_id: NewId, bounds: Bounds
) -> NewTask:
    _refuse(given, tuple(_WHY_NOT), callback.label)
    try:
        task = new_task(given, new_id, bounds)
    except InvalidInput as error:
        raise error.under(callback.label) from None
    if task.id in parents:
        raise InvalidInput(f"{callback.label}.id", f"used twice: {task.id}", "an id of its own")
    if task.name is None:
        task.name = callback.label
    task.depends_on = parents
    rules = msgspec.structs.replace(decode_policy(task.policy), on_parent_failure=callback.rule)
    task.policy = encode_policy(rules)
    return task
