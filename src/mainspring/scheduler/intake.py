"""The intake: what users submitted in transactions of their own becomes tasks.

    committed row ─► read as at the door ─┬─ good ─────────────────► task
                                          ├─ an earlier one stands ─► cancelled, and says which
                                          └─ bad ──────────────────► dead letter with the reason

The store guards each row; which of the three becomes of it is decided here.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from msgspec.json import encode
from msgspec.structs import replace

from mainspring.core.model import NewTask, State, Task
from mainspring.errors import InvalidInput, NotFound
from mainspring.ports import Accepted, Existing, Moved, Refused, Store, Submission, TakeIn
from mainspring.telemetry import SILENT, Sink
from mainspring.wire.submissions import bare_task, read_submission

BATCH = 1_000
# Each round ends something for good: a chain of tasks that depend on a bad one takes one a task.
ROUNDS = 20
SHOWN_BYTES = 4_096
TRIES, TRY_AGAIN_S = 50, 0.02

T = TypeVar("T")
Answered = Accepted | Existing | Refused | None

_log = logging.getLogger(__name__)


class Intake:
    def __init__(self, store: Store, moved: Callable[[Moved], None], sink: Sink = SILENT) -> None:
        self._store = store
        self._moved = moved
        self._sink = sink

    async def take_in(self, limit: int = BATCH) -> int:
        """Take in what has waited longest, up to `limit` submissions; how many it was."""
        return await self._take(await self._store.submissions(limit))

    async def found(self, task: str, look: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `look` finds. If there is no such task, it may be one that is not taken in yet: then it is
        now, after those that it depends on, and `look` looks again. Raises what `look` raises."""
        try:
            return await look()
        except NotFound:
            if not self._store.features.transactional:
                raise
        # Looked at again in any case: somebody else may have taken it in since.
        await self._take_first(task)
        return await look()

    async def _take_first(self, task: str) -> None:
        """Return when there is no submission of this task, or others take their time with it."""
        for _ in range(TRIES):
            found = await self._store.submissions(1, task)
            if not found or await self._take(found):
                break
            if not await self.take_in():
                await asyncio.sleep(TRY_AGAIN_S)

    async def _take(self, found: Sequence[Submission]) -> int:
        if not found:
            return 0
        written = {submission.n: submission for submission in found}
        lines = [_first_line(submission) for submission in found]
        count = 0
        for _ in range(ROUNDS):
            taken = await self._store.take_in(lines)
            self._moved(taken.moved)
            count += taken.moved.count
            answers = dict(zip((line.n for line in lines), taken.answers, strict=True))
            refused = [line for line in lines if _is_refused(answers[line.n])]
            self._count(lines, answers)
            if not refused:
                break
            lines = [_next_line(line, written[line.n], answers[line.n], refused) for line in refused]
        return count

    def _count(self, lines: Sequence[TakeIn], answers: Mapping[int, Answered]) -> None:
        stored = (line for line in lines if answers[line.n] is not None and not _is_refused(answers[line.n]))
        for outcome, count in Counter(_OUTCOMES[line.end] for line in stored).items():
            self._sink.count("tasks_submitted", outcome, by=count)


_OUTCOMES = {None: "accepted", State.FAILED: "rejected", State.CANCELLED: "existing"}


def _is_refused(answer: Answered) -> bool:
    return isinstance(answer, Refused) or (isinstance(answer, Accepted) and bool(answer.existing))


def _first_line(submission: Submission) -> TakeIn:
    try:
        task, problem = read_submission(submission)
    except Exception:
        # A bug. If it ended the pass, no submission behind this one would ever be taken in.
        _log.exception("the submission of task %s cannot be read", submission.id)
        task, problem = bare_task(submission), InvalidInput("body", "it cannot be read")
    return TakeIn(submission.n, task) if problem is None else _dead(submission, task, problem)


def _next_line(line: TakeIn, submission: Submission, answer: Answered, refused: Sequence[TakeIn]) -> TakeIn:
    """What becomes of a line that the store did not take as it was."""
    task = line.task or bare_task(submission)
    if isinstance(answer, Accepted):
        return _stood_in(line.n, task, answer.existing[0])
    code, detail = (answer.code, answer.detail) if isinstance(answer, Refused) else ("", "")
    if code == "id_taken":
        # Written twice under the id that names it: once is what was meant.
        _log.warning("task %s was there already: its second submission is dropped", task.id)
        return TakeIn(line.n, None)
    if code == "unknown_parent":
        among = {other.task.id for other in refused if other.task is not None and other.n < line.n}
        if not among.isdisjoint(task.depends_on):
            return line  # the parent was refused itself, and is to be stored first
        return _dead(submission, task, InvalidInput("depends_on", detail))
    return _dead(submission, bare_task(submission), InvalidInput("body", detail))


def _dead(submission: Submission, task: NewTask, problem: InvalidInput) -> TakeIn:
    error = {
        "type": "InvalidInput",
        "message": str(problem),
        "field": problem.field,
        # What is wrong is left out of the task, and is to be found here.
        "submitted": submission.document[:SHOWN_BYTES].decode(errors="replace"),
    }
    # Due an instant later, it is stored as scheduled.
    return TakeIn(submission.n, _unrefusable(task, delay_us=1), State.FAILED, encode(error))


def _stood_in(n: int, task: NewTask, earlier: Task) -> TakeIn:
    message = f"task {earlier.id} stands for it, by its unique rule"
    error = encode({"type": "Duplicate", "message": message, "task": earlier.id})
    return TakeIn(n, _unrefusable(task), State.CANCELLED, error)


def _unrefusable(task: NewTask, delay_us: int = 0) -> NewTask:
    return replace(task, delay_us=delay_us, run_at_us=None, depends_on=(), unique=None)
