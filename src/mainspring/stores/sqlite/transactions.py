"""What users submit in transactions of their own: rows that go from the intake to the tasks.

The other half, a run that is completed in the user's transaction, happens in the file: see the trigger of
0007_transactions.sql.
"""

from collections.abc import Sequence

from mainspring.core.fingerprint import fingerprint
from mainspring.core.lifecycle import Cause
from mainspring.core.model import State
from mainspring.ports import Accepted, Group, Moved, Submission, TakeIn, TakenIn
from mainspring.stores.sqlite.moves import move, release_children
from mainspring.stores.sqlite.reading import Reader
from mainspring.stores.sqlite.rows import numbers, rows_by_id, texts
from mainspring.stores.sqlite.submitting import submit
from mainspring.stores.sqlite.transaction import Transaction

BYTES_AT_ONCE = 8 * 1024 * 1024

# As a blob: the text was written by others, who may have written no UTF-8.
OLDEST = "SELECT n, id, CAST(task AS BLOB) FROM submissions ORDER BY n LIMIT ?"
OF_TASK = "SELECT n, id, CAST(task AS BLOB) FROM submissions WHERE id IN carray(?)"
ANY_SUBMISSIONS = "SELECT EXISTS (SELECT 1 FROM submissions)"
STILL_THERE = "SELECT n FROM submissions WHERE n IN carray(?)"
STILL_SUBMITTED = "SELECT n FROM submissions WHERE id = ?"
DROP_SUBMISSIONS = "DELETE FROM submissions WHERE n IN carray(?)"


def submissions(reader: Reader, limit: int, task: str | None) -> Sequence[Submission]:
    if task is not None:
        return [Submission(*row) for row in reader.db.execute(OF_TASK, (texts((task,)),)).fetchall()]
    found, size = [], 0
    rows = reader.db.execute(OLDEST, (limit,))
    for row in rows:
        found.append(Submission(*row))
        size += len(found[-1].document)
        if size >= BYTES_AT_ONCE:
            rows.close()
            break
    return found


def take_in(tx: Transaction, lines: Sequence[TakeIn]) -> TakenIn:
    free = _free(tx, lines)
    tx.caps_backlogs = False  # accepted before, whatever the queue's limit
    with_task = [line for line in free if line.task is not None]
    answers = submit(tx, [Group([line.task]) for line in with_task if line.task is not None])
    answer_of = {line.n: answer for line, answer in zip(with_task, answers, strict=True)}
    done = [line for line in free if line.task is None or _is_stored(answer_of[line.n])]
    for line in done:
        _end(tx, line)
    release_children(tx)
    if done:
        tx.db.execute(DROP_SUBMISSIONS, (numbers(line.n for line in done),))
    moved = Moved(len(done), tx.heads(), tx.finished)
    return TakenIn([answer_of.get(line.n) for line in lines], moved)


def _is_stored(answer: object) -> bool:
    return isinstance(answer, Accepted) and not answer.existing


def _free(tx: Transaction, lines: Sequence[TakeIn]) -> list[TakeIn]:
    """The lines that are this call's to do: their rows are there, and those of their parents are not, or are
    among them."""
    if not lines:
        return []
    left = {n for (n,) in tx.db.execute(STILL_THERE, (numbers(line.n for line in lines),)).fetchall()}
    free = []
    for line in lines:
        parents = () if line.task is None else line.task.depends_on
        waiting = [tx.db.execute(STILL_SUBMITTED, (parent,)).get for parent in parents]
        earlier = {n for n in waiting if n is not None and n < line.n}
        if line.n in left and earlier.issubset(left):
            free.append(line)
        else:
            left.discard(line.n)  # and so does not help its own children
    return free


def _end(tx: Transaction, line: TakeIn) -> None:
    """End a task that has just been stored, if the line says so."""
    if line.end is None or line.task is None:
        return
    row = rows_by_id(tx.db, (line.task.id,))[line.task.id]
    if line.end is State.FAILED:
        mark = fingerprint(line.task.lane.kind, line.error)
        move(tx, row, Cause.REJECT, State.FAILED, error=line.error, fingerprint=mark)
    else:
        move(tx, row, Cause.CANCEL, State.CANCELLED, error=line.error)
