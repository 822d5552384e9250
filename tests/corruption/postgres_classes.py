"""Ways in which a database of PostgreSQL can be spoiled, each by plain SQL, each on rows that no other class
touches. What its own tools look after is left out: indexes, and columns that cannot hold what is wrong."""

import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import asyncpg

FAR_US = 1 << 60
NOWHERE = 1 << 40
BROKEN = (b"{", b"[1]", b"\xff")

# What a class spoiled: the findings that must name it, by law and key.
Spoiled = list[tuple[str, tuple[Any, ...]]]


class Ground:
    """A connection, and the rows that are still as they should be."""

    def __init__(self, db: "asyncpg.Connection[asyncpg.Record]", seed: int, each: int) -> None:
        self.db = db
        self.random = random.Random(seed)
        self.each = each
        self.taken: set[str] = set()

    async def column(self, sql: str, *values: object) -> list[Any]:
        return [row[0] for row in await self.db.fetch(sql, *values)]

    async def take(self, where: str) -> list[str]:
        """So many tasks at random that fit and that no other class has taken."""
        rows = await self.column(f"SELECT t.id FROM mainspring.tasks t WHERE {where}")
        chosen = self.random.sample(sorted(set(rows) - self.taken), self.each)
        self.taken.update(chosen)
        return chosen

    async def families(self) -> list[tuple[str, list[str]]]:
        """Children that wait for two parents each; all of the family is taken."""
        found = []
        for child in await self.take("t.state = 1 AND t.name = 'child'"):
            parents = await self.column("SELECT parent FROM mainspring.edges WHERE child = $1", child)
            self.taken.update(parents)
            found.append((child, sorted(parents)))
        return found

    async def set(self, tasks: Iterable[str], assignments: str, *values: object) -> None:
        sql = f"UPDATE mainspring.tasks SET {assignments} WHERE id = ANY ($1::text[])"
        await self.db.execute(sql, list(tasks), *values)

    def pick(self, *choices: Any) -> Any:
        return self.random.choice(choices)


def of_tasks(law: str, tasks: Iterable[str]) -> Spoiled:
    return [(law, ("task", id)) for id in tasks]


WAITING = "t.lane_id IN (SELECT id FROM mainspring.lanes WHERE queue = 'wait')"
READY = f"t.state = 3 AND {WAITING} AND t.name IS NULL"
SCHEDULED = "t.state = 2"
RUNNING = "t.state = 4 AND t.worker = 'worker'"
SUCCEEDED = "t.state = 5 AND t.result IS NOT NULL"
ENDED = "t.state IN (5, 6)"
ANY = f"({READY}) OR {SCHEDULED} OR ({SUCCEEDED}) OR ({RUNNING})"
STARTED = f"({READY}) OR {ENDED} OR ({RUNNING})"


# --- the record's own fields ------------------------------------------------------------------------


async def unknown_state(ground: Ground) -> Spoiled:
    tasks = await ground.take(ANY)
    for id in tasks:
        await ground.set([id], "state = $2", ground.pick(0, -1, 8, 42, 99, 1 << 14))
    return of_tasks("unknown_state", tasks)


async def unknown_lane(ground: Ground) -> Spoiled:
    tasks = await ground.take(ANY)
    for n, id in enumerate(tasks):
        await ground.set([id], "lane_id = $2", NOWHERE + n)
    return of_tasks("unknown_lane", tasks)


async def lost_lane(ground: Ground) -> Spoiled:
    """The lane's own row is gone."""
    lanes = await ground.column(
        "SELECT id FROM mainspring.lanes WHERE key LIKE 'lone-%' LIMIT $1", ground.each
    )
    tasks = await ground.column("SELECT id FROM mainspring.tasks WHERE lane_id = ANY ($1::bigint[])", lanes)
    await ground.db.execute("DELETE FROM mainspring.lanes WHERE id = ANY ($1::bigint[])", lanes)
    return of_tasks("unknown_lane", tasks)


async def damaged_policy(ground: Ground) -> Spoiled:
    tasks = await ground.take(READY)
    for id in tasks:
        await ground.set([id], "policy = $2", ground.pick(b"{", b"\xff\xfe", b'{"max_retries":"x"}', b"[]"))
    return of_tasks("damaged_field", tasks)


async def damaged_labels(ground: Ground) -> Spoiled:
    tasks = await ground.take(ENDED)
    await ground.set(tasks, "labels = $2", b'{"team":')
    return of_tasks("damaged_field", tasks)


async def damaged_attempts(ground: Ground) -> Spoiled:
    tasks = await ground.take(RUNNING)
    await ground.set(tasks, "attempts = $2", b'[{"attempt":')
    return of_tasks("damaged_field", tasks)


async def damaged_parents(ground: Ground) -> Spoiled:
    children = [child for child, _ in await ground.families()]
    await ground.set(children, "depends_on = $2", b'["')
    return of_tasks("damaged_field", children)


async def lost_payload(ground: Ground) -> Spoiled:
    tasks = await ground.take(STARTED)
    await ground.set(tasks, "payload = $2", b"")
    return of_tasks("lost_payload", tasks)


async def negative_counter(ground: Ground) -> Spoiled:
    tasks = await ground.take(STARTED)
    for id in tasks:
        await ground.set([id], f"{ground.pick('attempt', 'retries', 'losses', 'snoozes')} = -3")
    return of_tasks("negative_counter", tasks)


async def number_ahead(ground: Ground) -> Spoiled:
    tasks = await ground.take(STARTED)
    for n, id in enumerate(tasks):
        await ground.set([id], f"{ground.pick('token', 'version', 'seq')} = $2", FAR_US + n)
    return of_tasks("number_ahead", tasks)


# --- fields that do not fit the state ---------------------------------------------------------------


async def ready_without_place(ground: Ground) -> Spoiled:
    tasks = await ground.take(READY)
    await ground.set(tasks, "seq = NULL")
    return of_tasks("ready_without_place", tasks)


async def scheduled_without_time(ground: Ground) -> Spoiled:
    tasks = await ground.take(SCHEDULED)
    await ground.set(tasks, "run_at_us = NULL")
    return of_tasks("scheduled_without_time", tasks)


async def running_without_claimant(ground: Ground) -> Spoiled:
    tasks = await ground.take(RUNNING)
    for id in tasks:
        await ground.set([id], f"{ground.pick('worker', 'incarnation')} = NULL")
    return of_tasks("running_without_holder", tasks)


async def running_without_lease(ground: Ground) -> Spoiled:
    tasks = await ground.take(RUNNING)
    for id in tasks:
        await ground.set([id], ground.pick("lease_until_us = NULL", "token = 0", "started_at_us = NULL"))
    return of_tasks("running_without_holder", tasks)


async def endless_lease(ground: Ground) -> Spoiled:
    tasks = await ground.take(RUNNING)
    await ground.set(tasks, "lease_until_us = $2", FAR_US)
    return of_tasks("endless_lease", tasks)


async def final_without_end(ground: Ground) -> Spoiled:
    tasks = await ground.take(ENDED)
    await ground.set(tasks, "finished_at_us = NULL")
    return of_tasks("final_without_end", tasks)


async def held_while_waiting(ground: Ground) -> Spoiled:
    tasks = await ground.take(f"({READY}) OR {SCHEDULED}")
    for id in tasks:
        held = ground.pick("worker = 'worker'", "incarnation = 'i'", "cancel_requested_at_us = created_at_us")
        await ground.set([id], held)
    return of_tasks("held_while_waiting", tasks)


async def stray_time_limit(ground: Ground) -> Spoiled:
    tasks = await ground.take(f"({READY}) OR {SCHEDULED} OR {ENDED}")
    await ground.set(tasks, "timeout_at_us = created_at_us")
    return of_tasks("stray_time_limit", tasks)


# --- dependencies -----------------------------------------------------------------------------------


async def closed_edge_of_blocked(ground: Ground) -> Spoiled:
    children = [child for child, _ in await ground.families()]
    await ground.db.execute(
        "UPDATE mainspring.edges SET open = false WHERE child = ANY ($1::text[])", children
    )
    return of_tasks("blocked_without_parent", children)


async def lost_edge(ground: Ground) -> Spoiled:
    families = await ground.families()
    for child, parents in families:
        sql = "DELETE FROM mainspring.edges WHERE parent = $1 AND child = $2"
        await ground.db.execute(sql, ground.pick(*parents), child)
    return of_tasks("lost_edge", [child for child, _ in families])


async def lost_edges(ground: Ground) -> Spoiled:
    """All of a task's edges are gone: both what it waits for and that it waits."""
    children = [child for child, _ in await ground.families()]
    await ground.db.execute("DELETE FROM mainspring.edges WHERE child = ANY ($1::text[])", children)
    return of_tasks("blocked_without_parent", children)


async def orphan_edge_parent(ground: Ground) -> Spoiled:
    """A parent's row is gone; its children wait for nothing."""
    families = await ground.families()
    lost = [parents[0] for _, parents in families]
    await ground.db.execute("DELETE FROM mainspring.tasks WHERE id = ANY ($1::text[])", lost)
    return [("orphan_edge", ("edge", parents[0], child)) for child, parents in families]


async def orphan_edge_child(ground: Ground) -> Spoiled:
    families = await ground.families()
    lost = [child for child, _ in families]
    await ground.db.execute("DELETE FROM mainspring.tasks WHERE id = ANY ($1::text[])", lost)
    return [("orphan_edge", ("edge", parent, child)) for child, parents in families for parent in parents]


async def stray_open_edge(ground: Ground) -> Spoiled:
    rows = await ground.db.fetch(
        "SELECT e.parent, e.child FROM mainspring.edges e JOIN mainspring.tasks c ON c.id = e.child"
        " WHERE c.state = 5 AND NOT e.open"
    )
    edges = ground.random.sample(sorted((row["parent"], row["child"]) for row in rows), ground.each)
    for edge in edges:
        await ground.db.execute(
            "UPDATE mainspring.edges SET open = true WHERE parent = $1 AND child = $2", *edge
        )
    return [("stray_open_edge", ("edge", *edge)) for edge in edges]


async def unapplied_end(ground: Ground) -> Spoiled:
    """Parents were ended by hand, and nobody told their children."""
    families = await ground.families()
    for _, parents in families:
        await ground.set(parents[:1], "state = $2, finished_at_us = created_at_us", ground.pick(5, 6, 7))
    return [("unapplied_end", ("edge", parents[0], child)) for child, parents in families]


async def lost_note(ground: Ground) -> Spoiled:
    """Parents have failed, and the resolver has been told nothing."""
    spoiled: Spoiled = []
    for child in await ground.take("t.state = 1 AND t.name = 'doomed'"):
        (parent,) = await ground.column("SELECT parent FROM mainspring.edges WHERE child = $1", child)
        await ground.db.execute("DELETE FROM mainspring.unresolved WHERE parent = $1", parent)
        spoiled.append(("unapplied_end", ("edge", parent, child)))
    return spoiled


async def stray_unresolved(ground: Ground) -> Spoiled:
    strays = [f"nobody-{n}" for n in range(ground.each)]
    await ground.db.execute("INSERT INTO mainspring.unresolved SELECT * FROM unnest($1::text[])", strays)
    return [("stray_unresolved", ("stray", "unresolved", id)) for id in strays]


async def stray_record(ground: Ground) -> Spoiled:
    """What belonged to tasks that are gone."""
    spoiled: Spoiled = []
    for n in range(ground.each):
        table, values = ground.pick(
            ("steps", "(task, n, name, result) VALUES ($1, 0, 'a', '1')"),
            ("logged", "(task, token, base, ends, kept) VALUES ($1, 1, 0, 1, 1)"),
            ("logs", r"(task, ends, weight, pieces) VALUES ($1, 1, 1, '\x90')"),
        )
        await ground.db.execute(f"INSERT INTO mainspring.{table} {values}", f"nobody-{n}")
        spoiled.append(("stray_record", ("stray", table, f"nobody-{n}")))
    return spoiled


# --- workflows --------------------------------------------------------------------------------------


def _workflows(ground: Ground, sort: str) -> list[str]:
    return [f"{sort}-{n}" for n in range(ground.each)]


async def lost_workflow(ground: Ground) -> Spoiled:
    """The document that tasks belong to is gone."""
    lost = _workflows(ground, "lost")
    tasks = await ground.column("SELECT id FROM mainspring.tasks WHERE workflow = ANY ($1::text[])", lost)
    ground.taken.update(tasks)
    await ground.db.execute("DELETE FROM mainspring.workflows WHERE id = ANY ($1::text[])", lost)
    return of_tasks("stray_member", tasks)


async def unknown_part(ground: Ground) -> Spoiled:
    tasks = []
    for workflow in _workflows(ground, "parts"):
        members = await ground.column(
            "SELECT id FROM mainspring.tasks WHERE workflow = $1 ORDER BY id", workflow
        )
        tasks.append(ground.pick(*members))
        await ground.set(tasks[-1:], "callback = $2", ground.pick(0, 9, -1))
    ground.taken.update(tasks)
    return of_tasks("stray_member", tasks)


async def empty_workflow(ground: Ground) -> Spoiled:
    empty = _workflows(ground, "empty")
    await ground.db.execute(
        "INSERT INTO mainspring.workflows (id, created_at_us, callbacks)"
        " SELECT id, 0, '{}' FROM unnest($1::text[]) AS e (id)",
        empty,
    )
    return [("empty_workflow", ("workflow", id)) for id in empty]


async def unreadable_workflow(ground: Ground) -> Spoiled:
    for id in (workflows := _workflows(ground, "read")):
        column = ground.pick("callbacks", "labels", "forgotten")
        sql = f"UPDATE mainspring.workflows SET {column} = $2 WHERE id = $1"
        await ground.db.execute(sql, id, ground.pick(*BROKEN))
    return [("unreadable_workflow", ("workflow", id)) for id in workflows]


# --- schedules --------------------------------------------------------------------------------------


def _schedules(ground: Ground, sort: str) -> list[str]:
    return [f"{sort}-{n}" for n in range(ground.each)]


async def fire_without_record(ground: Ground) -> Spoiled:
    """A fire that made a task, or was skipped, is not on record any more."""
    for schedule in (names := _schedules(ground, "recorded")):
        fires = await ground.column("SELECT n FROM mainspring.fires WHERE schedule = $1 ORDER BY n", schedule)
        sql = "DELETE FROM mainspring.fires WHERE schedule = $1 AND n = $2"
        await ground.db.execute(sql, schedule, ground.pick(*fires))
    return [("lost_fire", ("schedule", schedule)) for schedule in names]


async def fire_without_task(ground: Ground) -> Spoiled:
    """A record of a fire tells neither its task nor why there is none."""
    names = _schedules(ground, "told")
    sql = "UPDATE mainspring.fires SET task = NULL, reason = NULL WHERE schedule = ANY ($1::text[])"
    await ground.db.execute(sql, names)
    return [("empty_fire", ("schedule", schedule)) for schedule in names]


async def forgotten_schedule(ground: Ground) -> Spoiled:
    for schedule in (names := _schedules(ground, "looked-at")):
        sql = "UPDATE mainspring.schedules SET look_us = $2, mark = mark || '!' WHERE id = $1"
        await ground.db.execute(sql, schedule, ground.pick(None, FAR_US))
    return [("forgotten_schedule", ("schedule", schedule)) for schedule in names]


async def unreadable_standing(ground: Ground) -> Spoiled:
    for schedule in (names := _schedules(ground, "standing")):
        sql = "UPDATE mainspring.schedules SET standing = $2, mark = mark || '!' WHERE id = $1"
        await ground.db.execute(sql, schedule, ground.pick("", "{", "[]", '{"cursor_us":"now"}'))
    return [("unreadable_standing", ("schedule", schedule)) for schedule in names]


# --- books ------------------------------------------------------------------------------------------


async def lost_count(ground: Ground) -> Spoiled:
    queues = [f"counted-{n}" for n in range(ground.each)][::2] + [f"tenants-{n}" for n in range(ground.each)][
        1::2
    ]
    for queue in queues:
        wrong = ground.pick("DELETE FROM mainspring.counts", "UPDATE mainspring.counts SET n = n - 1")
        await ground.db.execute(f"{wrong} WHERE queue = $1 AND state = 3", queue)
    return [("lost_count", ("count", queue, 3)) for queue in queues]


async def ghost_count(ground: Ground) -> Spoiled:
    queues = [f"counted-{n}" for n in range(ground.each)][1::2]
    sql = "UPDATE mainspring.counts SET n = n + 5 WHERE queue = ANY ($1::text[]) AND state = 3"
    await ground.db.execute(sql, queues)
    spoiled: Spoiled = [("ghost_count", ("count", queue, 3)) for queue in queues]
    for n in range(ground.each - len(queues)):
        state = ground.pick(1, 5, 99)
        sql = "INSERT INTO mainspring.counts (slot, queue, state, n) VALUES (1, $1, $2, 2)"
        await ground.db.execute(sql, f"ghost-{n}", state)
        spoiled.append(("ghost_count", ("count", f"ghost-{n}", state)))
    return spoiled


async def limit_usage(ground: Ground) -> Spoiled:
    """A limit whose next start is booked for a time that nobody lives to see."""
    for name in (names := [f"key:rated-{n}" for n in range(ground.each)]):
        sql = (
            "INSERT INTO mainspring.arrivals (name, arrival_us) VALUES ($1, $2)"
            " ON CONFLICT (name) DO UPDATE SET arrival_us = EXCLUDED.arrival_us"
        )
        await ground.db.execute(sql, name, ground.pick(1e18, 9e30))
    return [("limit_usage", ("arrival", name)) for name in names]


async def unreadable_limit(ground: Ground) -> Spoiled:
    for name in (names := [f"queue:unused-{n}" for n in range(ground.each)]):
        rule = ground.pick(b"{", b"\xff", b'{"max_running":"many"}')
        await ground.db.execute("UPDATE mainspring.limits SET rule = $2 WHERE name = $1", name, rule)
    return [("unreadable_limit", ("limit", name)) for name in names]


async def unreadable_share(ground: Ground) -> Spoiled:
    for tenant in (tenants := [f"tenant-{n}" for n in range(ground.each)]):
        column, value = ground.pick(
            ("weight", 0.0), ("weight", -1.0), ("virtual_us", float("inf")), ("weight", float("nan"))
        )
        await ground.db.execute(
            f"UPDATE mainspring.shares SET {column} = $2 WHERE tenant = $1", tenant, value
        )
    return [("unreadable_share", ("share", tenant)) for tenant in tenants]


async def unreadable_worker(ground: Ground) -> Spoiled:
    workers = [f"worker-{n}" for n in range(ground.each)]
    await ground.db.execute(
        "UPDATE mainspring.workers SET info = '{' WHERE worker = ANY ($1::text[])", workers
    )
    return [("unreadable_worker", ("worker", worker)) for worker in workers]


async def unreadable_key(ground: Ground) -> Spoiled:
    for key in (keys := [f"key-{n}" for n in range(ground.each)]):
        tasks = ground.pick(b"", b"[]", b"{}", b"[1]", b"\xff", b"null")
        await ground.db.execute("UPDATE mainspring.idempotency SET tasks = $2 WHERE key = $1", key, tasks)
    return [("unreadable_key", ("key", "me", key)) for key in keys]


Spoil = Callable[[Ground], Awaitable[Spoiled]]

CLASSES: Sequence[Spoil] = (
    closed_edge_of_blocked, lost_edge, lost_edges, unapplied_end, damaged_parents, orphan_edge_parent,
    orphan_edge_child, lost_note, stray_open_edge, unknown_lane, lost_lane, damaged_policy, damaged_labels,
    damaged_attempts, lost_payload, negative_counter, number_ahead, ready_without_place,
    scheduled_without_time, running_without_claimant, running_without_lease, endless_lease,
    final_without_end, held_while_waiting, stray_time_limit, lost_workflow, unknown_part, empty_workflow,
    unreadable_workflow, fire_without_record, fire_without_task, forgotten_schedule, unreadable_standing,
    unknown_state, stray_unresolved, stray_record, lost_count, ghost_count, limit_usage, unreadable_limit,
    unreadable_share, unreadable_worker, unreadable_key,
)  # fmt: skip
