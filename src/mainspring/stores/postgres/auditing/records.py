"""What laws need to know of the rows of `tasks`, and the breaches among a slice of them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from asyncpg import Record as Values

from mainspring.core.laws import TaskFacts, breaches
from mainspring.core.model import SECOND_US, Attempt, State, read_policy
from mainspring.core.workflows import Callback
from mainspring.stores.postgres.transaction import Transaction
from mainspring.verbs.audit import Finding

# Numbers are minted from the clock, one a microsecond: a batch may run so far ahead of it.
MINTED_AHEAD_US = 10 * SECOND_US

_decode_parents = msgspec.json.Decoder(tuple[str, ...]).decode
FIELDS: tuple[tuple[str, Callable[[bytes], object]], ...] = (
    ("policy", read_policy),
    ("labels", msgspec.json.Decoder(dict[str, Any]).decode),
    ("attempts", msgspec.json.Decoder(list[Attempt]).decode),
    ("depends_on", _decode_parents),
)


class Record(NamedTuple):
    """One row, its facts, and the parents it names."""

    id: str
    facts: TaskFacts
    parents: tuple[str, ...]

    def findings(self) -> list[Finding]:
        subject = f"task {self.id}"
        return [
            Finding(breach.law, subject, breach.detail, ("task", self.id)) for breach in breaches(self.facts)
        ]


async def look(tx: Transaction, after: str, limit: int) -> list[Record]:
    """The next rows by id."""
    return await _records(tx, await tx.rows("facts_after", _parts(), after, limit))


async def records(tx: Transaction, wanted: Iterable[str]) -> dict[str, Record]:
    rows = await tx.rows("facts_of", _parts(), sorted(set(wanted)))
    return {record.id: record for record in await _records(tx, rows)}


def _parts() -> list[int]:
    return [int(part) for part in Callback]


async def _records(tx: Transaction, rows: Sequence[Values]) -> list[Record]:
    found = []
    for row in rows:
        damaged = _damaged(row)
        stored = row["depends_on"]
        named = _decode_parents(stored) if stored is not None and "depends_on" not in damaged else ()
        is_blocked, lease_until_us = row["state"] == State.BLOCKED, row["lease_until_us"]
        facts = TaskFacts(
            row["state"], tx.now_us + MINTED_AHEAD_US, row["token"], row["version"], row["seq"],
            lane_known=row["lane_known"], held=row["held"], started=row["started_at_us"] is not None,
            ended=row["finished_at_us"] is not None,
            lease_left_us=None if lease_until_us is None else lease_until_us - tx.now_us,
            has_run_at=row["run_at_us"] is not None, has_time_limit=row["timeout_at_us"] is not None,
            cancel_wanted=row["cancel_requested_at_us"] is not None, lowest_counter=row["lowest_counter"],
            parents=len(await tx.rows("stored", named)) if is_blocked and row["edges"] < len(named) else 0,
            edges=row["edges"], open_edges=row["open_edges"], damaged=damaged,
            has_settled_result=row["has_settled_result"], has_known_part=row["has_known_part"],
            has_payload=row["has_payload"],
        )  # fmt: skip
        found.append(Record(row["id"], facts, named))
    return found


def _damaged(row: Values) -> tuple[str, ...]:
    names = []
    for name, decode in FIELDS:
        if row[name] is None:
            continue
        try:
            decode(row[name])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            names.append(name)
    return tuple(names)
