"""`mainspring dead`."""

from collections.abc import Sequence
from typing import Any

import click
import msgspec

from mainspring.cli import show
from mainspring.cli.client import Server, step
from mainspring.cli.matching import (
    EVERY,
    FILTERS,
    LIMIT,
    SOME_IDS,
    all_matching,
    by_filter,
    each_task,
    show_list,
    show_one,
)
from mainspring.cli.options import OUTPUT, asks_server
from mainspring.wire.dead import DeadGroupsView, DeadGroupView

GROUP = click.option(
    "--group", "fingerprint", metavar="GROUP", help="Only those of this group; `dead groups` lists them."
)


@click.group()
def dead() -> None:
    """Dead letters: tasks that failed for good, kept for analysis and replay."""


@dead.command("list")
@FILTERS
@GROUP
@LIMIT
@OUTPUT
@asks_server
async def list_dead(server: Server, limit: int, output: str, **filters: Any) -> None:
    """Dead letters, newest first."""
    await show_list(server, "/dead", limit, output, **filters)


@dead.command("show")
@click.argument("identity", metavar="ID")
@OUTPUT
@asks_server
async def show_dead(server: Server, identity: str, output: str) -> None:
    """One dead letter, with every attempt's error."""
    await show_one(server, f"/dead/{step(identity)}", output)


@dead.command("groups")
@LIMIT
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "id"]), default="table", show_default=True
)
@asks_server
async def groups(server: Server, limit: int, output: str) -> None:
    """Dead letters by what killed them: kind, type of error and place, the largest group first."""
    found, token = await server.first("/dead/groups", DeadGroupsView, lambda page: page.groups, limit)
    if output == "json":
        show.echo_json(msgspec.json.encode(DeadGroupsView(found, token)))
    elif output == "id":
        for group in found:
            click.echo(group.fingerprint)
    else:
        _table(found)
        if token is not None:
            click.echo(f"the largest {len(found)}; --limit shows more", err=True)


def _table(found: Sequence[DeadGroupView]) -> None:
    rows = [
        (
            group.fingerprint,
            group.count,
            show.text(group.kind, 30),
            show.text(group.error_type or "?", 40),
            show.text(group.place, 40),
            show.ago(group.last_seen),
            show.text(group.message),
        )
        for group in found
    ]
    show.table(("GROUP", "COUNT", "KIND", "ERROR", "PLACE", "LAST", "SAYS"), rows)


@dead.command("replay")
@SOME_IDS
@FILTERS
@GROUP
@EVERY
@click.option("--rate", metavar="N/UNIT", help="Not all at once: so many a second, such as 10/s or 100/m.")
@OUTPUT
@asks_server
async def replay(
    server: Server, ids: Sequence[str], every: bool, rate: str | None, output: str, **wanted: Any
) -> int:
    """Run dead letters again, by id, by group or by filter, with fresh counters.

    With --rate the newest run at once, and the others are scheduled, one after the other.
    """
    if by_filter(ids, wanted, every):
        return await all_matching(server, "/dead/replay", {**wanted, "rate": rate}, every, output)
    if rate is not None:
        raise click.UsageError("--rate takes a group or a filter, not ids")
    return await each_task(ids, output, lambda one: server.send("POST", f"/dead/{one}/replay"))


@dead.command("purge")
@SOME_IDS
@FILTERS
@GROUP
@EVERY
@OUTPUT
@asks_server
async def purge(server: Server, ids: Sequence[str], every: bool, output: str, **wanted: Any) -> int:
    """Forget dead letters, by id, by group or by filter."""
    if by_filter(ids, wanted, every):
        return await all_matching(server, "/dead/purge", wanted, every, output)
    return await each_task(ids, output, lambda one: server.send("DELETE", f"/dead/{one}"))
