"""Settling and renewing: the store writes what the core decided, where the token still stands."""

from collections.abc import Sequence

from asyncpg import Record

from mainspring.core.lifecycle import KEEPS_PLACE, Change
from mainspring.core.model import State
from mainspring.ports import Answer, Renewal, Settlement
from mainspring.stores.postgres.transaction import Step, Transaction

_EITHER, _AS_IT_IS, _IF_CANCELLED = 0, 1, 2


async def settle(tx: Transaction, lines: Sequence[Settlement]) -> list[Answer]:
    """One line per row goes in a statement; a second one for the same row waits for the next."""
    answers = [Answer.LOST] * len(lines)
    left = list(range(len(lines)))
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


async def _settle_once(tx: Transaction, lines: Sequence[Settlement]) -> list[Answer]:
    rows = await tx.rows(
        "settle",
        [line.task for line in lines],
        [line.token for line in lines],
        [line.digest for line in lines],
        [line.only_if_lapsed for line in lines],
        *_changes(lines),
    )
    written = {row["place"] - 1: row for row in rows}
    await tx.moved([_step(lines[place].task, row) for place, row in written.items()])
    missed = [place for place in range(len(lines)) if place not in written]
    repeated = await _repeated(tx, [lines[place] for place in missed]) if missed else set()
    return [
        _answer(written[place]["cancelled"], written[place]["state"])
        if place in written
        else Answer.ALREADY
        if line.task in repeated
        else Answer.LOST
        for place, line in enumerate(lines)
    ]


def _step(task: str, row: Record) -> Step:
    return Step(task, State(row["state"]), row["lane_id"], row["is_parent"])


def _answer(cancelled: bool, state: int) -> Answer:
    return Answer.CANCEL if cancelled and state == State.CANCELLED else Answer.OK


def _changes(lines: Sequence[Settlement]) -> list[list[object]]:
    """The columns of every change that a line may come to, under the line's number."""
    changes: list[tuple[int, int, Change]] = []
    for number, line in enumerate(lines, start=1):
        if line.if_cancelled is line.change:
            changes.append((number, _EITHER, line.change))
        else:
            changes.append((number, _AS_IT_IS, line.change))
            changes.append((number, _IF_CANCELLED, line.if_cancelled))
    rows = [
        (
            number, branch, change.state, change.cause in KEEPS_PLACE, change.attempt, change.retries,
            change.losses, change.snoozes, change.delay_us, change.result, change.error, change.attempts,
        )
        for number, branch, change in changes
    ]  # fmt: skip
    return [list(column) for column in zip(*rows, strict=True)]


async def _repeated(tx: Transaction, lines: Sequence[Settlement]) -> set[str]:
    """The tasks whose lines are word for word what was accepted before."""
    rows = {row["id"]: row for row in await tx.rows("settled", [line.task for line in lines])}
    return {
        line.task
        for line in lines
        if (row := rows.get(line.task)) is not None
        and (row["state"] != State.RUNNING or row["token"] != line.token)
        and (row["settled_token"], row["settled_digest"]) == (line.token, line.digest)
    }


async def renew(tx: Transaction, renewals: Sequence[Renewal]) -> list[list[Answer]]:
    lines = [(held, renewal.lease_us) for renewal in renewals for held in renewal.held]
    rows = await tx.rows(
        "renew",
        [held.task for held, _ in lines],
        [held.token for held, _ in lines],
        [held.started for held, _ in lines],
        [lease_us for _, lease_us in lines],
    )
    renewed = {row["place"] - 1: Answer.CANCEL if row["cancelled"] else Answer.OK for row in rows}
    back = await tx.rows(
        "hand_back",
        [renewal.incarnation for renewal in renewals],
        [renewal.claim_seq for renewal in renewals],
        [lines[place][0].task for place in renewed],
    )
    await tx.moved([_step(row["id"], row) for row in back])
    answers = iter([renewed.get(place, Answer.LOST) for place in range(len(lines))])
    return [[next(answers) for _ in renewal.held] for renewal in renewals]
