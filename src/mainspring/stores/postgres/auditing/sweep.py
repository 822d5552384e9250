"""One slice of a rolling sweep over the whole database, and the inspection of all of it at once."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec

from mainspring.core.schedule_laws import ROWS_A_SCHEDULE
from mainspring.stores.postgres.auditing import books, firing, graph, records, workflows
from mainspring.stores.postgres.auditing.graph import BELONGINGS
from mainspring.stores.postgres.pages import foreign_cursor
from mainspring.stores.postgres.rows import can_be_stored
from mainspring.stores.postgres.transaction import Transaction
from mainspring.verbs.audit import Audit, Finding

_decode = msgspec.json.Decoder(tuple[str, tuple[str, ...] | None]).decode

# What a stage found beyond a position, the positions of the rows it read, and how many it might have read.
Slice = tuple[list[Finding], list[Any], int]
Look = Callable[[Transaction, Any, int], Awaitable[Slice]]


class Stage(NamedTuple):
    """`texts` is how many texts make a position that the stage goes on from."""

    look: Look
    texts: int


async def audit(tx: Transaction, cursor: str | None, limit: int) -> Audit:
    """Look at up to `limit` rows from `cursor` on. The small books are looked at when a sweep begins."""
    name, after = _parse(cursor)
    findings: list[Finding] = []
    looked = 0
    while True:
        room = limit - looked
        found, read, most = await _STAGES[name].look(tx, after, room)
        findings += found
        looked += len(read)
        if len(read) >= most > 0:
            return Audit(findings, _encode(name, read[-1]), looked)
        following = _NEXT[name]
        if following is None:
            return Audit(findings, None, looked)
        name, after = following, None
        if looked >= limit:
            return Audit(findings, _encode(name, after), looked)


async def inspect(tx: Transaction) -> list[Finding]:
    """Every number counted anew, every record of every schedule. Reads all of it."""
    booked = await books.booked_counts(tx)
    counted = dict.fromkeys(booked, 0) | await books.counted_anew(tx)
    return books.count_findings(booked, counted) + await firing.look_at_all(tx)


# --- stages -----------------------------------------------------------------------------------------


async def _books(tx: Transaction, after: Any, limit: int) -> Slice:
    counted = await books.counted_some(tx)
    found = books.count_findings(await books.booked_counts(tx), counted)
    return await books.small_findings(tx) + found, [], 0


async def _tasks(tx: Transaction, after: Any, limit: int) -> Slice:
    rows = await records.look(tx, after or "", limit)
    return [finding for row in rows for finding in row.findings()], [row.id for row in rows], limit


async def _edges(tx: Transaction, after: Any, limit: int) -> Slice:
    parent, child = after or ("", "")
    rows = await graph.edges(tx, "edges_after", parent, child, limit)
    return graph.found_in(rows), [(edge.parent, edge.child) for edge in rows], limit


async def _keys(tx: Transaction, after: Any, limit: int) -> Slice:
    principal, key = after or ("", "")
    return *await books.keys(tx, (principal, key), limit), limit


async def _workflows(tx: Transaction, after: Any, limit: int) -> Slice:
    return *await workflows.look(tx, after or "", limit), limit


async def _schedules(tx: Transaction, after: Any, limit: int) -> Slice:
    wanted = max(1, limit // ROWS_A_SCHEDULE)
    return *await firing.look(tx, after or "", wanted), wanted


def _strays(table: str) -> Look:
    async def stage(tx: Transaction, after: Any, limit: int) -> Slice:
        return *await graph.strays(tx, table, after or "", limit), limit

    return stage


_STAGES: dict[str, Stage] = {
    "books": Stage(_books, 0),
    "tasks": Stage(_tasks, 1),
    "edges": Stage(_edges, 2),
    "keys": Stage(_keys, 2),
    "schedules": Stage(_schedules, 1),
    "workflows": Stage(_workflows, 1),
    **{table: Stage(_strays(table), 1) for table in ("unresolved", *BELONGINGS)},
}
_NAMES = list(_STAGES)
_NEXT = dict(zip(_NAMES, [*_NAMES[1:], None], strict=True))


def _encode(name: str, after: Any) -> str:
    """A position is a list of texts, so that nobody else's cursor is taken for one."""
    position = None if after is None else [after] if isinstance(after, str) else list(after)
    return msgspec.json.encode([name, position]).decode()


def _parse(cursor: str | None) -> tuple[str, Any]:
    if cursor is None:
        return _NAMES[0], None
    try:
        name, position = _decode(cursor)
        stage = _STAGES[name]
    except (msgspec.MsgspecError, KeyError):
        raise foreign_cursor() from None
    if position is None:
        return name, None
    if len(position) != stage.texts or not all(map(can_be_stored, position)):
        raise foreign_cursor()
    return name, position[0] if stage.texts == 1 else position
