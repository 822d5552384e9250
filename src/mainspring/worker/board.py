"""Which runs have begun, in memory that a runner and its supervisor share.

A runner that dies takes along what it had not yet sent. What it wrote here stays: so the supervisor knows
which runs to count as lost and which have never begun, without a message for every run.
"""

import mmap
import os
import struct
import sys
import tempfile

from mainspring.worker.runs import Run

_START = struct.Struct("<d")


class Board:
    """One start time for each place; 0 means not begun. Monotonic time is one for all processes of a
    machine."""

    def __init__(self, fd: int, places: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, places * _START.size)

    @classmethod
    def make(cls, places: int) -> "Board":
        if sys.platform == "linux":
            fd = os.memfd_create("mainspring-board")
        else:
            with tempfile.TemporaryFile(buffering=0) as file:
                fd = os.dup(file.fileno())
        os.truncate(fd, places * _START.size)
        return cls(fd, places)

    def write(self, place: int, started_s: float) -> None:
        _START.pack_into(self._memory, place * _START.size, started_s)

    def read(self, place: int) -> float:
        (started_s,) = _START.unpack_from(self._memory, place * _START.size)
        return float(started_s)

    def close(self) -> None:
        self._memory.close()
        os.close(self.fd)


class BoardedRun(Run):
    """A run in a runner: its start is on the board before any of its handler's code runs."""

    __slots__ = ("board", "place")

    board: Board
    place: int

    @property
    def started_s(self) -> float:
        return self.board.read(self.place)

    @started_s.setter
    def started_s(self, started_s: float) -> None:
        if started_s:
            self.board.write(self.place, started_s)
