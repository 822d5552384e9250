"""What handlers tell the probe, without the store's help: numbers in a file that all processes map.

    ready[p]  count[p]    per worker process: it is about to start; handlers that have run in it
    started   again       when the task that is held began first, and when it began anew
    stamps                seconds from submit to start, one per stamped task

A count costs a handler a third of a microsecond and the store nothing, whichever peer runs it. Counting
handlers is not counting completions: a probe waits for the peer's own record before it stops its watch.
"""

import itertools
import mmap
import os
import struct
import time
from pathlib import Path

FILE, PLACE = "MAINSPRING_TALLY", "MAINSPRING_TALLY_PLACE"
PROCESSES, STAMPS = 4, 20_000
_COUNTS, _READY, _HELD, _STAMPS = 0, 8 * PROCESSES, 16 * PROCESSES, 16 * PROCESSES + 16
SIZE = _STAMPS + 8 * STAMPS
GATE = "gate"


class Tally:
    """The mapped file; a fresh one is all zeros."""

    def __init__(self, path: str) -> None:
        Path(path).touch()
        with open(path, "r+b") as file:
            if os.fstat(file.fileno()).st_size < SIZE:
                file.truncate(SIZE)
            self._map = mmap.mmap(file.fileno(), SIZE)
        self._gate = Path(path).with_name(GATE)

    # --- the probe ------------------------------------------------------------------------------

    def clear(self) -> None:
        self._map[:] = bytes(SIZE)
        self._gate.unlink(missing_ok=True)

    def open_gate(self) -> None:
        self._gate.touch()

    def count(self) -> int:
        return sum(struct.unpack_from(f"{PROCESSES}q", self._map, _COUNTS))

    def ready(self) -> int:
        """How many worker processes stand at the gate, or have passed it."""
        return sum(struct.unpack_from(f"{PROCESSES}q", self._map, _READY))

    def held(self) -> tuple[float, float]:
        first, again = struct.unpack_from("2d", self._map, _HELD)
        return first, again

    def stamps(self, count: int) -> list[float]:
        return sorted(struct.unpack_from(f"{count}d", self._map, _STAMPS))

    # --- the worker -----------------------------------------------------------------------------

    def wait_at_gate(self, place: int) -> None:
        """Workers that are measured together begin together, however long their imports take."""
        struct.pack_into("q", self._map, _READY + 8 * place, 1)
        while not self._gate.exists():
            time.sleep(0.001)


_place = int(os.environ.get(PLACE, "0"))
_tally = Tally(os.environ[FILE]) if FILE in os.environ else None
_next = itertools.count(1)  # atomic, also between threads


def wait_at_gate() -> None:
    assert _tally is not None
    _tally.wait_at_gate(_place)


def noop() -> None:
    """One more has run."""
    assert _tally is not None
    struct.pack_into("q", _tally._map, 8 * _place, next(_next))


def stamp(sent: float) -> None:
    assert _tally is not None
    waited, number = time.time() - sent, next(_next)
    struct.pack_into("d", _tally._map, _STAMPS + 8 * (number - 1), waited)
    struct.pack_into("q", _tally._map, 8 * _place, number)


def hold() -> bool:
    """Notes when this run began. Whether it is the first: that one is to last until its worker is killed."""
    assert _tally is not None
    first, again = _tally.held()
    if not first:
        struct.pack_into("d", _tally._map, _HELD, time.time())
        return True
    if not again:
        struct.pack_into("d", _tally._map, _HELD + 8, time.time())
    return False


HOLD_S = 3600.0
