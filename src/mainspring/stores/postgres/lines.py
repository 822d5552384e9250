"""Where in each lane's line the tasks begin that are still to be claimed.

A claimed task leaves an entry in the line's index, and that entry stays for as long as any transaction of
the database is older than the claim: one that is held open for minutes keeps millions of them, and every
claim would walk over all of them first. So a node remembers where its last claim of a lane ended and begins
a little before.

    ─── claimed before ────────────┤ lag ├── still to be claimed ───►  seq

Now and then a claim looks at the whole line all the same: a task may have taken its old place again on
another node, or come from a submit that took longer than the lag to commit. Until then it waits.
"""

from mainspring.core.model import SECOND_US

LAG_US = SECOND_US // 10
WHOLE_LOOKS_APART_US = SECOND_US
# Looks at whole lines take at most about one part in so many of the time.
WHOLE_LOOKS_SHARE = 20
LINES_KNOWN_AT_ONCE = 10_000
# Transactions at once do not see quite the same time.
CLOCK_STEP_US = SECOND_US


class Lines:
    """What a node knows of the lines, from its committed claims alone."""

    def __init__(self) -> None:
        self._ends: dict[int, int] = {}
        self._whole_at_us: dict[int, int] = {}
        self._latest_us = 0

    def start(self, lane_id: int, now_us: int) -> int:
        """From which place on to look; 0 if a look at the whole line is due."""
        if now_us < self._latest_us - CLOCK_STEP_US:
            # The server's clock was set back, or another server has taken over: until the old time is reached
            # again all that is new would stand before what is known, and no look would be due.
            self._forget_all()
        self._latest_us = max(now_us, self._latest_us)
        end = self._ends.get(lane_id)
        return 0 if end is None or now_us >= self._whole_at_us[lane_id] else end - LAG_US

    def looked(self, lane_id: int, now_us: int, took_us: int) -> None:
        """A claim began at the line's very start."""
        if len(self._whole_at_us) >= LINES_KNOWN_AT_ONCE:
            self._forget_all()
        self._ends.pop(lane_id, None)
        self._whole_at_us[lane_id] = now_us + max(WHOLE_LOOKS_APART_US, WHOLE_LOOKS_SHARE * took_us)

    def claimed(self, lane_id: int, end: int) -> None:
        """A claim has taken tasks up to this place."""
        if lane_id in self._whole_at_us:
            self._ends[lane_id] = max(end, self._ends.get(lane_id, 0))

    def forget(self, lane_id: int) -> None:
        """A task stands before the place that is known."""
        self._ends.pop(lane_id, None)

    def _forget_all(self) -> None:
        self._ends.clear()
        self._whole_at_us.clear()
        self._latest_us = 0
