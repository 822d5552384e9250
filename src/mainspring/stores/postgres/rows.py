"""Records of the database as the values of the port, and rows as deciding about them takes them."""

from collections.abc import Iterable
from operator import itemgetter

import msgspec
from asyncpg import Record

from mainspring.core.model import Lane, Lease, OnParentFailure, State, Task
from mainspring.errors import StoreCorrupt

STATES = {int(state): state for state in State}
RULES = {int(rule): rule for rule in OnParentFailure}
LANE_LOST = "the lane of task {} is lost: run mainspring doctor"

_PLAIN = [name for name in Task.__struct_fields__ if name not in {"lane", "state", "depends_on"}]
_behind_lane = itemgetter(*Lease.__struct_fields__[Lease.__struct_fields__.index("lane") + 1 :])
_ids = msgspec.json.Decoder(tuple[str, ...])


class Row(msgspec.Struct):
    """A locked task, as deciding about it takes it and as it is written back: neither its payload nor what
    its runs left behind. `drops_result` says that its result goes."""

    id: str
    lane_id: int
    state: State
    seq: int | None
    token: int
    version: int
    attempt: int
    retries: int
    losses: int
    snoozes: int
    run_at_us: int | None
    timeout_us: int | None
    deadline_us: int | None
    started_at_us: int | None
    finished_at_us: int | None
    lease_until_us: int | None
    timeout_at_us: int | None
    cancel_requested_at_us: int | None
    worker: str | None
    incarnation: str | None
    error: bytes | None
    fingerprint: int | None
    rule: OnParentFailure
    is_parent: bool
    workflow: str | None
    callback: int | None
    drops_result: bool = False


def state_of(number: int) -> State:
    """Raises `StoreCorrupt` for a number that is no state."""
    try:
        return STATES[number]
    except KeyError:
        raise StoreCorrupt(f"a task is in no known state ({number}): run mainspring doctor") from None


def row_of(record: Record) -> Row:
    row = Row(*record.values())
    row.state = state_of(row.state)
    row.rule = RULES.get(row.rule, OnParentFailure.CANCEL)
    return row


def encode_ids(ids: Iterable[str]) -> bytes | None:
    return msgspec.json.encode(ids) if ids else None


def decode_ids(stored: bytes | None) -> tuple[str, ...]:
    return _ids.decode(stored) if stored else ()


def lane_of(record: Record) -> Lane:
    return Lane(record["queue"], record["kind"], record["tenant"], record["priority"], record["key"])


def task_of(record: Record) -> Task:
    """A task with its lane's columns. Raises `StoreCorrupt` if it has no lane."""
    if record["queue"] is None:
        raise StoreCorrupt(LANE_LOST.format(record["id"]))
    return Task(
        lane=lane_of(record),
        state=state_of(record["state"]),
        depends_on=decode_ids(record["depends_on"]),
        **{name: record[name] for name in _PLAIN},
    )


def lease_of(record: Record, lane: Lane) -> Lease:
    return Lease(record["id"], record["token"], record["lane_id"], lane, *_behind_lane(record))


def can_be_stored(text: str) -> bool:
    """Whether the database takes the text: a NUL or a lone surrogate would fail a whole batch."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def known_texts(texts: Iterable[str]) -> list[str]:
    """Those under which something may be stored."""
    return [text for text in texts if (text.isascii() and "\0" not in text) or can_be_stored(text)]
