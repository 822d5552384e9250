"""Schedules, their fires and the fires to come, as tables for people: in the schedule's own zone."""

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo

import click
import msgspec

from mainspring.cli import show
from mainspring.core.timing import zone_of
from mainspring.errors import InvalidInput
from mainspring.wire.schedule_views import ComingView, FireView, ScheduleView

_COLOURS = {"active": "green", "paused": "yellow", "over": "bright_black", "quarantine": "red"}


def schedules(found: Sequence[ScheduleView], document: bytes, output: str) -> None:
    """In the output that was asked for; `document` is the JSON."""
    if output == "json":
        show.echo_json(document)
    elif output == "id":
        for schedule in found:
            click.echo(schedule.id)
    else:
        rows = [
            (
                show.text(schedule.id),
                show.text(timing(schedule), 40),
                show.text(schedule.zone),
                _state(schedule),
                local(schedule.next_fire_at, schedule.zone),
                local(schedule.last_fire_at, schedule.zone),
                show.text(schedule.quarantine or _what(schedule)),
            )
            for schedule in found
        ]
        show.table(("ID", "WHEN", "ZONE", "STATE", "NEXT", "LAST", "WHAT"), rows)


def timing(schedule: ScheduleView) -> str:
    if schedule.every is not None:
        return f"every {schedule.every:g}s"
    if schedule.at is not None:
        return f"at {schedule.at.isoformat()}"
    return schedule.cron or "?"


def state(schedule: ScheduleView) -> str:
    if schedule.quarantine is not None:
        return "quarantine"
    if schedule.paused:
        return "paused"
    return "active" if schedule.next_fire_at is not None else "over"


def _state(schedule: ScheduleView) -> str:
    shown = state(schedule)
    skips = ", skips" if schedule.skip_until is not None else ""
    return f"[{_COLOURS[shown]}]{shown}[/]{skips}"


def _what(schedule: ScheduleView) -> str:
    task = schedule.task
    return task.name or f"{task.kind} {show.payload_text(task.kind, task.payload)}"


def local(moment: datetime | None, zone: str) -> str:
    if moment is None:
        return ""
    return moment.astimezone(_zone(zone)).isoformat(sep=" ", timespec=_timespec(moment))


def _zone(name: str) -> tzinfo:
    """A row of plain SQL may name a zone that does not exist, and is shown all the same."""
    try:
        return zone_of(name)
    except InvalidInput:
        return UTC


def _timespec(moment: datetime) -> str:
    return "milliseconds" if moment.microsecond else "seconds"


def schedule(found: ScheduleView) -> None:
    """The whole record, one field a line; fields without a value are left out."""
    task = [(f"task.{name}", text) for name, text in _fields(found.task, found.zone)]
    show.table(("", ""), [("state", _state(found)), *_fields(found, found.zone), *task])


def _fields(record: msgspec.Struct, zone: str) -> list[tuple[str, str]]:
    rows = []
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if isinstance(value, msgspec.Raw):
            value = bytes(value).decode("utf-8", "replace")
        if isinstance(value, datetime):
            rows.append((name, local(value, zone)))
        elif not (isinstance(value, msgspec.Struct) or value in (None, "", "{}", "null")):
            rows.append((name, show.text(value, 2000)))
    return rows


def fires(found: Sequence[FireView], zone: str) -> None:
    rows = [
        (
            local(fire.fire_at, zone),
            local(fire.last_fire_at, zone) if fire.count > 1 else "",
            fire.count,
            show.text(fire.task) if fire.reason is None else f"[yellow]skipped[/]: {show.text(fire.reason)}",
            local(fire.decided_at, zone),
        )
        for fire in found
    ]
    show.table(("FIRE", "TO", "COUNT", "TASK", "DECIDED"), rows)


def coming(found: Sequence[ComingView], zone: str) -> None:
    rows = [(local(fire.fire_at, zone), local(fire.run_at, zone)) for fire in found]
    show.table(("FIRE", "TASK RUNS FROM"), rows)
