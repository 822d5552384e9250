"""Where a verb is called again and again over a connection that is cut again and again."""

import random
import re
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from mainspring.clock import SystemClock
from mainspring.core.model import Lane, Lease
from mainspring.errors import StoreUnavailable
from mainspring.ports import Store
from tests.conformance.bench import Bench
from tests.faults.proxy import Proxy, Side

T = TypeVar("T")
Call = Callable[[Store], Awaitable[T]]
AT_ONCE = 100
# Two cuts of three fall between the commit and its answer.
AT_THE_END = 0.67
CALLS_COUNTED = 2
_TIMES = re.compile(r"\b(now_us|age_us|next_due_us|expires_in_us|looked)=-?\d+")


class ServerBench(Bench):
    """The words of the conformance suite for a store that is there already, on the real clock."""

    def __init__(self, store: Store) -> None:
        self._given = store
        super().__init__(None)  # type: ignore[arg-type]
        self.clock = SystemClock()  # type: ignore[assignment]

    def new_store(self) -> Store:
        return self._given


class Stage:
    """`store` is reached through the proxy, by one connection; `bench` sets the scene beside it."""

    def __init__(
        self, bench: Bench, store: Store, proxy: Proxy, cuts: int, damage: Callable[[], Awaitable[None]]
    ) -> None:
        """`damage` writes what breaks a law of the store."""
        self.damage = damage
        self.bench = bench
        self.store = store
        self.heard_nothing = 0
        self._proxy = proxy
        self._cuts = cuts
        self._random = random.Random(11)
        self._trips = self._calls_counted = 0
        self._leases: deque[Lease] = deque()
        self._tasks: deque[str] = deque()
        self.lane = Lane(f"q-{self.bench.clock.new_id()}", "echo", "default", 5)

    @property
    def goes_on(self) -> bool:
        """Whether there are cuts left to make."""
        return self._proxy.cuts < self._cuts

    async def cut(self, call: Call[T]) -> T:
        """The answer to the call, which has first been cut off somewhere and, but for what its driver could
        repeat by itself, heard nothing."""
        if self._calls_counted < CALLS_COUNTED:
            await self._count(call)
        else:
            at_end = self._random.random() < AT_THE_END
            self._proxy.cut_at(
                self._trips if at_end else self._random.randint(1, self._trips),
                Side.BACK if at_end else self._random.choice(list(Side)),
            )
            try:
                await call(self.store)
            except StoreUnavailable:
                self.heard_nothing += 1
            # A call may take fewer round trips than those that were counted.
            self._proxy.cut_nothing()
        return await call(self.store)

    async def _count(self, call: Call[Any]) -> None:
        """How many round trips the call takes. Statements are prepared the first time."""
        before = self._proxy.round_trips
        await call(self.store)
        self._trips = self._proxy.round_trips - before
        assert self._trips, "the call asks the server nothing, so it cannot be cut"
        self._calls_counted += 1

    async def same(self, call: Call[Any]) -> None:
        """A question: whatever was cut, its answer is what it is without."""
        wanted = timeless(await call(self.bench.store))
        while self.goes_on:
            assert timeless(await self.cut(call)) == wanted

    # --- scenes ---------------------------------------------------------------------------------

    async def task(self) -> str:
        """A ready task, not given before."""
        if not self._tasks:
            self._tasks.extend(await self.bench.submit_many(AT_ONCE, self.lane))
        return self._tasks.popleft()

    async def lease(self) -> Lease:
        """A lease of the worker `w1`, not given before."""
        if not self._leases:
            await self.bench.submit_many(AT_ONCE, self.lane)
            self._leases.extend(await self.bench.claim(AT_ONCE, [self.lane], lease=3600))
        return self._leases.popleft()


def timeless(answer: object) -> str:
    """The answer as text, without what only says when it was given."""
    return _TIMES.sub(r"\1=_", repr(answer))
