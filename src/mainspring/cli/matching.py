"""Tasks by filter or by id, for the commands on tasks and on dead letters: options, lists, bulk actions."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import click
import msgspec

from mainspring.cli import show
from mainspring.cli.client import Server, decode
from mainspring.cli.each import each
from mainspring.cli.exits import Exit
from mainspring.cli.options import encoded
from mainspring.wire.views import PageView, TaskView

SOME_IDS = click.argument("ids", nargs=-1, metavar="[ID...]")


def FILTERS(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, help_text in (
        ("--workflow", "Only of this workflow (its id)."),
        ("--label", "NAME=VALUE that the task has."),
        ("--tenant", "Only this tenant's."),
        ("--kind", "Only of this kind."),
        ("--queue", "Only in this queue."),
    ):
        command = click.option(name, help=help_text)(command)
    return command


LIMIT = click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="How many at most."
)


async def show_list(server: Server, path: str, limit: int, output: str, **filters: Any) -> None:
    found, token = await server.first(path, PageView, lambda page: page.tasks, limit, **filters)
    show.tasks(found, msgspec.json.encode(PageView(found, token)), output)
    if token is not None and output == "table":
        click.echo(f"the newest {len(found)}; --limit shows more", err=True)


async def show_one(server: Server, path: str, output: str) -> None:
    body = await server.send("GET", path)
    if output == "table":
        show.task(decode(body, TaskView))
    else:
        show.tasks([decode(body, TaskView)], body, output)


async def each_task(ids: Sequence[str], output: str, call: Callable[[str], Awaitable[bytes]]) -> int:
    """Do it for every task, and show what is left of each."""
    code, answers = await each(ids, call)
    left = [decode(body, TaskView) for body in answers]
    if left:
        show.tasks(left, msgspec.json.encode(left[0] if len(ids) == 1 else left), output)
    return code


async def all_matching(server: Server, path: str, wanted: Mapping[str, Any], every: bool, output: str) -> int:
    """Do it for every task that matches; says how many."""
    body = {**given(wanted), **({"all": True} if every else {})}
    reply = await server.send("POST", path, encoded(body))
    if output == "json":
        show.echo_json(reply)
    else:
        click.echo(show.count(decode(reply, dict[str, int])["count"]))
    return Exit.OK


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def by_filter(ids: Sequence[str], wanted: Mapping[str, Any], every: bool) -> bool:
    """Whether a filter says for which tasks. Naming none, or both ways, is refused."""
    filtered = every or bool(given(wanted))
    if filtered == bool(ids):
        raise click.UsageError("give ids, or a filter, or --all")
    return filtered


EVERY = click.option("--all", "every", is_flag=True, help="For all that there are.")
