"""What tenants have used of the workers' time, and what of it the store has yet to be told.

    claim       an estimate is charged, from the kind's earlier runs
    meanwhile   the time that passes is charged on top, while the run goes on
    settle      the charge becomes what the run really took

The estimate keeps a tenant from getting all slots that become free at one moment. Without the middle step a
tenant of long tasks would look idle while they run: of the next slot that becomes free it would get one
more, and pay only when all was over.
"""

from collections.abc import Sequence

from mainspring.core.model import SECOND_US, Lease
from mainspring.core.order import Board
from mainspring.ports import Charge, Clock, Held

CHARGE_EVERY_S = 1.0
ACCRUE_EVERY_S = 0.02
UNSEEN_LEASES = 2.0


class _Run:
    """One run on the account of its tenant. `seen_s`: when it was last heard of."""

    __slots__ = ("estimate_us", "seen_s", "since_s", "tenant")

    def __init__(self, tenant: str, estimate_us: float, since_s: float) -> None:
        self.tenant = tenant
        self.estimate_us = estimate_us
        self.since_s = self.seen_s = since_s


class Accounts:
    """The tenants' accounts on this node. `board` is charged at once, the store about once a second: it is
    a row a tenant there, and other nodes may learn a second late."""

    def __init__(self, board: Board, clock: Clock, lease_s: float) -> None:
        self._board = board
        self._clock = clock
        self._forget_after_s = UNSEEN_LEASES * lease_s
        self._tenants: set[str] = set()
        self._runs: dict[str, _Run] = {}
        self._running: dict[str, int] = {}
        self._accrued_s = 0.0
        self._charges: dict[str, float] = {}
        self._charged_s = 0.0

    def know(self, tenant: str) -> None:
        if len(self._tenants) < 2:  # two are enough to know that they compete
            self._tenants.add(tenant)

    def accrue(self) -> None:
        """Charge for the time that has passed since this was last asked, by what runs."""
        now_s = self._clock.monotonic()
        passed_s = now_s - self._accrued_s
        if passed_s < ACCRUE_EVERY_S:
            return
        self._accrued_s = now_s
        for tenant, count in self._running.items():
            self._charge(tenant, count * passed_s * SECOND_US)

    def granted(self, leases: Sequence[Lease]) -> None:
        """Charge for runs that are about to start what their kind usually takes."""
        if len(self._tenants) < 2:
            return  # nobody competes: worker time need not be booked
        board = self._board
        for lease in leases:
            tenant, estimate_us = lease.lane.tenant, board.estimate_us(lease.lane.kind)
            self._drop(lease.task)  # an earlier run of it, which nobody reported here
            self._runs[lease.task] = _Run(tenant, estimate_us, self._accrued_s)
            self._running[tenant] = self._running.get(tenant, 0) + 1
            self._charge(tenant, estimate_us)
            board.advance(tenant, estimate_us)

    def seen(self, held: Sequence[Held]) -> None:
        """A heartbeat names these runs: they go on."""
        now_s = self._clock.monotonic()
        for line in held:
            run = self._runs.get(line.task)
            if run is not None:
                run.seen_s = now_s

    def ended(self, lease: Lease, took_us: int) -> None:
        """A run is over: let its charge be what it took, and learn from it."""
        self._board.learn(lease.lane.kind, took_us)
        charged_us = self._drop(lease.task)
        if charged_us is not None:
            self._charge(lease.lane.tenant, took_us - charged_us)

    def lost(self, lease: Lease) -> None:
        """Nobody will report this run: the time that has passed stands, the estimate is taken back."""
        run = self._runs.get(lease.task)
        if run is not None:
            self._drop(lease.task)
            self._charge(run.tenant, -run.estimate_us)

    @property
    def untold(self) -> dict[str, float]:
        """What the store has not been told yet, by tenant."""
        return self._charges

    def take_charges(self) -> list[Charge]:
        """What to book in the store now."""
        now_s = self._clock.monotonic()
        if not self._charges or now_s - self._charged_s < CHARGE_EVERY_S:
            return []
        self._charged_s = now_s
        self._forget_unseen(now_s)
        floor_us = self._board.floor_us
        taken = [Charge(tenant, cost_us, floor_us) for tenant, cost_us in self._charges.items()]
        self._charges.clear()
        return taken

    def _forget_unseen(self, now_s: float) -> None:
        """Runs whose worker now speaks to another node, which books what they take from there on: kept here,
        they would be charged for ever."""
        early_s = now_s - self._forget_after_s
        for task in [task for task, run in self._runs.items() if run.seen_s < early_s]:
            self._drop(task)

    def _drop(self, task: str) -> float | None:
        """Take a run off the accounts; what it was charged until now."""
        run = self._runs.pop(task, None)
        if run is None:
            return None
        left = self._running[run.tenant] - 1
        if left:
            self._running[run.tenant] = left
        else:
            del self._running[run.tenant]
        self._board.advance(run.tenant, -run.estimate_us)
        return run.estimate_us + (self._accrued_s - run.since_s) * SECOND_US

    def _charge(self, tenant: str, cost_us: float) -> None:
        self._board.charge(tenant, cost_us)
        self._charges[tenant] = self._charges.get(tenant, 0.0) + cost_us
