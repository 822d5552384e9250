"""Dead letters by what killed them: groups stand in the order of their size, letters as they ended."""

from mainspring.ports import DeadGroup, DeadGroups
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import fingerprint_text
from mainspring.verbs.dead import group_cursor, parse_group_cursor


async def dead_groups(db: Database, limit: int, cursor: str | None) -> DeadGroups:
    behind: tuple[bytes | int, ...] = ()
    if cursor:
        size, fingerprint = parse_group_cursor(cursor)
        behind = (-size, str(fingerprint_text(fingerprint)).encode())
    reply = await db.run("dead_groups", limit, *behind)
    told, has_more = reply.answers
    groups = []
    for fingerprint, size, first_us, last_us, view in told:
        task = reply.task(view)
        groups.append(
            DeadGroup(int(fingerprint, 16), task.lane.kind, size, first_us, last_us, task.id, task.error)
        )
    return DeadGroups(groups, group_cursor(groups[-1]) if has_more and groups else None)
