"""What surrounds one task, on one snapshot: enough to say why it is not running."""

from collections import Counter

from mainspring.core.explain import OpenParent
from mainspring.core.limits import names
from mainspring.core.model import Lane, State
from mainspring.core.turns import COUNTED
from mainspring.ports import BoardView, Surroundings
from mainspring.stores.postgres.controls import workers
from mainspring.stores.postgres.reading import board, get
from mainspring.stores.postgres.rows import state_of
from mainspring.stores.postgres.transaction import Transaction


async def surroundings(tx: Transaction, task: str, shown: int) -> Surroundings | None:
    (record,) = await get(tx, [task])
    if record is None:
        return None
    found = Surroundings(record, await board(tx), await workers(tx))
    if record.state is State.BLOCKED:
        parents = await tx.rows("open_parents", task, shown)
        found.parents = [OpenParent(row["id"], row["name"], state_of(row["state"])) for row in parents]
    elif record.state is State.READY:
        # Few: `overdue` fails them within a second.
        late = await tx.rows("late_in_line")
        lanes = {head.lane: head.lane_id for head in found.board.heads}
        late_of = Counter(row["lane_id"] for row in late)
        counted = await tx.rows("waiting_in_lanes", list(lanes.values()), COUNTED)
        found.waiting = {row["lane_id"]: min(COUNTED, row["n"] - late_of[row["lane_id"]]) for row in counted}
        lane_id, seq = lanes[record.lane], record.seq or 0
        before = await tx.value("place_in_line", lane_id, seq)
        found.place = before - sum(row["lane_id"] == lane_id and row["seq"] < seq for row in late)
        found.holders = await _holders(tx, record.lane, found.board, shown)
    return found


async def _holders(tx: Transaction, lane: Lane, view: BoardView, shown: int) -> dict[str, list[str]]:
    limited = [name for name in names(lane) if name in view.usage]
    if not limited:
        return {}
    running = {row["lane_id"]: tx.lane(row["lane_id"]) for row in await tx.running("running_by_lane")}
    found = {}
    for name in limited:
        lane_ids = [lane_id for lane_id, at in running.items() if at is not None and name in names(at)]
        found[name] = [row["id"] for row in await tx.rows("running_in_lanes", lane_ids, shown)]
    return found
