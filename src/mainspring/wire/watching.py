"""What somebody who watches a task is sent: its state, its progress and its log, as JSON and as events.

An event (of `text/event-stream`, WHATWG HTML 9.2) has a name, one line of JSON, and an id with which a reader
that was cut off goes on. `end` says that nothing more will come.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from zlib import crc32

import msgspec

from mainspring.core.model import Task
from mainspring.core.progress import LogPiece, end_of
from mainspring.errors import InvalidInput
from mainspring.ports import Glance
from mainspring.wire import fields

CONTENT_TYPE = "text/event-stream"
KEEP_ALIVE = b": still there\n\n"
RECONNECT = b"retry: 1000\n\n"
OFFSET_ACCEPTED = "how many bytes of the log have been read: a whole number from 0"
_NULL = msgspec.Raw(b"null")
encode = msgspec.json.Encoder().encode


class TaskEvent(msgspec.Struct):
    """Where a task stands; the whole record is at `/api/v1/tasks/{id}`."""

    id: str
    state: str
    attempt: int
    retries: int
    losses: int
    worker: str | None
    run_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    progress: msgspec.Raw
    version: int


class PieceView(msgspec.Struct):
    """Some text of a log. `offset` is where it starts, in bytes since the first; one that is further on than
    the piece before has ended shows that the bytes between were left out. `at` is the worker's clock."""

    offset: int
    at: datetime
    stream: str
    text: str


class LogView(msgspec.Struct):
    """What is kept of a log from `after` on. `next` is where to go on reading; `left_out` counts the bytes
    that are missing."""

    pieces: list[PieceView]
    left_out: int
    next: int


class EndEvent(msgspec.Struct):
    """Nothing more will come."""

    id: str
    state: str | None = None


# --- events -----------------------------------------------------------------------------------------


def event(name: str, data: msgspec.Struct, identity: str = "") -> bytes:
    """One event. JSON has no raw line breaks, so its text is one line."""
    head = f"id: {identity}\nevent: {name}\ndata: " if identity else f"event: {name}\ndata: "
    return b"%b%b\n\n" % (head.encode("ascii"), encode(data))


def mark_of(seen: Task | Glance) -> str:
    """Equal for two readings of a task only if nothing has changed between them that an event tells of."""
    return f"{seen.version}-{crc32(seen.progress or b''):08x}"


def task_event(task: Task, name: str) -> bytes:
    return event(
        name,
        TaskEvent(
            task.id,
            task.state.label,
            task.attempt,
            task.retries,
            task.losses,
            task.worker,
            _moment(task.run_at_us),
            _moment(task.started_at_us),
            _moment(task.finished_at_us),
            _NULL if task.progress is None else msgspec.Raw(task.progress),
            task.version,
        ),
        mark_of(task),
    )


def log_events(pieces: Sequence[LogPiece]) -> bytes:
    return b"".join(event("log", piece_view(piece), str(end_of(piece))) for piece in pieces)


# --- logs -------------------------------------------------------------------------------------------


def piece_view(piece: LogPiece) -> PieceView:
    return PieceView(piece.offset, fields.moment(piece.at_us), piece.stream, piece.text)


def log_view(pieces: Sequence[LogPiece], after: int) -> LogView:
    end, left_out = after, 0
    for piece in pieces:
        left_out += max(0, piece.offset - end)
        end = end_of(piece)
    return LogView([piece_view(piece) for piece in pieces], left_out, end)


def log_text(pieces: Sequence[LogPiece], after: int) -> Iterator[str]:
    """The log as it was written, and a line wherever something is missing."""
    end = after
    for piece in pieces:
        if piece.offset > end:
            yield gap(piece.offset - end)
        yield piece.text
        end = end_of(piece)


def gap(size: int) -> str:
    return f"[{size} bytes left out]\n"


def offset(text: str, field: str) -> int:
    """Raises `InvalidInput`."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 15:
        raise InvalidInput(field, f"not a place in a log: {text[:40]!r}", OFFSET_ACCEPTED)
    return int(text)


def _moment(instant_us: int | None) -> datetime | None:
    return None if instant_us is None else fields.moment(instant_us)
