"""The hot verbs: settle, submit and claim in one script.

It has shapes, made of the same parts: what a batch does not ask for need not be set up by the server.
"""

from collections.abc import Sequence

from mainspring.errors import StoreFull
from mainspring.ports import Answer, Claimed, Exchange, Exchanged, Group
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import Request
from mainspring.stores.redis.ready import is_ready, packed_ready


async def exchange(db: Database, batch: Exchange) -> Exchanged:
    shape = _shape(batch)
    if shape == "exchange_ready":
        request = packed_ready(batch.submits)
    else:
        request = Request().packed(batch.settles, batch.submits, batch.claims, batch.charges)
    reply = await db.run(shape, *request, db.name, db.channel)
    submits, settles, claims, ready, usage, has_ended = reply.answers
    heads = reply.heads(ready)
    if heads:
        db.told()
    if has_ended:
        db.wrote((), has_ended=True)
    if is_full(submits) and not batch.settles and not batch.claims:
        raise StoreFull("the server is out of memory; nothing of this call was stored")
    return Exchanged(
        reply.now_us,
        [reply.submitted(answer) for answer in submits],
        [Answer(answer) for answer in settles],
        [Claimed(reply.leases(leases), empty) for leases, empty in claims],
        heads,
        reply.usage(usage),
    )


def _shape(batch: Exchange) -> str:
    works = bool(batch.settles or batch.claims or batch.charges)
    if batch.submits and not works and all(map(is_ready, batch.submits)):
        return "exchange_ready"
    if batch.submits:
        return "exchange" if works or not all(map(_is_plain, batch.submits)) else "exchange_plain"
    if not batch.settles:
        return "exchange_claims"
    return "exchange_work" if batch.claims else "exchange_settles"


def _is_plain(group: Group) -> bool:
    if group.idempotency is not None or group.workflow is not None:
        return False
    return not any(task.depends_on or task.unique is not None for task in group.tasks)


def is_full(submits: Sequence[Sequence[object]]) -> bool:
    """Whether nothing was stored for want of memory: what ends and starts is written all the same."""
    return bool(submits) and all(answer[1] == "store_full" for answer in submits)
