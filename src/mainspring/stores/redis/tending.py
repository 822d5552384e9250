"""What services do on every node: due tasks, open edges. Rows are taken by guard."""

from mainspring.ports import Moved
from mainspring.stores.redis.connecting import Database


async def promote(db: Database, limit: int) -> Moved:
    reply = await db.run("promote", limit)
    count, ready, next_due_us = reply.answers
    return Moved(count, reply.heads(ready), next_due_us=None if next_due_us is False else next_due_us)


async def resolve(db: Database, limit: int) -> Moved:
    reply = await db.run("resolve", limit)
    count, ready, finished = reply.answers
    return Moved(count, reply.heads(ready), finished)
