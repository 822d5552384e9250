"""Controls, membership and leadership: small tables, written seldom."""

from collections.abc import Sequence

import msgspec

from mainspring.core.limits import LimitRule
from mainspring.errors import StoreCorrupt
from mainspring.ports import Term, WorkerInfo
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import pack

_info = msgspec.json.Decoder(WorkerInfo)


async def set_queue(db: Database, queue: str, paused_by: str | None) -> None:
    if paused_by is None:
        await db.do("HDEL", "paused", queue)
    else:
        await db.do("HSET", "paused", queue, paused_by)


async def set_limit(db: Database, name: str, rule: LimitRule | None, only_new: bool) -> bool:
    packed = b"" if rule is None else _packed(rule)
    return bool((await db.run("set_limit", name.encode(), packed, int(only_new))).answers)


async def set_weight(db: Database, tenant: str, weight: float) -> None:
    await db.run("weigh", pack((tenant, weight)))


def _packed(rule: LimitRule) -> bytes:
    fields = (rule.max_running, rule.rate, rule.interval_us, rule.burst, rule.max_waiting)
    return pack(
        [*[False if field is None else field for field in fields], msgspec.json.encode(rule).decode()]
    )


async def beat(db: Database, worker: WorkerInfo) -> None:
    await db.run("beat", worker.worker.encode(), worker.incarnation.encode(), msgspec.json.encode(worker))


async def leave(db: Database, worker: str, incarnation: str) -> None:
    await db.run("leave", worker.encode(), incarnation.encode())


async def workers(db: Database) -> list[WorkerInfo]:
    return read_workers((await db.run("workers")).answers)


def read_workers(told: Sequence[tuple[str, str, int]]) -> list[WorkerInfo]:
    found = []
    for worker, report, age_us in sorted(told):
        try:
            found.append(_info.decode(report))
        except msgspec.MsgspecError:
            raise StoreCorrupt(f"worker {worker}'s report is damaged: run mainspring doctor") from None
        found[-1].age_us = age_us
    return found


async def take_term(db: Database, candidate: str, ttl_us: int) -> Term:
    return Term(*(await db.run("take_term", candidate.encode(), ttl_us)).answers)


async def term(db: Database) -> Term | None:
    answers = (await db.run("term")).answers
    return Term(*answers) if answers else None


async def resign(db: Database, candidate: str, number: int) -> None:
    await db.run("resign", candidate.encode(), number)
