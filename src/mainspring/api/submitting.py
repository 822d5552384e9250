"""Submitting over HTTP: one task, or many at once. The hot route: parse, hand over, render."""

from collections.abc import Mapping, Sequence

import msgspec

from mainspring.api.conditions import etag
from mainspring.api.door import Door, idempotency
from mainspring.api.http import JSON, Answer, Call, json_answer
from mainspring.core.model import NewTask, Task
from mainspring.errors import Gone, InvalidInput
from mainspring.ports import Accepted, Existing, Group, Refused
from mainspring.wire.batches import BATCH, Batch, new_batch
from mainspring.wire.problems import refusal
from mainspring.wire.tasks import TASK, new_task
from mainspring.wire.views import TaskView, encode, new_task_view, task_view

TASKS = "/api/v1/tasks/"
REPLAYED = (b"idempotency-replayed", b"true")
UNIQUE_CONFLICT = (b"unique-conflict", b"true")


class BatchView(msgspec.Struct):
    """The tasks in the order of the request. `existing` are the places of those that a unique rule found."""

    tasks: list[TaskView]
    existing: list[int]


async def submit_one(door: Door, call: Call) -> Answer:
    body = await call.body()
    given = TASK.read(body)
    if given.ref is not None:
        raise InvalidInput("ref", "given outside of a batch", "ref in the tasks of a batch only")
    task = new_task(given, door.new_id, door.bounds)
    key = idempotency(door, call, body) if b"idempotency-key" in call.headers else None
    (stored,) = await door.scheduler.submit((Group((task,), key),))
    if isinstance(stored, Accepted):
        answer = _created(task, stored)
        if key is not None:
            door.replies.keep(key, answer)
        return answer
    if isinstance(stored, Refused):
        raise refusal(stored)
    kept = door.replies.find(key) if key else None
    return replayed(kept or task_answer(still_there(stored)[0], 201))


def still_there(stored: Existing) -> Sequence[Task]:
    """A key is remembered longer than a task may live; a repeat must not pass for a new submit."""
    if not stored.tasks:
        raise Gone("the tasks made under this idempotency key have been deleted")
    return stored.tasks


def _created(task: NewTask, stored: Accepted) -> Answer:
    if stored.existing:
        return task_answer(stored.existing[0], 200, UNIQUE_CONFLICT)
    version = stored.versions[0]
    body = encode(new_task_view(task, stored.states[0], version, stored.created_at_us))
    location = (TASKS + task.id).encode()
    return Answer(201, body, [JSON, (b"location", location), (b"etag", b'"%d"' % version)])


def task_answer(task: Task, status: int = 200, *headers: tuple[bytes, bytes]) -> Answer:
    """A task as it is, with its place and its tag."""
    body = encode(task_view(task))
    named = (b"etag", etag(task.version, task.state, body)), (b"location", (TASKS + task.id).encode())
    # A 200 to a GET is at its own address; every other answer says where the task is.
    return Answer(status, body, [JSON, *(named if status != 200 or headers else named[:1]), *headers])


def replayed(answer: Answer) -> Answer:
    answer.headers.append(REPLAYED)
    return answer


async def submit_batch(door: Door, call: Call) -> Answer:
    body = await call.body()
    batch = new_batch(BATCH.read(body).tasks, door.new_id, door.bounds)
    key = idempotency(door, call, body) if b"idempotency-key" in call.headers else None
    (stored,) = await door.scheduler.submit((Group(batch.tasks, key),))
    if isinstance(stored, Refused):
        raise refusal(stored, None if stored.row is None else batch.caller_place(stored.row))
    if isinstance(stored, Existing):
        kept = door.replies.find(key) if key else None
        return replayed(kept or json_answer(_batch_again(batch, stored), 201))
    answer = json_answer(_batch_view(batch, stored), 201)
    if key is not None:
        door.replies.keep(key, answer)
    return answer


def _batch_view(batch: Batch, stored: Accepted) -> BatchView:
    existing, created_at_us = stored.existing, stored.created_at_us
    if existing:
        _depend_on_existing(batch.tasks, existing)
    views = [
        task_view(existing[row])
        if row in existing
        else new_task_view(batch.tasks[row], stored.states[row], stored.versions[row], created_at_us)
        for row in batch.order
    ]
    return BatchView(views, [place for place, row in enumerate(batch.order) if row in existing])


def _depend_on_existing(tasks: list[NewTask], existing: Mapping[int, Task]) -> None:
    """Children of a duplicate depend on the task that stands for it, and are shown so."""
    stands_for = {tasks[row].id: task.id for row, task in existing.items()}
    for task in tasks:
        task.depends_on = tuple(dict.fromkeys(stands_for.get(parent, parent) for parent in task.depends_on))


def _batch_again(batch: Batch, stored: Existing) -> BatchView:
    tasks = still_there(stored)
    if len(tasks) == len(batch.order):
        tasks = [tasks[row] for row in batch.order]
    return BatchView([task_view(task) for task in tasks], [])
