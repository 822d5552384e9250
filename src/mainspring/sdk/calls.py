"""Calls that have not been submitted yet: plain values, to be gathered and submitted together."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from mainspring.core.model import NewTask
from mainspring.errors import InvalidInput
from mainspring.sdk.options import PARENTS_ACCEPTED, Parent, Plan
from mainspring.wire.batches import Batch, new_batch
from mainspring.wire.bounds import BOUNDS
from mainspring.wire.tasks import NewId, TaskIn, another, new_task

R_co = TypeVar("R_co", covariant=True)


class TaskCall(Parent, Generic[R_co]):
    """A task as it would be submitted: `resize.bind("a.png", width=3)`. Submitting it twice makes two tasks.

    In `depends_on` of another call it stands for its task, if both are submitted together.
    """

    __slots__ = ("decode", "kind", "payload", "plan")

    def __init__(self, kind: str, payload: bytes, plan: Plan, decode: Callable[[bytes], R_co]) -> None:
        self.kind = kind
        self.payload = payload
        self.plan = plan
        self.decode = decode

    def __repr__(self) -> str:
        return f"<call of {self.kind}>"

    def task_in(self) -> TaskIn:
        """The task as a door takes it, but for its parents."""
        return msgspec.structs.replace(
            self.plan.template, kind=self.kind, payload=msgspec.Raw(self.payload), depends_on=None
        )


def one_task(call: TaskCall[Any], new_id: NewId) -> NewTask:
    """Raises `InvalidInput`."""
    given = call.task_in()
    if call.plan.parents:
        given.depends_on = [_parent_id(parent, place) for place, parent in enumerate(call.plan.parents)]
    return new_task(given, new_id)


def entry_of(call: TaskCall[Any], new_id: NewId) -> tuple[str, bytes]:
    """The id and the document with which the call is submitted in a transaction of the caller's. Raises
    `InvalidInput`, for an idempotency key too: whether it was used before shows only after the commit."""
    if call.plan.idempotency_key is not None:
        raise InvalidInput(
            "idempotency_key", "cannot be kept in a transaction of the caller's", "`unique`, or none"
        )
    task, given = one_task(call, new_id), call.task_in()
    given.depends_on = list(task.depends_on) or None
    said = {name: value for name in given.__struct_fields__ if _is_said(value := getattr(given, name))}
    return task.id, msgspec.json.encode(said)


def _is_said(value: object) -> bool:
    return value is not None and value is not msgspec.UNSET


def many_tasks(calls: Sequence[TaskCall[Any]], new_id: NewId) -> Batch:
    """Raises `InvalidInput` with a path such as `tasks[3].priority`."""
    if 0 < len(calls) <= BOUNDS.batch_tasks and all(
        plan.is_repeatable for plan in {id(call.plan): call.plan for call in calls}.values()
    ):
        return Batch(_alike(calls, new_id), range(len(calls)))
    given = [call.task_in() for call in calls]
    places: dict[int, int] = {}
    for place, call in enumerate(calls):
        if call.plan.idempotency_key is not None:
            raise InvalidInput(
                f"tasks[{place}].idempotency_key",
                "given for one task of many",
                "one key for the whole submit",
            )
        places[id(call)] = place if id(call) not in places else -1
    for place, call in enumerate(calls):
        if call.plan.parents:
            try:
                given[place].depends_on = _names(call, places, given)
            except InvalidInput as error:
                raise error.under(f"tasks[{place}]") from None
    return new_batch(given, new_id)


def _alike(calls: Sequence[TaskCall[Any]], new_id: NewId) -> list[NewTask]:
    """Tasks that do not know of each other. The rules of those that share a plan are read once."""
    models: dict[tuple[int, str], NewTask] = {}
    tasks = []
    for place, call in enumerate(calls):
        sort = id(call.plan), call.kind
        model = models.get(sort)
        if model is not None:
            tasks.append(another(model, new_id, call.payload))
            continue
        try:
            models[sort] = task = new_task(call.task_in(), new_id)
        except InvalidInput as error:
            raise error.under(f"tasks[{place}]") from None
        tasks.append(task)
    return tasks


def _names(call: TaskCall[Any], places: dict[int, int], given: Sequence[TaskIn]) -> list[str]:
    """The parents' ids; siblings by a name that is given to them now."""
    names = []
    for number, parent in enumerate(call.plan.parents):
        if not isinstance(parent, TaskCall):
            names.append(_parent_id(parent, number))
            continue
        place = places.get(id(parent))
        if place is None or place < 0:
            problem = "is not submitted along" if place is None else "is submitted twice along"
            raise InvalidInput(f"depends_on[{number}]", f"{parent} {problem}", "a call of the same submit")
        given[place].ref = f"call-{place}"
        names.append(f"call-{place}")
    return names


def _parent_id(parent: Parent | str, number: int) -> str:
    if isinstance(parent, str):
        return parent
    identity = getattr(parent, "id", None)
    if isinstance(identity, str):
        return identity
    problem = f"{parent} is not submitted along" if isinstance(parent, TaskCall) else f"{parent!r:.60}"
    raise InvalidInput(f"depends_on[{number}]", f"not a task: {problem}", PARENTS_ACCEPTED)
