"""What running tasks record, and what they ask for, between the engine and the source.

Nothing here is given up while the lease stands, or before it was offered once: a worker that was held up past
its lease reports how its run ended all the same, and what that run recorded comes first. Whoever wants to
know is told once: that it is stored, or why it never will be.
"""

import logging

from mainspring.core.progress import RECALLS_MOST
from mainspring.errors import InvalidInput, LeaseLost, MainspringError, TooLarge
from mainspring.ports import Answer, Append, Clock, Recall, Recalled, Refused, TaskSource
from mainspring.worker.backoff import Backoff
from mainspring.worker.held import HeldLeases
from mainspring.worker.runs import Heard, Noted

BURST_MOST = 1_000
BURST_BYTES = 8 * 1024 * 1024  # a server has a limit on bodies
_log = logging.getLogger("mainspring.worker")


def lease_lost(task: str) -> LeaseLost:
    return LeaseLost(f"the lease on task {task} is lost: somebody else may run it by now")


class Waiting:
    """What a run has recorded and not handed over yet, and who wants to know when it is."""

    __slots__ = ("line", "noted", "offered")

    def __init__(self, line: Append, noted: Noted | None) -> None:
        self.line = line
        self.offered = False
        self.noted = [noted] if noted is not None else []

    def add(self, line: Append, noted: Noted | None) -> None:
        """Only the latest checkpoint and progress are sent; steps and log add up."""
        mine = self.line
        mine.checkpoint = mine.checkpoint if line.checkpoint is None else line.checkpoint
        mine.progress = mine.progress if line.progress is None else line.progress
        if line.steps:
            mine.steps = {**mine.steps, **line.steps}
        if line.log:
            mine.log = [*mine.log, *line.log]
        if noted is not None:
            self.noted.append(noted)

    def tell(self, error: MainspringError | None) -> None:
        for noted in self.noted:
            noted(error)

    def size(self) -> int:
        line = self.line
        return (
            len(line.checkpoint or b"")
            + len(line.progress or b"")
            + sum(map(len, line.steps.values()))
            + sum(len(piece.text) for piece in line.log)
        )


class Recordings:
    """Collects, and hands over in bursts."""

    def __init__(self, source: TaskSource, held: HeldLeases, clock: Clock) -> None:
        self._source = source
        self._held = held
        self._backoff = Backoff(clock)
        self._waiting: dict[tuple[str, int], Waiting] = {}
        self._given_up: set[tuple[str, int]] = set()
        self._lines_sent = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, line: Append, noted: Noted | None) -> None:
        key = line.task, line.token
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = Waiting(line, noted)
        else:
            waiting.add(line, noted)

    async def hand_over(self) -> set[tuple[str, int]]:
        """Send what waits now. Returns when the source has it, or nobody holds it any more: those runs of
        which a checkpoint was given up."""
        self._given_up.clear()
        taken, self._waiting = list(self._waiting.values()), {}
        burst: list[Waiting] = []
        size = 0
        for waiting in taken:
            size += waiting.size()
            if burst and (len(burst) == BURST_MOST or size > BURST_BYTES):
                await self._record(burst)
                burst, size = [], waiting.size()
            burst.append(waiting)
        if burst:
            await self._record(burst)
        return self._given_up

    async def _record(self, burst: list[Waiting]) -> None:
        while burst := self._standing(burst):
            for waiting in burst:
                if not waiting.offered:
                    # Lines of one run go one after another; what a server holds up must not come out last.
                    self._lines_sent += 1
                    waiting.line.number, waiting.offered = self._lines_sent, True
            try:
                answers = await self._source.append([waiting.line for waiting in burst])
            except InvalidInput as error:
                await self._record_apart(burst, error)
                return
            except MainspringError as error:
                _log.warning("recording failed: %s", error)
                await self._backoff.wait()
                continue
            self._backoff.reset()
            for waiting, answer in zip(burst, answers, strict=True):
                self._hear(waiting, answer)
            return

    async def _record_apart(self, burst: list[Waiting], error: InvalidInput) -> None:
        """The source refuses the burst for what it carries: the others are not the culprit's victims."""
        if len(burst) > 1:
            half = len(burst) // 2
            await self._record(burst[:half])
            await self._record(burst[half:])
            return
        (culprit,) = burst
        _log.error("what task %s recorded is refused: %s", culprit.line.task, error)
        culprit.tell(error)

    def _hear(self, waiting: Waiting, answer: Answer) -> None:
        line = waiting.line
        run = self._held.find(line.task)
        if run is not None and run.lease.token == line.token:
            self._held.hear(run, answer, run.renewed_s)
        waiting.tell(lease_lost(line.task) if answer is Answer.LOST else None)

    def _standing(self, burst: list[Waiting]) -> list[Waiting]:
        standing = []
        for waiting in burst:
            line = waiting.line
            run = self._held.find(line.task)
            is_held = run is not None and run.lease.token == line.token
            if is_held and (not waiting.offered or self._held.stands(line.task, line.token)):
                standing.append(waiting)
                continue
            if line.checkpoint is not None:
                self._given_up.add((line.task, line.token))
            waiting.tell(lease_lost(line.task))
        return standing


class Recalls:
    """Questions of runs about earlier runs and parents: collected while others are on their way."""

    def __init__(self, source: TaskSource, held: HeldLeases, clock: Clock) -> None:
        self._source = source
        self._held = held
        self._backoff = Backoff(clock)
        self._asked: list[tuple[Recall, Heard]] = []

    def __bool__(self) -> bool:
        return bool(self._asked)

    def add(self, line: Recall, heard: Heard) -> None:
        self._asked.append((line, heard))

    async def hand_over(self) -> None:
        """Ask some of what waits. Returns when it is answered. A question about parents goes alone: their
        results may be large."""
        count = next((n for n, (line, _) in enumerate(self._asked) if line.parents), RECALLS_MOST) or 1
        count = min(count, RECALLS_MOST)
        asked, self._asked = self._asked[:count], self._asked[count:]
        while asked := self._standing(asked):
            try:
                answers = await self._source.recall([line for line, _ in asked])
            except InvalidInput as error:
                for _, heard in asked:
                    heard(error)
                return
            except MainspringError as error:
                _log.warning("asking for what earlier runs recorded failed: %s", error)
                await self._backoff.wait()
                continue
            self._backoff.reset()
            for (line, heard), answer in zip(asked, answers, strict=True):
                heard(answer if isinstance(answer, Recalled) else self._refused(line, answer))
            return

    def _refused(self, line: Recall, answer: Refused) -> MainspringError:
        if answer.code == TooLarge.code:
            return TooLarge("parents", answer.detail)
        run = self._held.find(line.task)
        if run is not None and run.lease.token == line.token:
            self._held.hear(run, Answer.LOST, run.renewed_s)
        return lease_lost(line.task)

    def _standing(self, asked: list[tuple[Recall, Heard]]) -> list[tuple[Recall, Heard]]:
        standing = []
        for line, heard in asked:
            if self._held.stands(line.task, line.token):
                standing.append((line, heard))
            else:
                heard(lease_lost(line.task))
        return standing
