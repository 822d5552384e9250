"""`mainspring tasks`."""

import asyncio
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from mainspring.cli import show
from mainspring.cli.client import Server, step
from mainspring.cli.exits import Exit
from mainspring.cli.explaining import explain
from mainspring.cli.following import Follower
from mainspring.cli.matching import (
    EVERY,
    FILTERS,
    LIMIT,
    SOME_IDS,
    all_matching,
    by_filter,
    each_task,
    given,
    show_list,
    show_one,
)
from mainspring.cli.options import OUTPUT, asks_server, encoded, json_option
from mainspring.cli.watching import logs, watch
from mainspring.core.durations import parse_duration_s
from mainspring.wire.views import TaskView

IDS = click.argument("ids", nargs=-1, required=True, metavar="ID...")


@click.group()
def tasks() -> None:
    """List, inspect, change and wait for tasks."""


tasks.add_command(explain)
tasks.add_command(watch)
tasks.add_command(logs)


# --- reading ----------------------------------------------------------------------------------------


@tasks.command("list")
@click.option("--state", help="One or several, by commas; pending, completed and dead are understood too.")
@FILTERS
@LIMIT
@OUTPUT
@asks_server
async def list_tasks(server: Server, state: str | None, limit: int, output: str, **filters: Any) -> None:
    """Tasks, newest first."""
    await show_list(server, "/tasks", limit, output, state=state, **filters)


@tasks.command("get")
@click.argument("identity", metavar="ID")
@OUTPUT
@asks_server
async def get(server: Server, identity: str, output: str) -> None:
    """One task, with every attempt that went wrong."""
    await show_one(server, f"/tasks/{step(identity)}", output)


@tasks.command("wait")
@IDS
@click.option("--timeout", metavar="DURATION", help="Give up after this time; exit code 1.")
@OUTPUT
@asks_server
async def wait(server: Server, ids: Sequence[str], timeout: str | None, output: str) -> int:
    """Wait until all of them have ended; exit code 1 unless all succeeded.

    With -o json each is printed as it ends, one document a line.
    """
    code = Exit.OK

    def ended(task: TaskView) -> None:
        nonlocal code
        if task.state != "succeeded":
            code = Exit.FAILED
        if output == "json":
            click.echo(msgspec.json.encode(task))
        elif output == "id":
            click.echo(task.id)
        else:
            error = show.text(show.error_line(task.error), 200)
            show.console().print(f"{task.id} {show.coloured(task.state)} {error}".rstrip())

    patience_s = None if timeout is None else parse_duration_s(timeout, "--timeout")
    try:
        async with asyncio.timeout(patience_s):
            await Follower(server, ended).follow(ids)
    except TimeoutError:
        click.echo(f"mainspring: not all have ended after {timeout}", err=True)
        return Exit.FAILED
    return code


# --- changing ---------------------------------------------------------------------------------------


@tasks.command("cancel")
@SOME_IDS
@click.option("--kill", is_flag=True, help="Cancelled at once, without waiting for the worker's word.")
@click.option("--state", help="Every unfinished task in this state.")
@FILTERS
@EVERY
@OUTPUT
@asks_server
async def cancel(
    server: Server, ids: Sequence[str], kill: bool, every: bool, output: str, **wanted: Any
) -> int:
    """Cancel tasks, by id or by filter. A running one is asked to stop, and ends when its worker says so."""
    if by_filter(ids, wanted, every):
        if kill:
            raise click.UsageError("--kill takes ids, not a filter")
        return await all_matching(server, "/tasks/cancel", wanted, every, output)
    body = b'{"kill":true}' if kill else None
    return await each_task(ids, output, lambda one: server.send("POST", f"/tasks/{one}/cancel", body))


@tasks.command("retry")
@IDS
@OUTPUT
@asks_server
async def retry(server: Server, ids: Sequence[str], output: str) -> int:
    """Run failed or cancelled tasks again, with fresh counters."""
    return await each_task(ids, output, lambda one: server.send("POST", f"/tasks/{one}/retry"))


@tasks.command("run")
@IDS
@OUTPUT
@asks_server
async def run(server: Server, ids: Sequence[str], output: str) -> int:
    """Run scheduled tasks now instead of at their time."""
    return await each_task(ids, output, lambda one: server.send("POST", f"/tasks/{one}/run"))


@tasks.command("delete")
@IDS
@OUTPUT
@asks_server
async def delete(server: Server, ids: Sequence[str], output: str) -> int:
    """Delete tasks. A waiting one is cancelled first; a running one is asked to stop, and stays."""
    return await each_task(ids, output, lambda one: server.send("DELETE", f"/tasks/{one}"))


@tasks.command("edit")
@click.argument("identity", metavar="ID")
@click.option("--if-version", type=int, metavar="N", help="Only if the task is still at this version.")
@click.option("--payload", metavar="JSON")
@click.option("--retry", metavar="JSON", help="Retry policy.")
@click.option("--queue")
@click.option("--priority")
@click.option("--tenant")
@click.option("--key", help="Concurrency key.")
@click.option("--run-at", metavar="TIME")
@click.option("--delay", metavar="DURATION")
@click.option("--timeout", metavar="DURATION")
@click.option("--soft-timeout", metavar="DURATION")
@click.option("--deadline", metavar="TIME")
@click.option("--max-retries", type=int)
@OUTPUT
@asks_server
async def edit(
    server: Server,
    identity: str,
    if_version: int | None,
    payload: str | None,
    retry: str | None,
    output: str,
    **fields: Any,
) -> int:
    """Change a waiting task; what is not named stays."""
    changes = {
        **fields,
        "payload": json_option(payload, "--payload"),
        "retry": json_option(retry, "--retry"),
    }
    body = encoded(given(changes))
    headers = {} if if_version is None else {"If-Match": f'"{if_version}"'}

    async def change(one: str) -> bytes:
        return await server.send("PATCH", f"/tasks/{one}", body, headers=headers)

    return await each_task([identity], output, change)
