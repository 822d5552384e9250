"""For users' tests: a cluster in virtual time, from a seed.

    test ──submit, result, advance──► client host ──network──► servers ──► one store
                                                                 ▲
                                          workers with the test's own tasks

Servers, workers and store are the real ones, on simulated hosts. A day passes as fast as nothing happens in
it. With faults, hosts die and freeze, messages are lost and sent twice; whatever happens, the same seed
brings the same history.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Self, TypeVar

from mainspring.core.durations import parse_duration_s
from mainspring.core.model import SECOND_US, Task
from mainspring.errors import InvalidInput, StoreUnavailable
from mainspring.ports import Backend, Clock, Group, Idempotency, NewSchedule, Retention, ScheduleRecord
from mainspring.scheduler import Scheduler
from mainspring.sdk.blocking import Home, blocking
from mainspring.sdk.client import Client
from mainspring.sdk.patience import insist
from mainspring.sdk.stored import stored_ids
from mainspring.sdk.submitting import KEY_TTL_US
from mainspring.testing.loop import OUTSIDE, host_here
from mainspring.testing.network import Unreachable
from mainspring.testing.nodes import Server, Shape, World
from mainspring.testing.record import Fault, Step
from mainspring.testing.storm import Storm
from mainspring.testing.users.nodes import Diary, UserStore, UserWorker
from mainspring.testing.users.travel import TravelHome, TravelLoop
from mainspring.testing.weather import BLOWS, CHANCES
from mainspring.wire.problems import IdTaken
from mainspring.wire.schedules import checked_id
from mainspring.worker.kinds import handlers_of

T = TypeVar("T")
ANSWER_S = 2.0
PATIENCE_S = 120.0
LOOK_EVERY_S = 1.0
AWAKE_S = 10.0  # before something is due, so that there is a leader, and everybody has looked
WEEK_S, MONTH_S = 7 * 86_400, 30 * 86_400
KEPT = Retention(WEEK_S * SECOND_US, MONTH_S * SECOND_US, WEEK_S * SECOND_US)
# What may go wrong in a cluster that loses nothing which it acknowledged.
FAULTS = tuple(point for point in (*CHANCES, *BLOWS) if point != "store.lost_writes")
_log = logging.getLogger("mainspring.testing")


class Event(NamedTuple):
    """One step of a task (`old` is empty for its first), or a fault: then `task` is empty, and `cause` names
    it. `at_s` counts from the cluster's start."""

    at_s: float
    task: str
    old: str
    cause: str
    new: str
    attempt: int


def cluster(
    app: Client,
    *,
    seed: int = 0,
    servers: int = 1,
    workers: int = 2,
    concurrency: int = 4,
    lease: float | str = 15.0,
    faults: Iterable[str] = (),
    fault_every: float | str = 20.0,
) -> "Cluster":
    """A cluster that runs the tasks of `app`, while it is entered by `with` or `async with`.

    `faults` names what may go wrong (`FAULTS` are all of them): calls are hit by chance; hosts, about every
    `fault_every`. Raises `InvalidInput`.
    """
    chosen = tuple(dict.fromkeys(faults))
    for fault in chosen:
        if fault not in (*CHANCES, *BLOWS):
            raise InvalidInput("faults", f"no such fault: {fault!r}", ", ".join((*CHANCES, *BLOWS)))
    for name, count in (("servers", servers), ("workers", workers), ("concurrency", concurrency)):
        if count < 1:
            raise InvalidInput(name, f"out of range: {count}", "1 or more")
    shape = Shape(
        servers,
        workers,
        concurrency,
        parse_duration_s(lease, "lease"),
        embedded=False,
        hints=True,
        retention=KEPT,
        drain_s=25.0,
        grace_s=5.0,
    )
    return Cluster(app, seed, shape, chosen, parse_duration_s(fault_every, "fault_every"))


class Cluster:
    """What `cluster` gives. Inside, the application's calls go to the simulated servers.

    A function among the tasks takes no virtual time but what it waits for: steps, results of other tasks,
    `ctx.cancelled.wait`. A coroutine may sleep. Threads and sockets there are none.
    """

    def __init__(
        self, app: Client, seed: int, shape: Shape, faults: Sequence[str], fault_every_s: float
    ) -> None:
        loop = TravelLoop()
        chances = {point: CHANCES[point] if point in faults else 0.0 for point in CHANCES}
        self._world = world = World(seed, loop, Diary(), chances, UserStore)
        assert isinstance(world.store, UserStore)
        self._store = world.store
        self._loop = loop
        self._host = world.new_host("client")
        self._home = TravelHome(loop, self._host)
        self._app = app
        self._handlers = handlers_of(app.registry)
        self._servers = [Server(world, f"server-{n + 1}", shape) for n in range(shape.servers)]
        self._workers = [
            UserWorker(world, f"worker-{n + 1}", shape, lambda: self._servers, self._handlers)
            for n in range(shape.workers)
        ]
        self._storm = Storm(world, self._servers, self._workers)
        self._blows = {point: BLOWS[point] for point in faults if point in BLOWS}
        self._fault_every_s = fault_every_s
        world.weather.stormy = bool(faults)
        self._ticked: asyncio.Future[None] = loop.create_future()
        self._calls = self._waits = 0  # of the test: on their way, and for time to pass
        self._exit = contextlib.ExitStack()

    # --- for tests ------------------------------------------------------------------------------

    @blocking
    async def advance(self, duration: float | str | timedelta) -> None:
        """Let so much virtual time pass (seconds, text such as `1h30m`, a `timedelta`)."""
        if isinstance(duration, timedelta):
            duration = duration.total_seconds()
        with self._waiting():
            await asyncio.sleep(parse_duration_s(duration, "duration"))

    @blocking
    async def strike(self, fault: str) -> None:
        """Have one of the faults happen now, to whom the dice choose; returns when it has passed. Those that
        hit single calls cannot be had in this way. Raises `InvalidInput`."""
        if fault not in BLOWS:
            raise InvalidInput("fault", f"no such fault: {fault!r}", ", ".join(BLOWS))
        await self._storm.strike(fault)

    @property
    def now(self) -> datetime:
        """The time, as it is in the cluster."""
        return datetime.fromtimestamp(self._world.store_host.clock.now_us() / SECOND_US, UTC)

    def history(self) -> list[Event]:
        """All that has happened, in order: what tasks went through, and what went wrong."""
        return [
            _step(event) if isinstance(event, Step) else Event(event.at_s, "", "", event.point, "", 0)
            for event in self._world.record.events
            if isinstance(event, Step | Fault)
        ]

    # --- the application's opening --------------------------------------------------------------

    @property
    def home(self) -> Home:
        return self._home

    @property
    def clock(self) -> Clock:
        return (host_here() or self._host).clock

    async def backend(self) -> Backend:
        return self

    def __enter__(self) -> Self:
        self._begin()
        self._home.block(self._start)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    async def __aenter__(self) -> Self:
        self._begin()
        await self._home.follow(self._start)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end()

    def _begin(self) -> None:
        self._exit.enter_context(_quiet())
        self._exit.callback(self._app.life.replace, self._app.life.replace(self))

    def _end(self) -> None:
        """All hosts are gone at once; nothing of them runs any more."""
        self._exit.close()
        self._world.closing = True
        parts: list[Server | UserWorker] = [*self._servers, *self._workers]
        for part in parts:
            part.host.kill()
        for worker in self._workers:
            worker.dismiss()
        for crash in self._loop.crashes:
            _log.error("in the cluster nobody caught: %s", crash)
        self._loop.end()
        self._home.close()

    async def _start(self) -> None:
        world = self._world
        await world.store.open()
        for server in self._servers:
            server.start()
        for worker in self._workers:
            worker.start()
        self._loop.create_task(self._keep_time(), context=OUTSIDE.copy())
        if self._blows:
            self._loop.create_task(self._rage(), context=OUTSIDE.copy())

    # --- its backend ----------------------------------------------------------------------------

    async def submit(self, group: Group) -> Sequence[str]:
        """As over HTTP: what got no answer is repeated, and known by its ids."""

        async def ask() -> Sequence[str]:
            (answer,) = await self._ask(lambda scheduler: scheduler.submit([group]), "submit")
            return stored_ids(group, answer)

        try:
            return await insist(ask, self.clock, PATIENCE_S)
        except IdTaken:
            return [task.id for task in group.tasks]

    async def get(self, task: str) -> Task:
        return await self._insist(lambda scheduler: scheduler.get(task), "get")

    async def wait(self, task: str, timeout_s: float) -> Task:
        """Looks once a second of virtual time; a time in which nothing happens is leapt over."""
        while True:
            is_over = self._is_over()  # before: what is read may have ended on its way here
            record = await self.get(task)
            if record.state.is_final or timeout_s <= 0.0:
                return record
            if is_over:
                raise TimeoutError(f"task {task} is {record.state.label}, and nothing here will end it")
            with self._waiting():
                await asyncio.shield(self._ticked)

    async def cancel(self, task: str, *, kill: bool = False) -> Task:
        return await self._insist(lambda scheduler: scheduler.cancel(task, kill=kill), "cancel")

    async def put_schedule(self, id: str, new: NewSchedule) -> None:
        checked_id(id)
        await self._insist(lambda scheduler: scheduler.schedules.put(id, new), "put_schedule")

    async def get_schedule(self, id: str) -> ScheduleRecord:
        return await self._insist(lambda scheduler: scheduler.schedules.get(id), "get_schedule")

    async def pause_schedule(self, id: str, paused: bool) -> None:
        await self._insist(
            lambda scheduler: (scheduler.schedules.pause if paused else scheduler.schedules.resume)(id),
            "pause_schedule",
        )

    async def trigger_schedule(self, id: str) -> Task:
        key = Idempotency(f"trigger {id}", self.clock.new_id(), b"", KEY_TTL_US)
        task, _ = await self._insist(
            lambda scheduler: scheduler.schedules.trigger_once(id, key), "trigger_schedule"
        )
        return task

    async def delete_schedule(self, id: str) -> None:
        await self._insist(lambda scheduler: scheduler.schedules.delete(id), "delete_schedule")

    async def _insist(self, wish: Callable[[Scheduler], Coroutine[Any, Any, T]], what: str) -> T:
        return await insist(lambda: self._ask(wish, what), self.clock, PATIENCE_S)

    async def _ask(self, wish: Callable[[Scheduler], Coroutine[Any, Any, T]], what: str) -> T:
        """One call over the network, from the host that calls, to any server."""
        host, world = host_here() or self._host, self._world
        server = world.dice.clock.random.choice(self._servers)
        self._calls += 1
        try:
            answer: T = await world.network.call(
                host, server.host, lambda: wish(server.scheduler), ANSWER_S, what
            )
        except Unreachable as error:
            raise StoreUnavailable(str(error)) from None
        finally:
            self._calls -= 1
        return answer

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        self._waits += 1
        try:
            yield
        finally:
            self._waits -= 1

    # --- time -----------------------------------------------------------------------------------

    async def _keep_time(self) -> None:
        """Look around once a second, and leap over a time in which nothing is going to happen."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self._leap()
            ticked, self._ticked = self._ticked, self._loop.create_future()
            ticked.set_result(None)

    def _leap(self) -> None:
        if self._calls or not self._waits:
            return
        if self._store.is_busy(self._handlers.kinds):
            return
        now_s, wait_s = self._loop.now_s, self._store.next_due_s()
        ends = [] if wait_s is None else [now_s + wait_s - AWAKE_S]
        timer_s = self._loop.next_timer_s(self._host)
        if timer_s is not None:
            ends.append(timer_s)
        if ends and min(ends) > now_s + LOOK_EVERY_S:
            self._loop.leap(min(ends), self._host)

    def _is_over(self) -> bool:
        """Whether nothing will happen any more, however long anybody waits."""
        return not self._store.is_busy(self._handlers.kinds) and self._store.next_due_s() is None

    async def _rage(self) -> None:
        dice = self._world.dice.clock.random
        names, weights = list(self._blows), list(self._blows.values())
        while True:
            await asyncio.sleep(dice.expovariate(1.0 / self._fault_every_s))
            (point,) = dice.choices(names, weights)
            self._loop.create_task(self._storm.strike(point), context=OUTSIDE.copy())


def _step(step: Step) -> Event:
    old = "" if step.old is None else step.old.label
    return Event(step.at_s, step.task, old, step.cause.name.lower(), step.new.label, step.attempt)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What nodes say of faults that are wanted is no news; what tasks say is."""
    nodes, tasks = logging.getLogger("mainspring"), logging.getLogger("mainspring.task")
    levels = nodes.level, tasks.level
    tasks.setLevel(tasks.getEffectiveLevel())
    nodes.setLevel(logging.ERROR)
    try:
        yield
    finally:
        nodes.setLevel(levels[0])
        tasks.setLevel(levels[1])
