"""Conditional requests (RFC 9110, 13): an ETag names the version of a record, so that a reader can say which
state it acted on, and need not fetch what it has."""

import re
from collections.abc import Awaitable, Callable, Mapping
from zlib import crc32

from mainspring.api.http import Answer, Call
from mainspring.core.model import State
from mainspring.errors import NotFound, VersionMismatch
from mainspring.scheduler import Scheduler
from mainspring.wire.views import encode, task_view

_TAG = re.compile(r'[\s,]*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,[\s,]*|$)')


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


def _is_named(tag: bytes, text: str, *, weakly: bool) -> bool:
    return text == "*" or any(
        (weakly or not weak) and f'"{known}"'.encode("latin-1") == tag for weak, known in tags(text)
    )


def read_answer(call: Call, answer: Answer) -> Answer:
    """An answer that has a tag, or 304 if If-None-Match names that.

    Raises `VersionMismatch` if If-Match does not.
    """
    tag = next(value for name, value in answer.headers if name == b"etag")
    wanted, known = call.header(b"if-match"), call.header(b"if-none-match")
    if wanted is not None and not _is_named(tag, wanted, weakly=False):
        raise VersionMismatch(f"the tag is {tag.decode()}; If-Match names another")
    if known is not None and _is_named(tag, known, weakly=True):
        return Answer(304, b"", [(b"etag", tag)])
    return answer


async def asked_version(call: Call, scheduler: Scheduler, task: str) -> int | None:
    """The version of a task that a write was asked for; see `wanted_version`."""

    async def present() -> tuple[int, bytes]:
        record = await scheduler.get(task)
        return record.version, etag(record.version, record.state, encode(task_view(record)))

    return await wanted_version(call, f"task {task}", present)


async def wanted_version(
    call: Call, what: str, present: Callable[[], Awaitable[tuple[int, bytes]]]
) -> int | None:
    """The version that the conditions of a write hold for; `None` for any. The store compares it in the step
    that writes.

    `present` reads the version that there is and its tag, and raises `NotFound` if there is none.
    Raises `VersionMismatch` if If-Match names other tags or only weak ones, or If-None-Match names this one.
    """
    wanted, unwanted = call.header(b"if-match"), call.header(b"if-none-match")
    if wanted is None and unwanted is None:
        return None
    try:
        version, tag = await present()
    except NotFound:
        if wanted == "*":
            raise VersionMismatch(f"If-Match: * wants a {what}, and there is none") from None
        raise
    if wanted is not None and not _is_named(tag, wanted, weakly=False):
        raise VersionMismatch(f"{what} is at version {version}, tag {tag.decode()}; If-Match names another")
    if unwanted is not None and _is_named(tag, unwanted, weakly=True):
        raise VersionMismatch(
            f"{what} is at version {version}, tag {tag.decode()}; If-None-Match rules it out"
        )
    return None if wanted == "*" and unwanted is None else version


def refuse_tags(headers: Mapping[bytes, bytes]) -> None:
    """Where nothing has a tag, no tag of If-Match is right: who acts on a state must not be ignored.
    Raises `VersionMismatch`."""
    if headers[b"if-match"].strip() != b"*":
        raise VersionMismatch("If-Match names a tag, and there are no tags here")
