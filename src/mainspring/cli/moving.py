"""`mainspring store`: what is done with a store as a whole."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click
import msgspec
from msgspec.structs import replace

from mainspring.cli import show
from mainspring.cli.exits import Exit
from mainspring.cli.options import CONFIG, load_settings
from mainspring.clock import SystemClock
from mainspring.config import Settings
from mainspring.core.addresses import shown
from mainspring.errors import InvalidInput, StoreError
from mainspring.ports import Clock, Store
from mainspring.services.moving import Copied, Progress, copy
from mainspring.stores import file_of, open_store

TOLD_EVERY_S = 1.0


class KindView(msgspec.Struct):
    kind: str
    count: int
    digest: str


class CopyView(msgspec.Struct):
    """What was copied and verified."""

    source: str
    target: str
    records: list[KindView]


@click.group()
def store() -> None:
    """A store as a whole: copy it into another."""


@store.command(name="copy")
@click.option("--from", "source", metavar="URL", required=True, help="The store to copy.")
@click.option("--to", "target", metavar="URL", required=True, help="The store to fill; it must be empty.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@CONFIG
def copy_command(source: str, target: str, output: str, config: Path | None) -> int:
    """Move house: copy tasks, workflows, schedules, keys, limits and the rest into another store.

    Stop all servers and workers of both first. Everything is read twice and compared. A copy that breaks off
    leaves a target that no node works on; the next one begins anew. Running tasks come over as ready.
    """
    settings = load_settings({}, config)
    if source == target:
        raise InvalidInput("--to", "the same store as --from", "another one")
    file = file_of(source)
    if file is not None and not Path(file).is_file():
        raise InvalidInput("--from", f"there is no file {file}", "the file of a server")
    copied = asyncio.run(_copy(settings, source, target))
    view = CopyView(
        shown(source), shown(target), [KindView(one.kind.label, one.count, one.digest) for one in copied]
    )
    if output == "json":
        show.echo_json(msgspec.json.encode(view))
    else:
        rows = [(one.kind, one.count, one.digest) for one in view.records]
        show.table(("COPIED", "RECORDS", "DIGEST"), rows)
        click.echo(f"{view.target} holds what {view.source} holds, and may be worked on")
    return Exit.OK


async def _copy(settings: Settings, source: str, target: str) -> list[Copied]:
    clock = SystemClock()
    stores = [_named(url, option, settings, clock) for url, option in ((source, "--from"), (target, "--to"))]
    async with _opened(*stores[0]) as one, _opened(*stores[1]) as other:
        return await copy(one, other, clock, Teller(clock))


def _named(url: str, option: str, settings: Settings, clock: Clock) -> tuple[Store, str]:
    # A queue beside a store only knows where its tasks are; it finds them in the new one by itself.
    options = replace(settings.store_options, queue="")
    try:
        found = open_store(url, clock, options)
    except InvalidInput as error:
        raise InvalidInput(option, error.problem, error.accepted) from None
    if not found.features.several_processes:
        raise InvalidInput(option, "such a store ends with its process", "a store that outlives it")
    return found, option


@asynccontextmanager
async def _opened(found: Store, option: str) -> AsyncIterator[Store]:
    """The store, open. What keeps it from that is told by the option that named it."""
    try:
        await found.open()
    except StoreError as error:
        raise type(error)(f"{option}: {error.detail}") from error
    try:
        yield found
    finally:
        await found.close()


class Teller:
    """Says on standard error how far a copy has come, about once a second."""

    def __init__(self, clock: Clock) -> None:
        self._now_s = clock.monotonic
        self._told_s = clock.monotonic()

    def __call__(self, progress: Progress) -> None:
        if self._now_s() - self._told_s >= TOLD_EVERY_S:
            self._told_s = self._now_s()
            click.echo(f"{progress.step}: {progress.count} {progress.kind.label}", err=True)
