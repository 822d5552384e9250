"""Group commit: concurrent calls of the hot verbs become one store call and one durable commit.

    submit() ─┐                                   ┌─► futures resolved
    settle() ─┼─► pending ──flight──► exchange() ─┼─► board updated
    claims  ──┘      ▲                            └─► leases handed out
                     └─ the next flight leaves as soon as this one has landed

There are as many flights at a time as the store says it gains by, one of them with claims. While all are in
the air calls collect; then all of them go together. Idle, a call leaves in the same turn of the loop and
waits for nobody; loaded, hundreds share a commit. There is no timer, so there is nothing to tune.

The commit belongs to the batcher. A caller that vanishes takes nothing with it: what it submitted or
settled stands, and leases that nobody is waiting for any more are handed back by `compose`'s owner.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from mainspring.errors import Overloaded, StoreError, StoreUnavailable
from mainspring.ports import (
    Accepted,
    Answer,
    Ask,
    Charge,
    Claimed,
    Clock,
    Exchange,
    Exchanged,
    Existing,
    Group,
    Refused,
    Settlement,
    Store,
)
from mainspring.telemetry import SILENT, Sink

ROWS_A_FLIGHT = 2_000
HALVED_FROM = 32
ROWS_PENDING = 50_000
BYTES_PENDING = 256 * 1024 * 1024

Submitted: TypeAlias = Accepted | Existing | Refused


class Passengers(Protocol):
    """Who fills the free seats of a flight with claims, and learns what came of it."""

    def board_claims(self, groups: Sequence[Group]) -> tuple[list[Ask], list[Charge]]:
        """The claims to send with these submits, and the worker time to book."""
        ...

    def fly_alone(self) -> bool:
        """Whether flights must follow each other, since what one answers may be outdated by another."""
        ...

    def landed(self, asks: Sequence[Ask], answers: Exchanged) -> None: ...

    def failed(self, asks: Sequence[Ask], error: BaseException) -> None: ...


class Batcher:
    """The flights between this process and its store."""

    def __init__(self, store: Store, passengers: Passengers, clock: Clock, sink: Sink = SILENT) -> None:
        self._store = store
        self._passengers = passengers
        self._clock = clock
        self._sink = sink
        self._submits: deque[tuple[Group, asyncio.Future[Submitted], int]] = deque()
        self._settles: deque[tuple[Sequence[Settlement], asyncio.Future[Sequence[Answer]]]] = deque()
        self._rows = 0
        self._bytes = 0
        self._is_called = False
        self._resting: list[asyncio.Future[None]] = []
        self._pilots: list[asyncio.Task[None]] = []
        self._in_air = 0
        self._claims_in_air = False
        self._closed = False

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        count = self._store.features.flights
        self._pilots = [loop.create_task(self._fly(), name="batcher") for _ in range(count)]

    async def close(self) -> None:
        """Let what is pending land, then stop."""
        self._closed = True
        self.call()
        pilots, self._pilots = self._pilots, []
        for pilot in pilots:
            await pilot

    def call(self) -> None:
        """There is something to send, or to claim: let a flight leave if one may. One pilot looks: a second
        would find nothing, and hold up what the first has to send."""
        if self._is_called:
            return
        self._is_called = True
        while self._resting:
            rested = self._resting.pop()
            if not rested.done():
                rested.set_result(None)
                return

    async def submit(self, groups: Sequence[Group]) -> list[Submitted]:
        """Durable on return. Raises `Overloaded` when too much is pending, `StoreError` when the
        outcome is unknown: the tasks keep their ids, so the same submit may be repeated."""
        landings = [self._put_group(group) for group in groups]
        return [await landings[0]] if len(landings) == 1 else await asyncio.gather(*landings)

    async def settle(self, lines: Sequence[Settlement]) -> Sequence[Answer]:
        """Durable on return; repeating a line answers `ALREADY`."""
        if not lines:
            return ()
        self._admit(len(lines), 0)
        landing: asyncio.Future[Sequence[Answer]] = asyncio.get_running_loop().create_future()
        self._settles.append((lines, landing))
        self.call()
        return await landing

    def _put_group(self, group: Group) -> asyncio.Future[Submitted]:
        size = sum(len(task.payload) for task in group.tasks)
        self._admit(len(group.tasks), size)
        landing: asyncio.Future[Submitted] = asyncio.get_running_loop().create_future()
        self._submits.append((group, landing, size))
        self.call()
        return landing

    def _admit(self, rows: int, size: int) -> None:
        if self._closed:
            raise StoreUnavailable("this node is shutting down")
        if self._rows and (self._rows + rows > ROWS_PENDING or self._bytes + size > BYTES_PENDING):
            raise Overloaded(f"{self._rows} rows wait to be stored on this node; try again")
        self._rows += rows
        self._bytes += size

    async def _fly(self) -> None:
        while True:
            if not self._is_called:
                await self._rest()
            self._is_called = False
            while await self._flight():
                pass
            if self._closed and not self._rows:
                # Another one may have left what pended to the flight that has just landed.
                self.call()
                return

    async def _rest(self) -> None:
        rested: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._resting.append(rested)
        await rested

    async def _flight(self) -> bool:
        """Send one exchange. Says whether there was anything to send."""
        if self._in_air and self._passengers.fly_alone():
            return False  # whoever is in the air takes it along next
        settles, settle_landings = self._take_settles()
        submits, submit_landings = self._take_submits()
        asks, charges = self._board_claims(submits) if self._may_take_claims(settles) else ([], [])
        if not (submits or settles or asks or charges):
            return False
        if self._submits or self._settles:
            self.call()  # what this flight leaves behind may leave on another
        batch = Exchange(submits, settles, asks, charges)
        started_s = self._clock.monotonic()
        try:
            answers = await self._in_flight(batch)
            self._measure(batch, answers, started_s)
            self._passengers.landed(asks, answers)
        except BaseException as error:
            self._sink.count("store_errors", getattr(error, "code", "internal_error"))
            self._crash(error, asks, submit_landings, settle_landings)
            if not isinstance(error, Exception):
                raise
            return True
        for landing, submitted in zip(submit_landings, answers.submits, strict=True):
            _resolve(landing, submitted)
        start = 0
        for count, settled in settle_landings:
            _resolve(settled, answers.settles[start : start + count])
            start += count
        return True

    def _may_take_claims(self, settles: Sequence[Settlement]) -> bool:
        """Many ends go without the claims for the places that they free, which leave at once on a flight of
        their own: node and store would else take turns instead of working side by side."""
        if len(settles) < HALVED_FROM or not self._has_another():
            return True
        self.call()  # there is one more flight to leave at once
        return False

    def _has_another(self) -> bool:
        """Whether another flight may leave beside this one, and none has yet."""
        return len(self._pilots) > 1 and not self._in_air and not self._passengers.fly_alone()

    def _board_claims(self, submits: Sequence[Group]) -> tuple[list[Ask], list[Charge]]:
        """The claims to take along. A bug there must not keep what ended and what is new on the ground."""
        if self._closed or self._claims_in_air:
            return [], []
        try:
            return self._passengers.board_claims(submits)
        except Exception as error:
            _tell_of_bug(error)
            return [], []

    async def _in_flight(self, batch: Exchange) -> Exchanged:
        self._in_air += 1
        self._claims_in_air = self._claims_in_air or bool(batch.claims)
        try:
            return await self._exchange(batch)
        finally:
            self._in_air -= 1
            if batch.claims:
                self._claims_in_air = False

    def _measure(self, batch: Exchange, answers: Exchanged, started_s: float) -> None:
        sink, claimed, submitted = self._sink, 0, 0
        for claim in answers.claims:
            claimed += len(claim.leases)
        for group in batch.submits:
            submitted += len(group.tasks)
        sink.observe("store_call_seconds", self._clock.monotonic() - started_s, "exchange")
        sink.observe("commit_rows", len(batch.settles) + submitted + claimed)
        if claimed:
            sink.count("tasks_claimed", by=claimed)
        for group, submitted_answer in zip(batch.submits, answers.submits, strict=True):
            sink.count("tasks_submitted", type(submitted_answer).__name__.lower(), by=len(group.tasks))

    def _take_settles(self) -> tuple[list[Settlement], list[tuple[int, asyncio.Future[Sequence[Answer]]]]]:
        lines: list[Settlement] = []
        landings = []
        while self._settles and (not lines or len(lines) + len(self._settles[0][0]) <= ROWS_A_FLIGHT):
            some, landing = self._settles.popleft()
            lines.extend(some)
            landings.append((len(some), landing))
        self._rows -= len(lines)
        return lines, landings

    def _take_submits(self) -> tuple[list[Group], list[asyncio.Future[Submitted]]]:
        """Groups up to the flight's size; a larger group goes without other submits."""
        groups: list[Group] = []
        landings: list[asyncio.Future[Submitted]] = []
        rows, most = 0, self._groups_to_take()
        while len(groups) < most and (not rows or rows + len(self._submits[0][0].tasks) <= ROWS_A_FLIGHT):
            group, landing, size = self._submits.popleft()
            groups.append(group)
            landings.append(landing)
            rows += len(group.tasks)
            self._bytes -= size
        self._rows -= rows
        return groups, landings

    def _groups_to_take(self) -> int:
        """Of many callers that wait for one flight, half take the next: else they would all call again when
        it lands, and node and store would take turns instead of working side by side."""
        waiting = len(self._submits)
        if waiting < HALVED_FROM or not self._has_another():
            return waiting
        self.call()  # there is one more flight to leave at once
        return waiting // 2

    async def _exchange(self, batch: Exchange) -> Exchanged:
        """The store call. An error that is not the store's own state, such as a value that the driver
        cannot bind, is some line's fault: the lines are replayed one by one to find whose."""
        try:
            return await self._store.exchange(batch)
        except StoreError:
            raise
        except Exception:
            if len(batch.submits) + len(batch.settles) <= 1:
                raise
        answers = Exchanged(now_us=0, submits=[], settles=[], claims=[Claimed([]) for _ in batch.claims])
        for settlement in batch.settles:
            await self._replay(settlement, answers)
        for group in batch.submits:
            await self._replay(group, answers)
        return answers

    async def _replay(self, line: Settlement | Group, answers: Exchanged) -> None:
        alone = Exchange(settles=[line]) if isinstance(line, Settlement) else Exchange(submits=[line])
        try:
            answer = await self._store.exchange(alone)
        except StoreError:
            raise
        except Exception as error:
            if isinstance(line, Settlement):
                answers.settles = [*answers.settles, Answer.LOST]
            else:
                answers.submits = [*answers.submits, Refused("invalid_input", f"cannot be stored: {error}")]
            return
        answers.settles = [*answers.settles, *answer.settles]
        answers.submits = [*answers.submits, *answer.submits]
        answers.ready = [*answers.ready, *answer.ready]
        answers.now_us, answers.usage = answer.now_us, answer.usage

    def _crash(
        self,
        error: BaseException,
        asks: Sequence[Ask],
        submits: Sequence[asyncio.Future[Submitted]],
        settles: Sequence[tuple[int, asyncio.Future[Sequence[Answer]]]],
    ) -> None:
        reason = error if isinstance(error, Exception) else StoreUnavailable("this node is shutting down")
        if not isinstance(reason, StoreError):
            _tell_of_bug(reason)
        # A worker asks again after a failure of the store; it does not outlive a bug.
        known = reason if isinstance(reason, StoreError) else StoreError(f"the exchange failed: {reason!r}")
        self._passengers.failed(asks, known)
        landings: list[asyncio.Future[Any]] = [*submits, *(settled for _, settled in settles)]
        for landing in landings:
            if not landing.done():
                landing.set_exception(reason)


def _tell_of_bug(error: Exception) -> None:
    """If it ended the pilot, nobody would know until every call waits for ever."""
    asyncio.get_running_loop().call_exception_handler({"message": "batcher failed", "exception": error})


def _resolve(landing: asyncio.Future[Any], value: object) -> None:
    if not landing.done():
        landing.set_result(value)
