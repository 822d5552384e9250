"""Schedules of a simulation: a few that fire every second or three, changed by hand while the storm lasts."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from mainspring.core.model import SECOND_US, Lane
from mainspring.core.schedules import MISFIRES, OVERLAPS, Schedule
from mainspring.core.templates import Template
from mainspring.core.timing import Timing
from mainspring.ports import NewSchedule
from mainspring.scheduler import SchedulePatch, Scheduler
from mainspring.testing.client import Client
from mainspring.testing.loop import HostClock

SCHEDULES = 3
CHANGED_FOR_S = 8.0
FIRES_FOR_S = 15
CHANGES = 0.5
"""By how many changes a second each is worried."""

Deed = Callable[[], Coroutine[Any, Any, Any]]
Wish = Callable[[Scheduler], Coroutine[Any, Any, Any]]


class Timetable:
    """`at` puts a deed somewhere into the seed's time."""

    def __init__(self, client: Client, store_clock: HostClock, at: Callable[[Deed], None]) -> None:
        self._client = client
        self._dice = client.dice
        self._store_clock = store_clock
        for number in range(SCHEDULES):
            at(lambda name=f"schedule-{number}": self._keep(name))  # type: ignore[misc]

    async def _keep(self, name: str) -> None:
        """Make it, change it again and again, and leave it running."""
        new = self._new()
        await self._insist(lambda s: s.schedules.put(name, new))
        left_s = CHANGED_FOR_S
        while (wait_s := self._dice.expovariate(CHANGES)) < left_s:
            left_s -= wait_s
            await asyncio.sleep(wait_s)
            await self._insist(self._change(name))
        await self._insist(lambda s: s.schedules.resume(name))

    async def _insist(self, wish: Wish) -> None:
        await self._client.insist(wish, "schedule")

    def _new(self) -> NewSchedule:
        dice, now_us = self._dice, self._store_clock.now_us()
        timing = Timing(
            every_us=dice.choice((1, 2, 3)) * SECOND_US,
            start_us=now_us if dice.random() < 0.5 else None,
            end_us=now_us + FIRES_FOR_S * SECOND_US,
        )
        rules = Schedule(
            timing,
            dice.choice(MISFIRES),
            misfire_grace_us=dice.choice((0, 1, 30)) * SECOND_US,
            overlap=dice.choice(OVERLAPS),
            jitter_us=dice.choice((0, SECOND_US // 2)),
        )
        return NewSchedule(rules, Template(Lane("main", "plain", "cron", 5), b'{"do":"ok","s":0.1}'))

    def _change(self, name: str) -> Wish:
        dice = self._dice
        patch = SchedulePatch(every_us=dice.choice((1, 2, 3)) * SECOND_US, overlap=dice.choice(OVERLAPS))
        wishes: tuple[Wish, ...] = (
            lambda s: s.schedules.update(name, patch),
            lambda s: s.schedules.pause(name),
            lambda s: s.schedules.resume(name),
            lambda s: s.schedules.trigger(name),
            lambda s: s.schedules.skip_next(name),
        )
        return dice.choice(wishes)
