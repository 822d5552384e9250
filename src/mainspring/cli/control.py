"""`mainspring queues`, `workers` and `stats`."""

from typing import Any

import click
import msgspec

from mainspring.cli import show
from mainspring.cli.client import Server, decode, step
from mainspring.cli.options import asks_server, encoded
from mainspring.core.model import State
from mainspring.wire.controls import LimitView, QueueView, StatsView, WorkerView

OUTPUT = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
)
STATES = [state.label for state in State]


class Queues(msgspec.Struct):
    queues: list[QueueView]


class Limits(msgspec.Struct):
    limits: list[LimitView]


class Workers(msgspec.Struct):
    workers: list[WorkerView]


@click.group()
def queues() -> None:
    """List, pause, resume and limit queues."""


@queues.command("list")
@OUTPUT
@asks_server
async def list_queues(server: Server, output: str) -> None:
    """Every queue with its tasks by state, whether it is paused, and its limit."""
    body = await server.send("GET", "/queues")
    if output == "json":
        show.echo_json(body)
        return
    _queue_table(decode(body, Queues).queues)


def _queue_table(found: list[QueueView]) -> None:
    rows = [
        (
            show.text(queue.name),
            *(queue.counts.get(state, 0) for state in STATES),
            f"by {show.text(queue.paused_by or '?', 20)}" if queue.paused else "",
            limit_text(queue.limit),
        )
        for queue in found
    ]
    show.table(("QUEUE", *(state.upper() for state in STATES), "PAUSED", "LIMIT"), rows)


def limit_text(limit: LimitView | None) -> str:
    if limit is None:
        return ""
    parts = []
    if limit.max_running is not None:
        parts.append(f"{limit.running} of {limit.max_running} running")
    if limit.rate is not None:
        parts.append(f"{limit.rate} per {limit.per:g}s")
    if limit.max_waiting is not None:
        parts.append(f"{limit.max_waiting} waiting")
    return ", ".join(parts)


@queues.command("pause")
@click.argument("queue")
@click.option("--by", default="", help="Who pauses it, for others to see.")
@OUTPUT
@asks_server
async def pause(server: Server, queue: str, by: str, output: str) -> None:
    """Start none of the queue's tasks until it is resumed; what runs goes on."""
    _show_queue(await server.send("POST", f"/queues/{step(queue)}/pause", encoded({"by": by})), output)


@queues.command("resume")
@click.argument("queue")
@OUTPUT
@asks_server
async def resume(server: Server, queue: str, output: str) -> None:
    """Start the queue's tasks again."""
    _show_queue(await server.send("POST", f"/queues/{step(queue)}/resume"), output)


def _show_queue(body: bytes, output: str) -> None:
    if output == "json":
        show.echo_json(body)
    else:
        _queue_table([decode(body, QueueView)])


@queues.command("limit")
@click.argument("name")
@click.option("--max-running", type=int, help="How many may run at once.")
@click.option("--rate", type=int, help="How many may start per --per.")
@click.option("--per", metavar="DURATION", help="Default: 1s.")
@click.option("--burst", type=int, help="How many of the rate may start at once.")
@click.option("--max-waiting", type=int, help="Submits beyond this backlog are refused (429).")
@click.option("--remove", is_flag=True, help="Lift the limit.")
@OUTPUT
@asks_server
async def limit(server: Server, name: str, remove: bool, output: str, **rule: Any) -> None:
    """Set or lift a limit. NAME is a queue, or kind:NAME, tenant:NAME, key:NAME; key:* is each key."""
    full = name if ":" in name else f"queue:{name}"
    given = {field: value for field, value in rule.items() if value is not None}
    if remove == bool(given):
        raise click.UsageError("give --remove, or at least one of --max-running, --rate, --max-waiting")
    if remove:
        await server.send("DELETE", f"/limits/{step(full)}")
        click.echo(f"{full}: no limit")
        return
    body = await server.send("PUT", f"/limits/{step(full)}", encoded(given))
    if output == "json":
        show.echo_json(body)
    else:
        click.echo(f"{full}: {limit_text(decode(body, LimitView))}")


@queues.command("limits")
@OUTPUT
@asks_server
async def list_limits(server: Server, output: str) -> None:
    """Every limit there is, on whatever name."""
    body = await server.send("GET", "/limits")
    if output == "json":
        show.echo_json(body)
        return
    rows = [(show.text(limit.name), limit_text(limit)) for limit in decode(body, Limits).limits]
    show.table(("NAME", "LIMIT"), rows)


@click.command()
@OUTPUT
@asks_server
async def workers(server: Server, output: str) -> None:
    """Who works, on what, and when they last reported."""
    body = await server.send("GET", "/workers")
    if output == "json":
        show.echo_json(body)
        return
    rows = [
        (
            show.text(worker.worker),
            "draining" if worker.draining else "working",
            f"{worker.running} of {worker.slots}",
            show.text(", ".join(worker.queues) or "all"),
            show.text(", ".join(worker.kinds)),
            show.duration(worker.age),
            show.text(worker.version),
        )
        for worker in decode(body, Workers).workers
    ]
    show.table(("WORKER", "STATE", "RUNNING", "QUEUES", "KINDS", "SEEN", "VERSION"), rows)


@click.command()
@OUTPUT
@asks_server
async def stats(server: Server, output: str) -> None:
    """Tasks by queue and state."""
    body = await server.send("GET", "/cluster/stats")
    if output == "json":
        show.echo_json(body)
        return
    found = decode(body, StatsView)
    rows = [
        (show.text(queue), *(counts.get(state, 0) for state in STATES), sum(counts.values()))
        for queue, counts in found.queues.items()
    ]
    rows.append(("all", *(found.tasks.get(state, 0) for state in STATES), found.total))
    show.table(("QUEUE", *(state.upper() for state in STATES), "TOTAL"), rows)
