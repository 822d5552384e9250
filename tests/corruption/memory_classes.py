"""Ways in which the tables of a memory store can be spoiled: by a bug, for there is no disk to blame."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from mainspring.core.model import State
from mainspring.stores.memory.tables import Due, Row, Tables

Spoiled = list[tuple[str, tuple[Any, ...]]]
FAR = 1 << 60
# Others are there for the books: what is counted wrong there is told of nothing else.
QUEUES = ("wait", "work", "done", "fired")


class Ground:
    """The tables, and the rows that are still as they should be."""

    def __init__(self, tables: Tables, seed: int, each: int) -> None:
        self.tables = tables
        self.random = random.Random(seed)
        self.each = each
        self.taken: set[str] = set()

    def take(self, *states: State, name: str | None = None) -> list[Row]:
        """So many tasks at random that fit and that no other class has taken."""
        fit = [
            row
            for row in self.tables.rows.values()
            if row.state in states
            and row.id not in self.taken
            and row.name == name
            and row.lane.queue in QUEUES
            and (row.depends_on == () or name is not None)
        ]
        chosen = self.random.sample(fit, self.each)
        self.taken.update(row.id for row in chosen)
        return chosen

    def families(self) -> list[Row]:
        """Children that wait for two parents each; all of the family is taken."""
        children = self.take(State.BLOCKED, name="child")
        for child in children:
            self.taken.update(child.depends_on)
        return children

    def pick(self, *choices: Any) -> Any:
        return self.random.choice(choices)


def of_tasks(law: str, rows: Sequence[Row]) -> Spoiled:
    return [(law, ("task", row.id)) for row in rows]


# --- rows -------------------------------------------------------------------------------------------


def unknown_state(ground: Ground) -> Spoiled:
    rows = ground.take(State.READY, State.SCHEDULED, State.SUCCEEDED)
    for row in rows:
        row.state = ground.pick(0, 8, 42)
    return of_tasks("unknown_state", rows)


def unknown_lane(ground: Ground) -> Spoiled:
    rows = ground.take(State.READY, State.SCHEDULED, State.SUCCEEDED)
    for row in rows:
        row.lane_id = FAR + row.ordinal
    return of_tasks("unknown_lane", rows)


def damaged_policy(ground: Ground) -> Spoiled:
    rows = ground.take(State.READY)
    for row in rows:
        row.policy = ground.pick(b"{", b"\xff", b"[]")
    return of_tasks("damaged_field", rows)


def lost_payload(ground: Ground) -> Spoiled:
    rows = ground.take(State.READY, State.RUNNING, State.SUCCEEDED)
    for row in rows:
        row.payload = b""
    return of_tasks("lost_payload", rows)


def negative_counter(ground: Ground) -> Spoiled:
    rows = ground.take(State.READY, State.SUCCEEDED, State.FAILED)
    for row in rows:
        setattr(row, ground.pick("attempt", "retries", "losses", "snoozes"), -1)
    return of_tasks("negative_counter", rows)


def token_above_minted(ground: Ground) -> Spoiled:
    rows = ground.take(State.RUNNING, State.SUCCEEDED)
    for row in rows:
        row.token = FAR + row.ordinal
    return of_tasks("number_ahead", rows)


def ready_without_place(ground: Ground) -> Spoiled:
    rows = ground.take(State.READY)
    for row in rows:
        row.seq = None
    return of_tasks("ready_without_place", rows)


def not_in_line(ground: Ground) -> Spoiled:
    rows = ground.take(State.READY)
    for row in rows:
        assert row.seq is not None
        ground.tables.ready[row.lane_id].remove(Due(row.seq, row.ordinal, row.id))
    return of_tasks("not_in_line", rows)


def scheduled_without_time(ground: Ground) -> Spoiled:
    rows = ground.take(State.SCHEDULED)
    for row in rows:
        row.run_at_us = None
    return of_tasks("scheduled_without_time", rows)


def running_without_claimant(ground: Ground) -> Spoiled:
    rows = ground.take(State.RUNNING)
    for row in rows:
        ground.pick(ground.tables.running, ground.tables.held[row.incarnation]).pop(row.id)
    return of_tasks("running_without_holder", rows)


def running_without_lease(ground: Ground) -> Spoiled:
    rows = ground.take(State.RUNNING)
    for row in rows:
        setattr(row, ground.pick("lease_until_us", "started_at_us"), None)
    return of_tasks("running_without_holder", rows)


def endless_lease(ground: Ground) -> Spoiled:
    rows = ground.take(State.RUNNING)
    for row in rows:
        row.lease_until_us = FAR
    return of_tasks("endless_lease", rows)


def final_without_end(ground: Ground) -> Spoiled:
    rows = ground.take(State.SUCCEEDED, State.FAILED)
    for row in rows:
        row.finished_at_us = None
    return of_tasks("final_without_end", rows)


def held_while_waiting(ground: Ground) -> Spoiled:
    rows = ground.take(State.READY, State.SCHEDULED)
    for row in rows:
        if ground.pick(True, False):
            row.worker = "somebody"
        else:
            row.cancel_requested_at_us = row.created_at_us
    return of_tasks("held_while_waiting", rows)


def stray_time_limit(ground: Ground) -> Spoiled:
    rows = ground.take(State.READY, State.SUCCEEDED)
    for row in rows:
        row.timeout_at_us = row.created_at_us
    return of_tasks("stray_time_limit", rows)


# --- dependencies -----------------------------------------------------------------------------------


def closed_edge_of_blocked(ground: Ground) -> Spoiled:
    children = ground.families()
    for child in children:
        for parent in child.depends_on:
            ground.tables.dependents[parent][child.id] = False
    return of_tasks("blocked_without_parent", children)


def lost_edge(ground: Ground) -> Spoiled:
    children = ground.families()
    for child in children:
        del ground.tables.dependents[ground.pick(*child.depends_on)][child.id]
    return of_tasks("lost_edge", children)


def wrong_parent_count(ground: Ground) -> Spoiled:
    children = ground.families()
    for child in children:
        child.open_parents = ground.pick(0, 1, 3)
    return of_tasks("parent_count", children)


def orphan_edge(ground: Ground) -> Spoiled:
    """A parent is gone, and its children wait on."""
    tables, spoiled = ground.tables, list[tuple[str, tuple[Any, ...]]]()
    for child in ground.families():
        parent = tables.rows[child.depends_on[0]]
        del tables.rows[parent.id], tables.by_ordinal[parent.ordinal]
        tables.ordinals.remove(parent.ordinal)
        spoiled.append(("orphan_edge", ("edge", parent.id, child.id)))
    return spoiled


def unapplied_end(ground: Ground) -> Spoiled:
    """A parent has ended, and its children were not told."""
    spoiled: Spoiled = []
    for child in ground.families():
        parent = ground.tables.rows[child.depends_on[0]]
        parent.state, parent.finished_at_us = State.SUCCEEDED, parent.created_at_us
        spoiled.append(("unapplied_end", ("edge", parent.id, child.id)))
    return spoiled


def stray_unresolved(ground: Ground) -> Spoiled:
    names = [f"nobody-{n}" for n in range(ground.each)]
    ground.tables.unresolved.update(dict.fromkeys(names))
    return [("stray_unresolved", ("unresolved", name)) for name in names]


# --- schedules and books ----------------------------------------------------------------------------


def fire_without_record(ground: Ground) -> Spoiled:
    names = [f"recorded-{n}" for n in range(ground.each)]
    for name in names:
        fires = ground.tables.fires[name]
        fires.remove(ground.pick(*fires))
    return [("lost_fire", ("schedule", name)) for name in names]


def fire_without_task(ground: Ground) -> Spoiled:
    names = [f"told-{n}" for n in range(ground.each)]
    for name in names:
        fires = ground.tables.fires[name]
        number, record = fires[0]
        fires[0] = number, type(record)(record.decided_at_us, record.first_us, record.last_us, record.count)
    return [("empty_fire", ("schedule", name)) for name in names]


def forgotten_schedule(ground: Ground) -> Spoiled:
    names = [f"looked-at-{n}" for n in range(ground.each)]
    for name in names:
        ground.tables.schedules[name].look_us = ground.pick(None, FAR)
    return [("forgotten_schedule", ("schedule", name)) for name in names]


def lost_workflow(ground: Ground) -> Spoiled:
    """A workflow does not know its tasks any more, or is gone altogether."""
    spoiled: Spoiled = []
    for n in range(ground.each):
        tasks = ground.tables.tasks_of.pop(f"lost-{n}")
        del ground.tables.workflows[f"lost-{n}"]
        ground.taken.update(tasks)
        spoiled.append(("stray_member", ("task", ground.pick(*tasks))))
    return spoiled


def forgotten_member(ground: Ground) -> Spoiled:
    spoiled: Spoiled = []
    for n in range(ground.each):
        tasks = ground.tables.tasks_of[f"parts-{n}"]
        task = ground.pick(*tasks)
        del tasks[task]
        spoiled.append(("stray_member", ("task", task)))
    return spoiled


def lost_count(ground: Ground) -> Spoiled:
    names = [f"counted-{n}" for n in range(ground.each)]
    for name in names:
        ground.tables.counts[name, State.READY] -= 1
    return [("lost_count", ("count", name, int(State.READY))) for name in names]


def ghost_count(ground: Ground) -> Spoiled:
    names = [f"ghost-{n}" for n in range(ground.each)]
    for name in names:
        ground.tables.counts[name, State.FAILED] = 4
    return [("ghost_count", ("count", name, int(State.FAILED))) for name in names]


def limit_usage(ground: Ground) -> Spoiled:
    names = [f"key:rated-{n}" for n in range(ground.each)]
    for name in names:
        usage = ground.tables.usage.setdefault(name, type(next(iter(ground.tables.usage.values())))())
        if ground.pick(True, False):
            usage.running += 2
        else:
            usage.arrival_us = 1e18
    return [("limit_usage", ("limit", name)) for name in names]


def stray_lease(ground: Ground) -> Spoiled:
    rows = ground.take(State.SUCCEEDED)
    ground.tables.running.update(dict.fromkeys(row.id for row in rows))
    return [("stray_lease", ("lease", row.id)) for row in rows]


def stray_lane(ground: Ground) -> Spoiled:
    lanes = {lane.queue: id_ for id_, lane in ground.tables.lanes.items()}
    ids = [lanes[f"tenants-{n}"] for n in range(ground.each)]
    for lane_id in ids:
        ground.tables.ready_counts[lane_id] += ground.pick(-1, 1)
    return [("stray_lane", ("lane", lane_id)) for lane_id in ids]


def unreadable_share(ground: Ground) -> Spoiled:
    names = [f"tenant-{n}" for n in range(ground.each)]
    for name in names:
        share = ground.tables.shares[name]
        share.weight, share.virtual_us = ground.pick((0.0, 0.0), (-1.0, 0.0), (1.0, float("nan")))
    return [("unreadable_share", ("share", name)) for name in names]


Spoil = Callable[[Ground], Spoiled]

CLASSES: Sequence[Spoil] = (
    closed_edge_of_blocked, lost_edge, wrong_parent_count, unapplied_end, orphan_edge, unknown_lane,
    damaged_policy, lost_payload, negative_counter, token_above_minted, ready_without_place, not_in_line,
    scheduled_without_time, running_without_claimant, running_without_lease, endless_lease,
    final_without_end, held_while_waiting, stray_time_limit, stray_lease, unknown_state, stray_unresolved,
    lost_workflow, forgotten_member, fire_without_record, fire_without_task, forgotten_schedule, lost_count,
    ghost_count, limit_usage, stray_lane, unreadable_share,
)  # fmt: skip
