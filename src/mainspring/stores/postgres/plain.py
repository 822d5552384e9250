"""What is plain goes as one statement that is its own transaction: one round trip, where the ordinary way
(exchanging.py) takes six and more.

Plain is nearly all that few tasks at a time bring: lanes that the node knows, no limits, nothing that touches
other tasks. What the node knows of limits and pauses is checked by the statement itself, which changes
nothing if it is outdated; then, and for all else, there is the ordinary way.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import count, islice

import asyncpg

from mainspring.core.lifecycle import Cause
from mainspring.core.model import State
from mainspring.core.order import LaneHead
from mainspring.ports import Accepted, Ask, Exchange, Exchanged, Group
from mainspring.stores.postgres.claiming import asked_for, taken
from mainspring.stores.postgres.planning import is_plain
from mainspring.stores.postgres.submitting import rule_of
from mainspring.stores.postgres.transaction import Replay, Transaction, columns

# A COPY is faster for more.
FEW = 100


async def exchange(tx: Transaction, batch: Exchange) -> Exchanged | None:
    """`None` if it has to go the ordinary way: nothing was written then."""
    if not tx.generation or tx.rules or batch.charges:
        return None
    if batch.settles:
        return None
    if not batch.claims:
        return await _submit(tx, batch.submits)
    return None if batch.submits or len(batch.claims) > 1 else await _claim(tx, batch.claims[0])


def _step(tx: Transaction, cause: Cause) -> Cause | None:
    """What the history calls it, where one is kept."""
    return None if tx.steps is None else cause


async def _submit(tx: Transaction, groups: Sequence[Group]) -> Exchanged | None:
    tasks = [task for group in groups for task in group.tasks]
    lane_ids = [tx.known_lane_id(task.lane) for task in tasks]
    if not 0 < len(tasks) <= FEW or None in lane_ids or not all(map(is_plain, groups)):
        return None
    if any(task.delay_us > 0 or task.run_at_us is not None for task in tasks):
        return None
    new = [
        (
            task.id, lane_id, task.payload, task.policy, task.timeout_us, task.deadline_us, task.labels,
            task.name, rule_of(task),
        )
        for task, lane_id in zip(tasks, lane_ids, strict=True)
    ]  # fmt: skip
    queues = sorted(Counter(task.lane.queue for task in tasks).items())
    lanes = {lane_id: task.lane for lane_id, task in zip(lane_ids, tasks, strict=True) if lane_id is not None}
    starts = [(lane_id, tx.known_start(lane_id)) for lane_id in lanes]
    try:
        rows = await tx.rows(
            "submit_plain", tx.generation, *columns(new), *columns(queues), _step(tx, Cause.SUBMIT),
            *columns(starts),
        )  # fmt: skip
    except asyncpg.UniqueViolationError as error:
        raise Replay from error
    if not rows:
        return None
    tx.ran_alone(rows[0]["now_us"])
    tx.gained.update(lanes)
    tx.heads = [LaneHead(row["lane_id"], lanes[row["lane_id"]], row["seq"]) for row in rows]
    return Exchanged(tx.now_us, submits=_accepted(tx.now_us, groups), ready=tx.heads)


def _accepted(now_us: int, groups: Sequence[Group]) -> list[Accepted]:
    """Each task's first version tells its place among them all."""
    versions = count(now_us + 1)
    return [
        Accepted(now_us, [State.READY] * len(group.tasks), list(islice(versions, len(group.tasks))))
        for group in groups
    ]


async def _claim(tx: Transaction, ask: Ask) -> Exchanged | None:
    queues = [lane.queue for quota in ask.lanes if (lane := tx.lane(quota.lane_id)) is not None]
    if ask.term is not None or ask.limit <= 0 or not queues or len(queues) < len(ask.lanes):
        return None
    if not tx.paused.keys().isdisjoint(queues):
        return None
    asked = asked_for(tx, ask, ask.lanes, ask.limit)
    now_s = asyncio.get_running_loop().time
    began_s = now_s()
    rows = await tx.rows("claim_plain", *asked, True, tx.generation, queues, _step(tx, Cause.CLAIM))
    if not rows[0]["is_next"]:
        return None
    found = [row for row in rows if row["id"] is not None]
    if tx.ran_alone(rows[0]["now_us"]) and not found:
        return None
    return Exchanged(tx.now_us, claims=[taken(tx, asked, found, now_s() - began_s, True)])
