"""Controls, membership and leadership: small tables, written seldom."""

import msgspec

from mainspring.core.limits import LimitRule
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import pack


async def set_queue(db: Database, queue: str, paused_by: str | None) -> None:
    if paused_by is None:
        await db.do("HDEL", "paused", queue)
    else:
        await db.do("HSET", "paused", queue, paused_by)


async def set_limit(db: Database, name: str, rule: LimitRule | None, only_new: bool) -> bool:
    if rule is None:
        return bool(await db.do("HDEL", "rules", name))
    if only_new:
        return not await db.do("HSETNX", "rules", name, _packed(rule))
    return not await db.do("HSET", "rules", name, _packed(rule))


async def set_weight(db: Database, tenant: str, weight: float) -> None:
    await db.run("weigh", pack((tenant, weight)))


def _packed(rule: LimitRule) -> bytes:
    fields = (rule.max_running, rule.rate, rule.interval_us, rule.burst, rule.max_waiting)
    return pack(
        [*[False if field is None else field for field in fields], msgspec.json.encode(rule).decode()]
    )
