"""Workflows: submit one, list them, look at one or wait for its end, cancel it, retry what failed."""

import msgspec

from mainspring.api.door import Door, idempotency
from mainspring.api.http import Answer, Call, json_answer, page_answer
from mainspring.api.submitting import REPLAYED, still_there
from mainspring.api.tasks import PAGING, no_body, seconds_to_wait
from mainspring.errors import NotFound
from mainspring.ports import Existing, Group, Refused
from mainspring.wire import fields
from mainspring.wire.problems import refusal
from mainspring.wire.strict import Shape
from mainspring.wire.workflow_views import (
    CancelledView,
    RetriedView,
    graph_view,
    read_workflow_query,
    workflow_view,
    workflows_view,
)
from mainspring.wire.workflows import WORKFLOW, new_workflow

WORKFLOWS = "/api/v1/workflows/"
LIST_QUERY = {
    "state": "only these states, by commas: running, succeeded, failed, cancelled",
    "name": "only workflows of this name",
    "label": "only workflows with this label, as NAME=VALUE",
    **PAGING,
}
GET_QUERY = {"wait": "answer when nothing is left to run, or after so many seconds (up to 60)"}


class CancelWorkflowIn(msgspec.Struct, forbid_unknown_fields=True):
    """Without `run_callbacks` callbacks are cancelled, too; else they run as after any other end."""

    run_callbacks: bool = True


CANCEL = Shape(CancelWorkflowIn)


async def submit(door: Door, call: Call) -> Answer:
    body = await call.body()
    document = new_workflow(WORKFLOW.read(body), door.new_id, door.bounds)
    key = idempotency(door, call, body) if b"idempotency-key" in call.headers else None
    (stored,) = await door.scheduler.submit((Group(document.tasks, key, document.workflow),))
    if isinstance(stored, Refused):
        raise refusal(stored, None if stored.row is None else document.caller_place(stored.row))
    if isinstance(stored, Existing):
        kept = door.replies.find(key) if key else None
        answer = kept or await _summary(door, still_there(stored)[0].workflow or "", 201)
        answer.headers.append(REPLAYED)
        return answer
    answer = await _summary(door, document.workflow.id, 201)
    if key is not None:
        door.replies.keep(key, answer)
    return answer


async def _summary(door: Door, workflow: str, status: int) -> Answer:
    view = workflow_view(await door.scheduler.workflows.get(workflow))
    return json_answer(view, status, (b"location", (WORKFLOWS + workflow).encode()))


def _id(call: Call) -> str:
    """Raises `NotFound`: what is no id names no workflow."""
    given = call.path["id"]
    if not fields.is_id(given):
        raise NotFound(f"no workflow {given[:100]!r}: ids are UUIDs in lower case")
    return given


async def read_many(door: Door, call: Call) -> Answer:
    query = read_workflow_query(call.query, door.bounds)
    return page_answer(call, workflows_view(query, await door.scheduler.workflows.find(query)))


async def read_one(door: Door, call: Call) -> Answer:
    wait_s, workflow = seconds_to_wait(door, call.query), _id(call)
    if wait_s > 0:
        await call.body(optional=True)
        await door.waits.unless_gone(call, door.scheduler.workflows.wait(workflow, wait_s))
    return json_answer(graph_view(await door.scheduler.workflows.graph(workflow)))


async def cancel(door: Door, call: Call) -> Answer:
    body, workflow = await call.body(optional=True), _id(call)
    run_callbacks = CANCEL.read(body).run_callbacks if body else True
    count = await door.scheduler.workflows.cancel(workflow, callbacks=not run_callbacks)
    return json_answer(CancelledView(count, workflow_view(await door.scheduler.workflows.get(workflow))))


async def retry_failed(door: Door, call: Call) -> Answer:
    await no_body(call)
    workflow = _id(call)
    retried = await door.scheduler.workflows.retry_failed(workflow)
    record = await door.scheduler.workflows.get(workflow)
    return json_answer(RetriedView(retried.count, retried.waiting, workflow_view(record)))
