"""Schedules: make, read, change, pause, trigger, skip, forget; what became of their fires, and what comes."""

from hashlib import blake2b

import msgspec

from mainspring.api.conditions import read_answer, wanted_version
from mainspring.api.door import Door, idempotency
from mainspring.api.http import JSON, Answer, Call, json_answer, page_answer
from mainspring.api.submitting import REPLAYED, replayed, task_answer
from mainspring.api.tasks import no_body
from mainspring.core.model import Task, decode_policy
from mainspring.core.schedules import Schedule, begin
from mainspring.core.templates import Template
from mainspring.errors import Conflict, InvalidInput, KeyReused, NotFound, VersionMismatch, WrongState
from mainspring.ports import Idempotency, NewSchedule, ScheduleRecord
from mainspring.scheduler import SchedulePatch
from mainspring.wire import fields, pages
from mainspring.wire.problems import IdTaken
from mainspring.wire.schedule_views import (
    SchedulesView,
    encode,
    fires_view,
    next_view,
    schedule_view,
)
from mainspring.wire.schedules import (
    PREVIEW,
    SCHEDULE,
    SCHEDULE_PATCH,
    checked_id,
    new_schedule,
    schedule_changes,
    schedule_id,
    schedule_rules,
    template,
)
from mainspring.wire.strict import Shape
from mainspring.wire.tasks import TaskIn

SCHEDULES = "/api/v1/schedules/"
FIRES_AHEAD = 5
FIRES_AHEAD_MOST = 1_000
PAGING = {
    "page_size": "how many at most, 1 to 1000 (default 100)",
    "page_token": "the next_page_token of the last answer",
}
COUNT = {"count": f"how many at most, 1 to {FIRES_AHEAD_MOST} (default {FIRES_AHEAD})"}


class SkipIn(msgspec.Struct, forbid_unknown_fields=True):
    """Fires up to `until`, that time included, become no task; a time that has passed takes a skip back."""

    until: str


SKIP = Shape(SkipIn, accepted={"until": fields.TIME_ACCEPTED})


# --- reading ----------------------------------------------------------------------------------------


async def read_many(door: Door, call: Call) -> Answer:
    limit, cursor = _page(door, call, "schedules")
    page = await door.scheduler.schedules.find(limit, cursor)
    token = None if page.cursor is None else pages.seal(page.cursor, "schedules")
    return page_answer(call, SchedulesView([schedule_view(record) for record in page.schedules], token))


async def read_one(door: Door, call: Call) -> Answer:
    return read_answer(call, _answer(await door.scheduler.schedules.get(call.path["id"])))


async def read_fires(door: Door, call: Call) -> Answer:
    schedule = call.path["id"]
    limit, cursor = _page(door, call, f"fires of {schedule}")
    page = await door.scheduler.schedules.fires(schedule, limit, cursor)
    token = None if page.cursor is None else pages.seal(page.cursor, f"fires of {schedule}")
    return page_answer(call, fires_view(page, token))


async def read_next(door: Door, call: Call) -> Answer:
    count = _count(call)
    record = await door.scheduler.schedules.get(call.path["id"])
    return json_answer(next_view(record, door.scheduler.schedules.preview(record, count)))


async def preview(door: Door, call: Call) -> Answer:
    """The fires to come of rules that are not stored. With an `id` their jitter is that schedule's."""
    count = _count(call)
    given = PREVIEW.read(await call.body())
    made = template(given.task or TaskIn(), door.bounds)
    record = _unstored(schedule_id(given) or "", NewSchedule(schedule_rules(given), made), door)
    return json_answer(next_view(record, door.scheduler.schedules.preview(record, count)))


def _unstored(id: str, new: NewSchedule, door: Door) -> ScheduleRecord:
    """Raises `InvalidInput` if it would never fire."""
    standing = begin(new.rules, door.clock.now_us())
    return ScheduleRecord(id, new.rules, new.template, 0, standing)


def _page(door: Door, call: Call, of: str) -> tuple[int, str | None]:
    token = call.query.get("page_token")
    return (
        pages.page_size(call.query.get("page_size"), door.bounds),
        None if token is None else pages.unseal(token, of),
    )


def _count(call: Call) -> int:
    text = call.query.get("count")
    return FIRES_AHEAD if text is None else pages.count(text, "count", FIRES_AHEAD_MOST)


def _etag(record: ScheduleRecord) -> bytes:
    """It changes with each fire, as what is shown does."""
    return b'"%d"' % record.version


def _answer(record: ScheduleRecord, status: int = 200, *headers: tuple[bytes, bytes]) -> Answer:
    """A schedule as it is, with its tag."""
    named = [JSON, (b"etag", _etag(record))]
    if status == 201:
        named.append((b"location", (SCHEDULES + record.id).encode()))
    return Answer(status, encode(schedule_view(record)), [*named, *headers])


# --- making -----------------------------------------------------------------------------------------


async def create(door: Door, call: Call) -> Answer:
    body = await call.body()
    given = SCHEDULE.read(body)
    chosen, new = schedule_id(given), new_schedule(given, door.bounds)
    key = idempotency(door, call, body)
    id = chosen if chosen is not None or key is None else _id_of(key)
    try:
        return _answer(await door.scheduler.schedules.create(new, id), 201)
    except Conflict as error:
        if key is None or id is None:
            raise IdTaken(error.detail) from None
    # A key names the schedule that it makes: a repeat finds it, on any node, for as long as it is there.
    record = await door.scheduler.schedules.get(id)
    if _meaning(record.rules, record.template) == _meaning(new.rules, new.template):
        return _answer(record, 201, REPLAYED)
    if chosen is not None:
        raise IdTaken(f"there is a schedule {id} already")
    raise KeyReused(f"this key made the schedule {id}, which is not as this body says")


def _id_of(key: Idempotency) -> str:
    """A UUIDv8 (RFC 9562): the same for the same caller, route and key."""
    digest = blake2b(f"{key.principal}\0{key.key}".encode(), digest_size=16).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-a{digest[17:20]}-{digest[20:]}"


def _meaning(rules: Schedule, template: Template) -> object:
    """A pause since does not make another schedule of it; a policy may be written in several ways."""
    replace = msgspec.structs.replace
    return replace(rules, paused=False), replace(template, policy=None), decode_policy(template.policy)


async def put(door: Door, call: Call) -> Answer:
    """Create it, or give it this document. `If-None-Match: *` only creates."""
    given = SCHEDULE.read(await call.body())
    id, new = call.path["id"], new_schedule(given, door.bounds)
    if schedule_id(given) not in (None, id):
        raise InvalidInput("id", f"differs from the path: {given.id or given.name}", id)
    schedules = door.scheduler.schedules
    is_new = not await _exists(door, id)
    if is_new:
        checked_id(id)
    version = await _version_to_replace(door, call)
    if call.header(b"if-none-match") != "*":
        return _answer(await schedules.put(id, new, version), 201 if is_new else 200)
    try:
        return _answer(await schedules.create(new, id), 201)
    except Conflict:
        raise VersionMismatch(f"If-None-Match: * wants no schedule {id}, and there is one") from None


async def _version_to_replace(door: Door, call: Call) -> int | None:
    """Where there is none to replace, If-None-Match holds and If-Match does not."""
    try:
        return await _version(door, call)
    except NotFound:
        if call.header(b"if-match") is None:
            return None
        raise VersionMismatch(f"If-Match wants a schedule {call.path['id']}, and there is none") from None


async def _exists(door: Door, id: str) -> bool:
    try:
        await door.scheduler.schedules.get(id)
    except NotFound:
        return False
    return True


# --- changing ---------------------------------------------------------------------------------------


async def _version(door: Door, call: Call) -> int | None:
    id = call.path["id"]

    async def present() -> tuple[int, bytes]:
        record = await door.scheduler.schedules.get(id)
        return record.version, _etag(record)

    return await wanted_version(call, f"schedule {id}", present)


async def edit(door: Door, call: Call) -> Answer:
    changes = schedule_changes(SCHEDULE_PATCH.read(await call.body()), door.bounds)
    return await _update(door, call, SchedulePatch(**changes))


async def pause(door: Door, call: Call) -> Answer:
    await no_body(call)
    return await _update(door, call, SchedulePatch(paused=True))


async def resume(door: Door, call: Call) -> Answer:
    await no_body(call)
    return await _update(door, call, SchedulePatch(paused=False))


async def _update(door: Door, call: Call, patch: SchedulePatch) -> Answer:
    version = await _version(door, call)
    return _answer(await door.scheduler.schedules.update(call.path["id"], patch, version))


async def delete(door: Door, call: Call) -> Answer:
    """Its tasks stay."""
    version = await _version(door, call)
    await door.scheduler.schedules.delete(call.path["id"], version)
    return Answer(204)


async def trigger(door: Door, call: Call) -> Answer:
    """Under an Idempotency-Key: what the first call with it has made, whatever came of the schedule since."""
    await no_body(call)
    id, key = call.path["id"], idempotency(door, call, b"null")
    if key is None:
        version = await _version(door, call)
        return task_answer(await door.scheduler.schedules.trigger(id, version), 201)
    # Of the very schedule: there is no body to tell two of them apart.
    key = msgspec.structs.replace(key, principal=f"{key.principal} {id}")
    if (kept := door.replies.find(key)) is not None:
        return replayed(kept)
    task, is_new = await _trigger_once(door, call, key)
    answer = task_answer(task, 201)
    if not is_new:
        return replayed(answer)
    door.replies.keep(key, answer)
    return answer


async def _trigger_once(door: Door, call: Call, key: Idempotency) -> tuple[Task, bool]:
    schedules = door.scheduler.schedules
    try:
        return await schedules.trigger_once(call.path["id"], key, await _version(door, call))
    except (NotFound, VersionMismatch, WrongState):
        # It may have become so by the very call that this one repeats, or since.
        task = await schedules.triggered(key)
        if task is None:
            raise
        return task, False


async def skip_next(door: Door, call: Call) -> Answer:
    await no_body(call)
    version = await _version(door, call)
    return _answer(await door.scheduler.schedules.skip_next(call.path["id"], version))


async def skip_until(door: Door, call: Call) -> Answer:
    until_us = fields.time_us(SKIP.read(await call.body()).until, "until")
    version = await _version(door, call)
    return _answer(await door.scheduler.schedules.skip_until(call.path["id"], until_us, version))
