"""`mainspring migrate`: the schema of a store, looked at and changed by hand.

A node brings the schema up to date when it starts, unless it is told not to (`--no-migrate`). Going down is
for the way back to an older Mainspring: stop all nodes first.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from mainspring.cli import show
from mainspring.cli.exits import Exit
from mainspring.cli.options import CONFIG, load_settings
from mainspring.config import Settings
from mainspring.core.addresses import shown
from mainspring.core.migrations import Step, refuse_newer
from mainspring.errors import InvalidInput
from mainspring.node.opening import named
from mainspring.ports.schema import Schema
from mainspring.stores import file_of, open_schema


class StepView(msgspec.Struct):
    number: int
    name: str
    applied: bool


class Standing(msgspec.Struct):
    """`current` is the store's schema, `newest` this program's; 0 is a store that is still to be made."""

    store: str
    current: int
    newest: int
    steps: list[StepView]


_Command = Callable[..., Any]
ResultT = TypeVar("ResultT")


def _at_a_store(command: _Command) -> _Command:
    for option in (
        CONFIG,
        click.option("--store", metavar="URL", help="The store's URL, instead of --db."),
        click.option("--db", metavar="FILE", help="The SQLite file; by default scheduler.db."),
    ):
        command = option(command)
    return command


@click.group()
def migrate() -> None:
    """The schema of a store: status, up, down, sql."""


@migrate.command()
@_at_a_store
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def status(output: str, **where: Any) -> int:
    """Where the schema stands. Ends with 1 if this program cannot work with it as it is."""
    settings, schema = _schema(must_exist=True, **where)
    current, newest = _ask(settings, schema.number()), schema.steps[-1].number
    steps = [StepView(step.number, step.name, step.number <= current) for step in schema.steps]
    standing = Standing(shown(settings.store_url), current, newest, steps)
    if output == "json":
        show.echo_json(msgspec.json.encode(standing))
    else:
        rows = [(step.number, step.name, "yes" if step.applied else "no") for step in steps]
        show.table(("STEP", "NAME", "APPLIED"), rows)
        click.echo(f"{standing.store}: {_told(current, newest)}")
    return Exit.OK if current == newest else Exit.FAILED


@migrate.command()
@_at_a_store
@click.option("--to", type=int, metavar="NUMBER", help="No further than this step; by default the newest.")
def up(to: int | None, **where: Any) -> int:
    """Bring the schema up to date, or up to a step. Several may do so at once."""
    settings, schema = _schema(must_exist=False, **where)
    _check_step(schema, "--to", to)
    current = _ask(settings, schema.number())
    if to is not None and to < current:
        raise InvalidInput("--to", f"the schema is at {current} already", "a later step; see migrate down")
    return _go(settings, schema, to)


@migrate.command()
@_at_a_store
@click.option(
    "--to", type=int, required=True, metavar="NUMBER", help="The step to go back to; 0: nothing is left."
)
@click.option("--yes", is_flag=True, help="Although it destroys data.")
def down(to: int, yes: bool, **where: Any) -> int:
    """Go back to the schema of an older Mainspring. Stop all nodes first.

    What the older one has no place for is destroyed: without --yes, nothing is done if there is any of it.
    """
    settings, schema = _schema(must_exist=True, **where)
    _check_step(schema, "--to", to)
    current = _ask(settings, schema.number())
    if to > current:
        raise InvalidInput("--to", f"the schema is at {current}", "an earlier step; see migrate up")
    losses = _ask(settings, schema.losses(to))
    if losses and not yes:
        raise InvalidInput(
            "--yes", f"going down to {to} would destroy: {', '.join(losses)}", "--yes, to do so"
        )
    return _go(settings, schema, to)


@migrate.command()
@_at_a_store
@click.option(
    "--from", "start", type=int, metavar="NUMBER", help="By default where the store's schema stands."
)
@click.option("--to", type=int, metavar="NUMBER", help="By default the newest.")
def sql(start: int | None, to: int | None, **where: Any) -> int:
    """Print what up or down would run, for somebody else to run. With --from, the store is not asked."""
    settings, schema = _schema(must_exist=start is None, **where)
    _check_step(schema, "--to", to)
    _check_step(schema, "--from", start)
    if start is None:
        start = _ask(settings, schema.number())
        refuse_newer(start, schema.steps[-1].number)
    click.echo(schema.sql(start, to) or f"-- nothing to do: the schema is at {start}")
    return Exit.OK


def _schema(
    must_exist: bool, db: str | None, store: str | None, config: Path | None
) -> tuple[Settings, Schema]:
    if db is not None and store is not None:
        raise click.UsageError("give --db or --store, not both")
    settings = load_settings({"db": db, "store": store}, config)
    try:
        file = file_of(settings.store_url)
        schema = open_schema(settings.store_url)
    except InvalidInput as error:
        raise InvalidInput(settings.store_origin, error.problem, error.accepted) from None
    if must_exist and file is not None and not Path(file).is_file():
        raise InvalidInput(settings.store_origin, f"there is no file {file}", "the file of a server")
    return settings, schema


def _check_step(schema: Schema, flag: str, number: int | None) -> None:
    newest = schema.steps[-1].number
    if number is not None and not 0 <= number <= newest:
        raise InvalidInput(flag, f"no such schema: {number}", f"0 to {newest}")


def _go(settings: Settings, schema: Schema, to: int | None) -> int:
    ups, downs = _ask(settings, schema.migrate(to))
    for way_taken, steps in (("up", ups), ("down", downs)):
        _tell(way_taken, steps)
    if not ups and not downs:
        click.echo("nothing to do")
    return Exit.OK


def _ask(settings: Settings, question: Coroutine[Any, Any, ResultT]) -> ResultT:
    with named(settings):
        return asyncio.run(question)


def _tell(way_taken: str, steps: list[Step]) -> None:
    for step in steps:
        click.echo(f"{way_taken} {step.number} {step.name}")


def _told(current: int, newest: int) -> str:
    if current > newest:
        return f"schema {current} was written by a newer Mainspring; this program knows {newest}"
    if current < newest:
        return f"schema {current} of {newest}; `mainspring migrate up` brings it up to date"
    return f"schema {current}, up to date"
