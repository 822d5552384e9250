"""Schedules: tasks that are made again and again, or at one time to come."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypedDict, TypeVar, Unpack

import msgspec

from mainspring.core.schedules import Schedule
from mainspring.core.templates import Template
from mainspring.errors import InvalidInput, NotFound
from mainspring.ports import NewSchedule, ScheduleRecord
from mainspring.sdk.blocking import Home, blocking
from mainspring.sdk.calls import TaskCall
from mainspring.sdk.handles import Connected, TaskHandle
from mainspring.sdk.options import Duration, encoded
from mainspring.wire.schedule_views import encode, schedule_view
from mainspring.wire.schedules import PREVIEW, schedule_rules, template

R_co = TypeVar("R_co", covariant=True)


class Rules(TypedDict, total=False):
    """Exactly one of `cron`, `every` and `at`, and what else holds for it; as in `docs/schedules.md`."""

    cron: str | None
    every: Duration | None
    at: datetime | str | None
    anchor: datetime | str | None
    zone: str | None
    dst: str | None
    start: datetime | str | None
    end: datetime | str | None
    misfire: str | None
    misfire_grace: Duration | None
    overlap: str | None
    jitter: Duration | None
    paused: bool | None


class When:
    """When a schedule fires, and what becomes of fires that are late, or overlap:
    `When(cron="0 3 * * *", zone="Europe/Berlin", overlap="skip")`."""

    __slots__ = ("rules",)

    def __init__(self, **rules: Unpack[Rules]) -> None:
        """Raises `InvalidInput` that names the field. Whether it ever fires shows when it is stored."""
        given = {name: value for name, value in rules.items() if value is not None}
        self.rules: Schedule = schedule_rules(PREVIEW.read(encoded(given)))

    def __repr__(self) -> str:
        return f"<when {self.rules}>"


class ScheduleInfo(msgspec.Struct, frozen=True):
    """A schedule as it was when it was read. Durations are seconds, times aware, in UTC; `next_fire_at` is
    `None` if it is paused or over; `quarantine` says why it cannot be obeyed."""

    id: str
    cron: str | None
    every: float | None
    at: datetime | None
    zone: str
    overlap: str
    misfire: str
    paused: bool
    next_fire_at: datetime | None
    last_fire_at: datetime | None
    last_task: str | None
    quarantine: str | None
    version: int


_info = msgspec.json.Decoder(ScheduleInfo)


class ScheduleHandle(Generic[R_co]):
    """A schedule, by its id. Every method asks anew."""

    __slots__ = ("_client", "_decode", "id")

    def __init__(self, client: Connected, schedule: str, decode: Callable[[bytes], R_co]) -> None:
        self.id = schedule
        self._client = client
        self._decode = decode

    @property
    def home(self) -> Home:
        return self._client.home

    def __repr__(self) -> str:
        return f"<schedule {self.id}>"

    @blocking
    async def refresh(self) -> ScheduleInfo:
        """The schedule as it is now. Raises `NotFound`."""
        backend = await self._client.backend()
        return info_of(await backend.get_schedule(self.id))

    @blocking
    async def pause(self) -> None:
        """No fires from now on, until `resume`. Raises `NotFound`."""
        await (await self._client.backend()).pause_schedule(self.id, True)

    @blocking
    async def resume(self) -> None:
        """Fires from now on; those of the pause are skipped. Raises `NotFound`."""
        await (await self._client.backend()).pause_schedule(self.id, False)

    @blocking
    async def trigger(self) -> TaskHandle[R_co]:
        """Make a task now, whatever the rules say. Raises `NotFound`."""
        task = await (await self._client.backend()).trigger_schedule(self.id)
        return TaskHandle(self._client, task.id, self._decode)

    @blocking
    async def delete(self) -> bool:
        """Forget the schedule; its tasks stay. Whether there was one."""
        try:
            await (await self._client.backend()).delete_schedule(self.id)
        except NotFound:
            return False
        return True


def info_of(record: ScheduleRecord) -> ScheduleInfo:
    return _info.decode(encode(schedule_view(record)))


def new_schedule(when: When, call: TaskCall[Any]) -> NewSchedule:
    """Raises `InvalidInput` naming the field below `task`."""
    if call.plan.idempotency_key is not None:
        raise InvalidInput(
            "task.idempotency_key", "not part of a schedule's task: each fire makes one of its own"
        )
    given = call.task_in()
    if call.plan.parents:
        given.depends_on = []  # to be refused by the rule for them
    made: Template = template(given)
    return NewSchedule(when.rules, made)
