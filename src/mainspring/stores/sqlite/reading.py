"""Reading, on a connection of its own: what was committed before the call is seen, what writes now is not
waited for."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from mainspring.core.lifecycle import Cause
from mainspring.core.limits import LimitRule
from mainspring.core.model import Lane, State, Task
from mainspring.core.order import LaneHead, Share
from mainspring.errors import InvalidInput
from mainspring.ports import BoardView, Clock, Page, Query, Stats, Term, Transition, WorkerInfo
from mainspring.stores.sqlite.connection import connect, let_go, named_errors
from mainspring.stores.sqlite.lanes import Lanes
from mainspring.stores.sqlite.limits import Usage, stored_rules
from mainspring.stores.sqlite.rows import TASK, TASK_JOINS, numbers, state_of, task_of
from mainspring.verbs import PAGE_BYTES

ResultT = TypeVar("ResultT")

ROWS_LOOKED_AT = 10_000

READ_CLOCK = "SELECT now_us FROM meta"
# A loose scan: from each lane the index is asked for the next one, so that the cost goes with the number
# of lanes that have work, not with the work.
HEADS = (
    "WITH RECURSIVE active (lane) AS ("
    " SELECT min(lane) FROM tasks INDEXED BY tasks_ready WHERE state = 3"
    " UNION ALL SELECT (SELECT min(t.lane) FROM tasks t INDEXED BY tasks_ready"
    " WHERE t.state = 3 AND t.lane > active.lane) FROM active WHERE active.lane IS NOT NULL)"
    " SELECT lane, (SELECT min(t.seq) FROM tasks t INDEXED BY tasks_ready"
    " WHERE t.state = 3 AND t.lane = active.lane) FROM active WHERE lane IS NOT NULL"
)
_rule = msgspec.json.Decoder(LimitRule)
_info = msgspec.json.Decoder(WorkerInfo)


class Reader:
    """The one connection of this process that only reads."""

    def __init__(self, path: str, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        with named_errors(path):
            self.db = connect(path, read_only=True)
        self.lanes = Lanes(self.db)
        self.now_us = self.host_us = 0

    def close(self) -> None:
        self.db.close()

    def read(self, work: Callable[["Reader"], ResultT]) -> ResultT:
        """Run `work` on one snapshot of the file."""
        with named_errors(self._path):
            self.db.execute("BEGIN")
            try:
                self.host_us = self._clock.now_us()
                self.now_us = max(int(self.db.execute(READ_CLOCK).get), self.host_us)
                return work(self)
            except BaseException as error:
                let_go(error)
                raise
            finally:
                self.db.execute("ROLLBACK")


def board(reader: Reader) -> BoardView:
    db, lanes = reader.db, reader.lanes
    rules = stored_rules(db)
    usage = Usage(db, lanes, rules, reader.now_us).limited() if rules else {}
    shares = db.execute("SELECT tenant, weight, virtual_us FROM shares")
    return BoardView(
        now_us=reader.now_us,
        heads=[LaneHead(lane, lanes.by_id(lane), seq) for lane, seq in db.execute(HEADS).fetchall()],
        paused=dict(db.execute("SELECT queue, by FROM paused")),
        rules=rules,
        usage=usage,
        shares={tenant: Share(weight, virtual_us) for tenant, weight, virtual_us in shares},
    )


def stats(reader: Reader) -> Stats:
    counted = reader.db.execute("SELECT queue, state, n FROM counts WHERE n <> 0")
    return Stats(reader.now_us, {(queue, state_of(state)): n for queue, state, n in counted})


def history(reader: Reader, task: str) -> list[Transition]:
    steps = reader.db.execute(
        "SELECT task, at_us, old, cause, new, attempt, token FROM history INDEXED BY history_task"
        " WHERE task = ? ORDER BY n",
        (task,),
    )
    return [
        Transition(id_, at_us, state_of(old) if old else None, Cause(cause), state_of(new), attempt, token)
        for id_, at_us, old, cause, new, attempt, token in steps
    ]


def workers(reader: Reader) -> list[WorkerInfo]:
    found = []
    for info, beaten_us in reader.db.execute("SELECT info, beaten_us FROM workers ORDER BY worker"):
        found.append(_info.decode(info))
        found[-1].age_us = reader.now_us - beaten_us
    return found


def term(reader: Reader) -> Term | None:
    for holder, number, expires_us in reader.db.execute("SELECT holder, number, expires_us FROM term"):
        if expires_us > reader.now_us:
            return Term(holder, number, expires_us - reader.now_us)
    return None


# --- pages ------------------------------------------------------------------------------------------

_SEEN = (
    "t.n, t.state, t.lane, t.labels, t.fingerprint, length(t.payload) + coalesce(length(t.result), 0)"
    " + coalesce(length(t.error), 0) + coalesce(length(t.attempts), 0) + coalesce(length(t.checkpoint), 0)"
    " + coalesce(length(t.progress), 0)"
)
_LOOK = f"SELECT {_SEEN} FROM tasks t {{index}} WHERE t.n < ?1 {{state}} ORDER BY t.n DESC LIMIT ?2"
LOOK_AT_ALL = _LOOK.format(index="", state="")
LOOK_AT_RUNNING = _LOOK.format(index="INDEXED BY tasks_running", state="AND t.state = 4")
# The index's own condition is repeated word for word: SQLite does not see that `= 6` implies `>= 6`.
_BADLY = "INDEXED BY tasks_ended_badly"
LOOK_AT_FAILED = _LOOK.format(index=_BADLY, state="AND t.state >= 6 AND t.state = 6")
LOOK_AT_CANCELLED = _LOOK.format(index=_BADLY, state="AND t.state >= 6 AND t.state = 7")
LOOK_AT_ENDED_BADLY = (
    f"SELECT * FROM (SELECT * FROM ({LOOK_AT_FAILED}) UNION ALL SELECT * FROM ({LOOK_AT_CANCELLED}))"
    " ORDER BY n DESC LIMIT ?2"
)
LOOK_AT_WORKFLOW = (
    f"SELECT {_SEEN} FROM tasks t INDEXED BY tasks_workflow"
    " WHERE t.n < ?1 AND t.workflow = (SELECT w.n FROM workflows w WHERE w.id = ?3)"
    " ORDER BY t.n DESC LIMIT ?2"
)
SOURCES = {
    frozenset({State.RUNNING}): LOOK_AT_RUNNING,
    frozenset({State.FAILED}): LOOK_AT_FAILED,
    frozenset({State.CANCELLED}): LOOK_AT_CANCELLED,
    frozenset({State.FAILED, State.CANCELLED}): LOOK_AT_ENDED_BADLY,
}
TASKS_BY_N = f"SELECT {TASK} FROM tasks t{TASK_JOINS} WHERE t.n IN carray(?) ORDER BY t.n DESC"
_labels = msgspec.json.Decoder(dict[str, Any])


def find(reader: Reader, query: Query) -> Page:
    """Newest first. Looks at a bounded number of rows and says where it stopped; the states that people
    look for among millions have indexes of their own."""
    before = parse_cursor(query.cursor) if query.cursor else 1 << 62
    if query.workflow is None:
        rows = reader.db.execute(SOURCES.get(query.states, LOOK_AT_ALL), (before, ROWS_LOOKED_AT + 1))
    else:
        rows = reader.db.execute(LOOK_AT_WORKFLOW, (before, ROWS_LOOKED_AT + 1, query.workflow))
    found: list[int] = []
    looked, last, more, size = 0, before, False, 0
    for n, state, lane_id, labels, fingerprint, weight in rows:
        if looked == ROWS_LOOKED_AT or len(found) == query.limit or size >= PAGE_BYTES:
            more = True
            break
        looked, last = looked + 1, n
        if query.fingerprint not in (None, fingerprint):
            continue
        if _matches(query, state, reader.lanes.by_id(lane_id), labels):
            found.append(n)
            size += weight
    rows.close()
    return Page(_tasks_by_n(reader, found), str(last) if more else None)


def parse_cursor(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit()) or len(cursor) > 18:
        raise InvalidInput("cursor", "this cursor was not given out by this store")
    return int(cursor)


def _tasks_by_n(reader: Reader, found: list[int]) -> list[Task]:
    if not found:
        return []
    return [
        task_of(values, reader.lanes)
        for values in reader.db.execute(TASKS_BY_N, (numbers(found),)).fetchall()
    ]


def _matches(query: Query, state: int, lane: Lane, labels: bytes | None) -> bool:
    if query.states and state not in query.states:
        return False
    if query.queue not in (None, lane.queue) or query.kind not in (None, lane.kind):
        return False
    if query.tenant not in (None, lane.tenant):
        return False
    return query.label is None or has_label(labels, query.label)


def has_label(labels: bytes | None, wanted: tuple[str, str]) -> bool:
    name, value = wanted
    return labels is not None and _labels.decode(labels).get(name) == value
