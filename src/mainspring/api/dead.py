"""Dead letters: failed tasks, kept for analysis; listed, replayed and purged by hand."""

from mainspring.api.conditions import asked_version
from mainspring.api.door import Door
from mainspring.api.http import Answer, Call, json_answer
from mainspring.api.submitting import task_answer
from mainspring.api.tasks import CountView, no_body, page, read_answer, task_id
from mainspring.core.model import State, Task
from mainspring.errors import InvalidInput, NotFound
from mainspring.ports import Query
from mainspring.wire.queries import read_filter, read_query

_DEAD = frozenset({State.FAILED})


async def _letter(door: Door, call: Call) -> Task:
    record = await door.scheduler.get(task_id(call))
    if record.state is not State.FAILED:
        raise NotFound(f"task {record.id} is no dead letter: it is {record.state.label}")
    return record


async def read_many(door: Door, call: Call) -> Answer:
    return await page(door, call, read_query({**call.query, "state": "failed"}, door.bounds))


async def read_one(door: Door, call: Call) -> Answer:
    return read_answer(call, await _letter(door, call))


async def replay(door: Door, call: Call) -> Answer:
    await no_body(call)
    version = await asked_version(call, door.scheduler, task_id(call))
    record = await _letter(door, call)
    return task_answer(await door.scheduler.replay(record.id, version))


async def purge(door: Door, call: Call) -> Answer:
    """The version read guards the purge: a letter that somebody replays meanwhile is not deleted."""
    version = await asked_version(call, door.scheduler, task_id(call))
    record = await _letter(door, call)
    await door.scheduler.delete(record.id, record.version if version is None else version)
    return Answer(204)


async def replay_many(door: Door, call: Call) -> Answer:
    return json_answer(CountView(await door.scheduler.bulk.replay(await _filter(call))))


async def purge_many(door: Door, call: Call) -> Answer:
    return json_answer(CountView(await door.scheduler.bulk.purge(await _filter(call))))


async def _filter(call: Call) -> Query:
    query = read_filter(await call.body(optional=True))
    if query.states - _DEAD:
        raise InvalidInput("state", "not dead letters", "failed, or none")
    query.states = _DEAD
    return query
