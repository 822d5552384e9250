"""Reading: views of rows, pages, the board."""

import copy
from bisect import bisect_left
from typing import Any

import msgspec

from mainspring.core.model import Lease, Task
from mainspring.errors import InvalidInput
from mainspring.ports import BoardView, Page, Query
from mainspring.stores.memory.moves import Call
from mainspring.stores.memory.tables import Row
from mainspring.verbs import PAGE_BYTES

ROWS_LOOKED_AT = 10_000
_FIELDS = Task.__struct_fields__
_labels = msgspec.json.Decoder(dict[str, Any])


def view(row: Row) -> Task:
    """The record as readers see it: a copy that later moves do not touch."""
    return Task(*[getattr(row, field) for field in _FIELDS])


def lease_of(row: Row) -> Lease:
    return Lease(
        row.id, row.token, row.lane_id, row.lane, row.payload, row.attempt, row.retries, row.losses,
        row.snoozes, row.policy, row.timeout_us, row.deadline_us, row.checkpoint, row.attempts, row.labels,
        row.started_at_us, row.lease_until_us or 0, row.worker or "", row.fire_at_us,
    )  # fmt: skip


def find(call: Call, query: Query) -> Page:
    tables = call.tables
    place = bisect_left(tables.ordinals, parse_cursor(query.cursor)) if query.cursor else len(tables.ordinals)
    stop = max(0, place - ROWS_LOOKED_AT)
    found: list[Task] = []
    size = 0
    while place > stop and len(found) < query.limit and size < PAGE_BYTES:
        place -= 1
        row = tables.rows[tables.by_ordinal[tables.ordinals[place]]]
        if _matches(row, query):
            found.append(view(row))
            size += _size(row)
    return Page(found, str(tables.ordinals[place]) if place else None)


def _size(row: Row) -> int:
    texts = (row.payload, row.result, row.error, row.attempts, row.checkpoint, row.progress)
    return sum(len(text) for text in texts if text)


def parse_cursor(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit()) or len(cursor) > 20:
        raise InvalidInput("cursor", "this cursor was not given out by this store")
    return int(cursor)


def _matches(row: Row, query: Query) -> bool:
    if query.states and row.state not in query.states:
        return False
    lane = row.lane
    if query.queue not in (None, lane.queue) or query.kind not in (None, lane.kind):
        return False
    if query.tenant not in (None, lane.tenant):
        return False
    if query.workflow not in (None, row.workflow) or query.fingerprint not in (None, row.fingerprint):
        return False
    return query.label is None or has_label(row.labels, query.label)


def has_label(labels: bytes | None, wanted: tuple[str, str]) -> bool:
    name, value = wanted
    return labels is not None and _labels.decode(labels).get(name) == value


def board(call: Call) -> BoardView:
    tables = call.tables
    return BoardView(
        now_us=call.now_us,
        heads=[head for lane_id in list(tables.ready) if (head := tables.head(lane_id)) is not None],
        paused=dict(tables.paused),
        rules=dict(tables.rules),
        usage=call.limited_usage(),
        shares={tenant: copy.copy(share) for tenant, share in tables.shares.items()},
    )
