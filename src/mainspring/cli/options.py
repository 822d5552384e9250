"""Options that many commands share."""

import asyncio
import functools
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from mainspring import config
from mainspring.cli.batchfile import where
from mainspring.cli.client import Server
from mainspring.cli.exits import Exit
from mainspring.errors import InvalidInput
from mainspring.wire.strict import parse_json

Command = Callable[..., Coroutine[Any, Any, int | None]]

CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="MAINSPRING_CONFIG",
    help="A TOML file of settings.",
)


def asks_server(command: Command) -> Callable[..., int]:
    """The command talks to a server: it gets one as its first argument, and is a coroutine.

    What it returns is the exit code; nothing means 0.
    """

    @CONFIG
    @click.option("--token", help="The server's token (MAINSPRING_TOKEN).")
    @click.option("--api-url", metavar="URL", help="The server; by default http://localhost:8080.")
    @functools.wraps(command)
    def wrapper(*args: Any, api_url: str | None, token: str | None, config: Path | None, **given: Any) -> int:
        settings = load_settings({"api_url": api_url, "token": token}, config)

        async def call() -> int:
            async with Server(settings.api_url, settings.token) as server:
                return await command(server, *args, **given) or Exit.OK

        return asyncio.run(call())

    return wrapper


def load_settings(flags: dict[str, Any], file: Path | None) -> config.Settings:
    return config.load(flags, file=file)


def json_option(text: str | None, option: str) -> msgspec.Raw | None:
    """JSON from the command line, kept digit for digit. Raises `InvalidInput` naming the option."""
    if text is None:
        return None
    body = text.encode("utf-8", "surrogateescape")
    try:
        parse_json(body)
    except InvalidInput as error:
        raise type(error)(option, where(error), error.accepted) from None
    return msgspec.Raw(body)


def encoded(document: Mapping[str, Any]) -> bytes:
    """Raises `InvalidInput` for an argument that is not text."""
    try:
        return msgspec.json.encode(document)
    except UnicodeEncodeError:
        raise InvalidInput("arguments", "not UTF-8", "text in UTF-8") from None


OUTPUT = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "id"]),
    default="table",
    show_default=True,
    help="A table for people, JSON for programs, or just the ids.",
)
