"""Moving house: the schema as the records that another store takes, page by page."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from asyncpg import Record as Found

from mainspring.core.limits import CLOSED
from mainspring.core.progress import LogBlock, LogHead, LogPiece, Noted
from mainspring.core.schedule_rows import COLUMNS, Row
from mainspring.core.workflows import NOTHING, Callback, Tally
from mainspring.ports import FireRecord, Transition
from mainspring.stores.postgres.editing import tasks_by_id
from mainspring.stores.postgres.limits import read_rule
from mainspring.stores.postgres.pages import foreign_cursor
from mainspring.stores.postgres.reading import transition_of
from mainspring.stores.postgres.rows import can_be_stored, decode_ids, task_of
from mainspring.stores.postgres.transaction import Transaction
from mainspring.verbs.moving import (
    Dumped,
    Kind,
    MovedDependencies,
    MovedFire,
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
    moved_history,
    moved_task,
    page,
    parse_dump_cursor,
)

RecordsOf = Callable[[Transaction, Sequence[Found]], Awaitable[list[Record]]]

_callbacks = msgspec.json.Decoder(dict[Callback, str])
_tally = msgspec.json.Decoder(Tally)
_pieces = msgspec.msgpack.Decoder(list[LogPiece])


async def dump(tx: Transaction, cursor: str | None, limit: int) -> Dumped:
    kind, after = parse_dump_cursor(cursor)
    statement, first, records_of = _DUMPS[kind]
    place = tuple(msgspec.json.decode(after)) if after else first
    if not all(can_be_stored(value) for value in place if isinstance(value, str)):
        raise foreign_cursor()
    rows = await tx.rows(statement, *place, limit)
    last = None
    if len(rows) == limit:
        last = msgspec.json.encode(tuple(rows[-1].values())[: len(first)]).decode()
    return page(kind, await records_of(tx, rows), last)


def _each(record_of: Callable[[Found], Record]) -> "RecordsOf":
    async def records_of(_: Transaction, rows: Sequence[Found]) -> list[Record]:
        return [record_of(row) for row in rows]

    return records_of


# --- what tasks have --------------------------------------------------------------------------------


def _task(row: Found) -> MovedTask:
    written = Noted(row["noted_token"] or 0, row["noted"] or 0)
    return moved_task(
        task_of(row), row["settled_token"], row["settled_digest"], row["unique_digest"], row["fingerprint"],
        written,
    )  # fmt: skip


def _workflow(row: Found) -> MovedWorkflow:
    callbacks = dict(sorted(_callbacks.decode(row["callbacks"]).items()))
    return MovedWorkflow(
        row["id"], row["n"], row["created_at_us"], row["name"], row["labels"], callbacks,
        _tally.decode(row["forgotten"]) if row["forgotten"] else NOTHING, tuple(row["tasks"]),
    )  # fmt: skip


def _dependencies(row: Found) -> MovedDependencies:
    parents, open_ = decode_ids(row["depends_on"]), set(row["open"])
    return MovedDependencies(row["id"], parents, tuple(parent for parent in parents if parent in open_))


def _steps(row: Found) -> MovedSteps:
    return MovedSteps(row["task"], tuple(zip(row["names"], row["results"], strict=True)))


async def _logs(tx: Transaction, rows: Sequence[Found]) -> list[Record]:
    blocks: dict[str, list[LogBlock]] = {row["task"]: [] for row in rows}
    for block in await tx.rows("blocks_of", list(blocks)):
        blocks[block["task"]].append(
            LogBlock(block["ends"], block["weight"], _pieces.decode(block["pieces"]))
        )
    return [
        MovedLog(
            row["task"],
            LogHead(row["token"], row["base"], row["ends"], row["kept"]),
            tuple(blocks[row["task"]]),
        )
        for row in rows
    ]


async def _history(tx: Transaction, rows: Sequence[Found]) -> list[Record]:
    """A task that was forgotten while no history was kept has left its own behind."""
    steps: dict[str, list[Transition]] = {row["task"]: [] for row in rows}
    for step in await tx.rows("steps_of", list(steps)):
        steps[step["task"]].append(transition_of(step))
    tasks = await tasks_by_id(tx, list(steps))
    found: list[Record] = [moved_history(tasks[task], steps[task]) for task in steps if task in tasks]
    return found


# --- what stands by itself --------------------------------------------------------------------------


def _key(row: Found) -> MovedKey:
    return MovedKey(row["principal"], row["key"], row["digest"], row["expires_us"], decode_ids(row["tasks"]))


def _schedule(row: Found) -> MovedSchedule:
    return MovedSchedule(
        row["id"], Row(*[row[name] for name in COLUMNS]), row["version"], row["mark"], row["standing"],
        row["look_us"], row["quarantine"], row["created_us"], row["updated_us"], row["last_fire_us"],
        row["last_task"], row["fires"],
    )  # fmt: skip


def _fire(row: Found) -> MovedFire:
    schedule, place, *values = row.values()
    return MovedFire(schedule, place, FireRecord(*values))


def _limit(row: Found) -> MovedLimit:
    return MovedLimit(row["name"], read_rule(row["rule"]) or CLOSED)


def _pause(row: Found) -> MovedPause:
    return MovedPause(row["queue"], row["by"])


def _share(row: Found) -> MovedShare:
    return MovedShare(row["tenant"], row["weight"], row["virtual_us"])


# Each with its statement, the place before its first row (in its first columns), and what makes records.
_DUMPS: dict[Kind, tuple[str, tuple[Any, ...], RecordsOf]] = {
    Kind.TASKS: ("dump_tasks", ("",), _each(_task)),
    Kind.WORKFLOWS: ("dump_workflows", (-1,), _each(_workflow)),
    Kind.DEPENDENCIES: ("dump_dependencies", ("",), _each(_dependencies)),
    Kind.STEPS: ("dump_steps", ("",), _each(_steps)),
    Kind.LOGS: ("dump_logs", ("",), _logs),
    Kind.HISTORY: ("with_history", ("",), _history),
    Kind.KEYS: ("dump_keys", ("", ""), _each(_key)),
    Kind.SCHEDULES: ("dump_schedules", ("",), _each(_schedule)),
    Kind.FIRES: ("dump_fires", ("", -1), _each(_fire)),
    Kind.LIMITS: ("dump_limits", ("",), _each(_limit)),
    Kind.PAUSES: ("dump_pauses", ("",), _each(_pause)),
    Kind.SHARES: ("dump_shares", ("",), _each(_share)),
}
