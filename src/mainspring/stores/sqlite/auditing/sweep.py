"""One slice of a rolling sweep over the whole file, and the inspection of all of it at once."""

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from mainspring.core.schedule_laws import ROWS_A_SCHEDULE
from mainspring.errors import InvalidInput
from mainspring.stores.sqlite.auditing import books, firing, graph, records, workflows
from mainspring.stores.sqlite.auditing.graph import BELONGINGS
from mainspring.stores.sqlite.reading import Reader
from mainspring.verbs.audit import Audit, Finding

READ_MINTED = "SELECT minted FROM meta"
CHECK = "PRAGMA integrity_check(1000)"
INDEX_NAMED = re.compile(r"\bindex (\w+)$")

_decode = msgspec.json.Decoder(tuple[str, Any]).decode

# What a stage found beyond a position, the positions of the rows it read, and how many it might have read.
Slice = tuple[list[Finding], list[Any], int]
Look = Callable[[Reader, Any, int], Slice]


class Stage(NamedTuple):
    """`position` is the type of what the stage goes on from."""

    look: Look
    position: Any


def audit(reader: Reader, cursor: str | None, limit: int) -> Audit:
    """Look at up to `limit` rows from `cursor` on. The small books are looked at when a sweep begins."""
    name, after = _parse(cursor)
    findings: list[Finding] = []
    looked = 0
    while True:
        room = limit - looked
        found, read, most = _STAGES[name].look(reader, after, room)
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


def inspect(reader: Reader) -> list[Finding]:
    """Every number counted anew, and what SQLite itself says of the file. Reads all of it."""
    db = reader.db
    found = books.count_findings(
        booked := books.booked_counts(db), dict.fromkeys(booked, 0) | books.counted_anew(db)
    )
    found += firing.look_at_all(db)
    complaints = [text for (text,) in db.execute(CHECK).fetchall() if text != "ok"]
    damaged: dict[str, list[str]] = defaultdict(list)
    for complaint in complaints:
        index = INDEX_NAMED.search(complaint)
        if index is None:
            found.append(Finding("damaged_file", "the file", complaint, ("file", complaint)))
        else:
            damaged[index[1]].append(complaint)
    for name, told in damaged.items():
        detail = f"{told[0]}" + (f", and {len(told) - 1} more" if told[1:] else "")
        found.append(Finding("damaged_index", f"index {name}", detail, ("index", name)))
    return found


# --- stages -----------------------------------------------------------------------------------------


def _books(reader: Reader, after: Any, limit: int) -> Slice:
    db = reader.db
    found = books.small_findings(db, reader.now_us, reader.host_us)
    return found + books.count_findings(books.booked_counts(db), books.counted_some(db)), [], 0


def _tasks(reader: Reader, after: Any, limit: int) -> Slice:
    highest = max(int(reader.db.execute(READ_MINTED).get), reader.now_us)
    rows = records.look(reader.db, after or 0, limit, reader.now_us, highest)
    return [finding for row in rows for finding in row.findings()], [row.n for row in rows], limit


def _edges(reader: Reader, after: Any, limit: int) -> Slice:
    parent, child = after or (0, 0)
    rows = graph.edges(reader.db, graph.EDGES_FROM, (parent, child, limit))
    return graph.found_in(rows), [(edge.parent, edge.child) for edge in rows], limit


def _keys(reader: Reader, after: Any, limit: int) -> Slice:
    principal, key = after or ("", "")
    return *books.keys(reader.db, (principal, key), limit), limit


def _workflows(reader: Reader, after: Any, limit: int) -> Slice:
    return *workflows.look(reader.db, after or 0, limit), limit


def _schedules(reader: Reader, after: Any, limit: int) -> Slice:
    wanted = max(1, limit // ROWS_A_SCHEDULE)
    return *firing.look(reader.db, after or "", wanted), wanted


def _strays(table: str, column: str) -> Look:
    def stage(reader: Reader, after: Any, limit: int) -> Slice:
        return *graph.strays(reader.db, table, column, after or 0, limit), limit

    return stage


_STAGES: dict[str, Stage] = {
    "books": Stage(_books, None),
    "tasks": Stage(_tasks, int),
    "edges": Stage(_edges, tuple[int, int]),
    "keys": Stage(_keys, tuple[str, str]),
    "schedules": Stage(_schedules, str),
    "workflows": Stage(_workflows, int),
    "unresolved": Stage(_strays("unresolved", "parent"), int),
    **{table: Stage(_strays(table, column), int) for table, column in BELONGINGS},
}
_NAMES = list(_STAGES)
_NEXT = dict(zip(_NAMES, [*_NAMES[1:], None], strict=True))


def _encode(name: str, after: Any) -> str:
    return msgspec.json.encode([name, after]).decode()


def _parse(cursor: str | None) -> tuple[str, Any]:
    if cursor is None:
        return _NAMES[0], None
    try:
        name, after = _decode(cursor)
        return name, None if after is None else msgspec.convert(after, _STAGES[name].position)
    except (msgspec.MsgspecError, KeyError):
        raise InvalidInput("cursor", "this cursor was not given out by this store") from None
