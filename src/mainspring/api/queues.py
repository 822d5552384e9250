"""Queues, limits, tenants' weights: seen and changed while everything runs."""

import msgspec

from mainspring.api.door import Door
from mainspring.api.http import Answer, Call, json_answer
from mainspring.api.tasks import no_body
from mainspring.core.model import State
from mainspring.errors import NotFound, VersionMismatch
from mainspring.wire import fields
from mainspring.wire.controls import (
    PAUSE,
    LimitView,
    QueueView,
    limit_name,
    limit_rule,
    limit_view,
    queue_view,
    queue_views,
    weight,
)


class QueuesView(msgspec.Struct):
    queues: list[QueueView]


class LimitsView(msgspec.Struct):
    limits: list[LimitView]


async def read_queues(door: Door, call: Call) -> Answer:
    views = queue_views(await door.scheduler.stats(), await door.scheduler.board())
    return json_answer(QueuesView(views))


async def read_queue(door: Door, call: Call) -> Answer:
    """A queue that nobody has used yet is an empty one: queues need not be made."""
    return json_answer(await _queue(door, fields.name(call.path["queue"], "queue")))


async def _queue(door: Door, queue: str) -> QueueView:
    stats, board = await door.scheduler.stats(), await door.scheduler.board()
    return queue_view(queue, {state.label: stats.counts.get((queue, state), 0) for state in State}, board)


async def pause(door: Door, call: Call) -> Answer:
    queue = fields.name(call.path["queue"], "queue")
    body = await call.body(optional=True)
    by = PAUSE.read(body).by[:200] if body else ""
    await door.scheduler.pause(queue, by or call.caller)
    return json_answer(await _queue(door, queue))


async def resume(door: Door, call: Call) -> Answer:
    queue = fields.name(call.path["queue"], "queue")
    await no_body(call)
    await door.scheduler.resume(queue)
    return json_answer(await _queue(door, queue))


async def read_limits(door: Door, call: Call) -> Answer:
    board = await door.scheduler.board()
    return json_answer(
        LimitsView([limit_view(name, board.rules[name], board.usage) for name in sorted(board.rules)])
    )


async def read_limit(door: Door, call: Call) -> Answer:
    return json_answer(await _limit(door, limit_name(call.path["name"])))


async def _limit(door: Door, name: str) -> LimitView:
    board = await door.scheduler.board()
    if name not in board.rules:
        raise NotFound(f"no limit {name}")
    return limit_view(name, board.rules[name], board.usage)


async def put_limit(door: Door, call: Call) -> Answer:
    name = limit_name(call.path["name"])
    rule = limit_rule(name, await call.body())
    only_new = call.header(b"if-none-match") == "*"
    if call.header(b"if-match") == "*" and name not in (await door.scheduler.board()).rules:
        raise VersionMismatch(f"If-Match: * wants a limit {name}, and there is none")
    was_there = await door.scheduler.set_limit(name, rule, only_new=only_new)
    if was_there and only_new:
        raise VersionMismatch(f"there is a limit {name} already")
    return json_answer(await _limit(door, name), 200 if was_there else 201)


async def delete_limit(door: Door, call: Call) -> Answer:
    await door.scheduler.set_limit(limit_name(call.path["name"]), None)
    return Answer(204)


async def put_weight(door: Door, call: Call) -> Answer:
    tenant = fields.key(call.path["tenant"], "tenant")
    await door.scheduler.set_weight(tenant, weight(await call.body()))
    return Answer(204)
