"""Dead letters: failed tasks, kept for analysis; listed, replayed and purged by hand."""

from mainspring.api.conditions import asked_version, read_answer
from mainspring.api.door import Door
from mainspring.api.http import Answer, Call, json_answer, page_answer
from mainspring.api.submitting import task_answer
from mainspring.api.tasks import STATUS_QUERY, CountView, no_body, page, task_id
from mainspring.core.model import State, Task
from mainspring.errors import NotFound
from mainspring.wire import pages
from mainspring.wire.dead import DeadGroupsView, group_view, read_filter, read_replay
from mainspring.wire.queries import read_query

LIST_QUERY = {"fingerprint": "only this group, as `/api/v1/dead/groups` names it", **STATUS_QUERY}
_GROUPS = "dead groups"


async def _letter(door: Door, call: Call) -> Task:
    record = await door.scheduler.get(task_id(call))
    if record.state is not State.FAILED:
        raise NotFound(f"task {record.id} is no dead letter: it is {record.state.label}")
    return record


async def read_many(door: Door, call: Call) -> Answer:
    return await page(door, call, read_query({**call.query, "state": "failed"}, door.bounds))


async def read_one(door: Door, call: Call) -> Answer:
    return read_answer(call, task_answer(await _letter(door, call)))


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
    query, interval_us = read_replay(await call.body(optional=True))
    return json_answer(CountView(await door.scheduler.bulk.replay(query, interval_us)))


async def purge_many(door: Door, call: Call) -> Answer:
    return json_answer(
        CountView(await door.scheduler.bulk.purge(read_filter(await call.body(optional=True))))
    )


async def read_groups(door: Door, call: Call) -> Answer:
    size, token = pages.page_size(call.query.get("page_size"), door.bounds), call.query.get("page_token")
    cursor = None if token is None else pages.unseal(token, _GROUPS)
    found = await door.scheduler.dead_groups(size, cursor)
    token = None if found.cursor is None else pages.seal(found.cursor, _GROUPS)
    return page_answer(call, DeadGroupsView([group_view(group) for group in found.groups], token))
