"""Which runs have begun, and until when others may, in memory that a runner and its supervisor share.

A runner that dies takes along what it had not yet sent. What it wrote here stays: so the supervisor knows
which runs to count as lost and which have never begun, without a message for every run. And a runner whose
supervisor is stopped, and renews nothing, sees here that the leases of its waiting runs have lapsed.
"""

import mmap
import os
import struct
import sys
import tempfile

from mainspring.worker.runs import Run

_PLACE = struct.Struct("<dd")
_TIME = struct.Struct("<d")


class Board:
    """Two times for each place. Monotonic time is one for all processes of a machine."""

    def __init__(self, fd: int, places: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, places * _PLACE.size)

    @classmethod
    def make(cls, places: int) -> "Board":
        if sys.platform == "linux":
            fd = os.memfd_create("mainspring-board")
        else:
            with tempfile.TemporaryFile(buffering=0) as file:
                fd = os.dup(file.fileno())
        os.truncate(fd, places * _PLACE.size)
        return cls(fd, places)

    def clear(self, place: int, until_s: float) -> None:
        """A new run stands at this place."""
        _PLACE.pack_into(self._memory, place * _PLACE.size, 0.0, until_s)

    def write_start(self, place: int, started_s: float) -> None:
        _TIME.pack_into(self._memory, place * _PLACE.size, started_s)

    def write_until(self, place: int, until_s: float) -> None:
        _TIME.pack_into(self._memory, place * _PLACE.size + _TIME.size, until_s)

    def read(self, place: int) -> tuple[float, float]:
        """When the run began, 0 if it has not, and until when it may."""
        started_s, until_s = _PLACE.unpack_from(self._memory, place * _PLACE.size)
        return started_s, until_s

    def close(self) -> None:
        self._memory.close()
        os.close(self.fd)


class BoardedRun(Run):
    """A run in a runner: its start is on the board before any of its handler's code runs. Before `board` and
    `place` are set it has neither time."""

    __slots__ = ("board", "place")

    board: Board
    place: int

    @property
    def started_s(self) -> float:
        return self.board.read(self.place)[0]

    @started_s.setter
    def started_s(self, started_s: float) -> None:
        if started_s:
            self.board.write_start(self.place, started_s)

    @property
    def until_s(self) -> float:
        return self.board.read(self.place)[1]

    @until_s.setter
    def until_s(self, until_s: float) -> None:
        """Only the supervisor says so."""
