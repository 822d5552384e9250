"""Decisions about schedules: guarded by version and term, written whole or not at all."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from mainspring.core.model import NewTask
from mainspring.core.schedule_rows import write_row
from mainspring.ports import Action, Existing, Fired, FireLine, FireTask, Force, Group, Refused
from mainspring.stores.postgres import submitting
from mainspring.stores.postgres.editing import force
from mainspring.stores.postgres.moves import release_children
from mainspring.stores.postgres.rows import can_be_stored, known_texts
from mainspring.stores.postgres.transaction import Replay, Transaction, columns
from mainspring.verbs import (
    FIRES_KEPT,
    deposed,
    fire_guard,
    fire_records,
    no_schedule,
    schedule_moved,
    with_parents_among,
)


class Known(NamedTuple):
    """What guarding a decision takes of a stored schedule."""

    version: int
    mark: str
    records: int


class Plan(NamedTuple):
    """A decision that its guard has let pass. `tasks` are those of its fires by their times, with those that
    are stored already; `new` is what is left to make."""

    line: FireLine
    version: int
    records: int
    is_new: bool
    tasks: dict[int, str]
    new: Sequence[FireTask]
    group: Group


async def fire(tx: Transaction, lines: Sequence[FireLine], term: int | None) -> Fired:
    if term is not None and not await tx.value("goes_on_leading", term):
        return Fired([deposed(term)] * len(lines))
    if not lines:
        return Fired([])
    known = await _lock(tx, {line.schedule for line in lines})
    answers: list[int | Refused | Existing] = []
    plans: dict[int, Plan] = {}
    for place, line in enumerate(lines):
        stored = known.get(line.schedule)
        answer = fire_guard(line, None if stored is None else (stored.version, stored.mark))
        if answer is None and tx.is_careful:
            answer = _unstorable(line)
        if answer is None:
            plans[place] = plan = await _plan(tx, line, stored)
            # A second decision of this call was made of a version that is over with the first.
            known[line.schedule] = Known(plan.version, line.mark, 0)
        answers.append(answer or 0)
    groups = [plan.group for plan in plans.values()]
    await submitting.prepare(tx, groups)
    await tx.lock_limits({task.lane for group in groups for task in group.tasks})
    submitted = await submitting.submit(tx, groups)
    accepted = []
    for (place, plan), tasks in zip(plans.items(), submitted, strict=True):
        if isinstance(tasks, Refused | Existing):
            answers[place] = tasks
        else:
            answers[place] = plan.version
            accepted.append(plan)
    await _write(tx, accepted)
    await release_children(tx)
    return Fired(answers, await tx.ready(), tx.finished)


async def _lock(tx: Transaction, schedules: set[str]) -> dict[str, Known]:
    rows = await tx.rows("lock_schedules", known_texts(schedules))
    return {row["id"]: Known(row["version"], row["mark"], row["records"]) for row in rows}


def _unstorable(line: FireLine) -> Refused | None:
    texts = [line.schedule, line.mark, line.quarantine or ""]
    if line.change is not None:
        row = msgspec.structs.astuple(write_row(line.change.rules, line.change.template))
        texts += [value for value in row if isinstance(value, str)]
    if all(map(can_be_stored, texts)):
        return None
    return Refused("invalid_input", "a value cannot be stored: a text with a letter that is none")


async def _plan(tx: Transaction, line: FireLine, stored: Known | None) -> Plan:
    tasks = {made.fire_us: made.task.id for made in line.made}
    before: dict[int, str] = {}
    if tasks:
        rows = await tx.rows("made_before", line.schedule, list(tasks))
        before = {row["fire_at_us"]: row["id"] for row in rows}
    new = [made for made in line.made if made.fire_us not in before]
    group = Group(await _new_tasks(tx, new), line.key)
    version = tx.mint() if stored is None else max(stored.version + 1, tx.mint())
    records = 0 if stored is None else stored.records
    return Plan(line, version, records, stored is None, tasks | before, new, group)


async def _new_tasks(tx: Transaction, new: Sequence[FireTask]) -> list[NewTask]:
    tasks = [made.task for made in new]
    parents = {parent for task in tasks for parent in task.depends_on}
    if not parents:
        return tasks
    stored = {row["id"] for row in await tx.rows("stored", known_texts(parents))}
    return with_parents_among(stored, tasks)


async def _write(tx: Transaction, plans: Sequence[Plan]) -> None:
    """Write what decisions leave behind, their tasks being stored."""
    made = [(plan.line.schedule, made.fire_us, made.task.id) for plan in plans for made in plan.new]
    if made:
        await tx.do("name_fires", *columns(made))
    cancels = [Force(task, Action.CANCEL) for plan in plans for made in plan.new for task in made.cancels]
    if cancels:
        await force(tx, cancels)
    for plan in plans:
        if plan.is_new and not await tx.do("create_schedule", plan.line.schedule):
            raise Replay
        if plan.line.change is not None:
            row = write_row(plan.line.change.rules, plan.line.change.template)
            await tx.do("change_schedule", plan.line.schedule, *msgspec.structs.astuple(row))
    recorded = {plan.version: fire_records(plan.line, plan.tasks, tx.now_us) for plan in plans}
    records = [
        (plan.line.schedule, *msgspec.structs.astuple(record))
        for plan in plans
        for record in recorded[plan.version]
    ]
    if records:
        await tx.do("add_fires", *columns(records))
    counts: Mapping[int, int] = {version: len(found) for version, found in recorded.items()}
    await tx.do_many("write_schedule", [_values(tx, plan, counts[plan.version]) for plan in plans])
    for plan in plans:
        if plan.records + counts[plan.version] > 2 * FIRES_KEPT:
            await tx.do("trim_fires", plan.line.schedule, FIRES_KEPT)


def _values(tx: Transaction, plan: Plan, recorded: int) -> tuple[object, ...]:
    line, records = plan.line, plan.records + recorded
    last_us = max(plan.tasks, default=None)
    standing = None if line.standing is None else msgspec.json.encode(line.standing).decode()
    return (
        line.schedule, plan.version, line.mark, standing, line.look_us, line.quarantine, tx.now_us,
        line.change is not None, last_us, None if last_us is None else plan.tasks[last_us],
        FIRES_KEPT if records > 2 * FIRES_KEPT else records,
    )  # fmt: skip


async def delete(tx: Transaction, schedule: str, version: int | None) -> Refused | None:
    stored = (await _lock(tx, {schedule})).get(schedule)
    if stored is None:
        return no_schedule(schedule)
    if version is not None and stored.version != version:
        return schedule_moved(schedule, stored.version, version)
    await tx.do("delete_schedule", schedule)
    return None
