"""What laws need to know of the rows of `tasks`, and the breaches among a slice of them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from mainspring.core.laws import TaskFacts, breaches
from mainspring.core.model import Attempt, State, read_policy
from mainspring.core.workflows import Callback
from mainspring.stores.sqlite.connection import Database
from mainspring.stores.sqlite.rows import RESERVED, numbers, texts
from mainspring.verbs.audit import Finding

_LINE = (
    "EXISTS (SELECT 1 FROM tasks r INDEXED BY tasks_ready"
    " WHERE r.state = 3 AND r.lane = t.lane AND r.seq = t.seq"
)
_EDGES = "(SELECT count(*) FROM edges e INDEXED BY edges_child WHERE e.child = t.n{which})"
_PART = (
    "EXISTS (SELECT 1 FROM workflows w WHERE w.n = t.workflow) AND ifnull(t.callback, 1) IN"
    f" ({', '.join(str(int(part)) for part in Callback)})"
)
FACTS = (
    "t.n, t.id, t.state, t.token, t.version, t.seq,"
    " EXISTS (SELECT 1 FROM lanes l WHERE l.id = t.lane),"
    f" CASE t.state WHEN 3 THEN {_LINE} AND r.n < t.n) ELSE 0 END,"
    f" CASE t.state WHEN 3 THEN {_LINE} AND r.n = t.n) ELSE 1 END,"
    " c.n IS NOT NULL, t.end_us, t.started_at_us, t.run_at_us IS NOT NULL, t.timeout_at_us IS NOT NULL,"
    " t.cancel_requested_at_us IS NOT NULL, min(t.attempt, t.retries, t.losses, t.snoozes),"
    f" CASE t.state WHEN 1 THEN {_EDGES.format(which='')} ELSE 0 END,"
    f" CASE t.state WHEN 1 THEN {_EDGES.format(which=' AND e.open = 1')} ELSE 0 END,"
    " t.policy, t.labels, t.attempts, d.parents,"
    " t.result IS NOT NULL AND t.settled_token = t.token AND t.token > 0,"
    f" t.workflow IS NULL AND t.callback IS NULL OR {_PART}, length(t.payload) > 0"
    " FROM tasks t LEFT JOIN claimants c ON c.n = t.claimant LEFT JOIN dependencies d ON d.task = t.n"
)
FROM_CURSOR = f"SELECT {FACTS} WHERE t.n > ? ORDER BY t.n LIMIT ?"
BY_N = f"SELECT {FACTS} WHERE t.n IN carray(?) ORDER BY t.n"

HOW_MANY = "SELECT count(*) FROM tasks INDEXED BY tasks_id WHERE id IN carray(?)"

_decode_parents = msgspec.json.Decoder(tuple[str, ...]).decode
FIELDS: tuple[tuple[str, Callable[[bytes], object]], ...] = (
    ("policy", read_policy),
    ("labels", msgspec.json.Decoder(dict[str, Any]).decode),
    ("attempts", msgspec.json.Decoder(list[Attempt]).decode),
    ("depends_on", _decode_parents),
)


class Record(NamedTuple):
    """One row, its facts, and the parents it names."""

    n: int
    id: str
    facts: TaskFacts
    parents: tuple[str, ...]

    @property
    def subject(self) -> str:
        return f"task {self.id}"

    def findings(self) -> list[Finding]:
        return [
            Finding(breach.law, self.subject, breach.detail, ("task", self.n))
            for breach in breaches(self.facts)
        ]


def look(db: Database, after: int, limit: int, now_us: int, highest: int) -> list[Record]:
    """The next rows by arrival."""
    return _records(db, db.execute(FROM_CURSOR, (after, limit)).fetchall(), now_us, highest)


def records(db: Database, wanted: Iterable[int], now_us: int, highest: int) -> dict[int, Record]:
    chosen = sorted(set(wanted))
    if not chosen:
        return {}
    rows = db.execute(BY_N, (numbers(chosen),)).fetchall()
    return {record.n: record for record in _records(db, rows, now_us, highest)}


def _records(db: Database, rows: Sequence[Sequence[Any]], now_us: int, highest: int) -> list[Record]:
    found = []
    for (
        n, id_, state, token, version, seq, lane_known, place_taken, in_line, held, end_us, started_us,
        has_run_at, has_time_limit, cancel_wanted, lowest, edges, open_edges, policy, labels, attempts,
        parents, has_settled_result, has_known_part, has_payload,
    ) in rows:  # fmt: skip
        damaged: tuple[str, ...] = ()
        if policy is not None or labels is not None or attempts is not None or parents is not None:
            damaged = _damaged(policy, labels, attempts, parents)
        named = _decode_parents(parents) if parents is not None and "depends_on" not in damaged else ()
        facts = TaskFacts(
            state, highest, token, version, None if seq == RESERVED else seq,
            lane_known=bool(lane_known), place_taken=bool(place_taken), in_line=bool(in_line),
            held=bool(held), started=started_us > 0, ended=end_us > 0,
            lease_left_us=end_us - now_us if state == State.RUNNING and end_us > 0 else None,
            has_run_at=bool(has_run_at), has_time_limit=bool(has_time_limit),
            cancel_wanted=bool(cancel_wanted), lowest_counter=lowest,
            parents=_stored(db, named) if edges < len(named) and state == State.BLOCKED else 0,
            edges=edges, open_edges=open_edges, damaged=damaged,
            has_settled_result=bool(has_settled_result), has_known_part=bool(has_known_part),
            has_payload=bool(has_payload),
        )  # fmt: skip
        found.append(Record(n, id_, facts, named))
    return found


def _stored(db: Database, parents: Sequence[str]) -> int:
    """How many of the parents that a record names exist: what is gone has no edges any more."""
    return int(db.execute(HOW_MANY, (texts(parents),)).get)


def _damaged(*values: bytes | None) -> tuple[str, ...]:
    names = []
    for (name, decode), value in zip(FIELDS, values, strict=True):
        if value is None:
            continue
        try:
            decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            names.append(name)
    return tuple(names)
