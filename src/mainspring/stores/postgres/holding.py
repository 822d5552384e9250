"""Holding leases: renewals, and which leases have run out."""

from collections.abc import Sequence

from mainspring.core.lifecycle import Cause
from mainspring.core.model import Lease, State
from mainspring.ports import Answer, Held, Renewal
from mainspring.stores.postgres.claiming import found_leases, leases
from mainspring.stores.postgres.moves import release_children
from mainspring.stores.postgres.rows import STATES, can_be_stored, known_texts
from mainspring.stores.postgres.transaction import Transaction


async def renew(tx: Transaction, renewals: Sequence[Renewal]) -> list[list[Answer]]:
    """One answer per line held."""
    lines: dict[tuple[str, int], tuple[bool, int]] = {}
    for renewal in renewals:
        for held in renewal.held:
            if tx.is_careful and not can_be_stored(held.task):
                continue
            # A row takes one line of an update: the second of two that name one lease would find nothing.
            started, _ = lines.get((held.task, held.token), (True, 0))
            lines[held.task, held.token] = (started and held.started, renewal.lease_us)
    named = list(lines)
    rows = await tx.rows(
        "renew",
        [task for task, _ in named],
        [token for _, token in named],
        [started for started, _ in lines.values()],
        [lease_us for _, lease_us in lines.values()],
    )
    renewed = {named[row["place"] - 1]: Answer.CANCEL if row["cancelled"] else Answer.OK for row in rows}
    await _hand_back_unnamed(tx, renewals, {task for task, _ in renewed})
    await release_children(tx)
    return [
        [renewed.get((held.task, held.token), Answer.LOST) for held in renewal.held] for renewal in renewals
    ]


async def _hand_back_unnamed(tx: Transaction, renewals: Sequence[Renewal], named: set[str]) -> None:
    """The workers never learned of these leases: the tasks did not run, so nothing is counted."""
    known = [each for each in renewals if not tx.is_careful or can_be_stored(each.incarnation)]
    firsts = tx.first_runs()
    granted = await tx.rows(
        "granted",
        [each.incarnation for each in known],
        [each.claim_seq for each in known],
        [firsts.get(each.incarnation, 0) for each in known],
    )
    lost = [row for row in granted if row["id"] not in named]
    if not lost:
        return
    for row in await tx.rows("hand_back", [row["id"] for row in lost], [row["token"] for row in lost]):
        state = STATES[row["state"]]
        tx.count_move(row["lane_id"], State.RUNNING, state)
        tx.freed.add(row["lane_id"])
        tx.note_deadline(state, row["deadline_us"])
        if state is State.READY:
            tx.gained.add(row["lane_id"])
            tx.regained.add(row["lane_id"])
        else:
            tx.ended(row["id"], state, row["is_parent"])
        cause = Cause.RELEASE if state is State.READY else Cause.CANCEL
        tx.record(row["id"], State.RUNNING, cause, state, row["attempt"], row["token"])


async def expired(tx: Transaction, limit: int) -> list[Lease]:
    return await found_leases(tx, await tx.running("expired", limit))


async def overrun(tx: Transaction, limit: int, grace_us: int) -> list[Lease]:
    return await found_leases(tx, await tx.running("overrun", limit, grace_us))


async def find_leases(tx: Transaction, lines: Sequence[Held]) -> list[Lease | None]:
    wanted = known_texts({held.task for held in lines})
    found = await leases(tx, "leases", wanted) if wanted else []
    by_name = {(lease.task, lease.token): lease for lease in found}
    return [by_name.get((held.task, held.token)) for held in lines]
