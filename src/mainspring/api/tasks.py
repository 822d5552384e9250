"""Tasks: read, list, edit, cancel, retry, delete."""

from collections.abc import Mapping

import msgspec

from mainspring.api.conditions import asked_version, read_answer
from mainspring.api.door import Door
from mainspring.api.http import Answer, Call, json_answer, page_answer
from mainspring.api.submitting import task_answer
from mainspring.errors import InvalidInput, NotFound
from mainspring.ports import Page, Query
from mainspring.scheduler import Patch
from mainspring.wire import fields
from mainspring.wire.patches import PATCH, changes
from mainspring.wire.queries import page_token, read_filter, read_query
from mainspring.wire.strict import Shape
from mainspring.wire.views import PageView, task_view

FILTERS = {
    "queue": "only this queue",
    "kind": "only this kind",
    "tenant": "only this tenant",
    "label": "only tasks with this label, as NAME=VALUE",
    "workflow": "only tasks of this workflow",
}
PAGING = {
    "page_size": "how many tasks at most, 1 to 1000 (default 100)",
    "page_token": "the next_page_token of the last answer",
}
STATE = {"state": "only these states, by commas; every spelling is understood (`pending`, `completed`, ...)"}
LIST_QUERY = {**STATE, **FILTERS, **PAGING}
STATUS_QUERY = {**FILTERS, **PAGING}
GET_QUERY = {"wait": "answer when the task is final, or after so many seconds (up to 60)"}


class CancelIn(msgspec.Struct, forbid_unknown_fields=True):
    """`kill` ends a running task at once, instead of asking its worker to stop."""

    kill: bool = False


class CountView(msgspec.Struct):
    """How many tasks a bulk action was done to."""

    count: int


CANCEL = Shape(CancelIn)


def task_id(call: Call) -> str:
    """Raises `NotFound`: what is no id names no task."""
    given = call.path["id"]
    if not fields.is_id(given):
        raise NotFound(f"no task {given[:100]!r}: ids are UUIDs in lower case")
    return given


async def read_one(door: Door, call: Call) -> Answer:
    wait_s = seconds_to_wait(door, call.query)
    task = task_id(call)
    if wait_s > 0:
        await call.body(optional=True)
        record = await door.waits.unless_gone(call, door.scheduler.wait(task, wait_s))
    else:
        record = await door.scheduler.get(task)
    return read_answer(call, task_answer(record))


def seconds_to_wait(door: Door, query: Mapping[str, str]) -> float:
    if "wait" not in query:
        return 0.0
    wait_s = fields.duration_us(query["wait"], "wait") / 1e6
    return fields.real(wait_s, "wait", 0.0, door.bounds.wait_s)


async def read_many(door: Door, call: Call) -> Answer:
    return await page(door, call, read_query(call.query, door.bounds))


async def read_by_status(door: Door, call: Call) -> Answer:
    fields.states(call.path["status"], "status")
    query = read_query({**call.query, "state": call.path["status"]}, door.bounds)
    return await page(door, call, query)


async def page(door: Door, call: Call, query: Query) -> Answer:
    found: Page = await door.scheduler.find(query)
    token = None if found.cursor is None else page_token(query, found.cursor)
    return page_answer(call, PageView([task_view(task) for task in found.tasks], token))


async def edit(door: Door, call: Call) -> Answer:
    patch = Patch(**changes(PATCH.read(await call.body()), door.bounds))
    task = task_id(call)
    version = await asked_version(call, door.scheduler, task)
    return task_answer(await door.scheduler.edit(task, patch, version))


async def delete(door: Door, call: Call) -> Answer:
    """Waiting or final: gone (204). Running: the worker is asked to stop, and the record stays (202)."""
    task = task_id(call)
    record = await door.scheduler.delete(task, await asked_version(call, door.scheduler, task))
    return Answer(204) if record.state.is_final else task_answer(record, 202)


async def cancel(door: Door, call: Call) -> Answer:
    body = await call.body(optional=True)
    kill = CANCEL.read(body).kill if body else False
    task = task_id(call)
    version = await asked_version(call, door.scheduler, task)
    record = await door.scheduler.cancel(task, kill=kill, version=version)
    return task_answer(record, 200 if record.state.is_final else 202)


async def retry(door: Door, call: Call) -> Answer:
    await no_body(call)
    task = task_id(call)
    version = await asked_version(call, door.scheduler, task)
    return task_answer(await door.scheduler.replay(task, version))


async def run_now(door: Door, call: Call) -> Answer:
    await no_body(call)
    task = task_id(call)
    version = await asked_version(call, door.scheduler, task)
    return task_answer(await door.scheduler.run_now(task, version))


async def cancel_many(door: Door, call: Call) -> Answer:
    query = read_filter(await call.body(optional=True))
    return json_answer(CountView(await door.scheduler.bulk.cancel(query)))


async def no_body(call: Call) -> None:
    """For actions that take no parameters: an empty object passes, anything else would be ignored."""
    body = await call.body(optional=True)
    if body.strip() not in (b"", b"{}"):
        raise InvalidInput("body", "not expected here", "no body")
