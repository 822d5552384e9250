"""`mainspring workflows`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from mainspring.cli import graphs, show
from mainspring.cli.batchfile import STDIN, read_file, where
from mainspring.cli.client import Server, decode, step
from mainspring.cli.each import each
from mainspring.cli.exits import Exit
from mainspring.cli.following import patiently
from mainspring.cli.options import OUTPUT, asks_server, encoded
from mainspring.errors import InvalidInput
from mainspring.wire.bounds import BOUNDS
from mainspring.wire.strict import parse_json
from mainspring.wire.workflow_views import (
    CancelledView,
    GraphView,
    RetriedView,
    WorkflowsView,
    WorkflowView,
)

ACCEPTED = 'a JSON object with the tasks: {"tasks": [{"name": ...}, ...]}'
WAIT_S = 1.0
TASKS_A_SECOND = 2_000  # a picture of ten thousand tasks is large: it is asked for less often
LONGEST_S = 20.0

IDS = click.argument("ids", nargs=-1, required=True, metavar="ID...")


@click.group()
def workflows() -> None:
    """Tasks that depend on each other, as one thing: submit, list, watch, cancel, retry what failed."""


# --- submitting -------------------------------------------------------------------------------------


@workflows.command("submit")
@click.option(
    "-f",
    "--file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="The workflow's document, a JSON object; - is standard input.",
)
@click.option("--idempotency-key", metavar="KEY", help="With the same key nothing is stored twice.")
@click.option("--wait", is_flag=True, help="Watch until nothing is left to run.")
@OUTPUT
@asks_server
async def submit(server: Server, file: Path, idempotency_key: str | None, wait: bool, output: str) -> int:
    """Submit a workflow: all of its tasks, or none if one is not acceptable.

    With --wait the exit code is 1 unless it succeeded, and every callback that was to run.
    """
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    name = "standard input" if file == STDIN else str(file)
    try:
        body = await server.send("POST", "/workflows", _document(file), headers=headers)
    except InvalidInput as error:
        raise type(error)(name, where(error), error.accepted) from None
    made = decode(body, WorkflowView)
    if wait:
        return await _watch(server, made.id, output)
    _show([made], body, output)
    return Exit.OK


def _document(file: Path) -> bytes:
    """The file's bytes, which are sent as they are. Raises `InvalidInput` if it holds no JSON object."""
    content = read_file(file)
    if not content.strip():
        raise InvalidInput("body", "is empty", ACCEPTED)
    if not isinstance(parse_json(content, BOUNDS.depth + 3), dict):
        raise InvalidInput("body", "not a workflow", ACCEPTED)
    return content


# --- reading ----------------------------------------------------------------------------------------


@workflows.command("list")
@click.option("--state", help="One or several, by commas: running, succeeded, failed, cancelled.")
@click.option("--name", help="Only workflows of this name.")
@click.option("--label", help="NAME=VALUE that the workflow has.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many at most.")
@OUTPUT
@asks_server
async def list_workflows(server: Server, limit: int, output: str, **filters: Any) -> None:
    """Workflows, newest first."""
    found, token = await server.first(
        "/workflows", WorkflowsView, lambda page: page.workflows, limit, **filters
    )
    _show(found, msgspec.json.encode(WorkflowsView(found, token)), output)
    if token is not None and output == "table":
        click.echo(f"the newest {len(found)}; --limit shows more", err=True)


@workflows.command("get")
@click.argument("identity", metavar="ID")
@click.option("--watch", is_flag=True, help="Show how it goes on, until nothing is left to run.")
@OUTPUT
@asks_server
async def get(server: Server, identity: str, watch: bool, output: str) -> int:
    """One workflow: its tasks by level, its critical path, and each task's slack."""
    if watch:
        return await _watch(server, identity, output)
    _show_graph(await server.send("GET", f"/workflows/{step(identity)}"), output)
    return Exit.OK


async def _watch(server: Server, identity: str, output: str) -> int:
    """Until nothing is left to run; then show how it ended."""
    wait_s, path = 0.0, f"/workflows/{step(identity)}"
    with graphs.Watch() as watch:
        while True:
            body = await patiently(server, path, wait=wait_s)
            if body is None:
                continue
            workflow = decode(body, GraphView)
            watch.draw(workflow)
            if workflow.is_over:
                break
            wait_s = min(LONGEST_S, WAIT_S + len(workflow.tasks) / TASKS_A_SECOND)
    _show_graph(body, output)
    failed = any(callback.state == "failed" for callback in workflow.callbacks.values())
    return Exit.OK if workflow.state == "succeeded" and not failed else Exit.FAILED


# --- changing ---------------------------------------------------------------------------------------


@workflows.command("cancel")
@IDS
@click.option("--no-callbacks", is_flag=True, help="Cancel the callbacks, too.")
@OUTPUT
@asks_server
async def cancel(server: Server, ids: Sequence[str], no_callbacks: bool, output: str) -> int:
    """Cancel all that is unfinished; what runs is asked to stop.

    Then on_complete and on_failure run as after any other end, unless --no-callbacks.
    """
    body = encoded({"run_callbacks": not no_callbacks})
    code, answers = await each(ids, lambda one: server.send("POST", f"/workflows/{one}/cancel", body))
    _show_each([(reply, decode(reply, CancelledView)) for reply in answers], output)
    return code


@workflows.command("retry-failed")
@IDS
@OUTPUT
@asks_server
async def retry_failed(server: Server, ids: Sequence[str], output: str) -> int:
    """Run again what failed, and what was cancelled only because of that. What succeeded is left alone."""
    code, answers = await each(ids, lambda one: server.send("POST", f"/workflows/{one}/retry-failed"))
    _show_each([(reply, decode(reply, RetriedView)) for reply in answers], output)
    return code


# --- output -----------------------------------------------------------------------------------------


def _show(found: Sequence[WorkflowView], document: bytes, output: str) -> None:
    if output == "json":
        show.echo_json(document)
    elif output == "id":
        for workflow in found:
            click.echo(workflow.id)
    else:
        graphs.workflow_table(found)


def _show_graph(document: bytes, output: str) -> None:
    if output == "json":
        show.echo_json(document)
        return
    workflow = decode(document, GraphView)
    if output == "id":
        click.echo(workflow.id)
    else:
        graphs.tables(workflow)


def _show_each(done: Sequence[tuple[bytes, CancelledView | RetriedView]], output: str) -> None:
    for document, answer in done:
        if output == "json":
            show.echo_json(document)
        elif output == "id":
            click.echo(answer.workflow.id)
        else:
            waiting = f", {answer.waiting} wait for others" if isinstance(answer, RetriedView) else ""
            state = show.coloured(answer.workflow.state)
            show.console().print(f"{answer.workflow.id} {state}: {show.count(answer.count)}{waiting}")
