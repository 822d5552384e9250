"""What is plain goes as one statement that is its own transaction: one round trip, where the ordinary way
(exchanging.py) takes six and more.

Plain is nearly all that is brought: few new tasks at a time, a claim of one worker, successes of tasks that
nobody waits for, all in lanes that the node knows and without limits. What the node knows of limits and
pauses is checked by the statement itself, which changes nothing if it is outdated; then, and for all else,
there is the ordinary way.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import count, islice

import asyncpg
import msgspec

from mainspring.core.lifecycle import Cause
from mainspring.core.model import State
from mainspring.core.order import LaneHead
from mainspring.ports import Accepted, Answer, Ask, Exchange, Exchanged, Group
from mainspring.stores.postgres import exchanging
from mainspring.stores.postgres.claiming import asked_for, taken
from mainspring.stores.postgres.planning import is_plain, rule_of
from mainspring.stores.postgres.settling import just_succeeds, success
from mainspring.stores.postgres.transaction import Replay, Transaction, columns

# A COPY is faster for more.
FEW = 100


class Exchanging:
    """One exchange: what of it goes alone, and the ordinary way for the rest."""

    def __init__(self, batch: Exchange) -> None:
        self._batch = batch
        self._settled: list[Answer | None] = [None] * len(batch.settles)

    async def alone(self, tx: Transaction) -> Exchanged | None:
        """`None` if there is something left."""
        batch = self._batch
        if not tx.generation or tx.rules or batch.charges:
            return None
        match bool(batch.settles), bool(batch.submits), len(batch.claims):
            case False, True, 0:
                return await _submit(tx, batch.submits)
            case False, False, 1:
                return await _claim(tx, batch.claims[0])
            case True, False, 0:
                return await self._settle(tx)
        return None

    async def in_order(self, tx: Transaction) -> Exchanged:
        """In a transaction, what has not gone alone."""
        settles, settled = self._batch.settles, self._settled
        left = [line for line, answer in zip(settles, settled, strict=True) if answer is None]
        answers = await exchanging.exchange(tx, msgspec.structs.replace(self._batch, settles=left))
        if len(left) < len(settles):
            others = iter(answers.settles)
            answers.settles = [next(others) if answer is None else answer for answer in settled]
            tx.finished += [line.task for line, answer in zip(settles, settled, strict=True) if answer]
        return answers

    async def _settle(self, tx: Transaction) -> Exchanged | None:
        lines = self._batch.settles
        if not all(line.lane_id and just_succeeds(line) for line in lines):
            return None
        places = sorted(range(len(lines)), key=lambda place: lines[place].task)
        values = columns([success(lines[place]) for place in places])
        rows = await tx.rows("succeed_plain", *values, tx.generation, _step(tx, Cause.SUCCEED))
        for row in rows:
            self._settled[places[row["place"] - 1]] = Answer.OK
        if len(rows) < len(lines):
            return None
        tx.ran_alone(rows[0]["finished_at_us"])
        tx.finished += [line.task for line in lines]
        return Exchanged(tx.now_us, settles=[Answer.OK] * len(lines))


def _step(tx: Transaction, cause: Cause) -> Cause | None:
    """What the history calls it, where one is kept."""
    return None if tx.steps is None else cause


async def _submit(tx: Transaction, groups: Sequence[Group]) -> Exchanged | None:
    if not 0 < sum(len(group.tasks) for group in groups) <= FEW or not all(map(is_plain, groups)):
        return None
    tasks = [task for group in groups for task in group.tasks]
    lane_ids = [tx.known_lane_id(task.lane) for task in tasks]
    if None in lane_ids:
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
