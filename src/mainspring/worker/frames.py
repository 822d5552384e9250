"""What a supervisor and its runners say to each other, and the pipes that carry it.

    supervisor ──Start, Stop, Limit, Noted, Told──► runner
    supervisor ◄─Hello, Broken, Ended, Recorded, Asked── runner

A frame is four bytes of length and a list of messages in msgpack: all that one side had to say in one turn of
its loop. A run goes by its `place`, a number that the supervisor gives out and takes back when it has ended.
"""

import asyncio
import os
import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec

from mainspring.core.lifecycle import Outcome, Report
from mainspring.core.model import Lane, Lease
from mainspring.core.progress import LogPiece
from mainspring.errors import InvalidInput, LeaseLost, MainspringError, TooLarge
from mainspring.ports import Recalled
from mainspring.worker.allowed import Allowed

READ_BYTES = 1 << 18
_HEAD = struct.Struct("<I")


class RunnerOptions(msgspec.Struct, frozen=True):
    """What a supervisor tells its runner on the command line, as JSON."""

    read_fd: int
    write_fd: int
    board_fd: int
    word_fd: int
    places: int
    slots: int
    app: str
    allowed: Allowed
    log_level: str


class Start(msgspec.Struct, array_like=True, tag=1):
    """Run these: `(place, asked_s, *lease)` each, in order."""

    rows: list[tuple[Any, ...]]


class Stop(msgspec.Struct, array_like=True, tag=2):
    place: int
    reason: str


class Limit(msgspec.Struct, array_like=True, tag=3):
    """How many runs may go on at a time."""

    slots: int


class Kind(msgspec.Struct, array_like=True):
    kind: str
    isolated: bool
    timeout_s: float | None


class Hello(msgspec.Struct, array_like=True, tag=4):
    """The runner has loaded its handlers and takes work."""

    kinds: list[Kind]


class Broken(msgspec.Struct, array_like=True, tag=5):
    """The runner could not load its handlers; it ends."""

    message: str


class Ended(msgspec.Struct, array_like=True, tag=6):
    """A run is over; without a report, nobody needs to hear how."""

    place: int
    report: tuple[Any, ...] | None


class Recorded(msgspec.Struct, array_like=True, tag=7):
    """A run records something. With a `number`, the runner wants to know when it is stored: `Noted`."""

    place: int
    number: int
    checkpoint: bytes | None
    progress: bytes | None
    steps: dict[str, bytes]
    log: list[LogPiece]


class Noted(msgspec.Struct, array_like=True, tag=8):
    """The recording is stored, or never will be, with the reason as an error's code and text."""

    number: int
    code: str
    detail: str


class Asked(msgspec.Struct, array_like=True, tag=9):
    """A run asks what earlier runs recorded, or how its parents ended: `Told`."""

    place: int
    number: int
    steps: bool
    parents: bool


class Told(msgspec.Struct, array_like=True, tag=10):
    """The answer, or why there is none."""

    number: int
    answer: Recalled | None
    code: str
    detail: str


Message: TypeAlias = Start | Stop | Limit | Hello | Broken | Ended | Recorded | Noted | Asked | Told


def pack_lease(place: int, asked_s: float, lease: Lease) -> tuple[Any, ...]:
    return (place, asked_s, *msgspec.structs.astuple(lease))


def unpack_lease(row: Sequence[Any]) -> Lease:
    lease = Lease(*row[2:])
    lease.lane = Lane(*lease.lane)
    return lease


def pack_report(report: Report | None) -> tuple[Any, ...] | None:
    return None if report is None else msgspec.structs.astuple(report)


def unpack_report(row: tuple[Any, ...] | None) -> Report | None:
    if row is None:
        return None
    report = Report(*row)
    report.outcome = Outcome(report.outcome)
    return report


def pack_error(error: MainspringError | None) -> tuple[str, str]:
    return ("", "") if error is None else (error.code, error.detail)


def unpack_error(code: str, detail: str) -> MainspringError | None:
    """Of the errors that a recording can end with."""
    if not code:
        return None
    if code in (InvalidInput.code, TooLarge.code):
        kind = TooLarge if code == TooLarge.code else InvalidInput
        return kind("recorded", detail)
    return LeaseLost(detail)


class Channel:
    """Both directions between two processes, over two pipes, on the running loop.

    `heard` gets the messages of each frame; `closed` is called once, when the other side is gone.
    """

    def __init__(
        self,
        read_fd: int,
        write_fd: int,
        heard: Callable[[list[Message]], None],
        closed: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._read_fd, self._write_fd = read_fd, write_fd
        self._heard, self._closed = heard, closed
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(list[Message]).decode
        self._in, self._out = bytearray(), bytearray()
        self._messages: list[Message] = []
        self._open = True
        self._blocked = False
        for fd in (read_fd, write_fd):
            os.set_blocking(fd, False)
        self._loop.add_reader(read_fd, self._read)

    def send(self, message: Message) -> None:
        """Goes out at the end of this turn of the loop, with all else that is sent in it."""
        if self._open:
            if not self._messages:
                self._loop.call_soon(self.flush)
            self._messages.append(message)

    def flush(self) -> None:
        if not self._messages or not self._open:
            return
        frame = self._encode(self._messages)
        self._messages = []
        self._out += _HEAD.pack(len(frame))
        self._out += frame
        if not self._blocked:
            self._write()

    def close(self) -> None:
        """Let go of both pipes, without a call of `closed`."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._read_fd)
            self._loop.remove_writer(self._write_fd)
            os.close(self._read_fd)
            os.close(self._write_fd)

    def _lost(self) -> None:
        if self._open:
            self.close()
            self._closed()

    def _write(self) -> None:
        try:
            del self._out[: os.write(self._write_fd, self._out)]
        except BlockingIOError:
            pass
        except OSError:
            # The other side is gone. What it said last may still be in the other pipe, whose end tells.
            self._out.clear()
        if bool(self._out) != self._blocked:
            self._blocked = bool(self._out)
            if self._blocked:
                self._loop.add_writer(self._write_fd, self._write)
            else:
                self._loop.remove_writer(self._write_fd)

    def _read(self) -> None:
        try:
            data = os.read(self._read_fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        buffer = self._in
        buffer += data
        start = 0
        while len(buffer) - start >= _HEAD.size:
            (size,) = _HEAD.unpack_from(buffer, start)
            end = start + _HEAD.size + size
            if len(buffer) < end:
                break
            self._heard(self._decode(memoryview(buffer)[start + _HEAD.size : end]))
            start = end
        del buffer[:start]
