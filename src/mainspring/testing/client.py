"""A client of the cluster: it asks over the network, and repeats what it got no answer to."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from mainspring.core.model import State, Task
from mainspring.errors import MainspringError
from mainspring.ports import Accepted, Existing, Group, Refused, ScheduleRecord
from mainspring.scheduler import Scheduler
from mainspring.testing.loop import Host
from mainspring.testing.nodes import Server, World
from mainspring.testing.record import Told

TRIES = 12
Wish = Callable[[Scheduler], Coroutine[Any, Any, Any]]


class Client:
    """Wishes, told to any server. What a server answers is written down: the client may rely on it."""

    def __init__(self, world: World, servers: Callable[[], Sequence[Server]]) -> None:
        self.host: Host = world.new_host("client")
        self._world = world
        self._servers = servers
        self.dice = world.dice.clock.random

    def new_id(self) -> str:
        return self.host.clock.new_id()

    def note(self, wish: str, tasks: Sequence[str], state: State | None = None) -> None:
        self._world.record.add(Told(self._world.loop.now_s, wish, tuple(tasks), state))

    async def ask(self, wish: Wish, what: str, timeout_s: float = 2.0) -> Any:
        """One try. Raises `MainspringError`."""
        server = self.dice.choice(self._servers())
        return await self._world.network.call(
            self.host, server.host, lambda: wish(server.scheduler), timeout_s, what
        )

    async def insist(self, wish: Wish, what: str) -> Any:
        """Try until a server answers, with a result or a refusal; `None` if none does."""
        for _ in range(TRIES):
            try:
                return await self.ask(wish, what)
            except MainspringError as error:
                if error.code not in ("unreachable", "store_unavailable"):
                    return None
                await asyncio.sleep(0.05 + 0.5 * self.dice.random())
        return None

    async def submit(self, group: Group) -> bool:
        """Store the group; whether some server said that it is stored. A client with a key mints new ids for
        each try, as an HTTP client's server would; one without repeats its ids."""
        ids = [task.id for task in group.tasks]
        for _ in range(TRIES):
            (answer,) = await self.insist(lambda s: s.submit([group]), "submit") or (None,)
            if answer is None:
                return False
            if isinstance(answer, Existing):
                self.note("existing", [task.id for task in answer.tasks])
                return True
            if isinstance(answer, Accepted):
                self.note("submit", [task for n, task in enumerate(ids) if n not in answer.existing])
                return True
            assert isinstance(answer, Refused)
            if answer.code != "id_taken":
                return False
            # An earlier try, whose answer was lost, has stored it.
            self.note("submit", [] if group.tasks[0].unique else ids)
            return True
        return False

    async def submit_with_key(self, group: Group) -> None:
        """As `submit`, but each try has new ids: only the key ties them together."""
        for _ in range(TRIES):
            tasks = [msgspec.structs.replace(task, id=self.new_id()) for task in group.tasks]
            attempt = Group(tasks, group.idempotency)
            try:
                (answer,) = await self.ask(lambda s, g=attempt: s.submit([g]), "submit")  # type: ignore[misc]
            except MainspringError:
                await asyncio.sleep(0.05 + 0.5 * self.dice.random())
                continue
            if isinstance(answer, Accepted):
                self.note("submit", [task.id for task in tasks])
            elif isinstance(answer, Existing):
                self.note("existing", [task.id for task in answer.tasks])
            return

    async def change(self, what: str, wish: Wish) -> Task | None:
        """Something by hand on one task; the record that came back."""
        answer = await self.insist(wish, what)
        if isinstance(answer, Task):
            self.note(what, [answer.id], answer.state)
            return answer
        return None

    async def change_schedule(self, what: str, wish: Wish) -> None:
        """Something by hand on one schedule."""
        answer = await self.insist(wish, what)
        if isinstance(answer, ScheduleRecord):
            told = Told(self._world.loop.now_s, what, (), None, answer.id, answer.version)
            self._world.record.add(told)

    async def final(self, task: str, within_s: float = 12.0) -> Task | None:
        """Wait until the task has ended, as far as servers tell."""
        until_s = self._world.loop.now_s + within_s
        while self._world.loop.now_s < until_s:
            record = await self.insist(lambda s: s.wait(task, 1.5), "wait")
            if record is None:
                return None
            if record.state.is_final:
                self.note("wait", [task], record.state)
                return record  # type: ignore[no-any-return]
        return None
