"""`mainspring tasks watch` and `mainspring tasks logs`."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import TextIO

import click
import msgspec
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from mainspring.cli import show
from mainspring.cli.client import Server, decode, step
from mainspring.cli.exits import Exit
from mainspring.cli.options import asks_server
from mainspring.cli.streams import END, events
from mainspring.core.progress import size_of
from mainspring.errors import InvalidInput
from mainspring.wire.watching import LogView, PieceView, TaskEvent, gap

WATCHED_MOST = 50  # a connection each
_FORMAT = click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Lines for people, or one JSON document a line.",
)


class Told(msgspec.Struct):
    """What `ctx.progress` writes; any other progress is shown as its JSON."""

    fraction: float
    message: str = ""


# --- watch ------------------------------------------------------------------------------------------


@click.command("watch")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@_FORMAT
@asks_server
async def watch(server: Server, ids: Sequence[str], output: str) -> int:
    """Show states and progress of tasks as they change, until all have ended.

    Exit code 1 unless all succeeded.
    """
    ids = tuple(dict.fromkeys(ids))
    if len(ids) > WATCHED_MOST:
        raise InvalidInput("ID", f"{len(ids)} tasks are too many to watch", f"up to {WATCHED_MOST}")
    console = show.console(stderr=True, width=None)
    if output == "json" or not console.is_terminal:
        return await _watch_all(server, ids, _echo if output == "json" else _say)
    columns = (
        TextColumn("{task.fields[identity]}"),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[message]}"),
    )
    with Progress(*columns, console=console) as bars:
        lines = {one: bars.add_task("", total=1.0, identity=one, message="") for one in ids}

        def draw(event: TaskEvent, document: bytes) -> None:
            told = _told(event)
            done = 1.0 if event.state == "succeeded" else told.fraction
            description = show.coloured(event.state) + (f" {event.attempt}" if event.attempt > 1 else "")
            bars.update(
                lines[event.id], completed=done, description=description, message=show.text(told.message)
            )

        return await _watch_all(server, ids, draw)


async def _watch_all(server: Server, ids: Sequence[str], tell: Callable[[TaskEvent, bytes], None]) -> int:
    watching = [asyncio.create_task(_watch(server, one, tell)) for one in ids]
    try:
        states = await asyncio.gather(*watching)
    finally:
        for one in watching:
            one.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    return Exit.OK if all(state == "succeeded" for state in states) else Exit.FAILED


async def _watch(server: Server, identity: str, tell: Callable[[TaskEvent, bytes], None]) -> str:
    """The state in which the task ended."""
    state = ""
    async with aclosing(events(server, f"/tasks/{step(identity)}/events")) as stream:
        async for event in stream:
            if event.name != END:
                seen = decode(event.data, TaskEvent)
                state = seen.state
                tell(seen, event.data)
    return state


def _told(event: TaskEvent) -> Told:
    """The progress that the task has told; none until it has."""
    try:
        told = msgspec.json.decode(event.progress, type=Told | None)
    except msgspec.MsgspecError:
        return Told(0.0, bytes(event.progress).decode("utf-8", "replace"))
    return told or Told(0.0)


def _echo(event: TaskEvent, document: bytes) -> None:
    click.echo(document)


def _say(event: TaskEvent, document: bytes) -> None:
    told = _told(event)
    run = f"run {event.attempt}" if event.attempt else ""
    share = f"{told.fraction:.0%}" if told.fraction else ""
    words = (event.id, show.coloured(event.state), run, share, show.text(told.message, 200))
    show.console().print(" ".join(word for word in words if word))


# --- logs -------------------------------------------------------------------------------------------


@click.command("logs")
@click.argument("identity", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the task has ended.")
@_FORMAT
@asks_server
async def logs(server: Server, identity: str, follow: bool, output: str) -> None:
    """What a task has written: its command's output, or the lines of its handler's log."""
    path = f"/tasks/{step(identity)}/logs"
    teller = LogTeller(sys.stdout, sys.stdout)
    if follow:
        await tell_log(server, path, teller if output == "text" else None)
        return
    body = await server.send("GET", path)
    if output == "json":
        show.echo_json(body)
        return
    for piece in decode(body, LogView).pieces:
        teller.tell(piece)


class LogTeller:
    """Writes a log's pieces as they come, and counts what is missing."""

    def __init__(self, stdout: TextIO, stderr: TextIO, *, marks_gaps: bool = True) -> None:
        self.told = self.left_out = 0
        self._stdout = stdout
        self._stderr = stderr
        self._marks_gaps = marks_gaps
        self._end = 0

    def tell(self, piece: PieceView) -> None:
        missing = piece.offset - self._end
        if missing > 0:
            self.left_out += missing
            if self._marks_gaps:
                self._stderr.write(gap(missing))
        to = self._stdout if piece.stream == "stdout" else self._stderr
        to.write(piece.text)
        to.flush()
        self.told += 1
        self._end = piece.offset + size_of(piece.text)


async def tell_log(server: Server, path: str, teller: LogTeller | None) -> None:
    """Follow a log to its end; without a teller, its events are echoed."""
    async with aclosing(events(server, path)) as stream:
        async for event in stream:
            if event.name == END:
                continue
            if teller is None:
                click.echo(event.data)
            else:
                teller.tell(decode(event.data, PieceView))
