"""The parts of a user's cluster: as the simulation's, with the user's tasks, and no record of everything."""

from collections.abc import Callable, Collection, Sequence

from mainspring.core.model import SECOND_US
from mainspring.sdk import Registry
from mainspring.testing.instant import finish
from mainspring.testing.loop import OUTSIDE
from mainspring.testing.nodes import Server, Shape, WorkerNode, World
from mainspring.testing.record import Event, Fault, Record, Step
from mainspring.testing.users.turns import TurnEngine
from mainspring.testing.watched import WatchedStore
from mainspring.worker import InProcessEngine


class Diary(Record):
    """Of all that happens, what a user asks for: the rest would fill the memory in an hour's virtual time."""

    def add(self, event: Event) -> None:
        if isinstance(event, Step | Fault):
            self.events.append(event)


class UserStore(WatchedStore):
    """Knows whether anything is going to happen in it."""

    def is_busy(self, kinds: Collection[str]) -> bool:
        """Whether there is something to do now, for workers of these kinds or for services."""
        tables = self._tables
        return (
            bool(tables.running)
            or bool(tables.unresolved)
            or any(count and tables.lanes[lane].kind in kinds for lane, count in tables.ready_counts.items())
        )

    def next_due_s(self) -> float | None:
        """When there will be something to do again, if nobody asks for anything."""
        dues = [due.at_us for due in (self._tables.next_scheduled(), self._tables.next_deadline()) if due]
        fires_us = finish(self.due_schedules(0)).next_due_us
        now_us = self._clock.now_us()
        if fires_us is not None:
            dues.append(now_us + fires_us)
        return max(0, min(dues) - now_us) / SECOND_US if dues else None


class UserWorker(WorkerNode):
    """A worker for the tasks of `handlers`."""

    def __init__(
        self,
        world: World,
        name: str,
        shape: Shape,
        servers: Callable[[], Sequence[Server]],
        handlers: Registry,
    ) -> None:
        super().__init__(world, name, shape, servers)
        self._handlers = handlers
        self._engines: list[TurnEngine] = []

    def engine(self, grace_s: float) -> InProcessEngine:
        engine = TurnEngine(self._handlers, self.host.clock, grace_s)
        self._engines.append(engine)
        return engine

    def dismiss(self) -> None:
        """End the threads of all functions that are in the middle of something, here and in earlier lives."""
        for engine in self._engines:
            OUTSIDE.copy().run(engine.dismiss)
