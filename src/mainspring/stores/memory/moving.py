"""Moving house: the tables as the records that another store takes, page by page."""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from mainspring.core.schedule_rows import write_row
from mainspring.stores.memory.reading import view
from mainspring.stores.memory.tables import Row, Tables
from mainspring.verbs.moving import (
    Dumped,
    Kind,
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
    moved_history,
    moved_task,
    page,
    parse_dump_cursor,
)

KeyT = TypeVar("KeyT", int, str, tuple[str, str], tuple[str, int])


def dump(tables: Tables, cursor: str | None, limit: int) -> Dumped:
    kind, after = parse_dump_cursor(cursor)
    if kind in _OF_TASKS:
        return _page_of_tasks(tables, kind, after, limit)
    return _DUMPS[kind](tables, after, limit)


# --- what tasks have --------------------------------------------------------------------------------


def _page_of_tasks(tables: Tables, kind: Kind, after: str, limit: int) -> Dumped:
    """In the order of arrival."""
    make, records = _OF_TASKS[kind], list[Record]()
    first = bisect_right(tables.ordinals, int(after)) if after else 0
    for ordinal in tables.ordinals[first:]:
        record = make(tables, tables.rows[tables.by_ordinal[ordinal]])
        if record is not None:
            records.append(record)
            if len(records) == limit:
                return page(kind, records, str(ordinal))
    return page(kind, records, None)


def _task(_: Tables, row: Row) -> MovedTask:
    return moved_task(
        view(row), row.settled_token, row.settled_digest, row.unique, row.fingerprint, row.noted
    )


def _dependencies(tables: Tables, row: Row) -> MovedDependencies | None:
    if not row.depends_on:
        return None
    waits_for = [parent for parent in row.depends_on if tables.dependents.get(parent, {}).get(row.id)]
    return MovedDependencies(row.id, row.depends_on, tuple(waits_for) if row.open_parents else ())


def _steps(tables: Tables, row: Row) -> MovedSteps | None:
    steps = tables.steps.get(row.id)
    return MovedSteps(row.id, tuple(steps.items())) if steps else None


def _log(tables: Tables, row: Row) -> MovedLog | None:
    head = tables.log_heads.get(row.id)
    return None if head is None else MovedLog(row.id, head, tuple(tables.log_blocks.get(row.id, ())))


def _history(tables: Tables, row: Row) -> MovedHistory | None:
    steps = tables.history.get(row.id)
    return moved_history(view(row), steps) if steps else None


_OF_TASKS: dict[Kind, Callable[[Tables, Row], Record | None]] = {
    Kind.TASKS: _task,
    Kind.DEPENDENCIES: _dependencies,
    Kind.STEPS: _steps,
    Kind.LOGS: _log,
    Kind.HISTORY: _history,
}


# --- what has keys of its own -----------------------------------------------------------------------


def _page(kind: Kind, keys: Iterable[KeyT], make: Callable[[Any], Record], after: str, limit: int) -> Dumped:
    """In the order of the keys, which are cursors as JSON."""
    chosen = sorted(keys)
    if after:
        decoded = msgspec.json.decode(after)
        last = tuple(decoded) if isinstance(decoded, list) else decoded
        chosen = chosen[bisect_right(chosen, last) :]
    chosen, rest = chosen[:limit], chosen[limit:]
    return page(
        kind, [make(key) for key in chosen], msgspec.json.encode(chosen[-1]).decode() if rest else None
    )


def _workflows(tables: Tables, after: str, limit: int) -> Dumped:
    places = {row.ordinal: row for row in tables.workflows.values()}

    def make(place: int) -> MovedWorkflow:
        row = places[place]
        return MovedWorkflow(
            row.id, place, row.created_at_us, row.name, row.labels, dict(sorted(row.callbacks.items())),
            row.forgotten, tuple(tables.tasks_of.get(row.id, ())),
        )  # fmt: skip

    return _page(Kind.WORKFLOWS, places, make, after, limit)


def _keys(tables: Tables, after: str, limit: int) -> Dumped:
    def make(name: tuple[str, str]) -> MovedKey:
        use = tables.keys[name]
        return MovedKey(name[0], name[1], use.digest, use.expires_us, use.tasks)

    return _page(Kind.KEYS, tables.keys, make, after, limit)


def _schedules(tables: Tables, after: str, limit: int) -> Dumped:
    def make(schedule: str) -> MovedSchedule:
        row = tables.schedules[schedule]
        record = row.record
        standing = None if record.standing is None else msgspec.json.encode(record.standing).decode()
        return MovedSchedule(
            schedule, write_row(record.rules, record.template), record.version, row.mark, standing,
            row.look_us, record.quarantine, record.created_at_us, record.updated_at_us, record.last_fire_us,
            record.last_task, len(tables.fires.get(schedule, ())),
        )  # fmt: skip

    return _page(Kind.SCHEDULES, tables.schedules, make, after, limit)


def _fires(tables: Tables, after: str, limit: int) -> Dumped:
    records = {
        (schedule, place): record
        for schedule, fires in tables.fires.items()
        for place, record in fires
        if schedule in tables.schedules
    }
    return _page(Kind.FIRES, records, lambda at: MovedFire(at[0], at[1], records[at]), after, limit)


def _limits(tables: Tables, after: str, limit: int) -> Dumped:
    return _page(Kind.LIMITS, tables.rules, lambda name: MovedLimit(name, tables.rules[name]), after, limit)


def _pauses(tables: Tables, after: str, limit: int) -> Dumped:
    return _page(Kind.PAUSES, tables.paused, lambda name: MovedPause(name, tables.paused[name]), after, limit)


def _shares(tables: Tables, after: str, limit: int) -> Dumped:
    def make(tenant: str) -> MovedShare:
        share = tables.shares[tenant]
        return MovedShare(tenant, float(share.weight), float(share.virtual_us))

    return _page(Kind.SHARES, tables.shares, make, after, limit)


_DUMPS: dict[Kind, Callable[[Tables, str, int], Dumped]] = {
    Kind.WORKFLOWS: _workflows,
    Kind.KEYS: _keys,
    Kind.SCHEDULES: _schedules,
    Kind.FIRES: _fires,
    Kind.LIMITS: _limits,
    Kind.PAUSES: _pauses,
    Kind.SHARES: _shares,
}
