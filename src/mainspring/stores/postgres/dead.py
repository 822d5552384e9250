"""Dead letters by what killed them. The index of fingerprints is read whole: one entry a dead letter."""

from typing import TYPE_CHECKING

from mainspring.ports import DeadGroup, DeadGroups
from mainspring.stores.postgres.transaction import Transaction
from mainspring.verbs.dead import group_cursor, parse_group_cursor

if TYPE_CHECKING:
    from asyncpg import Record

BEFORE_ALL = (-(1 << 62), 0)


async def dead_groups(tx: Transaction, limit: int, cursor: str | None) -> DeadGroups:
    after = parse_group_cursor(cursor) if cursor else BEFORE_ALL
    rows = await tx.rows("dead_groups", *after, limit + 1)
    groups = [await _group(tx, row) for row in rows[:limit]]
    return DeadGroups(groups, group_cursor(groups[-1]) if len(rows) > limit else None)


async def _group(tx: Transaction, row: "Record") -> DeadGroup:
    last = await tx.row("last_letter", row["fingerprint"])
    assert last is not None
    await tx.find_lanes([last["lane_id"]])
    lane = tx.lane(last["lane_id"])
    return DeadGroup(
        row["fingerprint"], "" if lane is None else lane.kind, row["n"], row["first_us"], row["last_us"],
        last["id"], last["error"],
    )  # fmt: skip
