"""`mainspring demo`: real work on a scratch database, watched from outside, as a user would."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console

from mainspring.cli import show
from mainspring.cli.batchfile import BatchFile
from mainspring.cli.client import Server, decode
from mainspring.cli.exits import Exit
from mainspring.cli.following import Summary, follow
from mainspring.clock import SystemClock
from mainspring.errors import InvalidInput, MainspringError
from mainspring.wire.controls import StatsView
from mainspring.wire.views import TasksView, TaskView

NEEDED = ("tasks.py", "batch.json", "workflow.json")
STOP_S = 30.0


class DemoFailed(MainspringError):
    code = "demo_failed"


@click.command()
@click.option(
    "--examples",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("examples"),
    show_default=True,
    help="The folder with the tasks to run.",
)
def demo(examples: Path) -> int:
    """Start a scheduler on a scratch database, give it a batch and a workflow, and show what becomes of them.

    Ends with 0 if all went as it should, the one task that is meant to fail included.
    """
    for name in NEEDED:
        if not (examples / name).is_file():
            raise InvalidInput(
                "--examples", f"there is no {name} in {examples}", "the folder examples/ of a clone"
            )
    with tempfile.TemporaryDirectory(prefix="mainspring-demo-") as scratch:
        home = Path(scratch, "examples")
        shutil.copytree(examples, home, ignore=shutil.ignore_patterns("__pycache__"))
        with _standalone(home) as url:
            asyncio.run(_tour(url, home))
    _say("stopped cleanly; the scratch directory is gone")
    return Exit.OK


@contextlib.contextmanager
def _standalone(home: Path) -> Iterator[str]:
    """A scheduler of its own on a free port; its URL. Raises `DemoFailed` unless it starts and stops well."""
    command = [sys.executable, "-m", "mainspring", "standalone", "--listen", "127.0.0.1:0", "--db", "demo.db"]
    command += ["-A", "tasks:app", "--allow-commands", "--concurrency", "8"]
    # The caller's settings are for the caller's servers.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAINSPRING_")}
    log = home / "server.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command,
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            greeting = process.stdout.readline().decode()
            url = greeting.rpartition(" ")[2].strip()
            if not url.startswith("http"):
                raise DemoFailed(f"the scheduler did not start: {_tail(log)}")
            _say(greeting.strip())
            yield url
        finally:
            process.terminate()
            try:
                code = process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
        if code != 0:
            raise DemoFailed(f"the scheduler ended with exit code {code}: {_tail(log)}")


def _tail(log: Path) -> str:
    return " ".join(log.read_text("utf-8", "replace").splitlines()[-5:])


async def _tour(url: str, home: Path) -> None:
    async with Server(url) as server:
        batch = await _run(
            server, home / "batch.json", "a batch: shell commands, Python functions, one that fails"
        )
        (letter,) = _expect(batch, failed=1)
        _say(f"the dead letter {letter.id} kept the error of each of its {letter.attempt} runs:")
        for run in letter.attempts:
            _out().print(f"  run {run.attempt}: {show.text(show.error_line(run.error), 200)}")
        workflow = await _run(
            server, home / "workflow.json", "a workflow: count the words of 12 generated texts"
        )
        _expect(workflow, failed=0)
        report = next(task for task in workflow.tasks if task.name == "report")
        _say("the report, checked by the workflow itself:")
        _out().print(show.indented(show.output_of(report)))
        stats = await server.get("/cluster/stats", StatsView)
        counts = stats.tasks
        _say(f"{stats.total} tasks on record: {counts['succeeded']} succeeded, {counts['failed']} failed")


async def _run(server: Server, file: Path, what: str) -> Summary:
    clock = SystemClock()
    started = clock.monotonic()
    reply = await server.send("POST", "/tasks/batch", BatchFile(file).body)
    tasks = decode(reply, TasksView).tasks
    _say(f"{what} ({len(tasks)} tasks, submitted as one)")
    summary = await follow(server, [task.id for task in tasks])
    summary.show(clock.monotonic() - started)
    return summary


def _expect(summary: Summary, failed: int) -> list[TaskView]:
    letters = [task for task in summary.tasks if task.state == "failed"]
    if len(letters) != failed or summary.counts["succeeded"] + failed != len(summary.tasks):
        raise DemoFailed(
            f"expected {failed} failed tasks, and all others to succeed; got {dict(summary.counts)}"
        )
    return letters


def _out() -> Console:
    return show.console()


def _say(line: str) -> None:
    _out().print(f"[bold]{show.text(line, 200)}[/]")
