"""Moving house: the records of another store become rows, with all that follows from rows."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

from mainspring.core.model import decode_policy
from mainspring.core.workflows import NOTHING
from mainspring.ports import Refused
from mainspring.stores.postgres.rows import can_be_stored, encode_ids, state_of
from mainspring.stores.postgres.transaction import Step, Transaction, columns
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

_BIGINT = range(-(1 << 63), 1 << 63)
_INTEGER = range(-(1 << 31), 1 << 31)
_encode = msgspec.msgpack.Encoder().encode


async def unfinished(tx: Transaction) -> str | None:
    copy: str | None = await tx.value("unfinished_load")
    return copy


async def begin(tx: Transaction, copy: str) -> Refused | None:
    earlier = await unfinished(tx)
    if earlier == copy:
        return None
    if earlier is None and (there := await tx.value("what_is_there")) is not None:
        return not_empty(there)
    await tx.do("empty_store")
    await tx.do("change_controls")
    await tx.do("mark_loading", copy)
    return None


async def end(tx: Transaction, copy: str) -> None:
    if await tx.do("unmark_loading", copy):
        await tx.rows("numbers_go_on")


async def load(tx: Transaction, copy: str, records: Sequence[Record]) -> list[Refused | None]:
    if await unfinished(tx) != copy:
        return [not_loading(copy)] * len(records)
    answers = [_unstorable(tx, record) for record in records]
    accepted = [record for record, answer in zip(records, answers, strict=True) if answer is None]
    for kind, some in groupby(accepted, type):
        await _LOADS[kind](tx, list(some))
    return answers


def _unstorable(tx: Transaction, record: Record) -> Refused | None:
    """Why the record cannot be stored, if it cannot. Its values are looked at only after one has been met
    that the database does not take."""
    if (behind := clock_behind(record, tx.now_us)) is not None:
        return behind
    if tx.is_careful:
        for value in _values(msgspec.to_builtins(record, builtin_types=(bytes,))):
            if isinstance(value, str) and not can_be_stored(value):
                return Refused("invalid_input", f"a value cannot be stored: {value!r}")
            if isinstance(value, int) and value not in _BIGINT:
                return Refused("invalid_input", f"a value cannot be stored: {value}")
        for value in (record.row.paused, record.row.priority) if isinstance(record, MovedSchedule) else ():
            if value not in _INTEGER:
                return Refused("invalid_input", f"a value cannot be stored: {value}")
    return None


def _values(built: Any) -> Iterator[Any]:
    if isinstance(built, dict):
        for value in (*built, *built.values()):
            yield from _values(value)
    elif isinstance(built, list | tuple):
        for value in built:
            yield from _values(value)
    else:
        yield built


# --- what tasks have --------------------------------------------------------------------------------


async def _tasks(tx: Transaction, moved: Sequence[MovedTask]) -> None:
    await tx.need_lanes({one.task.lane for one in moved})
    rows = []
    for one in moved:
        task = one.task
        noted_token, noted = one.noted or (None, None)
        rows.append((
            task.id, tx.lane_id(task.lane), task.state, task.payload, task.created_at_us, task.version,
            task.run_at_us, task.policy, task.timeout_us, task.deadline_us, task.labels, task.name,
            task.token, task.attempt, task.retries, task.losses, task.snoozes, task.worker,
            task.started_at_us, task.finished_at_us, task.cancel_requested_at_us, task.result, task.error,
            task.attempts, task.checkpoint, task.progress, task.seq, task.schedule_id, task.fire_at_us,
            one.settled_token, one.settled_digest, one.unique, one.fingerprint, noted_token, noted,
            decode_policy(task.policy).on_parent_failure,
        ))  # fmt: skip
    for row in await tx.rows("load_tasks", *columns(rows)):
        tx.count(row["lane_id"], state_of(row["state"]), 1)


async def _workflows(tx: Transaction, moved: Sequence[MovedWorkflow]) -> None:
    await tx.do(
        "load_workflows",
        *columns([
            (
                one.place, one.id, one.created_at_us, one.name, one.labels,
                msgspec.json.encode(one.callbacks),
                None if one.forgotten == NOTHING else msgspec.json.encode(one.forgotten),
            )
            for one in moved
        ]),
    )  # fmt: skip
    members: list[tuple[object, ...]] = []
    for one in moved:
        roles = {task: callback for callback, task in one.callbacks.items()}
        members += [(task, one.id, roles.get(task), place) for place, task in enumerate(one.tasks)]
    if members:
        await tx.do("join_workflows", *columns(members))


async def _dependencies(tx: Transaction, moved: Sequence[MovedDependencies]) -> None:
    await tx.do("load_depends_on", *columns([(one.task, encode_ids(one.parents)) for one in moved]))
    edges = [(parent, one.task, parent in one.waits_for) for one in moved for parent in one.parents]
    await tx.do("load_edges", *columns(edges))
    await tx.do("load_parents", sorted({parent for parent, _, _ in edges}))
    await tx.do("load_unresolved", sorted({parent for parent, _, is_open in edges if is_open}))


async def _steps(tx: Transaction, moved: Sequence[MovedSteps]) -> None:
    rows = [
        (one.task, place, name, result) for one in moved for place, (name, result) in enumerate(one.steps)
    ]
    await tx.do("load_steps", *columns(rows))


async def _logs(tx: Transaction, moved: Sequence[MovedLog]) -> None:
    await tx.do("load_heads", *columns([(one.task, *one.head) for one in moved]))
    blocks = [
        (one.task, block.ends, block.weight, _encode(block.pieces)) for one in moved for block in one.blocks
    ]
    if blocks:
        await tx.do("load_blocks", *columns(blocks))


async def _histories(tx: Transaction, moved: Sequence[MovedHistory]) -> None:
    await tx.do("forget_history", [one.task for one in moved])
    steps = [Step(*step) for one in moved for step in one.transitions]
    await tx.do("add_steps", *columns(steps))


# --- what stands by itself --------------------------------------------------------------------------


async def _keys(tx: Transaction, moved: Sequence[MovedKey]) -> None:
    rows = [
        (one.principal, one.key, one.digest, one.expires_us, msgspec.json.encode(one.tasks)) for one in moved
    ]
    await tx.do("load_keys", *columns(rows))


async def _schedules(tx: Transaction, moved: Sequence[MovedSchedule]) -> None:
    await tx.do_many(
        "load_schedule",
        [
            (
                *msgspec.structs.astuple(one.row), one.id, one.version, one.mark, one.standing, one.look_us,
                one.quarantine, one.created_us, one.updated_us, one.last_fire_us, one.last_task, one.fires,
            )
            for one in moved
        ],
    )  # fmt: skip


async def _fires(tx: Transaction, moved: Sequence[MovedFire]) -> None:
    rows = [(one.schedule, one.place, *msgspec.structs.astuple(one.record)) for one in moved]
    await tx.do("load_fires", *columns(rows))


async def _limits(tx: Transaction, moved: Sequence[MovedLimit]) -> None:
    await tx.do("change_controls")
    await tx.do_many("load_limit", [(one.name, msgspec.json.encode(one.rule)) for one in moved])


async def _pauses(tx: Transaction, moved: Sequence[MovedPause]) -> None:
    await tx.do("change_controls")
    await tx.do_many("put_pause", [(one.queue, one.by) for one in moved])


async def _shares(tx: Transaction, moved: Sequence[MovedShare]) -> None:
    await tx.do_many("load_share", [(one.tenant, one.weight, one.virtual_us) for one in moved])


_LOADS: dict[type, Callable[[Transaction, Any], Awaitable[None]]] = {
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
