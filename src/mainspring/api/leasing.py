"""The worker protocol: claim, renew, settle, append, recall; hot, and in batches. See `wire.leases` and
`wire.progress`."""

from collections.abc import Sequence

from mainspring.api.door import Door
from mainspring.api.http import JSON, NO_STORE, Answer, Call, ClientGone
from mainspring.core.lifecycle import Outcome, Report
from mainspring.core.model import Lease
from mainspring.errors import InvalidInput
from mainspring.ports import ClaimRequest
from mainspring.wire import leases as wire
from mainspring.wire import progress

LEAVE_QUERY = {"incarnation": "the incarnation that leaves; another one that took the name stays"}


async def claim(door: Door, call: Call) -> Answer:
    request = wire.read_claim(await call.body(), door.bounds)
    leases = await claimed(door, call, request)
    return Answer(200, wire.write_leases(leases), [JSON, NO_STORE])


async def claimed(door: Door, call: Call, request: ClaimRequest) -> Sequence[Lease]:
    """Claim, and stop waiting when the worker hangs up, so that nothing is leased to nobody."""
    if request.wait_s <= 0:
        return await door.scheduler.claim(request)
    granted: list[Lease] = []

    async def claiming() -> list[Lease]:
        granted.extend(await door.scheduler.claim(request))
        return granted

    try:
        return await door.waits.unless_gone(call, claiming())
    except ClientGone:
        if granted:
            # Claimed in the very turn in which the worker left: hand back, uncounted.
            await door.scheduler.settle([Report(x.task, x.token, Outcome.RELEASED) for x in granted])
        raise


async def renew(door: Door, call: Call) -> Answer:
    renewal = wire.read_renewal(await call.body(), door.bounds)
    return _answers(wire.write_answers(await door.scheduler.renew(renewal)))


async def settle(door: Door, call: Call) -> Answer:
    reports = wire.read_reports(await call.body(), door.bounds)
    return _answers(wire.write_answers(await door.scheduler.settle(reports)))


async def append(door: Door, call: Call) -> Answer:
    lines = progress.read_append(await call.body(), door.bounds)
    return _answers(wire.write_answers(await door.scheduler.append(lines)))


async def recall(door: Door, call: Call) -> Answer:
    lines = progress.read_recall(await call.body())
    return _answers(progress.write_recalled(await door.scheduler.recall(lines)))


def _answers(body: bytes) -> Answer:
    return Answer(200, body, [JSON])


async def beat(door: Door, call: Call) -> Answer:
    await door.scheduler.beat(wire.read_worker(await call.body(), call.path["worker"]))
    return Answer(204)


async def leave(door: Door, call: Call) -> Answer:
    incarnation = call.query.get("incarnation")
    if not incarnation:
        raise InvalidInput("incarnation", "missing", "the incarnation that leaves")
    await door.scheduler.leave(call.path["worker"], incarnation)
    return Answer(204)
