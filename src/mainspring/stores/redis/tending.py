"""What services do on every node: due tasks, open edges. Rows are taken by guard."""

from mainspring.core.lifecycle import DOOMED_ERROR
from mainspring.ports import Moved
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import End, pack


async def promote(db: Database, limit: int) -> Moved:
    reply = await db.run("promote", limit)
    count, ready, next_due_us = reply.answers
    return Moved(count, reply.heads(ready), next_due_us=None if next_due_us is False else next_due_us)


async def resolve(db: Database, limit: int) -> Moved:
    reply = await db.run("resolve", limit, pack(End(error=DOOMED_ERROR)))
    count, ready, finished = reply.answers
    return Moved(count, reply.heads(ready), finished)
