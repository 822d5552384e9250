"""Nodes at work on a store, and clients that submit to them without end, remembering what they were told."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import httpx
import msgspec

from mainspring.clock import SystemClock
from mainspring.config import Settings
from mainspring.core.model import Lane, NewTask
from mainspring.errors import Overloaded, StoreError, StoreFull
from mainspring.node import Node
from mainspring.ports import Accepted, Existing, Group, Refused
from mainspring.scheduler import Scheduler
from mainspring.sdk import Context, Handler, Registry
from mainspring.testing.record import Ran
from mainspring.verbs import Idempotency
from mainspring.worker import InProcessEngine

CLOCK = SystemClock()
LANE = Lane("default", "work", "default", 5)
URGENT = LANE._replace(priority=10)
# Where tasks go that are submitted over HTTP, whose ids nobody knows if there was no answer.
DOOR_QUEUE = "door"
AGAIN_S = 0.02
# The promise is 5 s, and what is measured is told after the run. A machine with something else to do needs
# room, but less than the 30 s after which a call that nobody answers is given up.
BACK_WITHIN_S = 25.0
# Longer than that: a report that finds nobody for as long is given up, and its task runs again.
LEASE_S = 30.0
KEY_TTL_US = 3_600_000_000


class Diary:
    """What handlers say of their runs."""

    def __init__(self) -> None:
        self.words: list[Ran] = []
        self.finished = 0
        self.ended = asyncio.Condition()

    def registry(self) -> Registry:
        """Handlers that keep this diary."""
        return Registry(Handler("work", self._work))

    async def _work(self, do: str, n: int, s: float, ctx: Context) -> int:
        self._note(ctx, "start")
        try:
            await asyncio.sleep(s)
        except asyncio.CancelledError:
            self._note(ctx, "interrupted")
            raise
        self._note(ctx, "ok", msgspec.json.encode(n))
        self.finished += 1
        async with self.ended:
            self.ended.notify_all()
        return n

    def _note(self, ctx: Context, what: str, value: bytes | None = None) -> None:
        now_s = CLOCK.monotonic()
        self.words.append(Ran(now_s, "worker", "", ctx.task, ctx.fence, ctx.attempt, what, value))

    async def wait_for(self, more: int) -> None:
        """Return when so many more runs have come to their end."""
        wanted = self.finished + more
        async with self.ended:
            await self.ended.wait_for(lambda: self.finished >= wanted)

    async def wait_for_tasks(self, tasks: set[str]) -> None:
        """Return when each of these has come to its end."""
        async with self.ended:
            await self.ended.wait_for(
                lambda: tasks <= {word.task for word in self.words if word.what == "ok"}
            )


class Clients:
    """Submit groups through a scheduler, each until there is an answer: a repeated submit keeps its ids."""

    def __init__(self, schedulers: list[Scheduler], seed: int) -> None:
        self._schedulers = schedulers
        self._random = random.Random(seed)
        self._count = 0
        self.offered: list[Group] = []
        self.told: set[str] = set()
        self.errors: Counter[str] = Counter()

    async def run(self, stop: asyncio.Event, run_s: float, pause_s: float) -> None:
        """One client; it goes on until it is told to stop, and waits for its last answer. Tasks run for up
        to `run_s`."""
        while not stop.is_set():
            await self.submit(self.group(run_s))
            await asyncio.sleep(self._random.random() * pause_s)

    def group(self, run_s: float) -> Group:
        tasks = [self.task(self._random.random() * run_s) for _ in range(self._random.randint(1, 4))]
        if self._random.random() < 0.3:
            tasks[0].delay_us = 50_000
        if self._random.random() < 0.3:
            tasks[-1].depends_on = tuple(task.id for task in tasks[:-1])
        key = None
        if self._random.random() < 0.5:
            key = Idempotency("clients", f"key-{self._count}", b"digest", KEY_TTL_US)
        return Group(tasks, key)

    def task(self, run_s: float = 0.0, lane: Lane = LANE) -> NewTask:
        self._count += 1
        payload = {"do": "work", "n": self._count, "s": run_s}
        return NewTask(CLOCK.new_id(), lane, msgspec.json.encode(payload))

    async def submit(self, group: Group) -> None:
        """Returns when a server has said that the group is stored."""
        self.offered.append(group)
        has_failed = False
        while True:
            try:
                (answer,) = await self._random.choice(self._schedulers).submit([group])
            except (StoreError, Overloaded) as error:
                self.errors[type(error).__name__] += 1
                has_failed = True
                await asyncio.sleep(AGAIN_S)
                continue
            if isinstance(answer, Refused) and answer.code == StoreFull.code:
                self.errors[StoreFull.__name__] += 1
                await asyncio.sleep(AGAIN_S)
                continue
            # Without a key, a group whose first answer was lost finds its own ids taken.
            was_stored = isinstance(answer, Refused) and answer.code == "id_taken" and has_failed
            assert isinstance(answer, Accepted | Existing) or was_stored, answer
            self.told.update(task.id for task in group.tasks)
            return

    async def probe(self) -> float:
        """Seconds until a task submitted now, ahead of all others, has succeeded: the whole way through
        submit, claim, run and report."""
        started_s, task = CLOCK.monotonic(), self.task(lane=URGENT)
        await self.submit(Group([task]))
        while True:
            with suppress(StoreError):
                if (await self._schedulers[0].wait(task.id, 10.0)).state.is_final:
                    return CLOCK.monotonic() - started_s
            await asyncio.sleep(AGAIN_S)


class House:
    """Nodes in this process, each with a store, a scheduler, services, a worker and a door of its own."""

    def __init__(self, nodes: list[Node], seed: int) -> None:
        self.nodes = nodes
        self.clients = Clients([node.scheduler for node in nodes], seed)

    @asynccontextmanager
    async def under_load(
        self, clients: int, run_s: float = 0.01, pause_s: float = 0.01
    ) -> AsyncIterator[None]:
        """Clients submit while the body runs."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self.clients.run(stop, run_s, pause_s))
            try:
                yield
            finally:
                stop.set()

    async def post(self) -> httpx.Response:
        """What a client hears over HTTP that submits a task to the first node."""
        host, port = self.nodes[0].address
        task = {"kind": "echo", "queue": DOOR_QUEUE}
        async with httpx.AsyncClient(timeout=60.0) as client:
            return await client.post(f"http://{host}:{port}/api/v1/tasks", json=task)

    async def refused(self, code: str) -> dict[str, Any]:
        """Return the problem with this code, as soon as that is what a submit is answered."""
        while True:
            answer = await self.post()
            if answer.status_code >= 400:
                problem: dict[str, Any] = answer.json()
                if problem["code"] == code:
                    return problem | {"status": answer.status_code}
            await asyncio.sleep(AGAIN_S)

    async def settled(self, *, may_be_lost: bool = False) -> None:
        """Return when every task that a client was told of is final, or gone if that may be."""
        left = sorted(self.clients.told)
        while left:
            with suppress(StoreError):
                records = await self.nodes[0].store.get(left)
                assert may_be_lost or all(records)
                left = [record.id for record in records if record is not None and not record.state.is_final]
            await asyncio.sleep(AGAIN_S)


@asynccontextmanager
async def working(
    url: str,
    diary: Diary,
    *,
    nodes: int = 1,
    seed: int = 1,
    lease_s: float = LEASE_S,
    slots: int = 20,
    **settings: Any,
) -> AsyncIterator[House]:
    """Nodes at work on the store behind `url`."""
    async with AsyncExitStack() as stack:
        started = []
        for number in range(nodes):
            each = Settings(
                store=url,
                node_id=f"node-{number}",
                listen="127.0.0.1:0",
                lease_s=lease_s,
                grace_s=1.0,
                concurrency=slots,
                history=True,
                **settings,
            )
            node = Node(each, engine=InProcessEngine(diary.registry(), CLOCK))
            started.append(await stack.enter_async_context(node))
        yield House(started, seed)


async def until(condition: Callable[[], object]) -> None:
    """The test's own limit tells a hang."""
    while not condition():
        await asyncio.sleep(0.005)
