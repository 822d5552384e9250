"""Claiming: workers wait here, and every flight takes their claims along.

The board is this node's picture of the lanes that have ready tasks. It is kept by what the store
answers, and read anew when another process may have changed something. A claim ranks it and asks for
the heads of lanes; the store, which guards every claim, may find less than the board promised.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from mainspring.core.limits import names, opens_at_us, rule_for
from mainspring.core.model import SECOND_US, Lane, Lease
from mainspring.core.order import Board, LaneHead, Wanted, rank
from mainspring.errors import StoreError
from mainspring.ports import Ask, BoardView, Charge, Claimed, ClaimRequest, Clock, Exchanged, Group, Store
from mainspring.scheduler.fairness import Accounts

REFRESH_S = 1.5
REFRESH_APART_S = 0.02
REOPEN_AT_LEAST_S = 0.002
# Within this a claim that does not wait has had its answer from the store, unless that is in trouble.
PATIENCE_S = 1.0
# Lanes come and go with keys and tenants. One that is not known is claimed from a flight later.
LANES_KNOWN_AT_ONCE = 100_000
# A worker of whom nothing is known any more costs the store one question.
INCARNATIONS_KNOWN_AT_ONCE = 10_000


class Waiter:
    """One worker's claim, waiting for tasks. One that may be a repeat is put to the store even if the board
    has nothing for it: the answer that was lost may have taken the last task that was ready."""

    def __init__(
        self,
        request: ClaimRequest,
        landing: asyncio.Future[list[Lease]],
        may_be_repeat: bool,
        since_reading: int,
        run_out: "Callable[[Waiter], None]",
    ) -> None:
        self.request = request
        self.may_be_repeat = may_be_repeat
        self.since_reading = since_reading
        self.timer = landing.get_loop().call_later(max(0.0, request.wait_s), run_out, self)
        self.wanted = Wanted(frozenset(request.kinds), frozenset(request.queues))
        self.landing = landing
        self.in_flight = False
        self.was_sure = False
        self.out_of_time = False
        self.fruitless = False


class Claiming:
    """The board, and the claims that wait for tasks on it."""

    def __init__(self, store: Store, clock: Clock, lease_us: int) -> None:
        self.board = Board()
        self.accounts = Accounts(self.board, clock, lease_us / SECOND_US)
        self.on_granted: Callable[[Sequence[Lease]], None] = lambda leases: None
        self.on_unwanted: Callable[[Sequence[Lease]], None] = lambda leases: None
        self.call_flight: Callable[[], None] = lambda: None
        self._store = store
        self._clock = clock
        self._lease_us = lease_us
        self._waiters: list[Waiter] = []
        self._sent: list[Waiter] = []
        self._lane_ids: dict[Lane, int] = {}
        self._claim_seqs: dict[str, int] = {}
        self._store_us = 0
        self._store_read_s = 0.0
        self._stale = True
        self._readings_begun = 0
        self._readings_done = 0
        self._gains: list[list[LaneHead]] = []
        self._gained_in_air: set[int] = set()
        self._refresh = asyncio.Event()
        self._reopening: asyncio.TimerHandle | None = None

    # --- a worker's side ------------------------------------------------------------------------

    async def claim(self, request: ClaimRequest) -> list[Lease]:
        """Leases as soon as there are any, else an empty list after `wait_s`. Nobody is sent away with less
        than the store's own word: there is nothing for a claim if a reading of the board that was begun after
        it came shows nothing, not if this node has not yet heard of what another one was given."""
        landing: asyncio.Future[list[Lease]] = asyncio.get_running_loop().create_future()
        waiter = Waiter(request, landing, self._may_be_repeat(request), self._readings_begun, self._run_out)
        self._waiters.append(waiter)
        if self._stale:
            self._refresh.set()
        self.call_flight()
        try:
            return await waiter.landing
        except asyncio.CancelledError:
            landing = waiter.landing
            if landing.done() and not landing.cancelled() and landing.exception() is None:
                # The caller left between the answer and its waking: nobody else knows of these leases.
                self.on_unwanted(landing.result())
            raise
        finally:
            waiter.timer.cancel()
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _may_be_repeat(self, request: ClaimRequest) -> bool:
        """Only the next number after the last that this node has heard is sure to be new: what lies between
        may have been granted by another node."""
        last = self._claim_seqs.pop(request.incarnation, None)
        if len(self._claim_seqs) >= INCARNATIONS_KNOWN_AT_ONCE:
            del self._claim_seqs[next(iter(self._claim_seqs))]
        self._claim_seqs[request.incarnation] = request.claim_seq
        return last is None or request.claim_seq != last + 1

    def _run_out(self, waiter: Waiter) -> None:
        waiter.out_of_time = True
        if not waiter.in_flight and not waiter.landing.done():
            if not self._is_sure(waiter):
                self._refresh.set()
            self.call_flight()
            waiter.timer.cancel()
            waiter.timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._give_up, waiter)

    def _give_up(self, waiter: Waiter) -> None:
        if not waiter.in_flight and not waiter.landing.done():
            waiter.landing.set_result([])

    def _is_sure(self, waiter: Waiter) -> bool:
        """Whether what this node knows of the store is younger than the claim."""
        return self._readings_done > waiter.since_reading

    # --- the flight's side ----------------------------------------------------------------------

    def board_claims(self, groups: Sequence[Group]) -> tuple[list[Ask], list[Charge]]:
        """Claims for every waiter that the board has something for, these very submits included."""
        self._sent = []
        if not self._waiters:
            return [], []
        self._expect(groups)
        self.accounts.accrue()
        now_us = self.store_now_us()
        sent, asks = [], []
        for waiter in self._waiters:
            if waiter.landing.done():
                continue
            request = waiter.request
            quotas = [] if waiter.fruitless else rank(self.board, waiter.wanted, request.slots, now_us)
            if quotas or waiter.may_be_repeat:
                sent.append(waiter)
                asks.append(
                    Ask(
                        request.worker,
                        request.incarnation,
                        request.claim_seq,
                        quotas,
                        request.slots,
                        self._lease_us,
                    )
                )
            elif waiter.out_of_time and self._is_sure(waiter):
                waiter.landing.set_result([])
        if not asks:
            self._reopen_later(now_us)
        charges = self.accounts.take_charges()
        # Last: what fails on the way here takes nobody's claim along.
        for waiter in sent:
            waiter.in_flight, waiter.may_be_repeat = True, False
            waiter.was_sure = self._is_sure(waiter)
        self._sent = sent
        self._gained_in_air.clear()
        return asks, charges

    def fly_alone(self) -> bool:
        """Under limits: each flight tells what they have in use, and the last one to land is believed."""
        return bool(self.board.rules)

    def _expect(self, groups: Sequence[Group]) -> None:
        """A task submitted in this flight can be claimed in it: put its lane on the board already.
        If the submit is refused, the claim finds the lane empty and takes it off again."""
        lanes = {
            task.lane: None
            for group in groups
            for task in group.tasks
            if not (task.delay_us or task.run_at_us or task.depends_on)
        }
        now_us = self.store_now_us()
        for lane in lanes:
            lane_id = self._lane_ids.get(lane)
            if lane_id is not None:
                self.board.add([LaneHead(lane_id, lane, now_us)])

    def landed(self, asks: Sequence[Ask], answers: Exchanged) -> None:
        """Hand out the leases, and bring the board up to date."""
        self._saw_store_time(answers.now_us)
        self.gained(answers.ready)
        if answers.usage:
            self.board.usage.update(answers.usage)
        sent = self._landing(asks)
        for waiter in sent:
            waiter.in_flight = False
        for waiter, ask, claimed in zip(sent, asks, answers.claims, strict=True):
            self._served(claimed)
            if claimed.leases:
                self._hand_out(waiter, claimed.leases)
            elif waiter.out_of_time and not waiter.landing.done():
                self._came_back_empty(waiter)
            elif ask.lanes and not (claimed.empty or answers.usage):
                # Nothing granted and nothing learned, as for a repeat of a claim whose tasks are settled: the
                # same question at once would spin. The board is read first.
                waiter.fruitless = True
                self.mark_stale()
        if asks:
            self._sent = []

    def _came_back_empty(self, waiter: Waiter) -> None:
        """Once more, if it left with less than it can know by now."""
        if waiter.was_sure:
            waiter.landing.set_result([])
        else:
            self._run_out(waiter)

    def failed(self, asks: Sequence[Ask], error: BaseException) -> None:
        """The flight's outcome is unknown: the workers ask again under the same claim number."""
        for waiter in self._landing(asks):
            waiter.in_flight = False
            if not waiter.landing.done():
                waiter.landing.set_exception(error)
        if asks:
            self._sent = []
        self.mark_stale()

    def _landing(self, asks: Sequence[Ask]) -> list[Waiter]:
        """Whose claims were on the flight that took these. Another one's may still be in the air."""
        return self._sent if asks else []

    def _served(self, claimed: Claimed) -> None:
        now_us = self.store_now_us()
        heads = self.board.heads
        # Not every lane that was asked: one that was not reached keeps its head, and its age.
        for lane_id in {lease.lane_id for lease in claimed.leases}:
            head = heads.get(lane_id)
            if head is not None:
                # The head was taken; the next one's age is known at the next reading of the board.
                heads[lane_id] = LaneHead(head.lane_id, head.lane, now_us)
        # What another flight has put into a lane meanwhile is later news than that it is empty.
        self.board.drop(lane_id for lane_id in claimed.empty if lane_id not in self._gained_in_air)
        self.board.claimed += len(claimed.leases)

    def _hand_out(self, waiter: Waiter, leases: list[Lease]) -> None:
        self.accounts.granted(leases)
        self.on_granted(leases)
        if waiter.landing.done():
            self.on_unwanted(leases)
        else:
            waiter.landing.set_result(leases)

    # --- the board ------------------------------------------------------------------------------

    def gained(self, heads: Sequence[LaneHead]) -> None:
        """Lanes that have ready tasks now."""
        if heads:
            self._hope()
            self.board.add(heads)
            if self._sent:
                self._gained_in_air.update(head.lane_id for head in heads)
            self._know(heads)
            for meanwhile in self._gains:
                meanwhile.extend(heads)
            if self._waiters:
                self.call_flight()

    def _hope(self) -> None:
        """Something has changed: claims that found nothing may ask again."""
        for waiter in self._waiters:
            waiter.fruitless = False

    def mark_stale(self) -> None:
        """Another process may have changed something."""
        self._stale = True
        if self._waiters:
            self._refresh.set()

    async def keep_board(self) -> None:
        """Read the board when it may be stale and somebody waits; runs until cancelled.

        Hints can be lost, so a waiting claim reads it now and then all the same.
        """
        while True:
            # Not `wait_for`: before Python 3.12 it can swallow a cancellation, and closing would hang.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_S):
                    await self._refresh.wait()
            self._refresh.clear()
            if self._waiters:
                try:
                    await self.read_board()
                except StoreError as error:
                    self._cannot_know(error)
                    raise
                await asyncio.sleep(REFRESH_APART_S)

    def _cannot_know(self, error: StoreError) -> None:
        """Claims that cannot wait are not told that there is nothing."""
        for waiter in self._waiters:
            if waiter.out_of_time and not waiter.in_flight and not waiter.landing.done():
                waiter.landing.set_exception(error)

    async def read_board(self) -> None:
        """Bring the board up to date with the store."""
        self._stale = False
        self._readings_begun += 1
        begun = self._readings_begun
        meanwhile: list[LaneHead] = []
        self._gains.append(meanwhile)
        try:
            self._replace(await self._store.board())
            self._readings_done = max(self._readings_done, begun)
        finally:
            self._gains = [gains for gains in self._gains if gains is not meanwhile]
        # What became ready while the store was read may not be in what it read.
        self.gained(meanwhile)
        if any(waiter.out_of_time for waiter in self._waiters):
            self.call_flight()

    def _replace(self, view: BoardView) -> None:
        self._saw_store_time(view.now_us)
        self.picture(view, self.board)
        self._know(view.heads)
        self._hope()
        if view.heads:
            self.call_flight()

    def picture(self, view: BoardView, board: Board) -> None:
        """Bring `board` to what the store says, and to what it has not been told of the tenants' time."""
        board.heads = {head.lane_id: head for head in view.heads}
        board.paused = frozenset(view.paused)
        board.rules, board.usage, board.shares = dict(view.rules), dict(view.usage), dict(view.shares)
        for tenant, cost_us in self.accounts.untold.items():
            board.charge(tenant, cost_us)

    def _know(self, heads: Sequence[LaneHead]) -> None:
        if len(self._lane_ids) >= LANES_KNOWN_AT_ONCE:
            self._lane_ids.clear()
        for head in heads:
            self._lane_ids[head.lane] = head.lane_id
            self.accounts.know(head.lane.tenant)

    def store_now_us(self) -> int:
        """The store's clock, as far as this node can tell without asking."""
        return self._store_us + int((self._clock.monotonic() - self._store_read_s) * SECOND_US)

    def _saw_store_time(self, now_us: int) -> None:
        if now_us:
            self._store_us, self._store_read_s = now_us, self._clock.monotonic()

    def _reopen_later(self, now_us: int) -> None:
        """If only a rate holds the waiters back, come again when the bucket has the next task."""
        board = self.board
        if not board.rules or self._reopening is not None:
            return
        opens = [
            opens_us
            for head in board.heads.values()
            for name in names(head.lane)
            if (rule := rule_for(name, board.rules)) is not None
            and (state := board.usage.get(name)) is not None
            if (opens_us := opens_at_us(rule, state, now_us)) is not None and opens_us > now_us
        ]
        if opens:
            delay_s = max(REOPEN_AT_LEAST_S, (min(opens) - now_us) / SECOND_US)
            self._reopening = asyncio.get_running_loop().call_later(delay_s, self._reopen)

    def _reopen(self) -> None:
        self._reopening = None
        self.call_flight()
