"""What surrounds one task, on one snapshot of the file: enough to say why it is not running."""

from collections import Counter

from mainspring.core.explain import OpenParent
from mainspring.core.limits import names
from mainspring.core.model import Lane, State
from mainspring.core.turns import COUNTED
from mainspring.ports import BoardView, Surroundings
from mainspring.stores.sqlite.limits import RUNNING_BY_LANE
from mainspring.stores.sqlite.reading import Reader, board, workers
from mainspring.stores.sqlite.rows import numbers, state_of, tasks_by_id

PLACE = "SELECT count(*) FROM tasks INDEXED BY tasks_ready WHERE state = 3 AND lane = ? AND seq < ?"
WAITING = (
    "SELECT lanes.value, (SELECT count(*) FROM (SELECT 1 FROM tasks INDEXED BY tasks_ready"
    f" WHERE state = 3 AND lane = lanes.value LIMIT {COUNTED})) FROM carray(?) lanes"
)
# Few: `overdue` fails them within a second.
LATE = (
    "SELECT lane, seq FROM tasks INDEXED BY tasks_deadline WHERE state <= 3 AND deadline_us < ? AND state = 3"
)
HOLDERS = "SELECT id FROM tasks INDEXED BY tasks_running WHERE state = 4 AND lane IN carray(?) LIMIT ?"
OPEN_PARENTS = (
    "SELECT t.id, t.name, t.state FROM edges e INDEXED BY edges_open JOIN tasks t ON t.n = e.parent"
    " WHERE e.child = (SELECT n FROM tasks INDEXED BY tasks_id WHERE id = ?) AND e.open = 1"
    " ORDER BY e.parent LIMIT ?"
)


def surroundings(reader: Reader, task: str, shown: int) -> Surroundings | None:
    record = tasks_by_id(reader.db, reader.lanes, (task,)).get(task)
    if record is None:
        return None
    found = Surroundings(record, board(reader), workers(reader))
    if record.state is State.BLOCKED:
        parents = reader.db.execute(OPEN_PARENTS, (task, shown))
        found.parents = [OpenParent(id_, name, state_of(state)) for id_, name, state in parents]
    elif record.state is State.READY:
        late = reader.db.execute(LATE, (reader.now_us,)).fetchall()
        lanes = {head.lane: head.lane_id for head in found.board.heads}
        found.waiting = _waiting(reader, list(lanes.values()), Counter(lane_id for lane_id, _ in late))
        lane_id, seq = lanes[record.lane], record.seq
        found.place = int(reader.db.execute(PLACE, (lane_id, seq)).get)
        found.place -= sum(at == lane_id and late_seq < (seq or 0) for at, late_seq in late)
        found.holders = _holders(reader, record.lane, found.board, shown)
    return found


def _waiting(reader: Reader, lane_ids: list[int], late: Counter[int]) -> dict[int, int]:
    counted = reader.db.execute(WAITING, (numbers(lane_ids),))
    return {lane_id: min(COUNTED, count - late[lane_id]) for lane_id, count in counted}


def _holders(reader: Reader, lane: Lane, view: BoardView, shown: int) -> dict[str, list[str]]:
    limited = [name for name in names(lane) if name in view.usage]
    if not limited:
        return {}
    running = [lane_id for lane_id, _ in reader.db.execute(RUNNING_BY_LANE).fetchall()]
    found = {}
    for name in limited:
        lane_ids = [lane_id for lane_id in running if name in names(reader.lanes.by_id(lane_id))]
        rows = reader.db.execute(HOLDERS, (numbers(lane_ids or [0]), shown))
        found[name] = [task for (task,) in rows]
    return found
