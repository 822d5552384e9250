"""Watching a task: its states and progress as events; its log as events, as JSON or as plain text."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from mainspring.api.door import Door
from mainspring.api.http import NO_STORE, Answer, Call, json_answer
from mainspring.api.streaming import Stream
from mainspring.api.tasks import no_body, task_id
from mainspring.core.model import Task
from mainspring.core.progress import LogPiece
from mainspring.errors import NotFound
from mainspring.wire import watching as wire

LOG_QUERY = {"after": "only what comes behind so many bytes of the log"}
_KINDS = (wire.CONTENT_TYPE, "application/json", "text/plain")


async def events(door: Door, call: Call) -> Answer:
    """A reader that was cut off after the last event is told so: 204 ends it."""
    await no_body(call)
    task, last = task_id(call), call.header(b"last-event-id")
    door.streams.check_room()
    glance = await door.scheduler.progress.glance(task)
    if glance.state.is_final and last == wire.mark_of(glance):
        return Answer(204)
    return Stream(call, _events(door, task, last))


async def _events(door: Door, task: str, last: str | None) -> AsyncGenerator[bytes, None]:
    told: Task | None = None
    async with aclosing(door.scheduler.progress.events(task)) as records:
        async for record in records:
            if told is None and wire.mark_of(record) == last:
                told = record
                continue
            is_progress = told is not None and told.version == record.version
            yield wire.task_event(record, "progress" if is_progress else "state")
            told = record
    yield wire.event("end", wire.EndEvent(task, None if told is None else told.state.label))


async def logs(door: Door, call: Call) -> Answer:
    await no_body(call)
    task = task_id(call)
    after = wire.offset(call.query["after"], "after") if "after" in call.query else 0
    kind = _wanted(call)
    if kind == wire.CONTENT_TYPE:
        return await _follow(door, call, task, after)
    pieces: list[LogPiece] = []
    async with aclosing(door.scheduler.progress.logs(task, after)) as pages:
        async for page in pages:
            pieces += page.pieces
    if kind == "text/plain":
        text = "".join(wire.log_text(pieces, after)).encode()
        return Answer(200, text, [(b"content-type", b"text/plain; charset=utf-8"), NO_STORE])
    return json_answer(wire.log_view(pieces, after), 200, NO_STORE)


async def _follow(door: Door, call: Call, task: str, after: int) -> Answer:
    door.streams.check_room()
    last = call.header(b"last-event-id")
    if last is not None:
        after = wire.offset(last, "Last-Event-ID")
    glance = await door.scheduler.progress.glance(task)
    if last is not None and glance.state.is_final and glance.log_ends <= after:
        return Answer(204)
    return Stream(call, _log_events(door, task, after))


async def _log_events(door: Door, task: str, after: int) -> AsyncGenerator[bytes, None]:
    async with aclosing(door.scheduler.progress.logs(task, after, follow=True)) as pages:
        async for page in pages:
            yield wire.log_events(page.pieces)
    try:
        state = (await door.scheduler.progress.glance(task)).state.label
    except NotFound:
        state = None
    yield wire.event("end", wire.EndEvent(task, state))


def _wanted(call: Call) -> str:
    """The first media type in the Accept field that there is one for; JSON if it names none."""
    for choice in (call.header(b"accept") or "").split(","):
        media = choice.partition(";")[0].strip().lower()
        if media in _KINDS:
            return media
    return "application/json"
