"""The critical path of a graph, and how long each of its tasks could take longer without delaying the end.

Longest paths over durations, as if there were slots for all: what no number of workers makes any shorter.
"""

from collections.abc import Sequence
from typing import NamedTuple

from mainspring.core.model import SECOND_US, State

UNKNOWN_US = SECOND_US


class Plan(NamedTuple):
    """`levels` count from 0, the tasks without parents. `starts_us` are the earliest starts, counted from
    the graph's. `path` are the places of one longest chain from a task without parents to one without
    children. A task with a slack of 0 is on a longest path, maybe another one."""

    length_us: int
    path: Sequence[int]
    levels: Sequence[int]
    starts_us: Sequence[int]
    slacks_us: Sequence[int]


def plan(parents: Sequence[Sequence[int]], durations_us: Sequence[int]) -> Plan:
    """`parents` are places of earlier tasks: parents stand before children."""
    count = len(parents)
    levels, starts_us, tails_us = [0] * count, [0] * count, [0] * count
    ends_us, is_last = [0] * count, [True] * count
    for place, above in enumerate(parents):
        if above:
            levels[place] = 1 + max([levels[parent] for parent in above])
            starts_us[place] = max([ends_us[parent] for parent in above])
        ends_us[place] = starts_us[place] + durations_us[place]
    for place in range(count - 1, -1, -1):
        behind_us = tails_us[place] + durations_us[place]
        for parent in parents[place]:
            is_last[parent] = False
            tails_us[parent] = max(tails_us[parent], behind_us)
    length_us = max(ends_us, default=0)
    slacks_us = [length_us - end_us - tail_us for end_us, tail_us in zip(ends_us, tails_us, strict=True)]
    return Plan(length_us, _path(parents, ends_us, is_last), levels, starts_us, slacks_us)


def _path(parents: Sequence[Sequence[int]], ends_us: Sequence[int], is_last: Sequence[bool]) -> Sequence[int]:
    """From the last task back, always by the parent that ended last; of equals by the first."""
    lasts = [place for place, last in enumerate(is_last) if last]
    path = [max(lasts, key=ends_us.__getitem__)] if lasts else []
    while path and parents[path[-1]]:
        path.append(max(parents[path[-1]], key=ends_us.__getitem__))
    return path[::-1]


# --- how long tasks take ----------------------------------------------------------------------------


class Run(NamedTuple):
    """What is known of a task's last run. A task that has not run has neither time."""

    kind: str
    state: State
    started_at_us: int | None
    finished_at_us: int | None

    @property
    def measured_us(self) -> int | None:
        """How long a run took that ended the task; nothing for a task that ended unrun."""
        if not self.state.is_final:
            return None
        if self.started_at_us is None or self.finished_at_us is None:
            return 0
        return max(0, self.finished_at_us - self.started_at_us)


class Duration(NamedTuple):
    """`left_us` is what is still to come of it."""

    us: int
    left_us: int
    is_estimated: bool


def durations(runs: Sequence[Run], now_us: int) -> list[Duration]:
    """How long each task took; for unfinished ones how long it will take: as long as successes of its kind
    took on average, else as those of all kinds, else a second. What runs takes no less than it did by now.
    """
    taken_us: dict[str, list[int]] = {}
    for run in runs:
        if run.state is State.SUCCEEDED and run.measured_us is not None:
            taken_us.setdefault(run.kind, []).append(run.measured_us)
    means_us = {kind: sum(times_us) // len(times_us) for kind, times_us in taken_us.items()}
    every = [time_us for times_us in taken_us.values() for time_us in times_us]
    usual_us = sum(every) // len(every) if every else UNKNOWN_US
    return [_duration(run, means_us.get(run.kind, usual_us), now_us) for run in runs]


def _duration(run: Run, estimate_us: int, now_us: int) -> Duration:
    measured_us = run.measured_us
    if measured_us is not None:
        return Duration(measured_us, 0, False)
    if run.state is State.RUNNING and run.started_at_us is not None:
        elapsed_us = max(0, now_us - run.started_at_us)
        whole_us = max(elapsed_us, estimate_us)
        return Duration(whole_us, whole_us - elapsed_us, True)
    return Duration(estimate_us, estimate_us, True)
