"""The hot verbs: settle, submit and claim in one script."""

from mainspring.ports import Answer, Claimed, Exchange, Exchanged
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import Request


async def exchange(db: Database, batch: Exchange) -> Exchanged:
    request = Request().packed(batch.settles, batch.submits, batch.claims, batch.charges)
    reply = await db.run("exchange", *request)
    submits, settles, claims, ready, usage, has_ended = reply.answers
    if ready or has_ended:
        db.wrote()
    return Exchanged(
        reply.now_us,
        [reply.submitted(answer) for answer in submits],
        [Answer(answer) for answer in settles],
        [Claimed([reply.lease(lease) for lease in leases], empty) for leases, empty in claims],
        reply.heads(ready),
        reply.usage(usage),
    )
