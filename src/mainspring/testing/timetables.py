"""The memory store's schedules, writing down every question, every decision, and rows written past them."""

from abc import abstractmethod
from collections.abc import Coroutine, Sequence
from heapq import heappush
from typing import Any

import msgspec

from mainspring.ports import (
    Clock,
    DueSchedules,
    Fired,
    FireLine,
    NewSchedule,
    Refused,
    ScheduleRecord,
    SeenSchedules,
)
from mainspring.stores.memory import MemoryStore
from mainspring.stores.memory.tables import Due, ScheduleRow, Tables
from mainspring.testing.loop import VirtualLoop
from mainspring.testing.record import Record, Shown, Timetable


class WatchedSchedules(MemoryStore):
    """The part of a `WatchedStore` that is about schedules."""

    def __init__(self, clock: Clock, loop: VirtualLoop, record: Record) -> None:
        super().__init__(clock)
        self._loop = loop
        self._record = record

    @abstractmethod
    async def _noted(
        self, verb: str, args: tuple[Any, ...], work: Coroutine[Any, Any, Any], lines: Sequence[Any] = ()
    ) -> Any:
        """Do the work of a verb between its `Called` and its `Answered`."""

    def schedules_left(self) -> bool:
        """Whether a schedule has fires to come, or to be decided."""
        rows = self._tables.schedules.values()
        return any(row.look_us is not None and row.record.quarantine is None for row in rows)

    def show(self, schedule: str) -> None:
        """Put on record how a schedule stands."""
        row = self._tables.schedules.get(schedule)
        if row is not None:
            shown = timetable(self._tables, schedule)
            self._record.add(Shown(self._loop.now_s, self._clock.now_us(), shown, row.look_us))

    def show_schedules(self) -> None:
        for schedule in self._tables.schedules:
            self.show(schedule)

    async def write_row(self, schedule: str, new: NewSchedule) -> None:
        """A row as plain SQL writes it: unchecked, and news to the firer."""
        await self._noted("write_row", (schedule, new), self._write_row(schedule, new))

    async def _write_row(self, schedule: str, new: NewSchedule) -> int:
        tables, version = self._tables, self._clock.mint()
        row = tables.schedules.get(schedule)
        if row is None:
            record = ScheduleRecord(schedule, new.rules, new.template, version)
            row = tables.schedules[schedule] = ScheduleRow(record, self._clock.mint())
        row.record = msgspec.structs.replace(
            row.record,
            rules=new.rules,
            template=new.template,
            version=version,
            quarantine=None,
            updated_at_us=None,
        )
        row.mark, row.look_us = f"sql-{version}", 0
        heappush(tables.looks, Due(0, row.ordinal, schedule))
        return version

    # --- verbs ----------------------------------------------------------------------------------

    async def due_schedules(self, limit: int) -> DueSchedules:
        due: DueSchedules = await self._noted("due_schedules", (limit,), super().due_schedules(limit))
        return due

    async def schedules(self, ids: Sequence[str]) -> SeenSchedules:
        seen: SeenSchedules = await self._noted("schedules", (ids,), super().schedules(ids))
        return seen

    async def fire(self, lines: Sequence[FireLine], term: int | None) -> Fired:
        fired: Fired = await self._noted("fire", (lines, term), super().fire(lines, term))
        return fired

    async def delete_schedule(self, schedule: str, version: int | None) -> Refused | None:
        self.show(schedule)
        refused: Refused | None = await self._noted(
            "delete_schedule", (schedule, version), super().delete_schedule(schedule, version)
        )
        return refused


def timetable(tables: Tables, schedule: str) -> Timetable:
    row = tables.schedules[schedule]
    records = tuple(record for _, record in tables.fires.get(schedule, ()))
    return Timetable(row.record, row.mark, records, dict(tables.fired.get(schedule, {})))
