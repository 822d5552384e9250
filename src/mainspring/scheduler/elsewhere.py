"""What other processes write, as far as the store tells: whoever waits here looks again."""

from collections.abc import Callable, Sequence

from mainspring.core.order import LaneHead
from mainspring.scheduler.claiming import Claiming
from mainspring.scheduler.finals import Finals
from mainspring.scheduler.progress import Progress


class Elsewhere:
    """A `ports.Wakeups`. Services are woken only by what nobody could name: each node sees to what it has
    written itself."""

    def __init__(
        self, claiming: Claiming, finals: Finals, progress: Progress, on_hint: Callable[[], None]
    ) -> None:
        self._claiming = claiming
        self._finals = finals
        self._progress = progress
        self._on_hint = on_hint

    def gained(self, heads: Sequence[LaneHead]) -> None:
        self._claiming.gained(heads)

    def ended(self) -> None:
        self._finals.mark_stale()
        self._progress.mark_stale()

    def anything(self) -> None:
        self._claiming.mark_stale()
        self.ended()
        self._on_hint()
