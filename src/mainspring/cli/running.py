"""`mainspring run`: one command, somewhere, as if it ran here."""

import asyncio
import contextlib
import sys
from typing import Any

import click
import msgspec

from mainspring.cli import show
from mainspring.cli.client import Server
from mainspring.cli.exits import Exit
from mainspring.cli.following import Follower
from mainspring.cli.options import asks_server, encoded
from mainspring.cli.submitting import task_document, task_fields
from mainspring.cli.watching import LogTeller, tell_log
from mainspring.clock import SystemClock
from mainspring.errors import NotFound
from mainspring.wire.views import TaskView


class Outcome(msgspec.Struct):
    """What a command leaves behind, as its result or within its error."""

    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    truncated: bool = False


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@task_fields
@asks_server
async def run(server: Server, command: tuple[str, ...], labels: tuple[str, ...], **fields: Any) -> int:
    """Run one command on a worker, show its output as it comes, and end with its exit code.

    One argument goes to the shell; several are a program and its arguments. Options go before the command.
    Failed, it is not run again unless --max-retries says so. Interrupted, the task is cancelled.
    """
    if fields["max_retries"] is None:
        fields["max_retries"] = 0
    shell = command[0] if len(command) == 1 else list(command)
    # Named here, so that it can be cancelled even if the answer to the submit has not come yet.
    identity = SystemClock().new_id()
    document = task_document(fields, labels, command=shell, id=identity)
    ended: list[TaskView] = []
    teller = LogTeller(sys.stdout, sys.stderr, marks_gaps=False)
    try:
        await server.send("POST", "/tasks", encoded(document))
        await tell_log(server, f"/tasks/{identity}/logs", teller)
        await Follower(server, ended.append).follow([identity])
    except asyncio.CancelledError:
        with contextlib.suppress(NotFound):
            await server.send("POST", f"/tasks/{identity}/cancel")
        raise
    return _show_end(ended[0], teller)


def _show_end(task: TaskView, teller: LogTeller) -> int:
    outcome = _outcome(task)
    if not teller.told:
        # The worker has told nothing on the way: what the result holds is all there is.
        sys.stdout.write(outcome.stdout)
        sys.stderr.write(outcome.stderr)
    if teller.left_out or (outcome.truncated and not teller.told):
        missing = f"{teller.left_out} bytes" if teller.left_out else "its middle"
        click.echo(f"mainspring: the output was long; left out: {missing}", err=True)
    if outcome.exit_code is None or (outcome.exit_code == 0 and task.state != "succeeded"):
        told = show.error_line(task.error) or "no reason given"
        click.echo(f"mainspring: task {task.id} {task.state}: {told}", err=True)
        return Exit.FAILED
    # A negative code is the signal that ended the command; shells add 128.
    return outcome.exit_code if outcome.exit_code >= 0 else 128 - outcome.exit_code


def _outcome(task: TaskView) -> Outcome:
    for left in (task.result, task.error):
        try:
            found = msgspec.json.decode(left, type=Outcome | None)
        except msgspec.MsgspecError:
            continue
        if found is not None:
            return found
    return Outcome()
