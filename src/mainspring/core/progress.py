"""What a running task leaves behind on its way: recorded steps, and its log.

A log is a row of bytes. Each piece of it says where it starts, so one number serves four ends: a repeated
piece is told from a new one, a reader says where it goes on, what was left out shows as a gap, and its size
is the gap's. A run counts from 0; its store puts the run's pieces behind those of earlier runs.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mainspring.errors import InvalidInput, TooLarge

STEP_NAME_ACCEPTED = "1 to 200 printable characters"
STEP_NAME_CHARS = 200
STEP_BYTES = 256 * 1024
STEPS_BYTES = 8 * 1024 * 1024
STEPS_MOST = 1_000

STREAMS = ("stdout", "stderr", "debug", "info", "warning", "error", "critical")
PIECE_BYTES = 16 * 1024
BLOCK_BYTES = 32 * 1024
LOG_BYTES_LIVE = 1024 * 1024
LOG_BYTES_KEPT = 128 * 1024
PIECE_OVERHEAD = 32  # a million empty lines must not count as nothing

# A recall's answer goes through several processes whole, and so do those of a batch.
RECALL_BYTES = 16 * 1024 * 1024
RECALLS_MOST = 16


def check_step_name(name: str) -> None:
    """Raises `InvalidInput`."""
    if not (0 < len(name) <= STEP_NAME_CHARS and name.isprintable()):
        raise InvalidInput("name", f"not a step's name: {name[:40]!r}", STEP_NAME_ACCEPTED)


def check_step(name: str, result: bytes, count: int, size: int) -> None:
    """Whether a task that has recorded `count` steps of `size` bytes together may record one more.

    Raises `InvalidInput` or `TooLarge`.
    """
    check_step_name(name)
    if len(result) > STEP_BYTES:
        raise TooLarge(f"step {name}", f"its result has {len(result)} bytes", f"at most {STEP_BYTES} bytes")
    if count >= STEPS_MOST:
        raise TooLarge(f"step {name}", f"the task has recorded {count} steps", f"at most {STEPS_MOST} steps")
    if size + len(result) > STEPS_BYTES:
        problem = f"the results of the task's steps have {size + len(result)} bytes together"
        raise TooLarge(f"step {name}", problem, f"at most {STEPS_BYTES} bytes")


class Noted(NamedTuple):
    """Which line a task's checkpoint and progress are of: the run's token, and the line's number in it."""

    token: int = 0
    number: int = 0


def is_late(noted: Noted, token: int, number: int) -> bool:
    """Whether a line comes after one that was written later: a server held it up, and its sender has sent it
    again by another, and then the next."""
    return 0 < number < noted.number and noted.token == token


class LogPiece(NamedTuple):
    """Some text that was written in one go. `at_us` is the wall clock of the machine it was written on: for
    people. `offset` counts bytes of UTF-8."""

    offset: int
    stream: str
    at_us: int
    text: str


def size_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def end_of(piece: LogPiece) -> int:
    return piece.offset + size_of(piece.text)


def weight_of(pieces: Iterable[LogPiece]) -> int:
    """What pieces count for under the caps."""
    return sum(size_of(piece.text) + PIECE_OVERHEAD for piece in pieces)


class LogHead(NamedTuple):
    """Where a task's log stands: the run that wrote last, where that run began, where the log ends, and the
    weight of what is kept of it."""

    token: int = 0
    base: int = 0
    ends: int = 0
    kept: int = 0


class LogBlock(NamedTuple):
    """Some pieces in a row, kept and dropped together."""

    ends: int
    weight: int
    pieces: list[LogPiece]


def admit(head: LogHead, token: int, pieces: Sequence[LogPiece]) -> tuple[LogHead, list[LogBlock]]:
    """Put a run's pieces behind what the task has written so far. Those that are there already are passed
    over: the answer to their first sending was lost."""
    base = head.base if head.token == token else head.ends
    ends, fresh = head.ends, []
    for piece in pieces:
        moved = piece._replace(offset=base + piece.offset)
        if moved.offset >= ends and piece.text:
            ends = end_of(moved)
            fresh.append(moved)
    blocks = list(_blocks(fresh))
    return LogHead(token, base, ends, head.kept + sum(block.weight for block in blocks)), blocks


def _blocks(pieces: Sequence[LogPiece]) -> Iterator[LogBlock]:
    """Cut so that the oldest of a log can be dropped in small bites."""
    gathered: list[LogPiece] = []
    weight = 0
    for piece in pieces:
        gathered.append(piece)
        weight += weight_of((piece,))
        if weight >= BLOCK_BYTES:
            yield LogBlock(end_of(piece), weight, gathered)
            gathered, weight = [], 0
    if gathered:
        yield LogBlock(end_of(gathered[-1]), weight, gathered)


def surplus(oldest_first: Iterable[tuple[int, int]], kept: int, cap: int) -> tuple[int, int]:
    """What to drop of a log so that at most `cap` is kept, but never its last block: where the last block
    to drop ends (0 for none), and the weight of all of them. Takes `(ends, weight)` of the blocks, no more
    than needed."""
    up_to, freed = 0, 0
    for ends, weight in oldest_first:
        if kept - freed <= cap or kept - freed <= weight:
            break
        up_to, freed = ends, freed + weight
    return up_to, freed


def unread(pieces: Iterable[LogPiece], after: int) -> list[LogPiece]:
    """The pieces that somebody who has read up to `after` does not know whole."""
    return [piece for piece in pieces if end_of(piece) > after]
