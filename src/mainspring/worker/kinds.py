"""The kinds that every worker can run without any code of its user's."""

import asyncio

import msgspec

from mainspring.core.durations import parse_duration_s
from mainspring.errors import InvalidInput
from mainspring.sdk.context import Context
from mainspring.sdk.handlers import BadPayload, Handler, Registry
from mainspring.worker.command import Commands


async def echo(ctx: Context) -> msgspec.Raw:
    """The default kind: completes at once, with its payload as the result."""
    return msgspec.Raw(ctx.raw_payload)


async def sleep(ctx: Context) -> dict[str, float]:
    """`{"duration": seconds}`: completes after that time. Text such as `1m30s` is taken, too."""
    payload = ctx.payload
    if not isinstance(payload, dict) or payload.keys() != {"duration"}:
        raise BadPayload('a sleep task takes {"duration": seconds}')
    try:
        duration_s = parse_duration_s(payload["duration"], "duration")
    except InvalidInput as error:
        raise BadPayload(str(error)) from None
    await asyncio.sleep(duration_s)
    return {"slept_s": duration_s}


def builtin_kinds() -> Registry:
    return Registry(Handler("echo", echo), Handler("sleep", sleep))


def handlers_of(app: Registry | None = None, commands: Commands | None = None) -> Registry:
    """The built-in kinds, those of an application, and `command` only where it is enabled.

    Raises `InvalidInput` if the application takes a built-in kind's name.
    """
    handlers = builtin_kinds()
    if commands is not None:
        handlers.add(Handler("command", commands.run))
    for handler in app or ():
        handlers.add(handler)
    return handlers
