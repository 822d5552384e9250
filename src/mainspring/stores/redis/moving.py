"""Moving house: the namespace as the records that another store takes, page by page.

What tasks have is paged by their ids, the rest by the names or ranks under which it is kept. Nobody writes
meanwhile, or the copy is given up.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from mainspring.core.lifecycle import IN_TRANSACTION, Cause
from mainspring.core.limits import CLOSED
from mainspring.core.model import FINAL, State, Task
from mainspring.core.progress import LogBlock, LogPiece, Noted
from mainspring.core.workflows import Tally, tally
from mainspring.errors import InvalidInput
from mainspring.ports import Transition
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import DIGESTS, FIELDS, STATES, can_be_stored, pack, prefixed, unpack
from mainspring.stores.redis.progress import head_of
from mainspring.stores.redis.reading import read_rule
from mainspring.stores.redis.schedules import fire_of, stored_of, texts_of
from mainspring.stores.redis.workflows import kept_of
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

_HIDDEN = ("SETTLED_TOKEN", "SETTLED_DIGEST", "UNIQUE", "FINGERPRINT", "NOTED_TOKEN", "NOTED")
_pieces = msgspec.msgpack.Decoder(list[LogPiece])
_names = msgspec.json.Decoder(tuple[str, str])


async def dump(db: Database, cursor: str | None, limit: int) -> Dumped:
    kind, after = parse_dump_cursor(cursor)
    if not can_be_stored(after):
        raise InvalidInput("cursor", "this cursor was not given out by this store")
    if kind in _OF_TASKS:
        ids = await _after(db, "tasks", after, limit)
        records = await _OF_TASKS[kind](db, ids) if ids else []
        return page(kind, records, ids[-1] if len(ids) == limit else None)
    found, last = await _DUMPS[kind](db, after, limit)
    return page(kind, found, last)


async def _after(db: Database, table: str, after: str, limit: int) -> list[str]:
    low = b"(" + after.encode() if after else b"-"
    return [name.decode() for name in await db.do("ZRANGEBYLEX", table, low, b"+", b"LIMIT", 0, limit)]


# --- what tasks have --------------------------------------------------------------------------------


async def _tasks(db: Database, ids: Sequence[str]) -> list[Record]:
    reply = await db.run("get", pack(ids))
    return [_task(reply.task(view), view[1]) for view in reply.answers if view]


def _task(task: Task, head: Sequence[Any]) -> MovedTask:
    hidden = {name: head[FIELDS[name] - 1] for name in _HIDDEN}
    if hidden["SETTLED_DIGEST"] == IN_TRANSACTION & DIGESTS:
        hidden["SETTLED_DIGEST"] = IN_TRANSACTION
    unique, fingerprint = hidden["UNIQUE"], hidden["FINGERPRINT"]
    return moved_task(
        task, hidden["SETTLED_TOKEN"], hidden["SETTLED_DIGEST"], bytes.fromhex(unique) if unique else None,
        int(fingerprint, 16) if fingerprint else None,
        Noted(hidden["NOTED_TOKEN"] or 0, hidden["NOTED"] or 0),
    )  # fmt: skip


async def _dependencies(db: Database, ids: Sequence[str]) -> list[Record]:
    packed = await db.do("HMGET", "parents", *ids)
    found = {task: tuple(unpack(text)) for task, text in zip(ids, packed, strict=True) if text is not None}
    edges = [(task, parent) for task, parents in found.items() for parent in parents]
    if not edges:
        return []
    names = [prefixed(parent) + task.encode() for task, parent in edges]
    scores = await db.do("ZMSCORE", "edges", *names)
    open_ = {edge for edge, score in zip(edges, scores, strict=True) if score is not None}
    return [
        MovedDependencies(task, parents, tuple(parent for parent in parents if (task, parent) in open_))
        for task, parents in found.items()
    ]


async def _steps(db: Database, ids: Sequence[str]) -> list[Record]:
    reply = await db.run("dump_steps", pack(ids))
    return [
        MovedSteps(task, tuple((name, reply.part(n) or b"") for name, n in zip(names, numbers, strict=True)))
        for task, names, numbers in reply.answers
    ]


async def _logs(db: Database, ids: Sequence[str]) -> list[Record]:
    reply = await db.run("dump_logs", pack(ids))
    found: list[Record] = []
    for task, head, ends, numbers in reply.answers:
        blocks = [
            LogBlock(end, weight, _pieces.decode(reply.part(n) or b"\x90"))
            for (end, weight, *_), n in zip(ends, numbers, strict=True)
        ]
        found.append(MovedLog(task, head_of(reply.part(head) or b""), tuple(blocks)))
    return found


async def _history(db: Database, ids: Sequence[str]) -> list[Record]:
    reply = await db.run("dump_history", pack(ids))
    found: list[Record] = []
    for view, numbers in reply.answers:
        task, steps = reply.task(view), []
        for number in numbers:
            at_us, old, cause, new, attempt, token = unpack(reply.part(number) or b"")
            states = STATES[old] if old else None, STATES[new]
            steps.append(Transition(task.id, at_us, states[0], Cause(cause), states[1], attempt, token))
        found.append(moved_history(task, steps))
    return found


_OF_TASKS: dict[Kind, Callable[[Database, Sequence[str]], Awaitable[list[Record]]]] = {
    Kind.TASKS: _tasks,
    Kind.DEPENDENCIES: _dependencies,
    Kind.STEPS: _steps,
    Kind.LOGS: _logs,
    Kind.HISTORY: _history,
}


# --- what stands by itself --------------------------------------------------------------------------

Found = tuple[list[Record], str | None]
"""Records, and where the next page goes on."""


async def _workflows(db: Database, after: str, limit: int) -> Found:
    low = b"(" + after.encode() if after else b"-inf"
    names = await db.do("ZRANGEBYSCORE", "founded", low, b"+inf", b"LIMIT", 0, limit)
    places = [int(place) for place in await db.do("ZMSCORE", "founded", *names)] if names else []
    rows = zip(names, places, strict=True)
    found: list[Record] = [await _workflow(db, name.decode(), place) for name, place in rows]
    return found, str(places[-1]) if len(names) == limit else None


async def _workflow(db: Database, workflow: str, place: int) -> MovedWorkflow:
    kept = kept_of(workflow, await db.do("HGET", "workflows", workflow) or b"")
    prefix = prefixed(workflow)
    members = await db.do("ZRANGEBYLEX", "members", b"[" + prefix, b"(" + prefix + b"\xff")
    return MovedWorkflow(
        workflow, place, kept.created_at_us, kept.name, None if kept.labels is None else kept.labels.encode(),
        dict(sorted(kept.callbacks.items())), await _forgotten(db, workflow),
        tuple(member[len(prefix) + 8 :].decode() for member in members),
    )  # fmt: skip


async def _forgotten(db: Database, workflow: str) -> Tally:
    states: list[State] = sorted(FINAL)
    counts = await db.do("HMGET", "forgotten", *[f"{state:d}:{workflow}" for state in states])
    return tally((state, int(count or 0)) for state, count in zip(states, counts, strict=True))


async def _keys(db: Database, after: str, limit: int) -> Found:
    """By their ranks among those that expire."""
    first = int(after or 0)
    names = await db.do("ZRANGE", "expiring", first, first + limit - 1)
    texts = await db.do("HMGET", "idempotency", *names) if names else []
    found: list[Record] = []
    for name, text in zip(names, texts, strict=True):
        if text is not None:
            digest, expires_us, tasks = unpack(text)
            found.append(MovedKey(*_names.decode(name), bytes.fromhex(digest), expires_us, tuple(tasks)))
    return found, str(first + limit) if len(names) == limit else None


async def _schedules(db: Database, after: str, limit: int) -> Found:
    ids = await _after(db, "schedule_ids", after, limit)
    _, texts = await texts_of(db, ids)
    found: list[Record] = []
    for schedule, text in texts.items():
        stored, prefix = stored_of(text), prefixed(schedule)
        fires = await db.do("ZLEXCOUNT", "fires", b"[" + prefix, b"(" + prefix + b"\xff")
        found.append(
            MovedSchedule(
                schedule, stored.row, stored.version, stored.mark, stored.standing, stored.look_us,
                stored.quarantine, stored.created_us, stored.updated_us, stored.last_fire_us,
                stored.last_task, fires,
            )
        )  # fmt: skip
    return found, ids[-1] if len(ids) == limit else None


async def _fires(db: Database, after: str, limit: int) -> Found:
    """By their names, which are cursors in hexadecimal."""
    low = b"(" + bytes.fromhex(after) if after else b"-"
    names = await db.do("ZRANGEBYLEX", "fires", low, b"+", b"LIMIT", 0, limit)
    found: list[Record] = []
    for name in names:
        end = 2 + int.from_bytes(name[:2], "big")
        place = int.from_bytes(name[end : end + 8], "big")
        found.append(MovedFire(name[2:end].decode(), place, fire_of(name, name[:end])))
    return found, names[-1].hex() if len(names) == limit else None


async def _limits(db: Database, after: str, limit: int) -> Found:
    def record_of(name: str, packed: bytes) -> Record:
        return MovedLimit(name, read_rule(unpack(packed)[-1]) or CLOSED)

    return await _small(db, "rules", after, limit, record_of)


async def _pauses(db: Database, after: str, limit: int) -> Found:
    return await _small(db, "paused", after, limit, lambda name, by: MovedPause(name, by.decode()))


async def _shares(db: Database, after: str, limit: int) -> Found:
    def record_of(name: str, packed: bytes) -> Record:
        weight, virtual_us = unpack(packed)
        return MovedShare(name, float(weight), float(virtual_us))

    return await _small(db, "shares", after, limit, record_of)


async def _small(
    db: Database, table: str, after: str, limit: int, record_of: Callable[[str, bytes], Record]
) -> Found:
    """Of a table whose names are read whole, those after a name."""
    names = sorted(name.decode() for name in await db.do("HKEYS", table))
    names = [name for name in names if not after or name > after]
    some = names[:limit]
    values = await db.do("HMGET", table, *some) if some else []
    found = [record_of(name, value) for name, value in zip(some, values, strict=True) if value is not None]
    return found, some[-1] if len(names) > limit else None


_DUMPS: dict[Kind, Callable[[Database, str, int], Awaitable[Found]]] = {
    Kind.WORKFLOWS: _workflows,
    Kind.KEYS: _keys,
    Kind.SCHEDULES: _schedules,
    Kind.FIRES: _fires,
    Kind.LIMITS: _limits,
    Kind.PAUSES: _pauses,
    Kind.SHARES: _shares,
}
