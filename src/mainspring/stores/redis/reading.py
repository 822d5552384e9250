"""Reading, each call as of one moment."""

from collections.abc import Sequence

import msgspec

from mainspring.core.limits import LimitRule
from mainspring.core.model import State, Task
from mainspring.core.order import Share
from mainspring.ports import BoardView, Stats
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import pack

_rule = msgspec.json.Decoder(LimitRule)


async def board(db: Database) -> BoardView:
    reply = await db.run("board")
    ready, paused, rules, usage, shares = reply.answers
    return BoardView(
        reply.now_us,
        reply.heads(ready),
        dict(paused),
        {name: _rule.decode(text) for name, text in rules},
        reply.usage(usage),
        {tenant: Share(weight, virtual_us) for tenant, (weight, virtual_us) in shares},
    )


async def stats(db: Database) -> Stats:
    reply = await db.run("stats")
    counts = {}
    for place, count in reply.answers:
        state, _, queue = place.partition(":")
        counts[queue, State(int(state))] = count
    return Stats(reply.now_us, counts)


async def get(db: Database, tasks: Sequence[str]) -> list[Task | None]:
    reply = await db.run("get", pack(tasks))
    return [reply.task(view) if view else None for view in reply.answers]
