"""`mainspring schedules`."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from mainspring.cli import schedule_tables, show
from mainspring.cli.client import Server, decode, step
from mainspring.cli.each import each
from mainspring.cli.exits import Exit
from mainspring.cli.options import OUTPUT, asks_server, encoded, json_option
from mainspring.cli.rehearsing import simulate
from mainspring.cli.schedulefile import ScheduleFile
from mainspring.cli.submitting import task_document, template_fields
from mainspring.errors import InvalidInput
from mainspring.wire.schedule_views import FiresView, NextView, SchedulesView, ScheduleView
from mainspring.wire.views import TaskView

ID = click.argument("identity", metavar="ID")
IDS = click.argument("ids", nargs=-1, required=True, metavar="ID...")
TABLE = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
)
_RULES: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "--cron",
        {"metavar": "EXPRESSION", "help": "minute hour day-of-month month day-of-week, or @daily ..."},
    ),
    ("--every", {"metavar": "DURATION", "help": "An interval, such as 15m."}),
    ("--at", {"metavar": "TIME", "help": "Once, at this time (RFC 3339, with offset)."}),
    (
        "--anchor",
        {"metavar": "TIME", "help": "With --every: it fires at this time, and intervals from there."},
    ),
    ("--zone", {"metavar": "NAME", "help": "IANA time zone of --cron; default UTC."}),
    ("--dst", {"metavar": "RULE", "help": "debian (default), skip or both, when clocks are put."}),
    ("--start", {"metavar": "TIME", "help": "No fire before."}),
    ("--end", {"metavar": "TIME", "help": "No fire from then on."}),
    ("--misfire", {"metavar": "POLICY", "help": "Of missed fires: skip, fire_once (default), fire_all(N)."}),
    ("--misfire-grace", {"metavar": "DURATION", "help": "A fire is missed when it is so late; default 30s."}),
    ("--overlap", {"metavar": "POLICY", "help": "allow (default), skip, queue or cancel."}),
    ("--jitter", {"metavar": "DURATION", "help": "Tasks run up to so much later than their fire."}),
)


def _rules_and_task(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that are fields of a schedule or of its task. Their values travel as given, and the server
    judges them."""
    command = template_fields(command)
    command = click.option("--retry", metavar="JSON", help="Retry policy of the tasks.")(command)
    command = click.option("--payload", metavar="JSON", help="The handler's input.")(command)
    command = click.option("--command", "shell", metavar="SHELL", help="The tasks run this command line.")(
        command
    )
    for name, attributes in reversed(_RULES):
        command = click.option(name, **attributes)(command)
    return command


@click.group()
def schedules() -> None:
    """Tasks made by the clock: cron, interval or one date; list, create, change, pause, simulate."""


schedules.add_command(simulate)


# --- reading ----------------------------------------------------------------------------------------


@schedules.command("list")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="How many at most.")
@OUTPUT
@asks_server
async def list_schedules(server: Server, limit: int, output: str) -> None:
    """Schedules by id, with their next fire and their last one."""
    found, token = await server.first("/schedules", SchedulesView, lambda page: page.schedules, limit)
    schedule_tables.schedules(found, msgspec.json.encode(SchedulesView(found, token)), output)
    if token is not None and output == "table":
        click.echo(f"the first {len(found)}; --limit shows more", err=True)


@schedules.command("get")
@ID
@OUTPUT
@asks_server
async def get(server: Server, identity: str, output: str) -> None:
    """One schedule: its rules, its task, and how far it has come."""
    body = await server.send("GET", f"/schedules/{step(identity)}")
    found = decode(body, ScheduleView)
    if output == "table":
        schedule_tables.schedule(found)
    else:
        schedule_tables.schedules([found], body, output)


@schedules.command("next")
@ID
@click.option("--count", type=click.IntRange(1, 1000), default=5, show_default=True)
@TABLE
@asks_server
async def coming(server: Server, identity: str, count: int, output: str) -> None:
    """The fires to come. Those to be skipped by hand are left out."""
    path = f"/schedules/{step(identity)}"
    body = await server.send("GET", f"{path}/next", query={"count": count})
    if output == "json":
        show.echo_json(body)
        return
    schedule = await server.get(path, ScheduleView)
    schedule_tables.coming(decode(body, NextView).next, schedule.zone)


@schedules.command("fires")
@ID
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many at most.")
@TABLE
@asks_server
async def fires(server: Server, identity: str, limit: int, output: str) -> None:
    """What became of the fires, newest first: tasks, and skips with their reason."""
    path = f"/schedules/{step(identity)}"
    found, token = await server.first(f"{path}/fires", FiresView, lambda page: page.fires, limit)
    if output == "json":
        show.echo_json(msgspec.json.encode(FiresView(found, token)))
        return
    schedule = await server.get(path, ScheduleView)
    schedule_tables.fires(found, schedule.zone)


# --- making -----------------------------------------------------------------------------------------


@schedules.command("create")
@click.argument("identity", metavar="ID", required=False)
@click.argument("words", nargs=-1, metavar="[KIND [INPUT]...]")
@click.option("--paused", is_flag=True, default=None, help="Made, but not to fire until it is resumed.")
@click.option("-f", "--file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
              help="Schedules as JSON, one or many; - is standard input.")  # fmt: skip
@_rules_and_task
@OUTPUT
@asks_server
async def create(
    server: Server, identity: str | None, words: tuple[str, ...], file: Path | None, output: str, **given: Any
) -> int:
    """Make a schedule, or with --file all of a file.

    \b
        mainspring schedules create nightly --cron '0 3 * * *' --zone Europe/Berlin -- command 'backup.sh'
        mainspring schedules create poll --every 15m -- fetch '{"feed": 7}'

    Of a command, one word goes to the shell; several are a program and its arguments. Of any other kind the
    one word after it is the payload, as JSON.
    """
    document = _document(words, **given)
    if (file is None) != (identity is not None) or (file is not None and document):
        raise click.UsageError("give an ID, when it fires and a task; or --file alone")
    if file is None:
        bodies = [encoded({"id": identity, **document})]
        return await _made(server, bodies, output, None)
    source = ScheduleFile(file)
    return await _made(server, source.documents, output, source)


async def _made(server: Server, bodies: Sequence[bytes], output: str, source: ScheduleFile | None) -> int:
    """Each of its own: what was made before one is refused stays."""
    made = []
    try:
        for place, body in enumerate(bodies):
            try:
                made.append(await server.send("POST", "/schedules", body))
            except InvalidInput as error:
                raise error if source is None else source.located(error, place) from None
    finally:
        _show(made, len(bodies) == 1, output)
    return Exit.OK


@schedules.command("update")
@ID
@click.argument("words", nargs=-1, metavar="[KIND [INPUT]...]")
@click.option("--if-version", type=int, metavar="N", help="Only if the schedule is still at this version.")
@click.option("-f", "--file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
              help="The whole schedule anew, as JSON; it is made if there is none.")  # fmt: skip
@_rules_and_task
@OUTPUT
@asks_server
async def update(
    server: Server,
    identity: str,
    words: tuple[str, ...],
    if_version: int | None,
    file: Path | None,
    output: str,
    **given: Any,
) -> int:
    """Change a schedule; what is not named stays. No fire is lost at the change, and none is made twice."""
    document = _document(words, **given)
    if (file is None) == (not document):
        raise click.UsageError("say what changes, or give --file alone")
    headers = {} if if_version is None else {"If-Match": f'"{if_version}"'}
    path = f"/schedules/{step(identity)}"
    if file is None:
        body = await server.send("PATCH", path, encoded(document), headers=headers)
    else:
        body = await _put(server, path, ScheduleFile(file), headers)
    _show([body], True, output)
    return Exit.OK


async def _put(server: Server, path: str, source: ScheduleFile, headers: dict[str, str]) -> bytes:
    if len(source.documents) != 1:
        raise InvalidInput(source.name, f"has {len(source.documents)} schedules", "one schedule")
    try:
        return await server.send("PUT", path, source.documents[0], headers=headers)
    except InvalidInput as error:
        raise source.located(error, 0) from None


def _document(
    words: tuple[str, ...],
    labels: tuple[str, ...],
    payload: str | None,
    shell: str | None,
    retry: str | None,
    paused: bool | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """A schedule as the API takes it, with what was given. Raises `InvalidInput`."""
    rules = {name.removeprefix("--").replace("-", "_") for name, _ in _RULES}
    task = {name: value for name, value in fields.items() if name not in rules}
    told = _task_of(words)
    options = {"payload": json_option(payload, "--payload"), "command": shell}
    for name, value in options.items():
        if value is not None and words:
            raise click.UsageError(f"give --{name} or words, not both")
    document = {name: fields[name] for name in rules if fields.get(name) is not None}
    if paused:
        document["paused"] = True
    made = task_document(task, labels, retry=json_option(retry, "--retry"), **{**options, **told})
    return {**document, "task": made} if made else document


def _task_of(words: tuple[str, ...]) -> dict[str, Any]:
    """`command 'backup.sh --all'`, `command rsync -a /x /y`, `fetch '{"feed": 7}'` or `fetch`."""
    if not words:
        return {}
    kind, *rest = words
    if kind == "command" and rest:
        return {"command": rest[0] if len(rest) == 1 else rest}
    if len(rest) > 1:
        raise click.UsageError(f"a task of kind {kind} has one input: a JSON text")
    return {"kind": kind, "payload": json_option(rest[0], "INPUT") if rest else None}


def _show(bodies: Sequence[bytes], alone: bool, output: str) -> None:
    if bodies:
        found = [decode(body, ScheduleView) for body in bodies]
        document = bodies[0] if alone else msgspec.json.encode([msgspec.Raw(body) for body in bodies])
        schedule_tables.schedules(found, document, output)


# --- changing ---------------------------------------------------------------------------------------


async def _each(ids: Sequence[str], output: str, call: Callable[[str], Awaitable[bytes]]) -> int:
    code, answers = await each(ids, call)
    _show(answers, len(ids) == 1, output)
    return code


@schedules.command("pause")
@IDS
@OUTPUT
@asks_server
async def pause(server: Server, ids: Sequence[str], output: str) -> int:
    """No fires until they are resumed; those due before are made."""
    return await _each(ids, output, lambda one: server.send("POST", f"/schedules/{one}/pause"))


@schedules.command("resume")
@IDS
@OUTPUT
@asks_server
async def resume(server: Server, ids: Sequence[str], output: str) -> int:
    """Fire again from now on; the fires of the pause are skipped."""
    return await _each(ids, output, lambda one: server.send("POST", f"/schedules/{one}/resume"))


@schedules.command("skip-next")
@IDS
@OUTPUT
@asks_server
async def skip_next(server: Server, ids: Sequence[str], output: str) -> int:
    """Let the next fire become no task."""
    return await _each(ids, output, lambda one: server.send("POST", f"/schedules/{one}/skip-next"))


@schedules.command("skip-until")
@click.argument("until", metavar="TIME")
@IDS
@OUTPUT
@asks_server
async def skip_until(server: Server, until: str, ids: Sequence[str], output: str) -> int:
    """Let every fire up to TIME become no task; a TIME that has passed takes a skip back."""
    body = encoded({"until": until})
    return await _each(ids, output, lambda one: server.send("POST", f"/schedules/{one}/skip-until", body))


@schedules.command("delete")
@IDS
@asks_server
async def delete(server: Server, ids: Sequence[str]) -> int:
    """Forget schedules. The tasks that they have made stay."""
    code, _ = await each(ids, lambda one: server.send("DELETE", f"/schedules/{one}"))
    return code


@schedules.command("trigger")
@IDS
@click.option("--idempotency-key", metavar="KEY", help="With the same key a schedule makes no second task.")
@OUTPUT
@asks_server
async def trigger(server: Server, ids: Sequence[str], idempotency_key: str | None, output: str) -> int:
    """Make a task now, beside the fires of the schedule; shows the tasks."""
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    code, answers = await each(
        ids, lambda one: server.send("POST", f"/schedules/{one}/trigger", headers=headers)
    )
    made = [decode(body, TaskView) for body in answers]
    if made:
        show.tasks(made, msgspec.json.encode(made[0] if len(ids) == 1 else made), output)
    return code
