"""Dead letters by what killed them. The index of fingerprints is read whole: one entry a dead letter."""

from mainspring.ports import DeadGroup, DeadGroups
from mainspring.stores.sqlite.reading import Reader
from mainspring.verbs.dead import group_cursor, parse_group_cursor

GROUPS = (
    "SELECT fingerprint, count(*), min(end_us), max(end_us) FROM tasks INDEXED BY tasks_dead"
    " WHERE fingerprint IS NOT NULL GROUP BY fingerprint"
    " HAVING (-count(*), fingerprint) > (?1, ?2) ORDER BY count(*) DESC, fingerprint LIMIT ?3"
)
LAST_LETTER = (
    "SELECT id, lane, error FROM tasks INDEXED BY tasks_dead WHERE fingerprint = ?"
    " ORDER BY end_us DESC, n DESC LIMIT 1"
)
BEFORE_ALL = (-(1 << 62), 0)


def dead_groups(reader: Reader, limit: int, cursor: str | None) -> DeadGroups:
    after = parse_group_cursor(cursor) if cursor else BEFORE_ALL
    rows = reader.db.execute(GROUPS, (*after, limit + 1)).fetchall()
    groups = [_group(reader, *row) for row in rows[:limit]]
    return DeadGroups(groups, group_cursor(groups[-1]) if len(rows) > limit else None)


def _group(reader: Reader, fingerprint: int, count: int, first_us: int, last_us: int) -> DeadGroup:
    task, lane_id, error = reader.db.execute(LAST_LETTER, (fingerprint,)).fetchone()
    kind = reader.lanes.by_id(lane_id).kind
    return DeadGroup(fingerprint, kind, count, first_us, last_us, task, error)
