"""`mainspring tasks explain`."""

import click

from mainspring.cli import show
from mainspring.cli.client import Server, decode, step
from mainspring.cli.options import asks_server
from mainspring.wire.explain import ExplanationView

OUTPUT = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
)
LONGEST = 300


@click.command("explain")
@click.argument("identity", metavar="ID")
@OUTPUT
@asks_server
async def explain(server: Server, identity: str, output: str) -> None:
    """Why a task is not running: every reason, the most fundamental first, and what would change it."""
    body = await server.send("GET", f"/tasks/{step(identity)}/explain")
    if output == "json":
        show.echo_json(body)
        return
    found = decode(body, ExplanationView)
    rows = [
        (reason.code, show.text(reason.text, LONGEST), show.text(reason.hint, LONGEST))
        for reason in found.reasons
    ]
    click.echo(f"{found.task} is {found.state}, {'and can be claimed' if found.claimable else 'because'}:")
    show.table(("REASON", "WHAT", "WHAT WOULD CHANGE IT"), rows)
