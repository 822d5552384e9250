"""`mainspring tasks` and `mainspring dead`."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import click
import msgspec

from mainspring.cli import show
from mainspring.cli.client import Server, decode, step
from mainspring.cli.each import each
from mainspring.cli.exits import Exit
from mainspring.cli.explaining import explain
from mainspring.cli.following import Follower
from mainspring.cli.options import OUTPUT, asks_server, encoded, json_option
from mainspring.cli.watching import logs, watch
from mainspring.core.durations import parse_duration_s
from mainspring.wire.bounds import BOUNDS
from mainspring.wire.views import PageView, TaskView

IDS = click.argument("ids", nargs=-1, required=True, metavar="ID...")
SOME_IDS = click.argument("ids", nargs=-1, metavar="[ID...]")


@click.group()
def tasks() -> None:
    """List, inspect, change and wait for tasks."""


tasks.add_command(explain)
tasks.add_command(watch)
tasks.add_command(logs)


@click.group()
def dead() -> None:
    """Dead letters: tasks that failed for good, kept for analysis and replay."""


# --- reading ----------------------------------------------------------------------------------------


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, help_text in (
        ("--label", "NAME=VALUE that the task has."),
        ("--tenant", "Only this tenant's."),
        ("--kind", "Only of this kind."),
        ("--queue", "Only in this queue."),
    ):
        command = click.option(name, help=help_text)(command)
    return command


_LIMIT = click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="How many at most."
)


@tasks.command("list")
@click.option("--state", help="One or several, by commas; pending, completed and dead are understood too.")
@_filters
@_LIMIT
@OUTPUT
@asks_server
async def list_tasks(server: Server, state: str | None, limit: int, output: str, **filters: Any) -> None:
    """Tasks, newest first."""
    await _show_list(server, "/tasks", limit, output, state=state, **filters)


@dead.command("list")
@_filters
@_LIMIT
@OUTPUT
@asks_server
async def list_dead(server: Server, limit: int, output: str, **filters: Any) -> None:
    """Dead letters, newest first."""
    await _show_list(server, "/dead", limit, output, **filters)


async def _show_list(server: Server, path: str, limit: int, output: str, **filters: Any) -> None:
    found: list[TaskView] = []
    token: str | None = None
    while True:
        page_size = min(limit - len(found), BOUNDS.page_size)
        page = await server.get(path, PageView, page_size=page_size, page_token=token, **filters)
        found += page.tasks
        token = page.next_page_token
        if token is None or len(found) >= limit:
            break
    show.tasks(found, msgspec.json.encode(PageView(found, token)), output)
    if token is not None and output == "table":
        click.echo(f"the newest {len(found)}; --limit shows more", err=True)


async def _show_one(server: Server, path: str, output: str) -> None:
    body = await server.send("GET", path)
    if output == "table":
        show.task(decode(body, TaskView))
    else:
        show.tasks([decode(body, TaskView)], body, output)


@tasks.command("get")
@click.argument("identity", metavar="ID")
@OUTPUT
@asks_server
async def get(server: Server, identity: str, output: str) -> None:
    """One task, with every attempt that went wrong."""
    await _show_one(server, f"/tasks/{step(identity)}", output)


@dead.command("show")
@click.argument("identity", metavar="ID")
@OUTPUT
@asks_server
async def show_dead(server: Server, identity: str, output: str) -> None:
    """One dead letter, with every attempt's error."""
    await _show_one(server, f"/dead/{step(identity)}", output)


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


async def _each(ids: Sequence[str], output: str, call: Callable[[str], Awaitable[bytes]]) -> int:
    """Do it for every task, and show what is left of each."""
    code, answers = await each(ids, call)
    left = [decode(body, TaskView) for body in answers]
    if left:
        show.tasks(left, msgspec.json.encode(left[0] if len(ids) == 1 else left), output)
    return code


async def _all(server: Server, path: str, wanted: Mapping[str, Any], every: bool, output: str) -> int:
    """Do it for every task that matches; says how many."""
    body = {**_given(wanted), **({"all": True} if every else {})}
    reply = await server.send("POST", path, encoded(body))
    if output == "json":
        show.echo_json(reply)
    else:
        click.echo(show.count(decode(reply, dict[str, int])["count"]))
    return Exit.OK


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _by_filter(ids: Sequence[str], wanted: Mapping[str, Any], every: bool) -> bool:
    """Whether a filter says for which tasks. Naming none, or both ways, is refused."""
    filtered = every or bool(_given(wanted))
    if filtered == bool(ids):
        raise click.UsageError("give ids, or a filter, or --all")
    return filtered


_EVERY = click.option("--all", "every", is_flag=True, help="For all that there are.")


@tasks.command("cancel")
@SOME_IDS
@click.option("--kill", is_flag=True, help="Cancelled at once, without waiting for the worker's word.")
@click.option("--state", help="Every unfinished task in this state.")
@_filters
@_EVERY
@OUTPUT
@asks_server
async def cancel(
    server: Server, ids: Sequence[str], kill: bool, every: bool, output: str, **wanted: Any
) -> int:
    """Cancel tasks, by id or by filter. A running one is asked to stop, and ends when its worker says so."""
    if _by_filter(ids, wanted, every):
        if kill:
            raise click.UsageError("--kill takes ids, not a filter")
        return await _all(server, "/tasks/cancel", wanted, every, output)
    body = b'{"kill":true}' if kill else None
    return await _each(ids, output, lambda one: server.send("POST", f"/tasks/{one}/cancel", body))


@tasks.command("retry")
@IDS
@OUTPUT
@asks_server
async def retry(server: Server, ids: Sequence[str], output: str) -> int:
    """Run failed or cancelled tasks again, with fresh counters."""
    return await _each(ids, output, lambda one: server.send("POST", f"/tasks/{one}/retry"))


@tasks.command("run")
@IDS
@OUTPUT
@asks_server
async def run(server: Server, ids: Sequence[str], output: str) -> int:
    """Run scheduled tasks now instead of at their time."""
    return await _each(ids, output, lambda one: server.send("POST", f"/tasks/{one}/run"))


@tasks.command("delete")
@IDS
@OUTPUT
@asks_server
async def delete(server: Server, ids: Sequence[str], output: str) -> int:
    """Delete tasks. A waiting one is cancelled first; a running one is asked to stop, and stays."""
    return await _each(ids, output, lambda one: server.send("DELETE", f"/tasks/{one}"))


@dead.command("replay")
@SOME_IDS
@_filters
@_EVERY
@OUTPUT
@asks_server
async def replay(server: Server, ids: Sequence[str], every: bool, output: str, **wanted: Any) -> int:
    """Run dead letters again, by id or by filter, with fresh counters."""
    if _by_filter(ids, wanted, every):
        return await _all(server, "/dead/replay", wanted, every, output)
    return await _each(ids, output, lambda one: server.send("POST", f"/dead/{one}/replay"))


@dead.command("purge")
@SOME_IDS
@_filters
@_EVERY
@OUTPUT
@asks_server
async def purge(server: Server, ids: Sequence[str], every: bool, output: str, **wanted: Any) -> int:
    """Forget dead letters, by id or by filter."""
    if _by_filter(ids, wanted, every):
        return await _all(server, "/dead/purge", wanted, every, output)
    return await _each(ids, output, lambda one: server.send("DELETE", f"/dead/{one}"))


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
    body = encoded(_given(changes))
    headers = {} if if_version is None else {"If-Match": f'"{if_version}"'}

    async def change(one: str) -> bytes:
        return await server.send("PATCH", f"/tasks/{one}", body, headers=headers)

    return await _each([identity], output, change)
