"""Holding leases: renewals, and which leases have run out."""

from collections.abc import Sequence

from mainspring.core.model import Lease
from mainspring.ports import Answer, Held, Renewal
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import can_be_stored, pack, pack_renewals


async def renew(db: Database, renewals: Sequence[Renewal]) -> list[list[Answer]]:
    """One answer per line held."""
    reply = await db.run("renew", pack_renewals(renewals))
    told, has_news = reply.answers
    if has_news:
        db.wrote()
    return [[Answer(answer) for answer in answers] for answers in told]


async def expired(db: Database, limit: int) -> list[Lease]:
    reply = await db.run("expired", limit)
    return [reply.lease(told) for told in reply.answers]


async def find_leases(db: Database, lines: Sequence[Held]) -> list[Lease | None]:
    wanted = [held for held in lines if can_be_stored(held.task)]
    reply = await db.run("leases", pack([(held.task, held.token) for held in wanted]))
    leases = [reply.lease(told) for told in reply.answers if told]
    by_name = {(lease.task, lease.token): lease for lease in leases}
    return [by_name.get((held.task, held.token)) for held in lines]
