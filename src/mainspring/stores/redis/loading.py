"""Moving house: the records of another store become tasks, schedules and what else there is."""

from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from typing import Any

import msgspec

from mainspring.core.model import FINAL, decode_policy
from mainspring.core.progress import LOG_BYTES_KEPT
from mainspring.ports import Refused
from mainspring.stores.redis import controls
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import (
    DIGESTS,
    FIELDS,
    Body,
    Request,
    exact,
    fingerprint_text,
    lane_text,
    pack,
    prefixed,
)
from mainspring.stores.redis.schedules import Stored, fire_text
from mainspring.stores.redis.workflows import Kept
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
    clock_behind,
    not_empty,
    not_loading,
)

# What does not come over, or is told by other records.
_UNSET = ("LANE", "LEASE_UNTIL", "TIMEOUT_AT", "INCARNATION", "KEPT", "ORDINAL", "WORKFLOW", "CALLBACK")


async def unfinished(db: Database) -> str | None:
    found = await db.do("HGET", "meta", "loading")
    return None if found is None else str(found.decode())


async def begin(db: Database, copy: str) -> Refused | None:
    there = (await db.run("begin_load", copy.encode())).answers
    return not_empty(there) if there else None


async def end(db: Database, copy: str) -> None:
    await db.run("end_load", copy.encode())


async def load(db: Database, copy: str, records: Sequence[Record]) -> list[Refused | None]:
    if await unfinished(db) != copy:
        return [not_loading(copy)] * len(records)
    now_us = (await db.run("rise", 0)).now_us
    answers = [clock_behind(record, now_us) or _unstorable(record) for record in records]
    accepted = [record for record, answer in zip(records, answers, strict=True) if answer is None]
    for kind, some in groupby(accepted, type):
        await _LOADS[kind](db, list(some))
    return answers


def _unstorable(record: Record) -> Refused | None:
    try:
        pack(record)
    except (UnicodeEncodeError, OverflowError) as error:
        return Refused("invalid_input", f"a value cannot be stored: {error}")
    return None


# --- what tasks have --------------------------------------------------------------------------------


async def _tasks(db: Database, moved: Sequence[MovedTask]) -> None:
    request = Request()
    lines = []
    for one in moved:
        task = one.task
        body = request.aside(pack(Body(task.payload, task.policy, task.labels)))
        has_end = task.result is not None or task.error is not None
        texts = [
            request.aside(pack((task.result, task.error)) if has_end else None),
            request.aside(task.attempts), request.aside(task.checkpoint), request.aside(task.progress),
        ]  # fmt: skip
        lines.append((task.id, lane_text(task.lane), _head(one), body, *texts))
    await db.run("load_tasks", *request.pack(lines))


def _head(moved: MovedTask) -> list[object]:
    task = moved.task
    noted_token, noted = moved.noted or (False, False)
    fields: dict[str, object] = {
        "STATE": task.state, "SEQ": _or_false(task.seq), "TOKEN": task.token, "VERSION": task.version,
        "CREATED": task.created_at_us, "RUN_AT": exact(task.run_at_us), "TIMEOUT": exact(task.timeout_us),
        "DEADLINE": exact(task.deadline_us), "STARTED": _or_false(task.started_at_us),
        "FINISHED": _or_false(task.finished_at_us), "CANCEL_AT": _or_false(task.cancel_requested_at_us),
        "CLAIM_SEQ": 0,
        "SETTLED_TOKEN": moved.settled_token, "SETTLED_DIGEST": moved.settled_digest & DIGESTS,
        "ATTEMPT": task.attempt, "RETRIES": task.retries, "LOSSES": task.losses, "SNOOZES": task.snoozes,
        "OPEN_PARENTS": 0, "ON_PARENT_FAILURE": decode_policy(task.policy).on_parent_failure,
        "IS_PARENT": False, "WORKER": _or_false(task.worker),
        "UNIQUE": moved.unique is not None and moved.unique.hex(),
        "FINGERPRINT": fingerprint_text(moved.fingerprint), "SCHEDULE": _or_false(task.schedule_id),
        "FIRE_AT": exact(task.fire_at_us), "NOTED_TOKEN": noted_token, "NOTED": noted,
        "NAME": _or_false(task.name), **dict.fromkeys(_UNSET, False),
    }  # fmt: skip
    return [fields[name] for name in FIELDS]


def _or_false(value: object) -> object:
    return False if value is None else value


async def _workflows(db: Database, moved: Sequence[MovedWorkflow]) -> None:
    lines = []
    for one in moved:
        labels = None if one.labels is None else one.labels.decode()
        kept = msgspec.json.encode(Kept(one.created_at_us, one.name, labels, one.callbacks)).decode()
        gone = [(int(state), count) for state in FINAL if (count := getattr(one.forgotten, state.label))]
        parts = {task: int(callback) for callback, task in one.callbacks.items()}
        lines.append((one.id, one.place, kept, gone, one.tasks, parts))
    await db.run("load_workflows", pack(lines))


async def _dependencies(db: Database, moved: Sequence[MovedDependencies]) -> None:
    await db.run("load_dependencies", pack([(one.task, one.parents, one.waits_for) for one in moved]))


async def _steps(db: Database, moved: Sequence[MovedSteps]) -> None:
    request = Request()
    lines = [
        (one.task, [(name, request.aside(result)) for name, result in one.steps], False) for one in moved
    ]
    await db.run("load_progress", *request.pack(lines))


async def _logs(db: Database, moved: Sequence[MovedLog]) -> None:
    request = Request()
    lines = []
    for one in moved:
        blocks = [(block.ends, block.weight, request.aside(pack(block.pieces))) for block in one.blocks]
        log = request.aside(pack(one.head)), blocks, one.head.kept > LOG_BYTES_KEPT
        lines.append((one.task, (), log))
    await db.run("load_progress", *request.pack(lines))


async def _histories(db: Database, moved: Sequence[MovedHistory]) -> None:
    members: list[bytes | int] = []
    for one in moved:
        for n, step in enumerate(one.transitions):
            packed = pack((step.at_us, step.old or 0, step.cause, step.new, step.attempt, step.token))
            members += (0, prefixed(one.task) + n.to_bytes(8, "big") + packed)
    await db.do("ZADD", "history", *members)


# --- what stands by itself --------------------------------------------------------------------------


async def _keys(db: Database, moved: Sequence[MovedKey]) -> None:
    for one in moved:
        name = msgspec.json.encode((one.principal, one.key))
        await db.do("HSET", "idempotency", name, pack((one.digest.hex(), one.expires_us, one.tasks)))
        await db.do("ZADD", "expiring", one.expires_us, name)


async def _schedules(db: Database, moved: Sequence[MovedSchedule]) -> None:
    for one in moved:
        stored = Stored(
            one.row, one.version, one.mark, one.standing, one.look_us, one.quarantine, one.created_us,
            one.updated_us, one.last_fire_us, one.last_task,
        )  # fmt: skip
        await db.do("HSET", "schedules", one.id, msgspec.json.encode(stored))
        await db.do("ZADD", "schedule_ids", 0, one.id)
        if one.look_us is not None:
            await db.do("ZADD", "looks", one.look_us, one.id)


async def _fires(db: Database, moved: Sequence[MovedFire]) -> None:
    members: list[bytes | int] = []
    for one in moved:
        name = prefixed(one.schedule) + one.place.to_bytes(8, "big") + fire_text(one.record).encode()
        members += (0, name)
    await db.do("ZADD", "fires", *members)
    await db.run("rise", max(one.place for one in moved))


async def _limits(db: Database, moved: Sequence[MovedLimit]) -> None:
    for one in moved:
        await controls.set_limit(db, one.name, one.rule, False)


async def _pauses(db: Database, moved: Sequence[MovedPause]) -> None:
    for one in moved:
        await controls.set_queue(db, one.queue, one.by)


async def _shares(db: Database, moved: Sequence[MovedShare]) -> None:
    for one in moved:
        await db.do("HSET", "shares", one.tenant, pack((one.weight, one.virtual_us)))


_LOADS: dict[type, Callable[[Database, Any], Awaitable[None]]] = {
    MovedTask: _tasks,
    MovedWorkflow: _workflows,
    MovedDependencies: _dependencies,
    MovedSteps: _steps,
    MovedLog: _logs,
    MovedHistory: _histories,
    MovedKey: _keys,
    MovedSchedule: _schedules,
    MovedFire: _fires,
    MovedLimit: _limits,
    MovedPause: _pauses,
    MovedShare: _shares,
}
