"""The hot verbs as one transaction: what ended, what is new, what starts."""

from mainspring.ports import Exchange, Exchanged
from mainspring.stores.postgres import claiming, settling, submitting
from mainspring.stores.postgres.claiming import Take
from mainspring.stores.postgres.moves import release_children
from mainspring.stores.postgres.rows import can_be_stored
from mainspring.stores.postgres.transaction import Transaction


async def exchange(tx: Transaction, batch: Exchange, take: Take | None = None) -> Exchanged:
    if batch.submits:
        await submitting.prepare(tx, batch.submits)
    asked = {quota.lane_id for ask in batch.claims for quota in ask.lanes}
    await tx.find_lanes(asked)
    if tx.rules:
        lanes = {task.lane for group in batch.submits for task in group.tasks}
        await tx.lock_limits(lanes.union(filter(None, map(tx.lane, asked))))
    settles = await settling.settle(tx, batch.settles) if batch.settles else ()
    await release_children(tx)
    submits = await submitting.submit(tx, batch.submits)
    usage = await tx.usage()
    claims = await claiming.claim(tx, batch.claims, usage, take)
    if usage is not None and usage.booked:
        await tx.do("put_arrivals", *usage.arrivals())
    ready = await tx.ready()
    await _charge(tx, batch)
    if usage is None:
        return Exchanged(tx.now_us, submits, settles, claims, ready)
    await tx.find_lanes(tx.freed)
    freed = filter(None, map(tx.lane, tx.freed))
    return Exchanged(tx.now_us, submits, settles, claims, ready, usage.limited(freed))


async def _charge(tx: Transaction, batch: Exchange) -> None:
    """Last, although shares come before tasks elsewhere: a tenant's row is shared by all nodes, and is
    locked for the commit alone."""
    charges = [line for line in batch.charges if not tx.is_careful or can_be_stored(line.tenant)]
    if charges:
        charges.sort(key=lambda line: line.tenant)
        await tx.do_many("charge", charges)
