"""What a failure becomes: one line on standard error, and an exit code that scripts can count on."""

from enum import IntEnum

import click

from mainspring.errors import InvalidInput, MainspringError, NotFound


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    BAD_INPUT = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    INTERRUPTED = 130


class Unreachable(MainspringError):
    """No server answers at the address."""

    code = "unreachable"


def exit_code(error: BaseException) -> Exit:
    match error:
        case InvalidInput() | click.UsageError():
            return Exit.BAD_INPUT
        case Unreachable():
            return Exit.UNREACHABLE
        case NotFound():
            return Exit.NOT_FOUND
        case KeyboardInterrupt() | click.Abort():
            return Exit.INTERRUPTED
    return Exit.FAILED


def complaint(error: BaseException) -> str:
    """One line, whatever the error's text holds."""
    if isinstance(error, click.UsageError):
        text = error.format_message()
        if error.ctx is not None:
            text += f" (see {error.ctx.command_path} --help)"
    elif isinstance(error, KeyboardInterrupt | click.Abort):
        text = "interrupted"
    elif isinstance(error, click.ClickException):
        text = error.format_message()
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    else:
        text = str(error)
    return " ".join(text.split())
