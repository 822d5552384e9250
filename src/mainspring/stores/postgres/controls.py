"""Controls, membership and leadership: small tables, written seldom."""

import msgspec

from mainspring.core.limits import LimitRule, LimitState, refit, rule_for
from mainspring.ports import Term, WorkerInfo
from mainspring.stores.postgres.transaction import Transaction, columns

_info = msgspec.json.Decoder(WorkerInfo)


async def set_queue(tx: Transaction, queue: str, paused_by: str | None) -> None:
    await tx.do("change_controls")
    if paused_by is None:
        await tx.do("drop_pause", queue)
    else:
        await tx.do("put_pause", queue, paused_by)


async def set_limit(tx: Transaction, name: str, rule: LimitRule | None, only_new: bool) -> bool:
    """Starts that were booked under the old rule are brought within reach of the new one."""
    await tx.do("change_controls")
    rules = dict(tx.rules)
    if rule is None:
        was_there = await tx.do("drop_limit", name) > 0
        rules.pop(name, None)
    else:
        encoded = msgspec.json.encode(rule)
        was_there = not await tx.do("make_limit", name, encoded)
        if was_there and only_new:
            return True
        if was_there:
            await tx.do("put_limit", name, encoded)
        rules[name] = rule
    booked = []
    for row in await tx.rows("arrivals"):
        usage = LimitState(0, row["arrival_us"])
        refit(rule_for(row["name"], rules), usage, tx.now_us)
        booked.append((row["name"], usage.arrival_us))
    if booked:
        await tx.do("put_arrivals", *columns(booked))
    return was_there


async def set_weight(tx: Transaction, tenant: str, weight: float) -> None:
    await tx.do("weigh", tenant, weight)


async def beat(tx: Transaction, worker: WorkerInfo) -> None:
    await tx.do("beat", worker.worker, worker.incarnation, msgspec.json.encode(worker))


async def leave(tx: Transaction, worker: str, incarnation: str) -> None:
    await tx.do("leave", worker, incarnation)


async def workers(tx: Transaction) -> list[WorkerInfo]:
    found = []
    for row in await tx.rows("workers"):
        found.append(_info.decode(row["info"]))
        found[-1].age_us = row["age_us"]
    return found


async def take_term(tx: Transaction, candidate: str, ttl_us: int) -> Term:
    row = await tx.row("take_term", candidate, ttl_us)
    assert row is not None
    return Term(row["holder"], row["number"], row["left_us"])


async def term(tx: Transaction) -> Term | None:
    row = await tx.row("term")
    return None if row is None else Term(row["holder"], row["number"], row["left_us"])


async def resign(tx: Transaction, candidate: str, number: int) -> None:
    await tx.do("resign", candidate, number)
