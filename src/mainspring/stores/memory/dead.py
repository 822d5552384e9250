"""Dead letters by what killed them."""

from collections import defaultdict
from operator import attrgetter

from mainspring.ports import DeadGroup, DeadGroups
from mainspring.stores.memory.moves import Call
from mainspring.stores.memory.tables import Row
from mainspring.verbs.dead import group_cursor, group_rank, parse_group_cursor


def dead_groups(call: Call, limit: int, cursor: str | None) -> DeadGroups:
    letters: dict[int, list[Row]] = defaultdict(list)
    for row in call.tables.rows.values():
        if row.fingerprint is not None:
            letters[row.fingerprint].append(row)
    ranks = sorted(group_rank(len(rows), fingerprint) for fingerprint, rows in letters.items())
    if cursor:
        after = parse_group_cursor(cursor)
        ranks = [rank for rank in ranks if rank > after]
    groups = [_group(fingerprint, letters[fingerprint]) for _, fingerprint in ranks[:limit]]
    return DeadGroups(groups, group_cursor(groups[-1]) if len(ranks) > limit else None)


def _group(fingerprint: int, rows: list[Row]) -> DeadGroup:
    ended_us = [row.finished_at_us or 0 for row in rows]
    last = max(rows, key=attrgetter("finished_at_us", "ordinal"))
    return DeadGroup(
        fingerprint, last.lane.kind, len(rows), min(ended_us), max(ended_us), last.id, last.error
    )
