"""Chance, and what it breaks on the way. Every fault has a name, and every fault that happens is counted."""

from collections.abc import Mapping

from mainspring.testing.loop import HostClock, VirtualLoop
from mainspring.testing.record import Record

# What can go wrong with one call, and how often it does while the storm lasts.
CHANCES = {
    "store.slow": 0.012,
    "store.error_before": 0.006,
    "store.error_after": 0.008,
    "store.reply_lost": 0.004,
    "store.repeated": 0.012,
    "net.slow": 0.02,
    "net.request_lost": 0.01,
    "net.reply_lost": 0.02,
    "net.repeated": 0.02,
    "net.refused": 0.01,
}

# What the storm does to the whole, one thing after another, and how often one against the other.
BLOWS = {
    "worker.crash": 6,
    "worker.pause": 5,
    "worker.drain": 3,
    "worker.halt": 1,
    "server.crash": 4,
    "server.pause": 3,
    "server.stop": 2,
    "leader.cut_off": 2,
    "net.partition": 4,
    "store.down": 2,
    "store.lost_writes": 2,
    "store.clock_forward": 1,
    "store.clock_back": 1,
    "node.clock_step": 2,
}
POINTS = (*CHANCES, *BLOWS)
OF_ELECTION = ("leader.cut_off",)


class Weather:
    """The dice of a seed, and whether it storms. In calm weather calls are quick and nothing fails."""

    def __init__(
        self, loop: VirtualLoop, record: Record, dice: HostClock, chances: Mapping[str, float] = CHANCES
    ) -> None:
        self.random = dice.random
        self._chances = chances
        self.stormy = False
        self.store_is_down = False
        self.late_answers_s: dict[str, float] = {}
        self.cuts: dict[tuple[str, str], int] = {}
        self._loop = loop
        self._record = record

    def strikes(self, point: str, detail: str = "") -> bool:
        """Whether this call is hit."""
        if not self.stormy or self.random.random() >= self._chances[point]:
            return False
        self._record.fault(self._loop.now_s, point, detail)
        return True

    def blow(self, point: str, detail: str = "") -> None:
        self._record.fault(self._loop.now_s, point, detail)

    def delay_s(self, point: str, detail: str = "") -> float:
        """How long one way takes."""
        delay_s = 0.0002 + 0.0018 * self.random.random()
        if self.strikes(point, detail):
            delay_s += 0.1 + 2.4 * self.random.random() ** 2
        return delay_s

    # --- partitions -----------------------------------------------------------------------------

    def cut(self, one: str, other: str) -> None:
        self._count(one, other, 1)

    def mend(self, one: str, other: str) -> None:
        self._count(one, other, -1)

    def is_cut(self, one: str, other: str) -> bool:
        return bool(self.cuts) and ((one, other) in self.cuts)

    def _count(self, one: str, other: str, step: int) -> None:
        for pair in ((one, other), (other, one)):
            self.cuts[pair] = self.cuts.get(pair, 0) + step
            if not self.cuts[pair]:
                del self.cuts[pair]
