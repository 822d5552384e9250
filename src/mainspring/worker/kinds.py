"""The kinds that workers run without any code of their users': `echo` and `sleep` everywhere, others where
they are switched on."""

import asyncio
from collections.abc import Iterable, Iterator

import msgspec

from mainspring.core import durations
from mainspring.errors import InvalidInput
from mainspring.ports import Clock
from mainspring.sdk.context import Context
from mainspring.sdk.handlers import Handler, Registry
from mainspring.wire.strict import Shape
from mainspring.worker.allowed import Allowed
from mainspring.worker.payloads import bad_payload
from mainspring.worker.reach import Reach
from mainspring.worker.warden import Warden


async def echo(ctx: Context) -> msgspec.Raw:
    """The default kind: completes at once, with its payload as the result."""
    return msgspec.Raw(ctx.raw_payload)


class SleepIn(msgspec.Struct, forbid_unknown_fields=True):
    duration: int | float | str


_SLEEP = Shape(SleepIn, accepted={"duration": durations.ACCEPTED})


async def sleep(ctx: Context) -> dict[str, float]:
    """`{"duration": seconds}`: completes after that time. Text such as `1m30s` is taken, too."""
    try:
        duration_s = durations.parse_duration_s(_SLEEP.read(ctx.raw_payload).duration, "duration")
    except InvalidInput as error:
        raise bad_payload(error) from None
    await asyncio.sleep(duration_s)
    return {"slept_s": duration_s}


def builtin_kinds() -> Registry:
    return Registry(Handler("echo", echo), Handler("sleep", sleep))


def allowed_kinds(allowed: Allowed, clock: Clock, warden: Warden | None = None) -> Iterator[Handler]:
    """Those of the kinds `command`, `http` and `file` that are switched on. Their code is loaded here: the
    HTTP client alone adds two thirds to the time that a worker needs to start.

    Raises `InvalidInput` for what cannot be allowed: a root that is no directory, a network that is none.
    """
    if allowed.commands:
        from mainspring.worker.command import Commands

        yield Handler("command", Commands(clock, warden).run)
    if allowed.http:
        from mainspring.worker.http_call import HttpCalls

        yield Handler("http", HttpCalls(clock, Reach(allowed.http_private)).run)
    if allowed.file_root:
        from mainspring.worker.files import Files

        yield Handler("file", Files(allowed.file_root).run)


def handlers_of(app: Registry | None = None, more: Iterable[Handler] = ()) -> Registry:
    """The built-in kinds, `more` of them, and those of an application.

    Raises `InvalidInput` if the application takes a built-in kind's name.
    """
    handlers = builtin_kinds()
    for handler in (*more, *(app or ())):
        handlers.add(handler)
    return handlers
