"""Workflows: reading how they stand. What is kept of one is a text; its state is counted from its tasks."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mainspring.core.model import State
from mainspring.core.workflows import Callback, tally
from mainspring.errors import InvalidInput, StoreCorrupt
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import STATES, Reply, can_be_stored, pack
from mainspring.verbs import (
    MEMBERS_COUNTED,
    CallbackRecord,
    Member,
    WorkflowGraph,
    WorkflowPage,
    WorkflowQuery,
    WorkflowRecord,
)

LOOKED_AT_ONCE = 200
# A script holds up everybody else: it counts so many tasks in some milliseconds.
COUNTED_AT_ONCE = 5_000


class Kept(msgspec.Struct, array_like=True):
    """What is stored of a workflow itself."""

    created_at_us: int
    name: str | None
    labels: str | None
    callbacks: dict[Callback, str]


_kept = msgspec.json.Decoder(Kept)
_labels = msgspec.json.Decoder(dict[str, Any])


async def get(db: Database, workflow: str) -> WorkflowRecord | None:
    if not can_be_stored(workflow):
        return None
    reply = await db.run("tallies", pack([workflow]), 1)
    (told,) = reply.answers
    return _record(reply, workflow, told) if told else None


async def graph(db: Database, workflow: str) -> WorkflowGraph | None:
    if not can_be_stored(workflow):
        return None
    reply = await db.run("workflow_graph", workflow.encode())
    if not reply.answers:
        return None
    record, counted, told = reply.answers
    tasks = [_member(reply, view, part) for view, part in told]
    tasks.sort(key=lambda task: task.callback or 0)
    return WorkflowGraph(reply.now_us, _record(reply, workflow, (record, counted)), tasks)


async def find(db: Database, query: WorkflowQuery) -> WorkflowPage:
    """Newest first. Counts a bounded number of tasks, and says where it stopped."""
    last = _place(query.cursor) if query.cursor else None
    records: list[WorkflowRecord] = []
    counted = 0
    while True:
        places = await _places_before(db, last)
        wanted = await _wanted(db, query, list(places))
        seen: dict[str, WorkflowRecord | None] = {}
        for id_, place in places.items():
            if len(records) == query.limit or counted >= MEMBERS_COUNTED:
                return WorkflowPage(records, str(last))
            counted, last = counted + 1, place
            if id_ not in wanted:
                continue
            if id_ not in seen:
                seen.update(await _counted(db, wanted[wanted.index(id_) :]))
            record = seen[id_]
            if record is None:
                continue
            counted += record.members.total
            if not query.states or record.state in query.states:
                records.append(record)
        if len(places) < LOOKED_AT_ONCE:
            return WorkflowPage(records, None)


async def _places_before(db: Database, last: int | None) -> dict[str, int]:
    """The next workflows with their places in the order of arrival."""
    high = b"+inf" if last is None else f"({last}".encode()
    limit = (b"WITHSCORES", b"LIMIT", 0, LOOKED_AT_ONCE)
    found = await db.do("ZREVRANGEBYSCORE", "founded", high, b"-inf", *limit)
    return {id_.decode(): int(place) for id_, place in zip(found[::2], found[1::2], strict=True)}


async def _wanted(db: Database, query: WorkflowQuery, ids: list[str]) -> list[str]:
    """Those of the name and with the label that the query asks for."""
    if not ids or (query.name is None and query.label is None):
        return ids
    texts = await db.do("HMGET", "workflows", *ids)
    kept = {id_: kept_of(id_, text) for id_, text in zip(ids, texts, strict=True) if text is not None}
    return [id_ for id_, one in kept.items() if _is_wanted(query, one)]


def _is_wanted(query: WorkflowQuery, kept: Kept) -> bool:
    if query.name not in (None, kept.name):
        return False
    if query.label is None:
        return True
    name, value = query.label
    return kept.labels is not None and _labels.decode(kept.labels).get(name) == value


async def _counted(db: Database, ids: Sequence[str]) -> dict[str, WorkflowRecord | None]:
    """As many of them as are counted at once: the first one at least."""
    reply = await db.run("tallies", pack(ids), COUNTED_AT_ONCE)
    return {
        id_: _record(reply, id_, told) if told else None
        for id_, told in zip(ids, reply.answers, strict=False)
    }


def kept_of(workflow: str, text: bytes) -> Kept:
    """Raises `StoreCorrupt` for a text that cannot be read."""
    try:
        return _kept.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        told = f"workflow {workflow} cannot be read: run mainspring doctor"
        raise StoreCorrupt(told) from None


def _record(reply: Reply, workflow: str, told: Sequence[Any]) -> WorkflowRecord:
    text, (members, callbacks, _) = told
    kept = kept_of(workflow, reply.part(text) or b"")
    return WorkflowRecord(
        workflow,
        kept.created_at_us,
        tally((STATES[state], count) for state, count in enumerate(members, 1)),
        kept.name,
        None if kept.labels is None else kept.labels.encode(),
        _shown(kept.callbacks, {part: (STATES[state], spared) for part, state, spared in callbacks}),
    )


def _shown(
    callbacks: Mapping[Callback, str], states: Mapping[int, tuple[State, bool]]
) -> dict[Callback, CallbackRecord]:
    return {
        callback: CallbackRecord(task, *states.get(callback, (None, False)))
        for callback, task in callbacks.items()
    }


def _member(reply: Reply, view: Sequence[Any], part: int | bool) -> Member:
    task = reply.task(view)
    return Member(
        task.id, task.name, task.lane.kind, task.state, Callback(part) if part else None, task.attempt,
        task.retries, task.run_at_us, task.started_at_us, task.finished_at_us, task.worker, task.depends_on,
    )  # fmt: skip


def _place(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit()) or len(cursor) > 18:
        raise InvalidInput("cursor", "this cursor was not given out by this store")
    return int(cursor)
