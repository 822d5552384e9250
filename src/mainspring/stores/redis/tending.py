"""What services do on every node: due tasks, deadlines, open edges, retention. Rows are taken by guard."""

from mainspring.core.fingerprint import fingerprint
from mainspring.core.lifecycle import EXPIRED_ERROR
from mainspring.core.model import FINAL
from mainspring.ports import Moved, Overdue, Pruned, Retention
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import End, exact, fingerprint_text, pack
from mainspring.stores.redis.pages import known_cursor
from mainspring.stores.redis.progress import cut_ended


async def promote(db: Database, limit: int) -> Moved:
    reply = await db.run("promote", limit)
    count, ready, next_due_us = reply.answers
    heads = reply.heads(ready)
    if heads:
        db.wrote(heads, has_ended=False)
    return Moved(count, heads, next_due_us=None if next_due_us is False else next_due_us)


async def overdue(db: Database, limit: int, grace_us: int) -> Overdue:
    """Waiting tasks past their deadline fail; exactly at it a task may still start."""
    reply = await db.run("overdue", limit, grace_us)
    runs, late = reply.answers
    leases = [reply.lease(told) for told in runs]
    if not late:
        return Overdue(leases)
    lines = [
        (task, version, fingerprint_text(fingerprint(reply.lanes[lane_id].kind, EXPIRED_ERROR)))
        for task, version, lane_id in late
        if lane_id in reply.lanes
    ]
    expired = (await db.run("expire", pack(lines), pack(End(error=EXPIRED_ERROR)))).answers
    if expired:
        db.wrote()
    return Overdue(leases, expired)


async def resolve(db: Database, limit: int) -> Moved:
    reply = await db.run("resolve", limit)
    count, ready, finished = reply.answers
    if count:
        db.wrote()
    return Moved(count, reply.heads(ready), finished)


async def prune(db: Database, limit: int, retention: Retention, cursor: str | None) -> Pruned:
    kept = {int(state): exact(retention.by_state.get(state)) for state in FINAL}
    told = pack((limit, known_cursor(cursor) if cursor else "", kept))
    count, rest, has_long_logs = (await db.run("prune", told)).answers
    if has_long_logs:
        await cut_ended(db)
    return Pruned(count, rest or None)
