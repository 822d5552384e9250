"""The hot verbs as one transaction: what ended, what is new, what starts."""

from mainspring.core.model import State
from mainspring.ports import Ask, Claimed, Exchange, Exchanged
from mainspring.stores.sqlite.claiming import claim
from mainspring.stores.sqlite.connection import DATA_ERRORS
from mainspring.stores.sqlite.controls import charge
from mainspring.stores.sqlite.limits import Usage
from mainspring.stores.sqlite.moves import release_children
from mainspring.stores.sqlite.settling import settle
from mainspring.stores.sqlite.submitting import submit
from mainspring.stores.sqlite.transaction import Transaction


def exchange(tx: Transaction, batch: Exchange) -> Exchanged:
    settles = settle(tx, batch.settles) if batch.settles else ()
    release_children(tx)
    submits = submit(tx, batch.submits) if batch.submits else ()
    usage = Usage(tx.db, tx.lanes, tx.rules, tx.now_us) if tx.rules else None
    claims = [_claim(tx, ask, usage) for ask in batch.claims]
    for line in batch.charges:
        charge(tx, line)
    # Of what is free again under limits, or comes due later, other nodes want to know more than is told.
    tx.tells_all = usage is None and not any(state == State.SCHEDULED for _, state in tx.counts)
    if usage is None:
        return Exchanged(tx.now_us, submits, settles, claims, tx.heads())
    usage.store()
    freed = [tx.lanes.by_id(lane_id) for lane_id in tx.freed]
    return Exchanged(tx.now_us, submits, settles, claims, tx.heads(), usage.limited(freed))


def _claim(tx: Transaction, ask: Ask, usage: Usage | None) -> Claimed:
    try:
        return claim(tx, ask, usage)
    except DATA_ERRORS:
        # A name that cannot be stored: this worker gets nothing, the others are not its victims.
        return Claimed([])
