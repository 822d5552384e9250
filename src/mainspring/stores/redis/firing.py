"""Decisions about schedules: read what they need, decide, and write each whole if its schedule is still as it
was read; else read again."""

from collections.abc import Mapping, Sequence
from hashlib import sha1
from typing import NamedTuple

import msgspec

from mainspring.core.order import LaneHead
from mainspring.core.schedule_rows import write_row
from mainspring.ports import Existing, Fired, FireLine, FireTask, Group, Refused
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import EXISTING, Request, can_be_stored, pack
from mainspring.stores.redis.schedules import Stored, fire_text, stored_of, texts_of
from mainspring.verbs import (
    FIRES_KEPT,
    deposed,
    fire_guard,
    fire_records,
    no_schedule,
    schedule_moved,
    with_parents_among,
)

_WRITTEN, _CHANGED, _DEPOSED = 1, 2, 3
_UNSTORABLE = Refused("invalid_input", "a value cannot be stored: a text with a letter that is none")


class Facts(NamedTuple):
    """What decisions are made of. `texts` are the schedules as they are stored, `made` the tasks that fires
    have made already, by schedule and time, and `stored` those of the parents that are there."""

    now_us: int
    stands: bool
    texts: Mapping[str, bytes]
    made: Mapping[tuple[str, int], str]
    stored: frozenset[str]


class Plan(NamedTuple):
    """A decision that its guard has let pass. `tasks` are those of its fires by their times, with those that
    are stored already; `new` is what is left to make, as `group`. `text` is the schedule from now on."""

    line: FireLine
    version: int
    text: str
    tasks: Mapping[int, str]
    new: Sequence[FireTask]
    group: Group


async def fire(db: Database, lines: Sequence[FireLine], term: int | None) -> Fired:
    firing = _Firing(db, lines, term)
    while left := firing.left():
        await firing.decide(left)
    return firing.fired()


class _Firing:
    def __init__(self, db: Database, lines: Sequence[FireLine], term: int | None) -> None:
        self._db = db
        self._lines = lines
        self._term = term
        self._answers: dict[int, int | Refused | Existing] = {
            place: _UNSTORABLE for place, line in enumerate(lines) if not _is_storable(line)
        }
        self._ready: dict[int, LaneHead] = {}
        self._finished: list[str] = []

    def left(self) -> dict[int, FireLine]:
        """The first unanswered line of each schedule: a second one is guarded by what the first has left."""
        found: dict[str, int] = {}
        for place, line in enumerate(self._lines):
            if place not in self._answers:
                found.setdefault(line.schedule, place)
        return {place: self._lines[place] for place in found.values()}

    def fired(self) -> Fired:
        answers = [self._answers[place] for place in range(len(self._lines))]
        return Fired(answers, list(self._ready.values()), self._finished)

    async def decide(self, lines: Mapping[int, FireLine]) -> None:
        facts = await _facts(self._db, list(lines.values()), self._term)
        if not facts.stands:
            self._depose()
            return
        plans: dict[int, Plan] = {}
        for place, line in lines.items():
            text = facts.texts.get(line.schedule)
            stored = None if text is None else stored_of(text)
            answer = fire_guard(line, None if stored is None else (stored.version, stored.mark))
            if answer is None:
                plans[place] = _plan(line, stored, facts)
            else:
                self._answers[place] = answer
        if plans:
            await self._write(plans, facts)

    async def _write(self, plans: Mapping[int, Plan], facts: Facts) -> None:
        request = Request()
        packed = request.packed_decisions([_decision(plan, facts) for plan in plans.values()])
        term = () if self._term is None else (self._term,)
        reply = await self._db.run("fire", *packed, FIRES_KEPT, *term)
        answers, ready, finished = reply.answers
        self._ready.update({head.lane_id: head for head in reply.heads(ready)})
        self._finished += finished
        if ready or finished:
            self._db.wrote()
        for (place, plan), answer in zip(plans.items(), answers, strict=True):
            if answer == _WRITTEN:
                self._answers[place] = plan.version
            elif answer == _DEPOSED:
                self._depose()
            elif answer != _CHANGED and answer[0] == EXISTING:
                self._answers[place] = Existing([reply.task(view) for view in answer[1]])
            elif answer != _CHANGED and answer[0] != "unknown_parent":
                self._answers[place] = Refused(*answer)

    def _depose(self) -> None:
        assert self._term is not None
        for place in range(len(self._lines)):
            self._answers.setdefault(place, deposed(self._term))


def _is_storable(line: FireLine) -> bool:
    try:
        msgspec.msgpack.encode(line)
    except UnicodeEncodeError:
        return False
    return True


async def _facts(db: Database, lines: Sequence[FireLine], term: int | None) -> Facts:
    schedules = [line.schedule for line in lines]
    fires = [(line.schedule, made.fire_us) for line in lines for made in line.made]
    parents = list({parent for line in lines for made in line.made for parent in made.task.depends_on})
    terms = () if term is None else (term,)
    reply = await db.run("fire_facts", pack((schedules, fires, parents)), 0, *terms)
    _, tasks, stored, stands, texts = reply.answers
    return Facts(
        reply.now_us,
        stands,
        reply.texts(schedules, texts),
        {fire: task for fire, task in zip(fires, tasks, strict=True) if task},
        frozenset(parent for parent, is_there in zip(parents, stored, strict=True) if is_there),
    )


def _plan(line: FireLine, stored: Stored | None, facts: Facts) -> Plan:
    made = {fire.fire_us: facts.made.get((line.schedule, fire.fire_us)) for fire in line.made}
    new = [fire for fire in line.made if made[fire.fire_us] is None]
    tasks = {fire.fire_us: made[fire.fire_us] or fire.task.id for fire in line.made}
    group = Group(with_parents_among(facts.stored, [fire.task for fire in new]), line.key)
    version = facts.now_us if stored is None else max(stored.version + 1, facts.now_us)
    text = _text(line, stored or Stored(created_us=facts.now_us), version, tasks, facts.now_us)
    return Plan(line, version, text, tasks, new, group)


def _text(line: FireLine, old: Stored, version: int, tasks: Mapping[int, str], now_us: int) -> str:
    change, last_us = line.change, max(tasks, default=-1)
    is_later = last_us > (old.last_fire_us or 0)
    changed = Stored(
        row=old.row if change is None else write_row(change.rules, change.template),
        version=version,
        mark=line.mark,
        standing=None if line.standing is None else msgspec.json.encode(line.standing).decode(),
        look_us=line.look_us,
        quarantine=line.quarantine,
        created_us=old.created_us,
        updated_us=now_us if change is not None else old.updated_us or now_us,
        last_fire_us=last_us if is_later else old.last_fire_us,
        last_task=tasks[last_us] if is_later else old.last_task,
    )
    return msgspec.json.encode(changed).decode()


def _decision(plan: Plan, facts: Facts) -> tuple[tuple[object, ...], Group, tuple[object, ...]]:
    line = plan.line
    before = facts.texts.get(line.schedule)
    told = fire_records(line, plan.tasks, facts.now_us)
    look_us = False if line.look_us is None else line.look_us
    return (
        (line.schedule, "" if before is None else sha1(before).hexdigest(), plan.text, look_us),
        plan.group,
        (
            [fire.fire_us for fire in plan.new],
            [task for fire in plan.new for task in fire.cancels],
            [fire_text(record) for record in told],
        ),
    )


async def delete(db: Database, schedule: str, version: int | None) -> Refused | None:
    while can_be_stored(schedule):
        _, texts = await texts_of(db, [schedule])
        if schedule not in texts:
            break
        found = stored_of(texts[schedule]).version
        if version is not None and found != version:
            return schedule_moved(schedule, found, version)
        if (await db.run("delete_schedule", schedule.encode(), texts[schedule])).answers:
            return None
    return no_schedule(schedule)
