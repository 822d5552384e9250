"""`mainspring submit`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from mainspring.cli import show
from mainspring.cli.batchfile import BatchFile
from mainspring.cli.client import Server, decode
from mainspring.cli.exits import Exit
from mainspring.cli.following import follow
from mainspring.cli.options import OUTPUT, asks_server, encoded, json_option
from mainspring.clock import SystemClock
from mainspring.errors import InvalidInput
from mainspring.wire.views import TasksView, TaskView

# Options that are fields of a task: their values travel as given, and the server judges them.
_FIELDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--queue", {"help": "Default: default."}),
    ("--priority", {"help": "1 to 10, higher runs sooner; or high, medium, low."}),
    ("--tenant", {"help": "Whose task it is; tenants share the workers fairly."}),
    ("--key", {"help": "Concurrency key; see `queues limit`."}),
    ("--name", {"help": "A name for people."}),
    ("--run-at", {"metavar": "TIME", "help": "Not before this time (RFC 3339, with offset)."}),
    ("--delay", {"metavar": "DURATION", "help": "Not before this much later, such as 10s or 1h30m."}),
    ("--timeout", {"metavar": "DURATION", "help": "A longer run is stopped and counts as failed."}),
    ("--soft-timeout", {"metavar": "DURATION", "help": "The handler is told after this time."}),
    ("--deadline", {"metavar": "TIME", "help": "Unfinished by then, the task fails."}),
    ("--max-retries", {"type": int, "help": "Runs after the first failed one (default 3)."}),
    ("--on-parent-failure", {"metavar": "RULE", "help": "cancel (default), run or block."}),
)
# What only a task that is submitted once can have.
_ONCE = ("--run-at", "--delay", "--deadline", "--on-parent-failure")


def task_fields(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that are fields of a task, for any command that submits one."""
    return _with_fields(command, _FIELDS)


def template_fields(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that are fields of a task which is made again and again."""
    return _with_fields(command, [field for field in _FIELDS if field[0] not in _ONCE])


def _with_fields(
    command: Callable[..., Any], fields: Sequence[tuple[str, dict[str, Any]]]
) -> Callable[..., Any]:
    for name, attributes in reversed(fields):
        command = click.option(name, **attributes)(command)
    label = click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="May be repeated.")
    return label(command)


def task_document(fields: dict[str, Any], labels: tuple[str, ...], **more: Any) -> dict[str, Any]:
    """A task as the API takes it, with what was given. Raises `InvalidInput`."""
    document = {name: value for name, value in {**fields, **more}.items() if value not in (None, ())}
    if labels:
        document["labels"] = dict(_label(label) for label in labels)
    return document


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput("--label", f"not a label: {text[:40]!r}", "NAME=VALUE")
    return name, value


@click.command()
@click.argument("kind", required=False)
@click.option("--payload", metavar="JSON", help="The handler's input.")
@click.option("--command", "shell", metavar="SHELL", help="Short for kind command with this command line.")
@click.option(
    "-f",
    "--file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Submit a JSON array, or one JSON object a line, as one batch; - is standard input.",
)
@task_fields
@click.option("--retry", metavar="JSON", help='Retry policy, such as {"strategy": "fixed", "delay": "10s"}.')
@click.option("--unique", metavar="JSON", help="true, or a rule: no two such unfinished tasks at once.")
@click.option("--depends-on", multiple=True, metavar="ID", help="Runs after this task; may be repeated.")
@click.option("--idempotency-key", metavar="KEY", help="With the same key nothing is stored twice.")
@click.option("--wait", is_flag=True, help="Wait for the end; exit code 1 unless all succeeded.")
@OUTPUT
@asks_server
async def submit(
    server: Server,
    kind: str | None,
    payload: str | None,
    shell: str | None,
    file: Path | None,
    labels: tuple[str, ...],
    retry: str | None,
    unique: str | None,
    depends_on: tuple[str, ...],
    idempotency_key: str | None,
    wait: bool,
    output: str,
    **fields: Any,
) -> int:
    """Submit one task, or with --file many: all of them, or none if one is not acceptable.

    Tasks of a file may name themselves by `ref` and their parents by `depends_on`, so that a whole workflow
    is one file. {"command": "echo hi"} is short for a task of kind command.
    """
    given = task_document(
        fields,
        labels,
        kind=kind,
        payload=json_option(payload, "--payload"),
        command=shell,
        retry=json_option(retry, "--retry"),
        unique=json_option(unique, "--unique"),
        depends_on=list(depends_on) or None,
    )
    if (file is None) == (not given):
        raise click.UsageError("give a KIND, --command or --file, and with --file no task options")
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    started_s = SystemClock().monotonic()
    if file is None:
        reply = await server.send("POST", "/tasks", encoded(given), headers=headers)
        tasks = [decode(reply, TaskView)]
    else:
        reply = await _submit_file(server, BatchFile(file), headers)
        tasks = decode(reply, TasksView).tasks
    if wait:
        return await _wait(server, tasks, output, is_batch=file is not None, started_s=started_s)
    show.tasks(tasks, reply, output)
    return Exit.OK


async def _wait(
    server: Server, tasks: Sequence[TaskView], output: str, *, is_batch: bool, started_s: float
) -> int:
    """Follow the tasks to their end and show what became of them; the exit code."""
    summary = await follow(server, [task.id for task in tasks])
    if output == "table":
        summary.show(SystemClock().monotonic() - started_s)
    else:
        document = TasksView(summary.tasks) if is_batch else summary.tasks[0]
        show.tasks(summary.tasks, msgspec.json.encode(document), output)
    return summary.exit_code


async def _submit_file(server: Server, batch: BatchFile, headers: dict[str, str]) -> bytes:
    try:
        return await server.send("POST", "/tasks/batch", batch.body, headers=headers)
    except InvalidInput as error:
        raise batch.located(error) from None
