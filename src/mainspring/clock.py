"""The only reader of time and randomness. Everything else asks a `Clock`, so that a simulation can
run the real code in virtual time, and replay a seed exactly. A lint rule holds this line."""

import random
import time


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self.random = random.Random()
        self._ids = IdMint(self.random)

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    def new_id(self) -> str:
        return self._ids.mint(self.now_us())


class VirtualClock:
    """A clock that a simulation turns: `elapsed` is seconds of virtual time since its start.

    `offset_us` lets one node be wrong about the wall clock without disturbing its monotonic one.
    """

    def __init__(self, seed: int, start_us: int = 1_700_000_000_000_000) -> None:
        self.random = random.Random(seed)
        self.elapsed = 0.0
        self.offset_us = 0
        self._start_us = start_us
        self._ids = IdMint(self.random)

    def now_us(self) -> int:
        return self._start_us + int(self.elapsed * 1_000_000) + self.offset_us

    def monotonic(self) -> float:
        return self.elapsed

    def new_id(self) -> str:
        return self._ids.mint(self.now_us())


class IdMint:
    """Mints UUIDv7: 48 bits of milliseconds, a 12 bit counter within the millisecond, 62 random bits.

    Ids of one process rise strictly even when the clock steps back (RFC 9562, 6.2, method 1).
    """

    def __init__(self, source: random.Random) -> None:
        self._bits = source.getrandbits
        self._last = 0
        self._millisecond = -1
        self._head = ""

    def mint(self, now_us: int) -> str:
        # Milliseconds and counter as one rising number: a full counter borrows from the next millisecond.
        stamp = now_us // 1000 << 12
        if stamp <= self._last:
            stamp = self._last + 1
        self._last = stamp
        millisecond = stamp >> 12
        if millisecond != self._millisecond:
            head = f"{millisecond:012x}"
            self._millisecond, self._head = millisecond, f"{head[:8]}-{head[8:]}-7"
        low = f"{0x8000000000000000 | self._bits(62):016x}"
        return f"{self._head}{stamp & 0xFFF:03x}-{low[:4]}-{low[4:]}"
