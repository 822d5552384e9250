"""From which of its claims on each worker has tasks that still run.

A task that has ended leaves an entry in the index of running tasks for as long as any transaction of the
database is older (as `lines` tells), and a look for lapsed leases would walk over all of them. Claims are
numbered, and a worker's next one has the next number: once a look took long, the first claim of each worker
of which something still runs is found out, and looks begin there.

Now and then they go through everything all the same: a server that lost its last writes takes up runs that
had ended.
"""

from collections.abc import Mapping

from mainspring.stores.postgres.lines import CLOCK_STEP_US, WHOLE_LOOKS_SHARE

# A look that takes less has nothing in its way.
LONG_LOOK_US = 20_000
# Below and above every incarnation.
FIRST_OF_ALL, LAST_OF_ALL = "", "\U0010ffff"


class Runs:
    """What a node knows of them, from its committed looks alone."""

    def __init__(self) -> None:
        self._firsts: dict[str, int] = {}
        self._whole_at_us = 0
        self._learns_at_us = 0
        self._latest_us = 0

    def firsts(self, now_us: int) -> Mapping[str, int]:
        """The first claim of each worker of which something runs; none if everything is to be looked at."""
        if now_us < self._latest_us - CLOCK_STEP_US:
            self._whole_at_us = self._learns_at_us = self._latest_us = 0
        self._latest_us = max(now_us, self._latest_us)
        return {} if now_us >= self._whole_at_us else self._firsts

    def may_learn(self, now_us: int, took_us: int) -> bool:
        """Whether a look that took so long is worth another, which finds out where to begin."""
        return took_us >= LONG_LOOK_US and now_us >= self._learns_at_us

    def looked(self, now_us: int, took_us: int) -> None:
        """Something has looked at everything."""
        if took_us >= LONG_LOOK_US:
            self._whole_at_us = now_us + WHOLE_LOOKS_SHARE * took_us
        else:
            self._firsts = {}

    def learned(self, firsts: Mapping[str, int], now_us: int, took_us: int) -> None:
        self._firsts = dict(firsts)
        self._learns_at_us = now_us + WHOLE_LOOKS_SHARE * took_us


def spans(firsts: Mapping[str, int]) -> tuple[list[str], list[int], list[str]]:
    """Incarnations in their order, the first claim of each, and up to where there are others behind it."""
    known = [FIRST_OF_ALL, *sorted(firsts)]
    return known, [firsts.get(incarnation, 0) for incarnation in known], [*known[1:], LAST_OF_ALL]
