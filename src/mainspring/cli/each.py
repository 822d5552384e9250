"""The same request for each of several names."""

from collections.abc import Awaitable, Callable, Sequence

import click

from mainspring.cli.client import step
from mainspring.cli.exits import Exit, Unreachable, complaint, exit_code
from mainspring.errors import MainspringError


async def each(names: Sequence[str], call: Callable[[str], Awaitable[bytes]]) -> tuple[int, list[bytes]]:
    """Do it for every name, also after one was refused: the exit code, which is the first refusal's, and the
    answers, without the empty ones. `call` is handed a name that is safe in a path."""
    code, answers = int(Exit.OK), []
    for name in names:
        try:
            body = await call(step(name))
        except Unreachable:
            raise
        except MainspringError as error:
            click.echo(f"mainspring: {complaint(error)}", err=True)
            code = code or exit_code(error)
        else:
            answers += [body] if body else []
    return code, answers
