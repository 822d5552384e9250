"""A run's log on its way to the pump.

    handler ──write──► kept here, the oldest dropped ──a batch──► pump ──► source
                                                     ◄──noted────

The next batch leaves when the last one is stored, and not sooner than a tenth of a second after it. So a
chatty handler fills what is kept here and nothing else: not the pipe to the supervisor, not the pump, and
never the store. What is dropped leaves a gap in the offsets, which readers are told of.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from mainspring.core.progress import LOG_BYTES_LIVE, PIECE_BYTES, PIECE_OVERHEAD, LogPiece, size_of
from mainspring.errors import MainspringError

FLUSH_S = 0.1
BATCH_BYTES = 256 * 1024
KEPT_BYTES = LOG_BYTES_LIVE  # a store keeps no more of it either
_RAW = ("stdout", "stderr")


class Outlet(Protocol):
    """What a log needs of its engine."""

    def now_us(self) -> int: ...

    def soon(self, call: Callable[[], None]) -> None:
        """Call it on the event loop. From any thread."""
        ...

    def later(self, delay_s: float, call: Callable[[], None]) -> None: ...


class RunLog:
    """`send(pieces, noted)` hands a batch to the pump; `noted` is called with `None` when it is stored."""

    def __init__(
        self,
        outlet: Outlet,
        send: Callable[[list[LogPiece], Callable[[MainspringError | None], None] | None], None],
    ) -> None:
        self._outlet = outlet
        self._send = send
        self._lock = threading.Lock()
        self._pieces: deque[LogPiece] = deque()
        self._weight = 0
        self._ends = 0
        self._called = False  # a flush is on its way, or its answer
        self._closed = False

    def write(self, stream: str, text: str) -> None:
        """From any thread; never blocks."""
        text = _clean(text)
        with self._lock:
            if self._closed or not text:
                return
            for start in range(0, len(text), PIECE_BYTES // 4):
                self._add(stream, text[start : start + PIECE_BYTES // 4])
                while self._weight > KEPT_BYTES:
                    self._take()
            called, self._called = self._called, True
        if not called:
            self._outlet.soon(self._flush)

    def finish(self) -> None:
        """The run is over: hand over all that is kept. On the event loop."""
        with self._lock:
            self._closed = True
            rest = list(self._pieces)
            self._pieces.clear()
        if rest:
            self._send(rest, None)

    # --- the event loop's side ------------------------------------------------------------------

    def _flush(self) -> None:
        batch: list[LogPiece] = []
        with self._lock:
            weight = self._weight
            while self._pieces and weight - self._weight < BATCH_BYTES:
                batch.append(self._take())
            self._called = bool(batch)
        if batch:
            self._send(batch, self._noted)

    def _noted(self, error: MainspringError | None) -> None:
        if error is None:
            self._outlet.later(FLUSH_S, self._flush)
            return
        # Nobody wants it any more: the lease is lost, or the source takes no logs.
        with self._lock:
            self._closed = True
            self._pieces.clear()

    # --- under the lock -------------------------------------------------------------------------

    def _add(self, stream: str, text: str) -> None:
        size = size_of(text)
        last = self._pieces[-1] if self._pieces else None
        if last is not None and stream in _RAW and last.stream == stream:
            grown = last._replace(text=last.text + text)
            if size_of(grown.text) <= PIECE_BYTES:
                self._pieces[-1] = grown
                self._ends += size
                self._weight += size
                return
        self._pieces.append(LogPiece(self._ends, stream, self._outlet.now_us(), text))
        self._ends += size
        self._weight += size + PIECE_OVERHEAD

    def _take(self) -> LogPiece:
        piece = self._pieces.popleft()
        self._weight -= size_of(piece.text) + PIECE_OVERHEAD
        return piece


def _clean(text: str) -> str:
    """Lone surrogates, which no JSON text may carry, in their escaped spelling."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text
