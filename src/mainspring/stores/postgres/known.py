"""What a node remembers between its transactions."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from mainspring.core.limits import LimitRule
from mainspring.core.model import SECOND_US, Lane
from mainspring.stores.postgres.lines import Lines
from mainspring.stores.postgres.runs import Runs

LANES_KNOWN_AT_ONCE = 100_000


class Controls(NamedTuple):
    """The limits and pauses of one generation; 0 if a node has seen none yet."""

    generation: int
    rules: Mapping[str, LimitRule]
    paused: Mapping[str, str]
    caps_backlogs: bool


class Known:
    """Lanes, which never change; controls, which have a generation; and where to begin to look. Transactions
    under way at the same time go each by the lanes and the controls that they found."""

    def __init__(self, *, keeps_history: bool = False) -> None:
        self.keeps_history = keeps_history
        self.lanes: dict[int, Lane] = {}
        self.lane_ids: dict[Lane, int] = {}
        self.controls = Controls(0, {}, {}, caps_backlogs=False)
        self.lines = Lines()
        self.runs = Runs()
        self._lead_us = 0

    def saw(self, now_us: int) -> None:
        self._lead_us = now_us - _loop_us()

    def now_us(self) -> int:
        """About what the server's clock shows, by what it showed last."""
        return _loop_us() + self._lead_us

    def learn(self, lanes: Mapping[int, Lane]) -> None:
        if len(self.lanes) >= LANES_KNOWN_AT_ONCE:
            self.forget_lanes()
        self.lanes.update(lanes)
        self.lane_ids.update({lane: number for number, lane in lanes.items()})

    def forget_lanes(self) -> None:
        """A server that has lost its last writes may have lost lanes: what was submitted into one of them
        would be found by nobody else. Not emptied, since transactions under way go by them."""
        self.lanes, self.lane_ids = {}, {}


def _loop_us() -> int:
    return int(asyncio.get_running_loop().time() * SECOND_US)
