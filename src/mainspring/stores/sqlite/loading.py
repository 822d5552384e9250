"""Moving house: the records of another store become rows, with all that follows from rows."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from mainspring.core.model import State, Task
from mainspring.core.moving import highest_number
from mainspring.core.schedule_rows import COLUMNS as SCHEDULE_COLUMNS
from mainspring.core.workflows import NOTHING
from mainspring.ports import Refused
from mainspring.stores.sqlite.connection import DATA_ERRORS, Database
from mainspring.stores.sqlite.controls import PAUSE, PUT_RULE
from mainspring.stores.sqlite.firing import ADD_RECORD
from mainspring.stores.sqlite.moves import PUT_UNRESOLVED
from mainspring.stores.sqlite.progress import PUT_HEAD
from mainspring.stores.sqlite.rows import (
    NOBODY,
    NULL,
    RESERVED,
    RESERVED_DIGEST,
    STORED_NULL,
    texts,
)
from mainspring.stores.sqlite.submitting import PUT_KEY
from mainspring.stores.sqlite.transaction import ADD_STEP, BUMP_GENERATION, Transaction
from mainspring.verbs.moving import (
    MovedDependencies,
    MovedFire,
    MovedHistory,
    MovedKey,
    MovedLimit,
    MovedLog,
    MovedPause,
    MovedSchedule,
    MovedShare,
    MovedSteps,
    MovedTask,
    MovedWorkflow,
    Record,
    not_empty,
    not_loading,
)

UNFINISHED = "SELECT copy FROM loading"
MARK = "INSERT OR REPLACE INTO loading (id, copy) VALUES (1, ?)"
UNMARK = "DELETE FROM loading WHERE copy = ?"
# What there may not be in a store that is to be filled, and under which name it is told.
THERE = {
    "tasks": "tasks",
    "submissions": "submissions",
    "workflows": "workflows",
    "idempotency WHERE expires_us > {now_us}": "idempotency keys",
    "schedules": "schedules",
    "limits": "limits",
    "paused": "pauses",
    "shares WHERE weight <> 1": "weights",
}
# What an earlier copy has left behind, or tasks that are all gone. Lanes are numbers for names, and stay.
FILLED = (
    "tasks", "edges", "dependencies", "unresolved", "counts", "claimants", "workflows", "steps", "logged",
    "logs", "history", "idempotency", "schedules", "fires", "limits", "arrivals", "paused", "shares",
)  # fmt: skip

TASK_COLUMNS = (
    "id", "state", "lane", "seq", "end_us", "token", "version", "created_at_us", "started_at_us",
    "settled_token", "settled_digest", "claimant", "claim_seq", "attempt", "retries", "losses", "snoozes",
    "run_at_us", "timeout_us", "deadline_us", "cancel_requested_at_us", "unique_digest", "name", "policy",
    "labels", "progress", "checkpoint", "error", "attempts", "result", "payload", "schedule_id", "fire_at_us",
    "fingerprint", "noted_token", "noted",
)  # fmt: skip
ADD_TASK = (
    f"INSERT OR IGNORE INTO tasks ({', '.join(TASK_COLUMNS)}) VALUES ({', '.join('?' * len(TASK_COLUMNS))})"
)
IS_STORED = "SELECT EXISTS (SELECT 1 FROM tasks INDEXED BY tasks_id WHERE id = ?)"
ADD_CLAIMANT = (
    "INSERT OR IGNORE INTO claimants (incarnation, worker, claim_seq, seen_us) VALUES (?1, ?2, 0, ?3)"
)
CLAIMANT = "SELECT n FROM claimants WHERE incarnation = ?"
ADD_WORKFLOW = (
    "INSERT OR IGNORE INTO workflows (n, id, created_at_us, name, labels, callbacks, forgotten)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
NUMBERS = "SELECT id, n FROM tasks INDEXED BY tasks_id WHERE id IN carray(?)"
STEP_ASIDE = "UPDATE tasks SET n = -n WHERE n = ?"
TAKE_PLACE = "UPDATE tasks SET n = ? WHERE n = -?"
JOIN_WORKFLOW = "UPDATE tasks INDEXED BY tasks_id SET workflow = ?, callback = ? WHERE id = ?"
PUT_DEPENDENCIES = "INSERT OR REPLACE INTO dependencies (task, parents) VALUES (?, ?)"
FAMILY = "SELECT id, n, state FROM tasks INDEXED BY tasks_id WHERE id IN carray(?)"
PUT_EDGE = "INSERT OR REPLACE INTO edges (parent, child, open) VALUES (?, ?, ?)"
NUMBER = "SELECT n FROM tasks INDEXED BY tasks_id WHERE id = ?"
PUT_STEP = "INSERT OR REPLACE INTO steps (task, n, name, result) VALUES (?, ?, ?, ?)"
PUT_BLOCK = "INSERT OR REPLACE INTO logs (task, ends, weight, pieces) VALUES (?, ?, ?, ?)"
DROP_HISTORY = "DELETE FROM history WHERE task = ?"
OWN_COLUMNS = (
    "id", "version", "mark", "standing", "look_us", "quarantine", "created_us", "updated_us", "last_fire_us",
    "last_task", "records",
)  # fmt: skip
ADD_SCHEDULE = (
    f"INSERT OR IGNORE INTO schedules ({', '.join((*SCHEDULE_COLUMNS, *OWN_COLUMNS))})"
    f" VALUES ({', '.join('?' * (len(SCHEDULE_COLUMNS) + len(OWN_COLUMNS)))})"
)
PUT_FIRE = ADD_RECORD.replace("INSERT", "INSERT OR REPLACE")
PUT_SHARE = "INSERT OR REPLACE INTO shares (tenant, weight, virtual_us) VALUES (?, ?, ?)"

_encode = msgspec.msgpack.Encoder().encode


def unfinished(db: Database) -> str | None:
    found: str | None = db.execute(UNFINISHED).get
    return found


def begin(tx: Transaction, copy: str) -> Refused | None:
    earlier = unfinished(tx.db)
    if earlier == copy:
        return None
    if earlier is None:
        for table, what in THERE.items():
            if tx.db.execute(f"SELECT EXISTS (SELECT 1 FROM {table.format(now_us=tx.now_us)})").get:
                return not_empty(what)
    for table in FILLED:
        tx.db.execute(f"DELETE FROM {table}")
    tx.db.execute(BUMP_GENERATION)
    tx.db.execute(MARK, (copy,))
    return None


def end(tx: Transaction, copy: str) -> None:
    tx.db.execute(UNMARK, (copy,))


def load(tx: Transaction, copy: str, records: Sequence[Record]) -> list[Refused | None]:
    if unfinished(tx.db) != copy:
        return [not_loading(copy)] * len(records)
    return [_load(tx, record) for record in records]


def _load(tx: Transaction, record: Record) -> Refused | None:
    try:
        with tx.db:
            _LOADS[type(record)](tx, record)
    except DATA_ERRORS as error:
        tx.lanes.forget()
        return Refused("invalid_input", f"a value cannot be stored: {error}")
    return None


# --- what tasks have --------------------------------------------------------------------------------


def _task(tx: Transaction, moved: MovedTask) -> None:
    task = moved.task
    if tx.db.execute(IS_STORED, (task.id,)).get:
        return
    tx.minted = max(tx.minted, highest_number(task))
    noted_token, noted = moved.noted or (None, None)
    tx.db.execute(
        ADD_TASK,
        (
            task.id, task.state, tx.lanes.id_of(task.lane, tx.mint), _or(task.seq), _or(task.finished_at_us),
            task.token or RESERVED, task.version, task.created_at_us, _or(task.started_at_us),
            moved.settled_token or RESERVED, moved.settled_digest if moved.settled_token else RESERVED_DIGEST,
            _claimant(tx, task), NOBODY, task.attempt, task.retries, task.losses, task.snoozes,
            task.run_at_us, task.timeout_us, task.deadline_us, task.cancel_requested_at_us, moved.unique,
            task.name, task.policy, task.labels, task.progress, task.checkpoint, task.error, task.attempts,
            STORED_NULL if task.result == NULL else task.result, task.payload, task.schedule_id,
            task.fire_at_us, moved.fingerprint, noted_token, noted,
        ),
    )  # fmt: skip
    tx.count(task.lane.queue, task.state, 1)


def _or(number: int | None) -> int:
    return RESERVED if number is None else number


def _claimant(tx: Transaction, task: Task) -> int:
    """Who ran a task that has ended. Incarnations are forgotten; their worker's name stands for them."""
    if task.worker is None:
        return NOBODY
    incarnation = f"moved:{task.worker}"
    tx.db.execute(ADD_CLAIMANT, (incarnation, task.worker, tx.now_us))
    return int(tx.db.execute(CLAIMANT, (incarnation,)).get)


def _workflow(tx: Transaction, moved: MovedWorkflow) -> None:
    tx.minted = max(tx.minted, moved.place)
    forgotten = None if moved.forgotten == NOTHING else msgspec.json.encode(moved.forgotten)
    tx.db.execute(
        ADD_WORKFLOW,
        (
            moved.place, moved.id, moved.created_at_us, moved.name, moved.labels,
            msgspec.json.encode(moved.callbacks), forgotten,
        ),
    )  # fmt: skip
    if moved.tasks:
        _line_up(tx, moved.tasks)
    roles = {task: callback for callback, task in moved.callbacks.items()}
    tx.db.executemany(JOIN_WORKFLOW, [(moved.place, roles.get(task), task) for task in moved.tasks])


def _line_up(tx: Transaction, tasks: Sequence[str]) -> None:
    """A workflow's tasks are numbered parents first. A store that keeps them by their ids may have told them
    in another order; nothing else names their numbers yet."""
    number = dict(tx.db.execute(NUMBERS, (texts(tasks),)).fetchall())
    found = [number[task] for task in tasks]
    if found == sorted(found):
        return
    tx.db.executemany(STEP_ASIDE, [(n,) for n in found])
    tx.db.executemany(TAKE_PLACE, list(zip(sorted(found), found, strict=True)))


def _dependencies(tx: Transaction, moved: MovedDependencies) -> None:
    family = {
        task: (n, State(state))
        for task, n, state in tx.db.execute(FAMILY, (texts((moved.task, *moved.parents)),)).fetchall()
    }
    child, _ = family[moved.task]
    tx.db.execute(PUT_DEPENDENCIES, (child, msgspec.json.encode(moved.parents)))
    for parent in moved.parents:
        if parent not in family:
            continue
        n, state = family[parent]
        is_open = parent in moved.waits_for
        tx.db.execute(PUT_EDGE, (n, child, is_open))
        if is_open and state.is_final:
            tx.db.execute(PUT_UNRESOLVED, (n,))


def _steps(tx: Transaction, moved: MovedSteps) -> None:
    n = tx.db.execute(NUMBER, (moved.task,)).get
    tx.db.executemany(
        PUT_STEP, [(n, place, name, result) for place, (name, result) in enumerate(moved.steps)]
    )


def _log(tx: Transaction, moved: MovedLog) -> None:
    n = tx.db.execute(NUMBER, (moved.task,)).get
    tx.db.execute(PUT_HEAD, (n, *moved.head))
    tx.db.executemany(
        PUT_BLOCK, [(n, block.ends, block.weight, _encode(block.pieces)) for block in moved.blocks]
    )


def _history(tx: Transaction, moved: MovedHistory) -> None:
    tx.db.execute(DROP_HISTORY, (moved.task,))
    tx.db.executemany(ADD_STEP, moved.transitions)


# --- what stands by itself --------------------------------------------------------------------------


def _key(tx: Transaction, moved: MovedKey) -> None:
    tasks = msgspec.json.encode(moved.tasks)
    tx.db.execute(PUT_KEY, (moved.principal, moved.key, moved.digest, moved.expires_us, tasks))


def _schedule(tx: Transaction, moved: MovedSchedule) -> None:
    tx.minted = max(tx.minted, moved.version)
    tx.db.execute(
        ADD_SCHEDULE,
        (
            *msgspec.structs.astuple(moved.row), moved.id, moved.version, moved.mark, moved.standing,
            moved.look_us, moved.quarantine, moved.created_us, moved.updated_us, moved.last_fire_us,
            moved.last_task, moved.fires,
        ),
    )  # fmt: skip


def _fire(tx: Transaction, moved: MovedFire) -> None:
    tx.minted = max(tx.minted, moved.place)
    tx.db.execute(PUT_FIRE, (moved.schedule, moved.place, *msgspec.structs.astuple(moved.record)))


def _limit(tx: Transaction, moved: MovedLimit) -> None:
    tx.db.execute(PUT_RULE, (moved.name, msgspec.json.encode(moved.rule)))
    tx.db.execute(BUMP_GENERATION)


def _pause(tx: Transaction, moved: MovedPause) -> None:
    tx.db.execute(PAUSE, (moved.queue, moved.by))
    tx.db.execute(BUMP_GENERATION)


def _share(tx: Transaction, moved: MovedShare) -> None:
    tx.db.execute(PUT_SHARE, (moved.tenant, moved.weight, moved.virtual_us))


_LOADS: dict[type, Callable[[Transaction, Any], None]] = {
    MovedTask: _task,
    MovedWorkflow: _workflow,
    MovedDependencies: _dependencies,
    MovedSteps: _steps,
    MovedLog: _log,
    MovedHistory: _history,
    MovedKey: _key,
    MovedSchedule: _schedule,
    MovedFire: _fire,
    MovedLimit: _limit,
    MovedPause: _pause,
    MovedShare: _share,
}
