"""The command tree. A command's module is loaded only when that command runs."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from mainspring import __version__
from mainspring.cli.exits import complaint, exit_code
from mainspring.errors import MainspringError

# name -> (where it is, what it does), as `mainspring --help` shows them
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Processes": {
        "standalone": ("serving", "Scheduler, API and worker in one process."),
        "server": ("serving", "Scheduler and API; workers connect over HTTP."),
        "worker": ("serving", "Runs tasks that a server hands out."),
    },
    "Work": {
        "submit": ("submitting", "Submit a task, or a file of tasks."),
        "run": ("running", "Run one shell command and wait; ends with its exit code."),
        "tasks": ("tasks", "List, inspect, change and wait for tasks."),
        "workflows": ("workflows", "Tasks that depend on each other: submit, watch, retry."),
        "schedules": ("schedules", "Tasks made by the clock: list, create, change, simulate."),
        "dead": ("dead", "Dead letters: list, group, show, replay, purge."),
    },
    "The system": {
        "queues": ("control", "List, pause, resume and limit queues."),
        "workers": ("control", "Who works, on what, and when they last reported."),
        "stats": ("control", "Tasks by queue and state."),
        "doctor": ("doctor", "Look a store over, and mend it."),
        "migrate": ("migrating", "A store's schema: status, up, down, sql."),
        "store": ("moving", "Copy a store into another."),
    },
    "Other": {
        "demo": ("demo", "A tour on a scratch database."),
        "simulate": ("simulate", "A whole cluster on a virtual clock, with faults."),
        "version": ("version", "The version of Mainspring."),
    },
}
_PLACES = {name: place for section in COMMANDS.values() for name, (place, _) in section.items()}


class Root(click.Group):
    """Finds commands by name, and turns every failure into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _PLACES:
            return None
        command: click.Command = getattr(import_module(f"mainspring.cli.{_PLACES[cmd_name]}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, what) for name, (_, what) in commands.items()])

    def main(  # type: ignore[override]  # always ends the process, so the base's overloads do not apply
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        extra["standalone_mode"] = False
        try:
            code = super().main(args, prog_name or "mainspring", **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            code = exit_code(error)
        except (click.ClickException, click.Abort, KeyboardInterrupt, MainspringError, OSError) as error:
            click.echo(f"mainspring: {complaint(error)}", err=True)
            code = exit_code(error)
        sys.exit(int(code or 0))


@click.group(cls=Root, name="mainspring")
@click.version_option(__version__, message="mainspring %(version)s", help="The version of Mainspring.")
def root() -> None:
    """A distributed task scheduler: durable, fair, fast; one process or many.

    Client commands reach a server at --api-url (or MAINSPRING_API_URL). Exit codes: 0 ok, 1 failed,
    2 bad input, 3 no server reached, 4 not found, 130 interrupted.
    """


def main() -> None:
    root.main()
