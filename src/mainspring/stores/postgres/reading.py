"""Reading, each call as of one moment: what was committed before it is seen, what writes now is not waited
for."""

import asyncio
from collections.abc import Sequence

from asyncpg import Record

from mainspring.core.lifecycle import Cause
from mainspring.core.model import SECOND_US, State, Task
from mainspring.core.order import LaneHead, Share
from mainspring.errors import StoreCorrupt
from mainspring.ports import BoardView, Page, Query, Stats, Transition
from mainspring.stores.postgres.editing import tasks_by_id
from mainspring.stores.postgres.pages import foreign_cursor, has_label
from mainspring.stores.postgres.rows import LANE_LOST, can_be_stored, known_texts, state_of
from mainspring.stores.postgres.transaction import Transaction
from mainspring.verbs import PAGE_BYTES

ROWS_LOOKED_AT = 10_000
LOOKED_AT_ONCE = 1_000
LONGEST_ID = 200
LANES_BEGIN, LANES_END = -(1 << 63), (1 << 63) - 1
# Later than every id.
AFTER_ALL = "\U0010ffff"


async def get(tx: Transaction, tasks: Sequence[str]) -> list[Task | None]:
    found = await tasks_by_id(tx, known_texts(tasks))
    return [found.get(task) for task in tasks]


async def board(tx: Transaction) -> BoardView:
    heads = await _heads(tx)
    usage = await tx.usage()
    return BoardView(
        tx.now_us,
        heads,
        dict(tx.paused),
        dict(tx.rules),
        {} if usage is None else usage.limited(),
        {row["tenant"]: Share(row["weight"], row["virtual_us"]) for row in await tx.rows("all_shares")},
    )


async def _heads(tx: Transaction) -> list[LaneHead]:
    starts = tx.board_starts()
    lanes = sorted(starts)
    now_s = asyncio.get_running_loop().time
    began_s = now_s()
    between = [LANES_BEGIN, *lanes], [*lanes, LANES_END]
    rows = await tx.rows("all_heads", lanes, [starts[lane_id] for lane_id in lanes], *between)
    took_us = int((now_s() - began_s) * SECOND_US)
    await tx.find_lanes(row["lane_id"] for row in rows)
    heads = [
        LaneHead(row["lane_id"], lane, row["seq"])
        for row in rows
        if (lane := tx.lane(row["lane_id"])) is not None
    ]
    tx.saw_board(took_us, starts, heads)
    return heads


async def stats(tx: Transaction) -> Stats:
    rows = await tx.rows("stats")
    return Stats(tx.now_us, {(row["queue"], state_of(row["state"])): row["n"] for row in rows})


async def history(tx: Transaction, task: str) -> list[Transition]:
    return [transition_of(row) for row in (await tx.rows("history", task) if can_be_stored(task) else [])]


def transition_of(row: Record) -> Transition:
    return Transition(
        row["task"], row["at_us"], state_of(row["old"]) if row["old"] else None, Cause(row["cause"]),
        state_of(row["new"]), row["attempt"], row["token"],
    )  # fmt: skip


# --- pages ------------------------------------------------------------------------------------------

_BADLY = frozenset({State.FAILED, State.CANCELLED})


async def find(tx: Transaction, query: Query) -> Page:
    """Newest first, by the ids, which begin with the time. Looks at a bounded number of rows and says where
    it stopped; the states that people look for among millions have indexes of their own."""
    last = AFTER_ALL if query.cursor is None else query.cursor
    if not last or len(last) > LONGEST_ID or not can_be_stored(last):
        raise foreign_cursor()
    found: list[str] = []
    looked = size = 0
    while True:
        rows = await _look(tx, query, last)
        await tx.find_lanes({row["lane_id"] for row in rows})
        for row in rows:
            if looked == ROWS_LOOKED_AT or len(found) == query.limit or size >= PAGE_BYTES:
                return Page(await _tasks(tx, found), last)
            looked, last = looked + 1, row["id"]
            if _matches(tx, query, row):
                found.append(row["id"])
                size += row["size"]
        if len(rows) < LOOKED_AT_ONCE:
            return Page(await _tasks(tx, found), None)


async def _look(tx: Transaction, query: Query, before: str) -> list[Record]:
    if query.workflow is not None:
        known = can_be_stored(query.workflow)
        return await tx.rows("look_at_workflow", before, LOOKED_AT_ONCE, query.workflow) if known else []
    if query.states == {State.RUNNING}:
        return await tx.rows("look_at_running", before, LOOKED_AT_ONCE)
    if query.states and query.states <= _BADLY:
        return await tx.rows("look_at_ended_badly", before, LOOKED_AT_ONCE, sorted(query.states))
    return await tx.rows("look_at_all", before, LOOKED_AT_ONCE)


def _matches(tx: Transaction, query: Query, row: Record) -> bool:
    if query.states and row["state"] not in query.states:
        return False
    if query.fingerprint not in (None, row["fingerprint"]):
        return False
    lane = tx.lane(row["lane_id"])
    if lane is None:
        raise StoreCorrupt(LANE_LOST.format(row["id"]))
    if query.queue not in (None, lane.queue) or query.kind not in (None, lane.kind):
        return False
    if query.tenant not in (None, lane.tenant):
        return False
    return query.label is None or has_label(row["labels"], query.label)


async def _tasks(tx: Transaction, found: list[str]) -> list[Task]:
    tasks = await tasks_by_id(tx, found)
    return [tasks[task] for task in found]
