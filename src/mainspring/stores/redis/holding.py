"""Holding leases: renewals, and which leases have run out."""

from collections.abc import Sequence

from mainspring.ports import Answer, Renewal
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import pack_renewals


async def renew(db: Database, renewals: Sequence[Renewal]) -> list[list[Answer]]:
    reply = await db.run("renew", pack_renewals(renewals))
    told, has_news = reply.answers
    if has_news:
        db.wrote()
    return [[Answer(answer) for answer in answers] for answers in told]
