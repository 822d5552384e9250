"""A scheduler in this process, as a client's backend."""

import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from msgspec.structs import replace

from mainspring.clock import SystemClock
from mainspring.config import Settings
from mainspring.core.model import Task
from mainspring.ports import Group, NewSchedule
from mainspring.scheduler import Scheduler
from mainspring.sdk.stored import stored_ids
from mainspring.wire.schedules import checked_id


class Embedded:
    """A `ports.Backend` over a scheduler."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.get = scheduler.get
        self.wait = scheduler.wait
        self.get_schedule = scheduler.schedules.get
        self.trigger_schedule = scheduler.schedules.trigger

    async def submit(self, group: Group) -> Sequence[str]:
        (answer,) = await self.scheduler.submit((group,))
        return stored_ids(group, answer)

    async def cancel(self, task: str, *, kill: bool = False) -> Task:
        return await self.scheduler.cancel(task, kill=kill)

    async def put_schedule(self, id: str, new: NewSchedule) -> None:
        await self.scheduler.schedules.put(checked_id(id), new)

    async def pause_schedule(self, id: str, paused: bool) -> None:
        await (self.scheduler.schedules.pause if paused else self.scheduler.schedules.resume)(id)

    async def delete_schedule(self, id: str) -> None:
        await self.scheduler.schedules.delete(id)


@asynccontextmanager
async def embedded(settings: Settings) -> AsyncIterator[Embedded]:
    """Run a node without doors over the store that the settings name: a scheduler, and all its services.

    Raises what the store raises when it is opened, and `InvalidInput` for a URL that names none.
    """
    from mainspring.node import Node

    clock = SystemClock()
    # Several applications of one process are several nodes: each must lead, or not, for itself.
    node_id = settings.node_id or f"{socket.gethostname()}-{os.getpid()}-{clock.new_id()[-6:]}"
    async with Node(replace(settings, node_id=node_id), serve=False, clock=clock) as node:
        yield Embedded(node.scheduler)
