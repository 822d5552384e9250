"""Settling and renewing: the store writes what the core decided, where the token still stands."""

from collections.abc import Sequence

from asyncpg import Record

from mainspring.core.lifecycle import KEEPS_PLACE, Change
from mainspring.core.model import State
from mainspring.ports import Answer, Renewal, Settlement
from mainspring.stores.postgres.transaction import Step, Transaction

_NO_CHANGE = (None,) * 10


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
    rows = await tx.rows("settle", *[list(column) for column in zip(*map(_row, lines), strict=True)])
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


def _row(line: Settlement) -> tuple[object, ...]:
    differs = line.if_cancelled is not line.change
    second = _columns(line.if_cancelled) if differs else _NO_CHANGE
    return line.task, line.token, line.digest, line.only_if_lapsed, differs, *_columns(line.change), *second


def _columns(change: Change) -> tuple[object, ...]:
    return (
        change.state, change.cause in KEEPS_PLACE, change.attempt, change.retries, change.losses,
        change.snoozes, change.delay_us, change.result, change.error, change.attempts,
    )  # fmt: skip


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
    named = {lines[place][0].task for place in renewed}
    granted = await tx.rows("granted", [r.incarnation for r in renewals], [r.claim_seq for r in renewals])
    lost = [row for row in granted if row["id"] not in named]
    if lost:
        back = await tx.rows("hand_back", [row["id"] for row in lost], [row["token"] for row in lost])
        await tx.moved([_step(row["id"], row) for row in back])
    answers = iter([renewed.get(place, Answer.LOST) for place in range(len(lines))])
    return [[next(answers) for _ in renewal.held] for renewal in renewals]
