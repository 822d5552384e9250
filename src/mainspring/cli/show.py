"""Tables for people, JSON for programs. Without a terminal there are no colours and no cut-off text."""

import contextlib
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mainspring.clock import SystemClock
from mainspring.wire.views import AttemptView, TaskView

WIDTH = 1000  # lines are not cut to the terminal's width: half an id helps nobody
COLOURS = {
    "blocked": "magenta",
    "scheduled": "blue",
    "ready": "cyan",
    "running": "yellow",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "bright_black",
}


def console(stderr: bool = False, width: int | None = WIDTH) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, width=width, highlight=False, soft_wrap=True)


def echo_json(document: bytes) -> None:
    """What the server said, number for number; laid out for reading on a terminal."""
    if sys.stdout.isatty():
        document = msgspec.json.format(document, indent=2)
    click.echo(document)


def count(tasks: int) -> str:
    return f"{tasks} task" if tasks == 1 else f"{tasks} tasks"


def coloured(state: str) -> str:
    colour = COLOURS.get(state, "default")
    return f"[{colour}]{escape(state)}[/]"


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Cells are markup: escape what comes from users with `text`."""
    shown = Table(*headings, box=None, pad_edge=False, header_style="bold", show_header=any(headings))
    for row in rows:
        shown.add_row(*(str(cell) for cell in row))
    out = console()
    with out.capture() as lines:
        out.print(shown)
    click.echo("\n".join(line.rstrip() for line in lines.get().splitlines()))


def text(value: object, longest: int = 60) -> str:
    """A user's value as one short line that cannot colour or move anything."""
    line = " ".join("" if value is None else str(value).split())
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    if len(line) > longest:
        line = line[: longest - 1] + "…"
    return escape(line)


def ago(moment: datetime | None) -> str:
    """How long ago that was, roughly."""
    if moment is None:
        return ""
    return duration(SystemClock().now_us() / 1e6 - moment.timestamp())


def duration(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f}{unit}"
    return f"{seconds:.1f}s"


class ErrorText(msgspec.Struct):
    type: str = ""
    message: str = ""


def error_line(error: msgspec.Raw) -> str:
    """`ValueError: no such customer`, from an error's JSON; empty without an error."""
    try:
        told = msgspec.json.decode(error, type=ErrorText | None)
    except msgspec.MsgspecError:
        return bytes(error).decode("utf-8", "replace")
    return "" if told is None else f"{told.type}: {told.message}".strip(": ")


def tasks(tasks: Sequence[TaskView], document: bytes, output: str) -> None:
    """Tasks in the output that was asked for; `document` is the JSON."""
    if output == "json":
        echo_json(document)
    elif output == "id":
        for task in tasks:
            click.echo(task.id)
    else:
        _table(tasks)


def _table(tasks: Sequence[TaskView]) -> None:
    rows = [
        (
            task.id,
            text(task.kind, 30),
            coloured(task.state),
            text(task.queue, 20),
            task.priority,
            task.attempt,
            ago(task.created_at),
            text(task.name or summary(task)),
        )
        for task in tasks
    ]
    table(("ID", "KIND", "STATE", "QUEUE", "PRIO", "RUN", "AGE", "WHAT"), rows)


def summary(task: TaskView) -> str:
    """What the task is about, in one line: its error, or its payload."""
    return error_line(task.error) or payload_text(task.kind, task.payload)


class _Command(msgspec.Struct):
    command: str | list[str]


def payload_text(kind: str, payload: msgspec.Raw) -> str:
    """The payload as JSON; of a command, the command."""
    if kind == "command":
        try:
            command = msgspec.json.decode(payload, type=_Command).command
        except msgspec.MsgspecError:
            pass
        else:
            return command if isinstance(command, str) else shlex.join(command)
    return bytes(payload).decode("utf-8", "replace")


def task(task: TaskView) -> None:
    """The whole record, one field a line; fields without a value are left out."""
    rows: list[tuple[str, str]] = [("state", coloured(task.state))]
    for name in TaskView.__struct_fields__:
        value = getattr(task, name)
        if isinstance(value, msgspec.Raw):
            value = bytes(value)
        if name == "state" or value in (None, "", (), [], b"null", b"{}"):
            continue
        if name == "attempts":
            rows += [(f"run {run.attempt}", text(_attempt_line(run), 300)) for run in task.attempts]
        elif name == "error":
            rows.append((name, text(error_line(task.error), 300)))
        elif isinstance(value, datetime):
            rows.append((name, value.isoformat(timespec="milliseconds")))
        elif isinstance(value, bytes):
            rows.append((name, text(value.decode("utf-8", "replace"), 2000)))
        else:
            rows.append((name, text(value, 300)))
    table(("", ""), rows)
    details = failure_text(task)
    if details:
        console().print(indented(details))


class _Left(msgspec.Struct):
    traceback: str = ""
    stdout: str = ""
    stderr: str = ""


def failure_text(task: TaskView) -> str:
    """What a failed run left for its reader: a traceback, or a command's output."""
    try:
        left = msgspec.json.decode(task.error, type=_Left | None)
    except msgspec.MsgspecError:
        return ""
    return "" if left is None else left.traceback + left.stdout + left.stderr


def output_of(task: TaskView) -> str:
    """What a run that succeeded left for its reader: a command's output, or the result as JSON."""
    result = bytes(task.result)
    if task.kind == "command":
        with contextlib.suppress(msgspec.MsgspecError):
            left = msgspec.json.decode(result, type=_Left)
            return left.stdout + left.stderr
    return "" if result == b"null" else result.decode("utf-8", "replace")


def indented(block: str) -> str:
    """Several lines of a user's text, made harmless."""
    lines = ("".join(c if c.isprintable() else "?" for c in line.expandtabs()) for line in block.splitlines())
    return "\n".join("  " + escape(line) for line in lines)


def _attempt_line(run: AttemptView) -> str:
    return f"{run.outcome} at {run.worker or 'no worker'}: {error_line(run.error)}"
