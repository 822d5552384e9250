"""Settling: the store writes what the core decided, where the token still stands."""

from collections.abc import Sequence

from mainspring.core.lifecycle import KEEPS_PLACE, Change, is_repeated
from mainspring.core.model import State
from mainspring.ports import Answer, Settlement
from mainspring.stores.postgres.rows import STATES, can_be_stored
from mainspring.stores.postgres.transaction import Transaction, columns

_NO_CHANGE = (None,) * 11
_TOKENS = range(1 << 63)


async def settle(tx: Transaction, lines: Sequence[Settlement]) -> list[Answer]:
    """One line per row goes in a statement; a second one for the same row waits for the next."""
    answers = [Answer.LOST] * len(lines)
    left = [place for place, line in enumerate(lines) if not tx.is_careful or _is_ours(line)]
    while left:
        firsts: dict[str, int] = {}
        later = []
        for place in left:
            if firsts.setdefault(lines[place].task, place) != place:
                later.append(place)
        places = list(firsts.values())
        settled = await _settle_once(tx, [lines[place] for place in places])
        for place, answer in zip(places, settled, strict=True):
            answers[place] = answer
        left = later
    return answers


def _is_ours(line: Settlement) -> bool:
    """Whether the line may be that of a lease of this store."""
    return can_be_stored(line.task) and line.token in _TOKENS


async def _settle_once(tx: Transaction, lines: Sequence[Settlement]) -> list[Answer]:
    answers: list[Answer | None] = [None] * len(lines)
    succeeded = [place for place, line in enumerate(lines) if line.lane_id and just_succeeds(line)]
    succeeded.sort(key=lambda place: lines[place].task)
    others = [place for place, line in enumerate(lines) if line.lane_id and not just_succeeds(line)]
    for statement, places, write in (("succeed", succeeded, success), ("settle", others, _row)):
        if places:
            for row in await tx.rows(statement, *columns([write(lines[place]) for place in places])):
                place, state = places[row[0] - 1], STATES[row[1]]
                answers[place] = _book(tx, lines[place], state, *row[2:])
    missed = [line for line, answer in zip(lines, answers, strict=True) if answer is None]
    repeated = await _repeated(tx, missed) if missed else set()
    return [
        answer or (Answer.ALREADY if line.task in repeated else Answer.LOST)
        for line, answer in zip(lines, answers, strict=True)
    ]


def just_succeeds(line: Settlement) -> bool:
    """Most lines. A success moves no counter (`lifecycle.settle`): four columns say it all."""
    is_success = line.change.state is State.SUCCEEDED and line.change is line.if_cancelled
    return is_success and not line.only_if_lapsed


def success(line: Settlement) -> tuple[object, ...]:
    return line.task, line.token, line.digest, line.change.result


def _book(
    tx: Transaction,
    line: Settlement,
    state: State,
    cancelled: bool,
    lane_id: int,
    is_parent: bool,
    deadline_us: int | None = None,
) -> Answer:
    """What follows from a line that was written."""
    tx.count_move(lane_id, State.RUNNING, state)
    tx.freed.add(lane_id)
    tx.note_deadline(state, deadline_us)
    if state is State.READY:
        tx.gained.add(lane_id)
        if (line.if_cancelled if cancelled else line.change).cause in KEEPS_PLACE:
            tx.regained.add(lane_id)
    elif state.is_final:
        tx.ended(line.task, state, is_parent)
    if tx.steps is not None:
        change = line.if_cancelled if cancelled else line.change
        tx.record(line.task, State.RUNNING, change.cause, state, change.attempt, line.token)
    return Answer.CANCEL if cancelled and state is State.CANCELLED else Answer.OK


def _row(line: Settlement) -> tuple[object, ...]:
    differs = line.if_cancelled is not line.change
    second = _columns(line.if_cancelled) if differs else _NO_CHANGE
    return line.task, line.token, line.digest, line.only_if_lapsed, differs, *_columns(line.change), *second


def _columns(change: Change) -> tuple[object, ...]:
    return (
        change.state, change.cause in KEEPS_PLACE, change.attempt, change.retries, change.losses,
        change.snoozes, change.delay_us, change.result, change.error, change.attempts, change.fingerprint,
    )  # fmt: skip


async def _repeated(tx: Transaction, lines: Sequence[Settlement]) -> set[str]:
    """The tasks whose lines were accepted before."""
    rows = {row["id"]: row for row in await tx.rows("settled", [line.task for line in lines])}
    return {
        line.task
        for line in lines
        if (row := rows.get(line.task)) is not None
        and (row["state"] != State.RUNNING or row["token"] != line.token or not line.lane_id)
        and is_repeated(line.token, line.digest, row["settled_token"], row["settled_digest"])
    }
