"""What users submit in transactions of their own: rows that go from the intake to the tasks.

The other half, a run that is completed in the user's transaction, happens in the database: see the triggers
of 0006_transactions.sql.
"""

from collections.abc import Sequence

from mainspring.core.fingerprint import fingerprint
from mainspring.core.lifecycle import Cause
from mainspring.core.model import State
from mainspring.ports import Accepted, Existing, Group, Moved, Refused, Submission, TakeIn, TakenIn
from mainspring.stores.postgres.moves import lock, move, release_children
from mainspring.stores.postgres.rows import known_texts
from mainspring.stores.postgres.submitting import prepare, submit
from mainspring.stores.postgres.transaction import Transaction

BYTES_AT_ONCE = 8 * 1024 * 1024


async def submissions(tx: Transaction, limit: int, task: str | None) -> Sequence[Submission]:
    if task is None:
        rows = await tx.rows("submissions", limit, BYTES_AT_ONCE)
    else:
        rows = [row for text in known_texts([task]) for row in await tx.rows("submission_of", text)]
    return [Submission(row["n"], row["id"], row["document"]) for row in rows]


async def take_in(tx: Transaction, lines: Sequence[TakeIn]) -> TakenIn:
    free = await _free(tx, lines)
    tx.exceeds_backlogs = True
    groups = [Group([line.task]) for line in free if line.task is not None]
    await prepare(tx, groups)
    answers = iter(await submit(tx, groups))
    answer_of: dict[int, Accepted | Existing | Refused | None] = {
        line.n: next(answers) for line in free if line.task is not None
    }
    done = [line for line in free if line.task is None or _is_stored(answer_of[line.n])]
    await _end(tx, [line for line in done if line.end is not None])
    await release_children(tx)
    await tx.do("drop_submissions", [line.n for line in done])
    moved = Moved(len(done), await tx.ready(), tx.finished)
    return TakenIn([answer_of.get(line.n) for line in lines], moved)


def _is_stored(answer: Accepted | Existing | Refused | None) -> bool:
    return isinstance(answer, Accepted) and not answer.existing


async def _free(tx: Transaction, lines: Sequence[TakeIn]) -> list[TakeIn]:
    """The lines that are this call's to do: nobody else has their rows in hand, or those of their parents."""
    numbers = {row["n"] for row in await tx.rows("lock_submissions", [line.n for line in lines])}
    free = [line for line in lines if line.n in numbers]
    named = {parent for line in free if line.task is not None for parent in line.task.depends_on}
    if not named:
        return free
    waiting = {row["id"]: row["n"] for row in await tx.rows("submitted_parents", known_texts(named))}
    held: list[TakeIn] = []
    for line in free:
        parents = () if line.task is None else line.task.depends_on
        earlier = {waiting[parent] for parent in parents if waiting.get(parent, line.n) < line.n}
        if earlier.issubset(numbers):
            held.append(line)
        else:
            numbers.discard(line.n)  # and so does not help its own children
    return held


async def _end(tx: Transaction, lines: Sequence[TakeIn]) -> None:
    """End tasks that have just been stored."""
    if not lines:
        return
    rows = await lock(tx, [line.task.id for line in lines if line.task is not None])
    for line in lines:
        if line.task is None:
            continue
        row = rows[line.task.id]
        if line.end is State.FAILED:
            mark = fingerprint(line.task.lane.kind, line.error)
            move(tx, row, Cause.REJECT, State.FAILED, error=line.error, fingerprint=mark)
        else:
            move(tx, row, Cause.CANCEL, State.CANCELLED, error=line.error)
