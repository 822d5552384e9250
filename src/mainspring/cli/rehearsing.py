"""`mainspring schedules simulate`: what all schedules together will do, before they do it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from mainspring.cli import show
from mainspring.cli.client import Server
from mainspring.cli.exits import Exit
from mainspring.cli.options import CONFIG, load_settings
from mainspring.cli.schedulefile import ScheduleFile, written
from mainspring.clock import SystemClock
from mainspring.core.schedules import check_schedule
from mainspring.errors import InvalidInput
from mainspring.ports import NewSchedule, SeenSchedule
from mainspring.wire import fields
from mainspring.wire.bounds import BOUNDS
from mainspring.wire.schedule_views import SchedulesView, ScheduleView
from mainspring.wire.schedules import SCHEDULE, new_schedule, schedule_id

if TYPE_CHECKING:
    from mainspring.testing.rehearsal import Assumptions, Event, Expectation, Report

Schedules = Mapping[str, NewSchedule]


@click.command()
@click.option(
    "--from", "start", metavar="TIME", required=True, help="RFC 3339, with offset; it belongs to it."
)
@click.option("--to", metavar="TIME", required=True, help="This time does not.")
@click.option(
    "-f",
    "--file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Schedules as JSON, instead of a server's; what `schedules list -o json` prints is understood.",
)
@click.option("--db", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="A SQLite file's.")
@click.option(
    "--duration",
    "durations",
    multiple=True,
    metavar="[NAME=]DURATION",
    help="How long tasks run: of a schedule or a kind, or (default 1s) of all others. May be repeated.",
)
@click.option("--slots", type=click.IntRange(1), help="How many tasks may run at once; default: all.")
@click.option(
    "--assert",
    "expectations",
    multiple=True,
    metavar="COMPARISON",
    help="Exit code 1 unless it holds, such as max_running<50 or nightly.skips==0. May be repeated.",
)
@click.option("--events", is_flag=True, help="List every fire and every skip.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--token", help="The server's token (MAINSPRING_TOKEN).")
@click.option("--api-url", metavar="URL", help="The server; by default http://localhost:8080.")
@CONFIG
def simulate(
    start: str,
    to: str,
    file: Path | None,
    db: Path | None,
    durations: tuple[str, ...],
    slots: int | None,
    expectations: tuple[str, ...],
    events: bool,
    output: str,
    token: str | None,
    api_url: str | None,
    config: Path | None,
) -> int:
    """Run the real scheduler over all schedules on a virtual clock, and say what they do.

    Fires, skips with their reason, collisions (tasks of several schedules that may run from the very same
    instant on) and the most tasks that run at once. Schedules come from a file, a database or a server, and
    begin at --from: what was missed before is left out. Numbers that --assert knows: fires, skips,
    skips.REASON, collisions, max_collision, max_running, max_waiting, longest_wait, failed, unfinished; most
    of them also of one schedule, as SCHEDULE.NAME.
    """
    from mainspring.testing.rehearsal import names, parse_expectation, rehearse

    if file is not None and db is not None:
        raise click.UsageError("give --file or --db, not both")
    from_us, to_us = fields.time_us(start, "--from"), fields.time_us(to, "--to")
    expected = [parse_expectation(text) for text in expectations]
    assumptions = _assumptions(durations, slots)
    schedules = _schedules(file, db, {"api_url": api_url, "token": token}, config)
    known = names(tuple(schedules))
    for expectation in expected:
        expectation.check(known)
    report = rehearse(schedules, from_us, to_us, assumptions, with_events=events)
    if output == "json":
        show.echo_json(msgspec.json.encode(report))
    else:
        _show(report)
    return _judge(expected, report.numbers())


def _judge(expected: Sequence["Expectation"], numbers: Mapping[str, float]) -> int:
    failures = [failure for one in expected if (failure := one.failure(numbers)) is not None]
    for failure in failures:
        click.echo(f"mainspring: assertion failed: {failure}", err=True)
    return Exit.FAILED if failures else Exit.OK


def _assumptions(durations: Sequence[str], slots: int | None) -> "Assumptions":
    from mainspring.testing.rehearsal import Assumptions

    by_name: dict[str, int] = {}
    default_us = Assumptions().duration_us
    for text in durations:
        name, equals, value = text.rpartition("=")
        duration_us = fields.duration_us(value, "--duration")
        if equals:
            by_name[name] = duration_us
        else:
            default_us = duration_us
    return Assumptions(default_us, by_name, slots)


# --- where schedules come from ----------------------------------------------------------------------


def _schedules(
    file: Path | None, db: Path | None, server: dict[str, str | None], config: Path | None
) -> Schedules:
    if file is not None:
        return _from_file(ScheduleFile(file))
    if db is not None:
        return asyncio.run(_from_db(db))
    settings = load_settings(server, config)
    return asyncio.run(_from_server(settings.api_url, settings.token))


def _from_file(source: ScheduleFile) -> Schedules:
    """Of schedules without an id, the place in the file is the name."""
    found: dict[str, NewSchedule] = {}
    for place, document in enumerate(source.documents):
        try:
            given = SCHEDULE.read(document)
            id = schedule_id(given) or f"schedule-{place + 1}"
            if id in found:
                raise InvalidInput("id", f"used twice: {id}", "an id of its own")
            found[id] = new_schedule(given)
        except InvalidInput as error:
            raise source.located(error, place) from None
    return found


async def _from_db(path: Path) -> Schedules:
    from mainspring.stores import open_store

    store = open_store(f"sqlite:///{path}", SystemClock())
    await store.open()
    try:
        found: dict[str, NewSchedule] = {}
        cursor: str | None = None
        while True:
            page = await store.find_schedules(BOUNDS.page_size, cursor)
            ids = [record.id for record in page.schedules]
            for seen in (await store.schedules(ids)).schedules:
                if seen is not None:
                    _take(found, seen.record.id, seen.record.quarantine or seen.unreadable, _of_record(seen))
            cursor = page.cursor
            if cursor is None:
                return found
    finally:
        await store.close()


async def _from_server(api_url: str, token: str) -> Schedules:
    found: dict[str, NewSchedule] = {}
    page_token: str | None = None
    async with Server(api_url, token) as server:
        while True:
            page = await server.get(
                "/schedules", SchedulesView, page_size=BOUNDS.page_size, page_token=page_token
            )
            for view in page.schedules:
                _take(found, view.id, view.quarantine, _of_view(view))
            page_token = page.next_page_token
            if page_token is None:
                return found


def _of_record(seen: SeenSchedule) -> Callable[[], NewSchedule]:
    def read() -> NewSchedule:
        check_schedule(seen.record.rules)
        return NewSchedule(seen.record.rules, seen.record.template)

    return read


def _of_view(view: ScheduleView) -> Callable[[], NewSchedule]:
    def read() -> NewSchedule:
        document = msgspec.json.decode(msgspec.json.encode(view), type=dict[str, msgspec.Raw])
        return new_schedule(SCHEDULE.read(written({**document, "id": msgspec.Raw(b"null")})))

    return read


def _take(
    found: dict[str, NewSchedule], id: str, quarantine: str | None, read: Callable[[], NewSchedule]
) -> None:
    """A row of plain SQL that cannot be obeyed makes nothing, here as there."""
    try:
        if quarantine is None:
            found[id] = read()
    except InvalidInput as error:
        quarantine = str(error)
    if quarantine is not None:
        click.echo(f"mainspring: schedule {id!r} cannot be obeyed and is left out: {quarantine}", err=True)


# --- what is shown ----------------------------------------------------------------------------------


def _show(report: "Report") -> None:
    if report.events is not None:
        show.table(("FIRE", "SCHEDULE", "TASK RUNS FROM"), [_event(event) for event in report.events])
        click.echo()
    rows = [
        (
            show.text(part.id),
            part.fires,
            part.skips,
            show.text(_reasons(part.skipped)),
            part.max_running,
            show.duration(part.longest_wait) if part.longest_wait else "",
            part.failed or "",
            part.unfinished or "",
        )
        for part in report.schedules
    ]
    headings = ("SCHEDULE", "FIRES", "SKIPS", "REASONS", "RUNNING", "WAIT", "FAILED", "UNFINISHED")
    show.table(headings, rows)
    click.echo()
    show.table(("", ""), _totals(report))


def _event(event: "Event") -> tuple[object, ...]:
    at = event.fire_at.isoformat()
    if event.reason is None:
        later = event.run_at if event.run_at != event.fire_at else None
        return at, show.text(event.schedule), "" if later is None else later.isoformat()
    many = (
        "" if event.until is None or event.count == 1 else f" ({event.count}, to {event.until.isoformat()})"
    )
    return at, show.text(event.schedule), f"[yellow]skipped[/]: {event.reason}{many}"


def _reasons(skipped: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in skipped.items())


def _totals(report: "Report") -> list[tuple[str, Any]]:
    reasons = f" ({_reasons(report.skipped)})" if report.skipped else ""
    peak = "" if report.max_running_at is None else f" at {report.max_running_at.isoformat()}"
    rows: list[tuple[str, Any]] = [
        ("fires", report.fires),
        ("skips", f"{report.skips}{reasons}"),
        ("collisions", report.collisions),
        ("max_collision", report.max_collision),
        ("max_running", f"{report.max_running}{peak}"),
        ("max_waiting", report.max_waiting),
        ("longest_wait", f"{report.longest_wait}s"),
        ("failed", report.failed),
        ("unfinished", report.unfinished),
    ]
    for collision in report.worst:
        told = ", ".join(collision.schedules[:5]) + (", ..." if len(collision.schedules) > 5 else "")
        rows.append((f"at {collision.at.isoformat()}", show.text(f"{len(collision.schedules)}: {told}", 120)))
    return rows
