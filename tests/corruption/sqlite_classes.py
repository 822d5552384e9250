"""Ways in which a SQLite file can be spoiled, each by plain SQL, each on rows that no other class touches."""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import apsw

RESERVED = -(1 << 50)
NOBODY = -0x7FFF
FAR_US = 1 << 60
# 80 numbers that are no task, lane or claimant.
NOWHERE = 1 << 40

# What a class spoiled: the findings that must name it, by law and key.
Spoiled = list[tuple[str, tuple[Any, ...]]]


class Ground:
    """An open file, and the rows that are still as they should be."""

    def __init__(self, path: str, seed: int, each: int) -> None:
        self.db = self._connect(path)
        self.random = random.Random(seed)
        self.each = each
        self._path = path
        self.taken: set[int] = set()

    def take(self, where: str) -> list[int]:
        """So many tasks at random that fit and that no other class has taken."""
        rows = [n for (n,) in self.db.execute(f"SELECT n FROM tasks t WHERE {where}") if n not in self.taken]
        chosen = self.random.sample(sorted(rows), self.each)
        self.taken.update(chosen)
        return chosen

    def families(self, name: str = "child") -> list[tuple[int, list[int]]]:
        """Children that wait for two parents each; all of the family is taken."""
        found = []
        for child in self.take(f"t.state = 1 AND t.name = '{name}'"):
            parents = [n for (n,) in self.db.execute("SELECT parent FROM edges WHERE child = ?", (child,))]
            self.taken.update(parents)
            found.append((child, sorted(parents)))
        return found

    def set(self, tasks: Iterable[int], assignments: str, *values: object) -> None:
        for n in tasks:
            self.db.execute(f"UPDATE tasks SET {assignments} WHERE n = ?", (*values, n))

    def pick(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def reopened(self) -> None:
        self.db.close()
        self.db = self._connect(self._path)

    @staticmethod
    def _connect(path: str) -> Any:
        db = apsw.Connection(path)
        db.execute("PRAGMA synchronous = OFF")
        return db


def of_tasks(law: str, tasks: Iterable[int]) -> Spoiled:
    return [(law, ("task", n)) for n in tasks]


READY = "t.state = 3 AND t.lane IN (SELECT id FROM lanes WHERE queue = 'wait') AND t.name IS NULL"
SCHEDULED = "t.state = 2"
RUNNING = "t.state = 4 AND t.claimant = (SELECT n FROM claimants WHERE worker = 'worker')"
SUCCEEDED = "t.state = 5 AND t.result IS NOT NULL"
ENDED = "t.state IN (5, 6)"


# --- the record's own fields ------------------------------------------------------------------------


def unknown_state(ground: Ground) -> Spoiled:
    waiting = ground.take(f"{READY} OR {SCHEDULED} OR {SUCCEEDED} OR ({RUNNING})")
    for n in waiting:
        ground.set([n], "state = ?", ground.pick(0, -1, 8, 42, 99, 1 << 40))
    return of_tasks("unknown_state", waiting)


def unknown_lane(ground: Ground) -> Spoiled:
    tasks = ground.take(f"{READY} OR {SCHEDULED} OR {SUCCEEDED} OR ({RUNNING})")
    for n in tasks:
        ground.set([n], "lane = ?", NOWHERE + n)
    return of_tasks("unknown_lane", tasks)


def lost_lane(ground: Ground) -> Spoiled:
    """The lane's own row is gone."""
    lanes = ground.db.execute("SELECT id FROM lanes WHERE key LIKE 'lone-%'").fetchall()
    tasks = []
    for (lane,) in lanes[: ground.each]:
        tasks += [n for (n,) in ground.db.execute("SELECT n FROM tasks WHERE lane = ?", (lane,))]
        ground.db.execute("DELETE FROM lanes WHERE id = ?", (lane,))
    return of_tasks("unknown_lane", tasks)


def damaged_policy(ground: Ground) -> Spoiled:
    tasks = ground.take(READY)
    for n in tasks:
        ground.set([n], "policy = ?", ground.pick(b"{", b"\xff\xfe", b'{"max_retries":"x"}', b"[]"))
    return of_tasks("damaged_field", tasks)


def damaged_labels(ground: Ground) -> Spoiled:
    tasks = ground.take(ENDED)
    ground.set(tasks, "labels = ?", b'{"team":')
    return of_tasks("damaged_field", tasks)


def damaged_attempts(ground: Ground) -> Spoiled:
    tasks = ground.take(RUNNING)
    ground.set(tasks, "attempts = ?", b'[{"attempt":')
    return of_tasks("damaged_field", tasks)


def damaged_parents(ground: Ground) -> Spoiled:
    children = [child for child, _ in ground.families()]
    for n in children:
        ground.db.execute("UPDATE dependencies SET parents = ? WHERE task = ?", (b'["', n))
    return of_tasks("damaged_field", children)


def lost_payload(ground: Ground) -> Spoiled:
    tasks = ground.take(f"{READY} OR {ENDED} OR ({RUNNING})")
    ground.set(tasks, "payload = x''")
    return of_tasks("lost_payload", tasks)


def negative_counter(ground: Ground) -> Spoiled:
    tasks = ground.take(f"{READY} OR {ENDED} OR ({RUNNING})")
    for n in tasks:
        ground.set([n], f"{ground.pick('attempt', 'retries', 'losses', 'snoozes')} = -3")
    return of_tasks("negative_counter", tasks)


def token_above_minted(ground: Ground) -> Spoiled:
    tasks = ground.take(f"{READY} OR {ENDED} OR ({RUNNING})")
    for n in tasks:
        ground.set([n], f"{ground.pick('token', 'version', 'seq')} = ?", FAR_US + n)
    return of_tasks("number_ahead", tasks)


# --- fields that do not fit the state ---------------------------------------------------------------


def ready_without_place(ground: Ground) -> Spoiled:
    tasks = ground.take(READY)
    ground.set(tasks, "seq = ?", RESERVED)
    return of_tasks("ready_without_place", tasks)


def duplicate_place(ground: Ground) -> Spoiled:
    later, earlier = ground.take(f"{READY} AND n % 2 = 0"), ground.take(f"{READY} AND n % 2 = 1")
    spoiled = []
    for one, other in zip(later, earlier, strict=True):
        ground.db.execute(
            "UPDATE tasks SET seq = (SELECT seq FROM tasks WHERE n = ?) WHERE n = ?", (other, one)
        )
        spoiled.append(max(one, other))
    return of_tasks("duplicate_place", spoiled)


def not_in_line(ground: Ground) -> Spoiled:
    """The index that claims read has lost rows."""
    tasks = ground.take(READY)
    db = ground.db
    db.execute("PRAGMA writable_schema = ON")
    db.execute(
        "UPDATE sqlite_schema SET sql = replace(sql, 'state = 3', 'state = 33') WHERE name = 'tasks_ready'"
    )
    ground.reopened()
    ground.set(tasks, "seq = seq + 0, lane = lane + 0, seq = seq * 1 + 0")
    for n in tasks:
        ground.set([n], "seq = (SELECT minted FROM meta)")
        ground.db.execute("UPDATE meta SET minted = minted + 1")
    ground.db.execute("PRAGMA writable_schema = ON")
    ground.db.execute(
        "UPDATE sqlite_schema SET sql = replace(sql, 'state = 33', 'state = 3') WHERE name = 'tasks_ready'"
    )
    ground.reopened()
    return of_tasks("not_in_line", tasks)


def scheduled_without_time(ground: Ground) -> Spoiled:
    tasks = ground.take(SCHEDULED)
    ground.set(tasks, "run_at_us = NULL")
    return of_tasks("scheduled_without_time", tasks)


def running_without_claimant(ground: Ground) -> Spoiled:
    tasks = ground.take(RUNNING)
    for n in tasks:
        ground.set([n], "claimant = ?", ground.pick(NOBODY, NOWHERE + n))
    return of_tasks("running_without_holder", tasks)


def lost_claimant(ground: Ground) -> Spoiled:
    """The claimant's own row is gone."""
    tasks = ground.take(
        "t.state = 4 AND t.claimant IN (SELECT n FROM claimants WHERE worker LIKE 'single-%')"
    )
    for n in tasks:
        ground.db.execute("DELETE FROM claimants WHERE n = (SELECT claimant FROM tasks WHERE n = ?)", (n,))
    return of_tasks("running_without_holder", tasks)


def running_without_lease(ground: Ground) -> Spoiled:
    tasks = ground.take(RUNNING)
    for n in tasks:
        ground.set([n], f"{ground.pick('end_us', 'token', 'started_at_us')} = ?", RESERVED)
    return of_tasks("running_without_holder", tasks)


def endless_lease(ground: Ground) -> Spoiled:
    tasks = ground.take(RUNNING)
    ground.set(tasks, "end_us = ?", FAR_US)
    return of_tasks("endless_lease", tasks)


def final_without_end(ground: Ground) -> Spoiled:
    tasks = ground.take(ENDED)
    ground.set(tasks, "end_us = ?", RESERVED)
    return of_tasks("final_without_end", tasks)


def held_while_waiting(ground: Ground) -> Spoiled:
    tasks = ground.take(f"{READY} OR {SCHEDULED}")
    for n in tasks:
        if ground.pick(True, False):
            ground.set([n], "claimant = (SELECT n FROM claimants WHERE worker = 'worker')")
        else:
            ground.set([n], "cancel_requested_at_us = created_at_us")
    return of_tasks("held_while_waiting", tasks)


def stray_time_limit(ground: Ground) -> Spoiled:
    tasks = ground.take(f"{READY} OR {SCHEDULED} OR {ENDED}")
    ground.set(tasks, "timeout_at_us = created_at_us")
    return of_tasks("stray_time_limit", tasks)


# --- dependencies -----------------------------------------------------------------------------------


def closed_edge_of_blocked(ground: Ground) -> Spoiled:
    families = ground.families()
    for child, _ in families:
        ground.db.execute("UPDATE edges SET open = 0 WHERE child = ?", (child,))
    return of_tasks("blocked_without_parent", [child for child, _ in families])


def lost_edge(ground: Ground) -> Spoiled:
    families = ground.families()
    for child, parents in families:
        ground.db.execute("DELETE FROM edges WHERE parent = ? AND child = ?", (ground.pick(*parents), child))
    return of_tasks("lost_edge", [child for child, _ in families])


def lost_edges(ground: Ground) -> Spoiled:
    """All of a task's edges are gone: both what it waits for and that it waits."""
    families = ground.families()
    for child, _ in families:
        ground.db.execute("DELETE FROM edges WHERE child = ?", (child,))
    return of_tasks("blocked_without_parent", [child for child, _ in families])


def unknown_edge_state(ground: Ground) -> Spoiled:
    spoiled: Spoiled = []
    for child, parents in ground.families():
        parent = ground.pick(*parents)
        ground.db.execute(
            "UPDATE edges SET open = ? WHERE parent = ? AND child = ?", (ground.pick(7, -1, 2), parent, child)
        )
        spoiled.append(("unknown_edge_state", ("edge", parent, child)))
    return spoiled


def orphan_edge_parent(ground: Ground) -> Spoiled:
    """A parent's row is gone; its children wait for nothing."""
    spoiled: Spoiled = []
    for child, parents in ground.families():
        ground.db.execute("DELETE FROM tasks WHERE n = ?", (parents[0],))
        spoiled.append(("orphan_edge", ("edge", parents[0], child)))
    return spoiled


def orphan_edge_child(ground: Ground) -> Spoiled:
    spoiled: Spoiled = []
    for child, parents in ground.families():
        ground.db.execute("DELETE FROM tasks WHERE n = ?", (child,))
        spoiled += [("orphan_edge", ("edge", parent, child)) for parent in parents]
    return spoiled


def stray_open_edge(ground: Ground) -> Spoiled:
    edges = ground.db.execute(
        "SELECT e.parent, e.child FROM edges e JOIN tasks c ON c.n = e.child WHERE c.state = 5 AND e.open = 0"
    ).fetchall()
    chosen = ground.random.sample(edges, ground.each)
    for parent, child in chosen:
        ground.db.execute("UPDATE edges SET open = 1 WHERE parent = ? AND child = ?", (parent, child))
    return [("stray_open_edge", ("edge", parent, child)) for parent, child in chosen]


def unapplied_end(ground: Ground) -> Spoiled:
    """Parents were ended by hand, and nobody told their children."""
    spoiled: Spoiled = []
    for child, parents in ground.families():
        ground.set(parents[:1], "state = ?, end_us = created_at_us", ground.pick(5, 6, 7))
        state = ground.db.execute("SELECT state FROM tasks WHERE n = ?", (parents[0],)).get
        assert state in (5, 6, 7)
        spoiled.append(("unapplied_end", ("edge", parents[0], child)))
    return spoiled


def lost_note(ground: Ground) -> Spoiled:
    """Parents have failed, and the resolver has been told nothing."""
    spoiled: Spoiled = []
    for child in ground.take("t.state = 1 AND t.name = 'doomed'"):
        parent = ground.db.execute("SELECT parent FROM edges WHERE child = ?", (child,)).get
        ground.db.execute("DELETE FROM unresolved WHERE parent = ?", (parent,))
        spoiled.append(("unapplied_end", ("edge", parent, child)))
    return spoiled


def stray_unresolved(ground: Ground) -> Spoiled:
    strays = [NOWHERE + n for n in range(ground.each)]
    ground.db.executemany("INSERT INTO unresolved (parent) VALUES (?)", [(n,) for n in strays])
    return [("stray_unresolved", ("stray", "unresolved", n)) for n in strays]


def stray_record(ground: Ground) -> Spoiled:
    """What belonged to tasks that are gone."""
    spoiled: Spoiled = []
    for n in range(NOWHERE, NOWHERE + ground.each):
        table, sql = ground.pick(
            ("dependencies", "INSERT INTO dependencies (task, parents) VALUES (?, x'5b5d')"),
            ("steps", "INSERT INTO steps (task, n, name, result) VALUES (?, 0, 'a', x'31')"),
            ("logged", "INSERT INTO logged (task, token, base, ends, kept) VALUES (?, 1, 0, 1, 1)"),
            ("logs", "INSERT INTO logs (task, ends, weight, pieces) VALUES (?, 1, 1, x'90')"),
        )
        ground.db.execute(sql, (n,))
        spoiled.append(("stray_record", ("stray", table, n)))
    return spoiled


# --- workflows --------------------------------------------------------------------------------------


def lost_workflow(ground: Ground) -> Spoiled:
    """The document that tasks belong to is gone."""
    spoiled: Spoiled = []
    for n in range(ground.each):
        row = ground.db.execute("SELECT n FROM workflows WHERE id = ?", (f"lost-{n}",)).get
        tasks = [task for (task,) in ground.db.execute("SELECT n FROM tasks WHERE workflow = ?", (row,))]
        ground.taken.update(tasks)
        ground.db.execute("DELETE FROM workflows WHERE n = ?", (row,))
        spoiled += of_tasks("stray_member", tasks)
    return spoiled


def unknown_part(ground: Ground) -> Spoiled:
    tasks = []
    for n in range(ground.each):
        row = ground.db.execute("SELECT n FROM workflows WHERE id = ?", (f"parts-{n}",)).get
        (task,) = ground.random.sample(
            [task for (task,) in ground.db.execute("SELECT n FROM tasks WHERE workflow = ?", (row,))], 1
        )
        ground.set([task], "callback = ?", ground.pick(0, 9, -1))
        tasks.append(task)
    ground.taken.update(tasks)
    return of_tasks("stray_member", tasks)


def empty_workflow(ground: Ground) -> Spoiled:
    rows = [NOWHERE + n for n in range(ground.each)]
    for n in rows:
        ground.db.execute(
            "INSERT INTO workflows (n, id, created_at_us, callbacks) VALUES (?, ?, 0, x'7b7d')",
            (n, f"empty-{n}"),
        )
    return [("empty_workflow", ("workflow", n)) for n in rows]


def unreadable_workflow(ground: Ground) -> Spoiled:
    spoiled: Spoiled = []
    for n in range(ground.each):
        row = ground.db.execute("SELECT n FROM workflows WHERE id = ?", (f"read-{n}",)).get
        column = ground.pick("callbacks", "labels", "forgotten")
        ground.db.execute(
            f"UPDATE workflows SET {column} = ? WHERE n = ?", (ground.pick(b"{", b"[1]", b"\xff"), row)
        )
        spoiled.append(("unreadable_workflow", ("workflow", row)))
    return spoiled


# --- schedules --------------------------------------------------------------------------------------


def _schedules(ground: Ground, sort: str) -> list[str]:
    return [f"{sort}-{n}" for n in range(ground.each)]


def fire_without_record(ground: Ground) -> Spoiled:
    """A fire that made a task, or was skipped, is not on record any more."""
    for schedule in (names := _schedules(ground, "recorded")):
        fires = [n for (n,) in ground.db.execute("SELECT n FROM fires WHERE schedule = ?", (schedule,))]
        ground.db.execute("DELETE FROM fires WHERE schedule = ? AND n = ?", (schedule, ground.pick(*fires)))
    return [("lost_fire", ("schedule", schedule)) for schedule in names]


def fire_without_task(ground: Ground) -> Spoiled:
    """A record of a fire tells neither its task nor why there is none."""
    for schedule in (names := _schedules(ground, "told")):
        ground.db.execute("UPDATE fires SET task = NULL, reason = NULL WHERE schedule = ?", (schedule,))
    return [("empty_fire", ("schedule", schedule)) for schedule in names]


def forgotten_schedule(ground: Ground) -> Spoiled:
    for schedule in (names := _schedules(ground, "looked-at")):
        ground.db.execute(
            "UPDATE schedules SET look_us = ?, mark = mark || '!' WHERE id = ?",
            (ground.pick(None, FAR_US), schedule),
        )
    return [("forgotten_schedule", ("schedule", schedule)) for schedule in names]


def unreadable_standing(ground: Ground) -> Spoiled:
    for schedule in (names := _schedules(ground, "standing")):
        standing = ground.pick("", "{", "[]", '{"cursor_us":"now"}')
        ground.db.execute(
            "UPDATE schedules SET standing = ?, mark = mark || '!' WHERE id = ?", (standing, schedule)
        )
    return [("unreadable_standing", ("schedule", schedule)) for schedule in names]


# --- books ------------------------------------------------------------------------------------------


def _counted(ground: Ground) -> list[str]:
    return [f"counted-{n}" for n in range(ground.each)]


def lost_count(ground: Ground) -> Spoiled:
    queues = _counted(ground)[::2]
    for queue in queues:
        if ground.pick(True, False):
            ground.db.execute("UPDATE counts SET n = n - 2 WHERE queue = ? AND state = 3", (queue,))
        else:
            ground.db.execute("DELETE FROM counts WHERE queue = ? AND state = 3", (queue,))
    more = [f"tenants-{n}" for n in range(ground.each)][1::2]
    for queue in more:
        ground.db.execute("UPDATE counts SET n = 0 WHERE queue = ?", (queue,))
    return [("lost_count", ("count", queue, 3)) for queue in [*queues, *more]]


def ghost_count(ground: Ground) -> Spoiled:
    queues = _counted(ground)[1::2]
    for queue in queues:
        ground.db.execute("UPDATE counts SET n = n + 5 WHERE queue = ? AND state = 3", (queue,))
    spoiled: Spoiled = [("ghost_count", ("count", queue, 3)) for queue in queues]
    for n in range(ground.each - len(queues)):
        ground.db.execute(
            "INSERT INTO counts (queue, state, n) VALUES (?, ?, 2)", (f"ghost-{n}", ground.pick(1, 5, 99))
        )
        state = ground.db.execute("SELECT state FROM counts WHERE queue = ?", (f"ghost-{n}",)).get
        spoiled.append(("ghost_count", ("count", f"ghost-{n}", state)))
    return spoiled


def limit_usage(ground: Ground) -> Spoiled:
    """A limit whose next start is booked for a time that nobody lives to see."""
    names = [f"key:rated-{n}" for n in range(ground.each)]
    for name in names:
        ground.db.execute(
            "INSERT OR REPLACE INTO arrivals (name, arrival_us) VALUES (?, ?)",
            (name, ground.pick(1e18, 9e30)),
        )
    return [("limit_usage", ("arrival", name)) for name in names]


def unreadable_limit(ground: Ground) -> Spoiled:
    names = [f"queue:unused-{n}" for n in range(ground.each)]
    for name in names:
        rule = ground.pick(b"{", b"\xff", b'{"max_running":"many"}')
        ground.db.execute("UPDATE limits SET rule = ? WHERE name = ?", (rule, name))
    return [("unreadable_limit", ("limit", name)) for name in names]


def unreadable_share(ground: Ground) -> Spoiled:
    tenants = [f"tenant-{n}" for n in range(ground.each)]
    for tenant in tenants:
        column, value = ground.pick(
            ("weight", 0.0), ("weight", -1.0), ("virtual_us", 9e999), ("weight", 9e999)
        )
        ground.db.execute(f"UPDATE shares SET {column} = ? WHERE tenant = ?", (float(value), tenant))
    return [("unreadable_share", ("share", tenant)) for tenant in tenants]


def unreadable_worker(ground: Ground) -> Spoiled:
    workers = [f"worker-{n}" for n in range(ground.each)]
    for worker in workers:
        ground.db.execute("UPDATE workers SET info = x'7b' WHERE worker = ?", (worker,))
    return [("unreadable_worker", ("worker", worker)) for worker in workers]


def unreadable_key(ground: Ground) -> Spoiled:
    keys = [f"key-{n}" for n in range(ground.each)]
    for key in keys:
        tasks = ground.pick(b"", b"[]", b"{}", b"[1]", b"\xff", b"null")
        ground.db.execute("UPDATE idempotency SET tasks = ? WHERE key = ?", (tasks, key))
    return [("unreadable_key", ("key", "me", key)) for key in keys]


Spoil = Callable[[Ground], Spoiled]

CLASSES: Sequence[Spoil] = (
    closed_edge_of_blocked, lost_edge, lost_edges, unknown_edge_state, unapplied_end, damaged_parents,
    orphan_edge_parent, orphan_edge_child, lost_note, stray_open_edge, not_in_line, unknown_lane, lost_lane,
    damaged_policy, damaged_labels, damaged_attempts, lost_payload, negative_counter, token_above_minted,
    ready_without_place, duplicate_place, scheduled_without_time, running_without_claimant, lost_claimant,
    running_without_lease, endless_lease, final_without_end, held_while_waiting, stray_time_limit,
    lost_workflow, unknown_part, empty_workflow, unreadable_workflow,
    fire_without_record, fire_without_task, forgotten_schedule, unreadable_standing,
    unknown_state, stray_unresolved, stray_record, lost_count, ghost_count, limit_usage, unreadable_limit,
    unreadable_share, unreadable_worker, unreadable_key,
)  # fmt: skip
