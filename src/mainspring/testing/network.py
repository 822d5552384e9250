"""Calls between hosts: late, lost, sent twice, refused, cut off. And a worker's source on top of them."""

import asyncio
import copy
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from mainspring.core.lifecycle import Report
from mainspring.core.model import Lease
from mainspring.errors import MainspringError
from mainspring.ports import (
    Answer,
    Append,
    ClaimRequest,
    Recall,
    Recalled,
    Refused,
    Renewal,
    TaskSource,
    WorkerInfo,
)
from mainspring.testing.loop import OUTSIDE, Host, VirtualLoop
from mainspring.testing.record import Asked, Heard, Record
from mainspring.testing.weather import Weather

TIMEOUT_S = 2.0
Work = Callable[[], Coroutine[Any, Any, Any]]


class Unreachable(MainspringError):
    """The call got no answer; what came of it is unknown."""

    code = "unreachable"


class Network:
    """Carries calls from host to host."""

    def __init__(self, loop: VirtualLoop, weather: Weather) -> None:
        self._loop = loop
        self._weather = weather

    async def call(
        self,
        source: Host,
        target: Host,
        work: Work,
        timeout_s: float,
        what: str,
    ) -> Any:
        """Run `work` on the target. Raises what it raises, or `Unreachable`. Cancelled, it hangs up, which
        the target notices a moment later, if it does."""
        crossing = _Crossing(self._loop, self._weather, source, target, work, what)
        timer = self._loop.call_later(timeout_s, crossing.give_up, "timed out", context=OUTSIDE)
        crossing.send()
        source.on_kill.append(crossing.lose_caller)
        try:
            return await crossing.reply
        except asyncio.CancelledError:
            crossing.hang_up()
            raise
        finally:
            timer.cancel()
            source.on_kill.remove(crossing.lose_caller)


class _Crossing:
    """One call on its way there and back."""

    def __init__(
        self,
        loop: VirtualLoop,
        weather: Weather,
        source: Host,
        target: Host,
        work: Work,
        what: str,
    ) -> None:
        self.reply: asyncio.Future[Any] = loop.create_future()
        self._loop = loop
        self._weather = weather
        self._source = source
        self._target = target
        self._work = work
        self._what = what
        self._served: asyncio.Task[Any] | None = None

    def send(self) -> None:
        weather = self._weather
        if weather.strikes("net.refused", self._what):
            self._later(weather.delay_s("net.slow"), self.give_up, "connection refused")
            return
        if weather.strikes("net.request_lost", self._what):
            return
        self._later(weather.delay_s("net.slow", self._what), self._arrive)
        if weather.strikes("net.repeated", self._what):
            self._later(weather.delay_s("net.slow"), self._arrive)

    def give_up(self, why: str) -> None:
        if not self.reply.done():
            self.reply.set_exception(Unreachable(f"{self._what} to {self._target.name}: {why}"))

    def hang_up(self) -> None:
        self._later(self._weather.delay_s("net.slow"), self._disconnect)

    def lose_caller(self) -> None:
        """The caller died. Mostly its machine still closes the connection; sometimes nobody does."""
        if self._weather.random.random() < 0.7:
            self.hang_up()

    def _later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> None:
        self._loop.call_later(delay_s, callback, *args, context=OUTSIDE)

    def _is_cut(self) -> bool:
        return self._weather.is_cut(self._source.name, self._target.name)

    def _arrive(self) -> None:
        if self._is_cut():
            return
        if not self._target.alive:
            self.give_up("connection refused")
            return
        task = self._target.spawn(self._work())
        self._served = self._served or task
        task.add_done_callback(self._answered, context=OUTSIDE)
        self._target.on_kill.append(self._reset)

    def _reset(self) -> None:
        """The target died. Mostly its machine still says so; sometimes nobody does."""
        if not self.reply.done() and self._weather.random.random() < 0.7:
            self._later(self._weather.delay_s("net.slow"), self.give_up, "connection reset")

    def _disconnect(self) -> None:
        if self._served is not None and not self._is_cut():
            # Through the loop, so that a frozen target notices when it wakes.
            self._loop.call_soon(self._served.cancel, context=self._target.context())

    def _answered(self, task: asyncio.Task[Any]) -> None:
        if self._reset in self._target.on_kill:
            self._target.on_kill.remove(self._reset)
        if task.cancelled():
            return
        error = task.exception()
        if self.reply.done() or self._is_cut() or self._weather.strikes("net.reply_lost", self._what):
            return
        delay_s = self._weather.delay_s("net.slow", self._what)
        if error is None:
            self._later(delay_s, self._resolve, task.result())
        else:
            self._later(delay_s, self._raise, error)

    def _resolve(self, answer: object) -> None:
        if not self.reply.done() and not self._is_cut():
            self.reply.set_result(answer)

    def _raise(self, error: BaseException) -> None:
        if not self.reply.done() and not self._is_cut():
            self.reply.set_exception(error)


class Served(Protocol):
    """A server to call: its host, and what answers there."""

    host: Host

    @property
    def source(self) -> TaskSource: ...


class RemoteSource:
    """A worker's source over the network: it stays with one server until that does not answer, then takes the
    next. In the same process (`embedded`) it calls the scheduler directly. Either way it keeps a record."""

    def __init__(
        self,
        name: str,
        host: Host,
        incarnation: Callable[[], str],
        servers: Callable[[], Sequence[Served]],
        network: Network | None,
        loop: VirtualLoop,
        record: Record,
    ) -> None:
        self._name = name
        self._host = host
        self._incarnation = incarnation
        self._servers = servers
        self._network = network
        self._loop = loop
        self._record = record
        self._turn = host.clock.random.randrange(3)

    @property
    def flights(self) -> int:
        return self._servers()[0].source.flights

    async def _call(self, verb: str, message: Any, timeout_s: float = TIMEOUT_S) -> Any:
        number = len(self._record.events)
        self._record.add(Asked(self._loop.now_s, number, self._name, self._incarnation(), verb, message))
        try:
            answer = await self._send(verb, message, timeout_s)
        except BaseException as error:
            if not isinstance(error, GeneratorExit):
                self._record.add(Heard(self._loop.now_s, number, verb, None, repr(error)))
            raise
        self._record.add(Heard(self._loop.now_s, number, verb, answer, None))
        return answer

    async def _send(self, verb: str, message: Any, timeout_s: float) -> Any:
        servers = self._servers()
        server = servers[self._turn % len(servers)]
        work = _work(server, verb, message)
        if self._network is None:
            return await work()
        try:
            return await self._network.call(self._host, server.host, work, timeout_s, verb)
        except Unreachable:
            self._turn += 1
            raise

    async def claim(self, request: ClaimRequest) -> list[Lease]:
        leases: list[Lease] = await self._call("claim", request, request.wait_s + TIMEOUT_S)
        return leases

    async def renew(self, renewal: Renewal) -> Sequence[Answer]:
        answers: Sequence[Answer] = await self._call("renew", renewal)
        return answers

    async def settle(self, reports: Sequence[Report]) -> Sequence[Answer]:
        answers: Sequence[Answer] = await self._call("settle", reports)
        return answers

    async def append(self, lines: Sequence[Append]) -> Sequence[Answer]:
        answers: Sequence[Answer] = await self._call("append", lines)
        return answers

    async def recall(self, lines: Sequence[Recall]) -> Sequence[Recalled | Refused]:
        answers: Sequence[Recalled | Refused] = await self._call("recall", lines)
        return answers

    async def beat(self, worker: WorkerInfo) -> None:
        await self._call("beat", worker)

    async def leave(self, worker: str, incarnation: str) -> None:
        await self._call("leave", (worker, incarnation))


def _work(server: Served, verb: str, message: Any) -> Work:
    """Each delivery of a message is decoded anew, as from a socket."""
    if verb == "leave":
        return lambda: server.source.leave(*message)
    return lambda: getattr(server.source, verb)(copy.copy(message))
