"""The schedules of a simulation: of every kind and policy, changed by hand, broken by plain SQL."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from mainspring.core.limits import LimitRule
from mainspring.core.model import SECOND_US, Lane
from mainspring.core.schedules import MISFIRES, OVERLAPS, Schedule
from mainspring.core.templates import Template
from mainspring.core.timing import Timing
from mainspring.ports import NewSchedule
from mainspring.scheduler.rescheduling import SchedulePatch
from mainspring.testing.client import Client
from mainspring.testing.loop import HostClock

Deed = Callable[[], Coroutine[Any, Any, Any]]
Written = Callable[[str, NewSchedule], Coroutine[Any, Any, None]]
ZONES = ("UTC", "Asia/Kathmandu", "America/St_Johns")
CRONS = ("*/2 * * * * *", "*/3 * * * * *", "1-59/4 * * * * *", "0,7,13-50/6 * * * * *")
MENDED_WITHIN_S = 3.0
NARROW = LimitRule(max_running=1, max_waiting=2)


class Planned:
    """`at` puts a deed somewhere into the seed's time; `write_row` writes a schedule as plain SQL would.

    Each schedule has an end, so that a seed has one."""

    def __init__(
        self, client: Client, store_clock: HostClock, write_row: Written, at: Callable[[Deed, float], None]
    ) -> None:
        self._client = client
        self._dice = client.dice
        self._now_us = store_clock.now_us
        self._write_row = write_row
        self._made = 0
        for deed in (self._steady, self._handled, self._handled, self._deleted, self._put_back, self._broken):
            at(deed, 4.0)
        at(self._crowded if self._dice.random() < 0.5 else self._steady, 4.0)

    # --- what they are --------------------------------------------------------------------------

    def _name(self) -> str:
        self._made += 1
        return f"schedule-{self._made}"

    def _timing(self) -> Timing:
        dice, now_us = self._dice, self._now_us()
        end_us = now_us + dice.randint(5, 11) * SECOND_US
        if dice.random() < 0.5:
            every_us = dice.choice((1.0, 1.5, 2.0, 3.0))
            anchor_us = now_us - dice.randint(0, 10 * SECOND_US) if dice.random() < 0.5 else None
            return Timing(every_us=int(every_us * SECOND_US), anchor_us=anchor_us, end_us=end_us)
        start_us = now_us + dice.randint(0, 2 * SECOND_US)
        return Timing(cron=dice.choice(CRONS), zone=dice.choice(ZONES), start_us=start_us, end_us=end_us)

    def _new(self, timing: Timing | None = None, queue: str = "main") -> NewSchedule:
        dice = self._dice
        rules = Schedule(
            timing or self._timing(),
            misfire=dice.choice(MISFIRES),
            misfire_limit=dice.randint(1, 2),
            misfire_grace_us=int(dice.choice((0.3, 1.0, 3.0)) * SECOND_US),
            overlap=dice.choice(OVERLAPS),
            jitter_us=dice.choice((0, 0, SECOND_US // 2)),
        )
        return NewSchedule(rules, Template(Lane(queue, "act", "acme", 5), self._payload()))

    def _payload(self) -> bytes:
        seconds = round(self._dice.choice((0.1, 0.1, 0.5, 2.2)) * (0.5 + self._dice.random()), 3)
        return msgspec.json.encode({"do": "ok", "s": seconds})

    def _spoiled(self, new: NewSchedule) -> NewSchedule:
        """As a person's typing error would have it."""
        timing = new.rules.timing
        kind = self._dice.randrange(3)
        if kind == 0:
            timing = msgspec.structs.replace(timing, zone="Mars/Olympus_Mons")
        elif kind == 1:
            timing = Timing(cron="61 * * * * *")
        else:
            lane = new.template.lane._replace(queue="")
            return NewSchedule(new.rules, msgspec.structs.replace(new.template, lane=lane))
        return NewSchedule(msgspec.structs.replace(new.rules, timing=timing), new.template)

    # --- what happens to them -------------------------------------------------------------------

    async def _create(self, name: str, new: NewSchedule) -> None:
        if self._dice.random() < 0.2:
            await self._write_row(name, new)
        else:
            await self._client.change_schedule("create", lambda s: s.schedules.put(name, new))

    async def _steady(self) -> None:
        await self._create(self._name(), self._new())

    async def _handled(self) -> None:
        """Changed by hand while it fires."""
        name = self._name()
        await self._create(name, self._new())
        for _ in range(3):
            await self._pause(1.5)
            await self._dice.choice(
                (self._paused, self._triggered, self._skipped, self._edited, self._rewritten)
            )(name)

    async def _pause(self, most_s: float) -> None:
        await asyncio.sleep(most_s * self._dice.random())

    async def _paused(self, name: str) -> None:
        await self._client.change_schedule("pause", lambda s: s.schedules.pause(name))
        await self._pause(3.0)
        if self._dice.random() < 0.3:
            await self._triggered(name)
        await self._client.change_schedule("resume", lambda s: s.schedules.resume(name))

    async def _triggered(self, name: str) -> None:
        await self._client.change("trigger", lambda s: s.schedules.trigger(name))

    async def _skipped(self, name: str) -> None:
        await self._client.change_schedule("skip_next", lambda s: s.schedules.skip_next(name))

    async def _edited(self, name: str) -> None:
        dice, timing = self._dice, self._timing()
        patch = dice.choice(
            (
                SchedulePatch(overlap=dice.choice(OVERLAPS)),
                SchedulePatch(payload=self._payload()),
                SchedulePatch(
                    every_us=dice.randint(2, 6) * SECOND_US // 2, jitter_us=0, end_us=timing.end_us
                ),
                SchedulePatch(
                    cron=timing.cron or CRONS[0], start_us=None, zone=timing.zone, end_us=timing.end_us
                ),
                SchedulePatch(at_us=self._now_us() + dice.randint(-1, 2) * SECOND_US, end_us=None),
            )
        )
        await self._client.change_schedule("update", lambda s: s.schedules.update(name, patch))

    async def _rewritten(self, name: str) -> None:
        await self._write_row(name, self._new())

    async def _deleted(self) -> None:
        name, new = self._name(), self._new()
        await self._create(name, new)
        await self._pause(4.0)
        await self._client.insist(lambda s: s.schedules.delete(name), "delete_schedule")
        if self._dice.random() < 0.5:
            await self._pause(1.0)
            await self._create(name, self._new())

    async def _put_back(self) -> None:
        """One instant; deleted after it, and put back: it has had its task."""
        now_us = self._now_us()
        new = self._new(Timing(at_us=now_us + self._dice.randint(-1, 3 * SECOND_US)))
        name = self._name()
        await self._client.change_schedule("create", lambda s: s.schedules.put(name, new))
        await asyncio.sleep(1.5 + 2.0 * self._dice.random())
        await self._client.insist(lambda s: s.schedules.delete(name), "delete_schedule")
        await self._client.change_schedule("create", lambda s: s.schedules.put(name, new))

    async def _broken(self) -> None:
        """Broken by plain SQL, from the first or later; mended in the same way, or by hand."""
        name, good = self._name(), self._new()
        if self._dice.random() < 0.6:
            await self._create(name, good)
            await self._pause(2.5)
        await self._write_row(name, self._spoiled(good))
        await self._pause(MENDED_WITHIN_S)
        mended = self._new() if self._dice.random() < 0.5 else good
        if self._dice.random() < 0.5:
            await self._write_row(name, mended)
        else:
            await self._client.change_schedule("mend", lambda s: s.schedules.put(name, mended))

    async def _crowded(self) -> None:
        """More than its queue takes."""
        await self._client.insist(lambda s: s.set_limit("queue:narrow", NARROW), "limit")
        timing = Timing(every_us=SECOND_US, end_us=self._now_us() + 8 * SECOND_US)
        new = self._new(timing, "narrow")
        rules = msgspec.structs.replace(new.rules, overlap="allow")
        slow = msgspec.structs.replace(new.template, payload=b'{"do":"ok","s":1.7}')
        await self._create(self._name(), NewSchedule(rules, slow))
