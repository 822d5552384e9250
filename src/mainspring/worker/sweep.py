"""One timer for all deadlines of an engine.

A timer for every run would cost more than an empty run, and almost none would ever ring. So the runs that
have a limit stand in one set, and one timer rings at the earliest of their limits as it was when it was set.
"""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Generic, Protocol, TypeVar


class Limited(Protocol):
    """What a sweep watches."""

    due_s: float
    watched: bool


L = TypeVar("L", bound=Limited)


class Sweep(Generic[L]):
    """Calls `overdue(run, now_s)` for each run whose `due_s` has come; the callee moves it."""

    def __init__(self, overdue: Callable[[L, float], None], monotonic: Callable[[], float]) -> None:
        self._overdue = overdue
        self._monotonic = monotonic
        self._watched: dict[L, None] = {}  # in their order, so that a run replays
        self._timer: asyncio.TimerHandle | None = None
        self._rings_s = inf

    def watch(self, run: L) -> None:
        """Watch a run, or notice that its `due_s` has moved nearer."""
        run.watched = True
        self._watched[run] = None
        if run.due_s < self._rings_s:
            self._set(run.due_s)

    def forget(self, run: L) -> None:
        self._watched.pop(run, None)

    def close(self) -> None:
        self._watched.clear()
        self._set(inf)

    def _set(self, rings_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._rings_s = rings_s
        if rings_s < inf:
            delay_s = max(0.0, rings_s - self._monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._ring)

    def _ring(self) -> None:
        self._timer, self._rings_s = None, inf
        now_s = self._monotonic()
        for run in [run for run in self._watched if run.due_s <= now_s]:
            self._overdue(run, now_s)
        self._set(min((run.due_s for run in self._watched), default=inf))
