"""A listener for tests: any hint wakes it."""

from collections.abc import Callable, Sequence

from mainspring.core.order import LaneHead


class Woken:
    """Calls `wake` at every hint, and keeps what was told."""

    def __init__(self, wake: Callable[[], object] = lambda: None) -> None:
        self._wake = wake
        self.heads: list[LaneHead] = []

    def gained(self, heads: Sequence[LaneHead]) -> None:
        self.heads += heads
        self._wake()

    def ended(self) -> None:
        self._wake()

    def anything(self) -> None:
        self._wake()
