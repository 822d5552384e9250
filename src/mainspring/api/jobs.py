"""The jobs dialect's routes: what `dialects.s4` parses goes to the same scheduler as every other task."""

from mainspring.api.conditions import etag, read_answer
from mainspring.api.dialects import s4
from mainspring.api.door import Door, idempotency
from mainspring.api.http import NO_STORE, Answer, Call, json_answer
from mainspring.api.leasing import claimed
from mainspring.api.submitting import REPLAYED, still_there
from mainspring.api.tasks import task_id
from mainspring.core.model import State, Task
from mainspring.errors import Forbidden, LeaseLost, WrongState
from mainspring.ports import Answer as Word
from mainspring.ports import ClaimRequest, Existing, Group, Held, Refused, Renewal
from mainspring.wire import fields
from mainspring.wire.problems import refusal

NEXT_QUERY = {
    "worker_id": "who asks",
    "type": "only these types, by commas (default: http, sleep, file, command, echo)",
}


async def submit(door: Door, call: Call) -> Answer:
    body = await call.body()
    task = s4.parse_job(body, door.new_id, door.options.job_timeout_s, door.bounds)
    key = idempotency(door, call, body) if b"idempotency-key" in call.headers else None
    (stored,) = await door.scheduler.submit((Group((task,), key),))
    if isinstance(stored, Refused):
        raise refusal(stored)
    if isinstance(stored, Existing):
        kept = door.replies.find(key) if key else None
        answer = kept or _made(s4.render_job(still_there(stored)[0]))
        answer.headers.append(REPLAYED)
        return answer
    answer = _made(s4.render_new_job(task, stored.states[0], stored.created_at_us))
    if key is not None:
        door.replies.keep(key, answer)
    return answer


def _made(view: s4.JobView) -> Answer:
    return json_answer(view, 201, (b"location", f"/jobs/{view.id}".encode()))


async def read(door: Door, call: Call) -> Answer:
    return _job(call, await door.scheduler.get(task_id(call)))


def _job(call: Call, record: Task) -> Answer:
    answer = json_answer(s4.render_job(record))
    # A tag of its own: the same task at another address is another representation.
    tag = etag(record.version, record.state, answer.body)
    answer.headers.append((b"etag", b'"job-' + tag[1:]))
    return read_answer(call, answer)


async def fetch(door: Door, call: Call) -> Answer:
    """The next job for a worker, or 204. A claim by GET, as the dialect has it: never cached, never by HEAD,
    and never for a page of another web site, which needs no permission to send a GET."""
    if call.headers.get(b"sec-fetch-site") == b"cross-site":
        raise Forbidden("jobs are not handed to web pages")
    worker = fields.key(call.query.get("worker_id", "anonymous"), "worker_id")
    kinds = s4.parse_types(call.query.get("type"))
    request = ClaimRequest(worker, door.new_id(), 1, kinds)
    leases = await claimed(door, call, request)
    if not leases:
        return Answer(204, b"", [NO_STORE])
    lease = leases[0]
    held = [Held(lease.task, lease.token)]
    await door.scheduler.hold(Renewal(request.incarnation, 1, held, s4.lease_us(lease.timeout_us)))
    record = await door.scheduler.get(lease.task)
    return json_answer(s4.render_job(record, lease.token), 200, NO_STORE)


async def complete(door: Door, call: Call) -> Answer:
    """Report a job's end. Raises `WrongState` if it does not run, `LeaseLost` if another worker has it."""
    completion = s4.parse_completion(await call.body(optional=True))
    task = task_id(call)
    token = completion.token
    if token is None:
        record = await door.scheduler.get(task)
        if record.state is not State.RUNNING:
            raise WrongState(f"job {task} is not running: it is {record.state.label}")
        if completion.worker_id is not None and completion.worker_id != record.worker:
            raise LeaseLost(f"job {task} is held by another worker")
        token = record.token
    (word,) = await door.scheduler.settle([s4.report(completion, task, token)])
    record = await door.scheduler.get(task)
    if word is Word.LOST:
        raise LeaseLost(f"job {task} is not yours any more")
    return json_answer(s4.render_job(record))
