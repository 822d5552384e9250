"""Where in each lane's line the tasks begin that are still to be claimed.

A claimed task leaves an entry in the line's index, and that entry stays for as long as any transaction of
the database is older than the claim: one that is held open for minutes keeps millions of them, and every
look would walk over all of them first. So a node remembers where its last claim of a lane ended and begins
a little before.

    ─── claimed before ────────────┤ lag ├── still to be claimed ───►  seq

Tasks that wait for a time stand in line by it, and are looked at in the same way.

What it hears of earlier places, from its own commits and from other nodes, moves the beginning back. Now and
then it looks at the whole line all the same, for what nobody told of. Until then that waits.
"""

from collections.abc import Mapping
from itertools import islice

from mainspring.core.model import SECOND_US

# Lines that are no lane's (lanes have numbers above zero): of scheduled tasks by when they are due, and of
# waiting ones by their deadlines.
DUE, DEADLINES = -1, -2
LAG_US = SECOND_US // 10
WHOLE_LOOKS_APART_US = SECOND_US
# Looks at whole lines take at most about one part in so many of the time.
WHOLE_LOOKS_SHARE = 20
LINES_KNOWN_AT_ONCE = 10_000
# So many lines does a look at all lanes begin in the middle of: each costs it two steps in the index.
LINES_OF_A_BOARD = 200
# Transactions at once do not see quite the same time.
CLOCK_STEP_US = SECOND_US


class Lines:
    """What a node knows of the lines, from its committed transactions alone."""

    def __init__(self) -> None:
        # The lane claimed last comes last.
        self._ends: dict[int, int] = {}
        self._whole_at_us: dict[int, int] = {}
        self._paid_at_us: dict[int, int] = {}
        self._board_at_us = 0
        self._latest_us = 0

    def start(self, lane_id: int, now_us: int) -> int:
        """From which place on a claim looks; 0 if a look at the whole line is due."""
        self._saw(now_us)
        end = self._ends.get(lane_id)
        return 0 if end is None or now_us >= self._whole_at_us[lane_id] else end - LAG_US

    def known_start(self, lane_id: int, now_us: int) -> int:
        """From which place on there may be tasks, as far as is known."""
        self._saw(now_us)
        end = self._ends.get(lane_id)
        return 0 if end is None else end - LAG_US

    def board_starts(self, now_us: int) -> dict[int, int]:
        """From which place on a look at all lanes looks at some of them; none if it is to see everything."""
        self._saw(now_us)
        if now_us >= self._board_at_us:
            return {}
        latest = islice(reversed(self._ends.items()), LINES_OF_A_BOARD)
        return {lane_id: end - LAG_US for lane_id, end in latest if lane_id > 0}

    def saw_board(
        self, now_us: int, took_us: int, starts: Mapping[int, int], places: Mapping[int, int]
    ) -> None:
        """A look at all lanes has found tasks at these places, none before, and none in other lanes. It began
        at the `starts` of some and saw all of the others."""
        if WHOLE_LOOKS_SHARE * took_us >= WHOLE_LOOKS_APART_US:
            # Others claim from lanes, too, and deadlines pass: what they left is not to be walked over again.
            for lane_id in self._ends.keys() - places.keys():
                if lane_id > 0:
                    self.claimed(lane_id, now_us)
            for lane_id, place in places.items():
                if lane_id not in starts:
                    self.looked(lane_id, now_us, took_us)
                self.claimed(lane_id, place)
        else:
            for lane_id, place in places.items():
                self.stands(lane_id, place)
        if not starts:
            self._board_at_us = now_us + WHOLE_LOOKS_SHARE * took_us

    def looked(self, lane_id: int, now_us: int, took_us: int) -> None:
        """A claim began at the line's very start."""
        if len(self._whole_at_us) >= LINES_KNOWN_AT_ONCE:
            self._forget_all()
        self._ends.pop(lane_id, None)
        self._paid_at_us[lane_id] = now_us + WHOLE_LOOKS_SHARE * took_us
        # Who promotes looks seldom, and nobody tells of what stands before.
        apart_us = WHOLE_LOOKS_APART_US if lane_id > 0 else 0
        self._whole_at_us[lane_id] = max(now_us + apart_us, self._paid_at_us[lane_id])

    def claimed(self, lane_id: int, end: int) -> None:
        """A claim has taken tasks up to this place, or found that there are none."""
        if lane_id in self._whole_at_us:
            self._ends[lane_id] = max(end, self._ends.pop(lane_id, 0))

    def stands(self, lane_id: int, place: int) -> None:
        """A task stands at this place."""
        end = self._ends.get(lane_id)
        if end is not None and place < end - LAG_US:
            self._ends[lane_id] = place + LAG_US

    def forget(self, lane_id: int) -> None:
        """A task stands before the place that is known."""
        self._ends.pop(lane_id, None)

    def doubt(self) -> None:
        """Tasks may stand before the places that are known. Whole looks come sooner, but within their share
        of the time: whoever keeps telling of nothing would else make each look a whole one."""
        for lane_id, paid_at_us in self._paid_at_us.items():
            self._whole_at_us[lane_id] = paid_at_us

    def _saw(self, now_us: int) -> None:
        if now_us < self._latest_us - CLOCK_STEP_US:
            # The server's clock was set back, or another server has taken over: until the old time is reached
            # again all that is new would stand before what is known, and no look would be due.
            self._forget_all()
        self._latest_us = max(now_us, self._latest_us)

    def _forget_all(self) -> None:
        self._ends.clear()
        self._whole_at_us.clear()
        self._paid_at_us.clear()
        self._board_at_us = self._latest_us = 0
