"""Conditional requests (RFC 9110, 13): a task's ETag names its version, so that a reader can say which
state it acted on, and need not fetch what it has."""

import re
from collections.abc import Awaitable, Callable
from zlib import crc32

from mainspring.api.http import Answer, Call
from mainspring.core.model import State
from mainspring.errors import NotFound, VersionMismatch
from mainspring.scheduler import Scheduler

_TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|$)')


def etag(version: int, state: State, body: bytes) -> bytes:
    """A strong tag. While a task runs, leases and progress change what is shown but not the version: then
    a checksum of the body is part of the tag."""
    if state is State.RUNNING:
        return b'"%d.%08x"' % (version, crc32(body))
    return b'"%d"' % version


def tags(text: str) -> list[tuple[bool, str]]:
    """The tags of a list, as (weak, tag). A field that is no list of tags has none: it never matches."""
    found, position = [], 0
    while position < len(text):
        match = _TAG.match(text, position)
        if match is None:
            return []
        found.append((match[1] is not None, match[2]))
        position = match.end()
    return found


async def asked_version(call: Call, scheduler: Scheduler, task: str) -> int | None:
    """The version of a task that If-Match demands; see `wanted_version`."""

    async def present() -> int:
        return (await scheduler.get(task)).version

    return await wanted_version(call, f"task {task}", present)


async def wanted_version(call: Call, what: str, present: Callable[[], Awaitable[int]]) -> int | None:
    """The version that If-Match demands; `None` for any. The store compares it in the step that writes.

    `present` reads the version that there is, and raises `NotFound` if there is none.
    Raises `VersionMismatch` if no tag can match: weak ones never do.
    """
    text = call.header(b"if-match")
    if text is None:
        return None
    if text == "*":
        try:
            await present()
        except NotFound:
            raise VersionMismatch(f"If-Match: * wants a {what}, and there is none") from None
        return None
    versions = {
        int(number)
        for weak, tag in tags(text)
        if not weak and (number := tag.partition(".")[0]).isdecimal() and len(number) < 19
    }
    if len(versions) == 1:
        return versions.pop()
    found = await present()
    if found not in versions:
        raise VersionMismatch(f"{what} is at version {found}; If-Match names another")
    return found


def is_not_modified(call: Call, tag: bytes) -> bool:
    """Whether If-None-Match names what would be sent. Comparison is weak here."""
    text = call.header(b"if-none-match")
    if text is None:
        return False
    return text == "*" or any(f'"{known}"'.encode("latin-1") == tag for _, known in tags(text))


def not_modified(tag: bytes) -> Answer:
    return Answer(304, b"", [(b"etag", tag)])
