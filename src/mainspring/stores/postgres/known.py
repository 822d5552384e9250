"""What a node remembers between its transactions."""

import asyncio
from collections.abc import Mapping

from mainspring.core.limits import LimitRule
from mainspring.core.model import SECOND_US, Lane
from mainspring.stores.postgres.lines import Lines
from mainspring.stores.postgres.runs import Runs

LANES_KNOWN_AT_ONCE = 100_000


class Known:
    """Lanes, which never change; controls, which have a generation; and where to begin to look."""

    def __init__(self, *, keeps_history: bool = False) -> None:
        self.keeps_history = keeps_history
        self.lanes: dict[int, Lane] = {}
        self.lane_ids: dict[Lane, int] = {}
        self.generation = 0
        self.rules: dict[str, LimitRule] = {}
        self.paused: dict[str, str] = {}
        self.caps_backlogs = False
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
            self.lanes.clear()
            self.lane_ids.clear()
        self.lanes.update(lanes)
        self.lane_ids.update({lane: number for number, lane in lanes.items()})


def _loop_us() -> int:
    return int(asyncio.get_running_loop().time() * SECOND_US)
