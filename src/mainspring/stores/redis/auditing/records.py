"""What laws need to know of tasks, and the breaches among a slice of them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from mainspring.core.laws import TaskFacts, breaches
from mainspring.core.model import Attempt, State, read_policy
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import FIELDS, Body, End, Reply, pack, unpack
from mainspring.verbs.audit import Finding

COUNTERS = ("ATTEMPT", "RETRIES", "LOSSES", "SNOOZES")
# Indexes whose want is told by a law of its own.
TOLD_BY_LAWS = frozenset({"ready", "members"})

_body = msgspec.msgpack.Decoder(Body)
_end = msgspec.msgpack.Decoder(End)
_parents = msgspec.msgpack.Decoder(tuple[str, ...])
FIELDS_OF_BODY: tuple[tuple[str, Callable[[bytes], object]], ...] = (
    ("policy", read_policy),
    ("labels", msgspec.json.Decoder(dict[str, Any]).decode),
)
_attempts = msgspec.json.Decoder(list[Attempt])


class Record(NamedTuple):
    """A task as it is stored, and its facts. `head` is by the names of fields, `None` if it cannot be read;
    `missing` are the indexes that do not have it, `digest` is that of the head's text."""

    id: str
    facts: TaskFacts
    head: dict[str, Any] | None
    body: Body | None
    parents: tuple[str, ...]
    missing: tuple[str, ...]
    open_parents_are_right: bool
    kept_is_right: bool
    digest: str

    def findings(self) -> list[Finding]:
        subject, key = f"task {self.id}", ("task", self.id)
        if self.head is None:
            return [Finding("unknown_state", subject, "its head cannot be read", key)]
        found = [Finding(law, subject, detail, key) for law, detail in breaches(self.facts)]
        if not self.open_parents_are_right:
            booked, there = self.head["OPEN_PARENTS"], self.facts.open_edges
            found.append(Finding("parent_count", subject, f"{booked} are booked, {there} are there", key))
        if not self.kept_is_right:
            detail = "what is kept of it beside its head is not noted there"
            found.append(Finding("damaged_index", subject, detail, ("kept", self.id)))
        for index in self.missing:
            if index not in TOLD_BY_LAWS:
                detail = f"the index {index} does not have it"
                found.append(Finding("damaged_index", subject, detail, ("index", index, self.id)))
        return found


class Slice(NamedTuple):
    records: list[Record]
    last: str | None


async def look(db: Database, after: str, limit: int) -> Slice:
    """The next tasks by id."""
    reply = await db.run("audit_tasks", b"", after.encode(), limit)
    told, highest, last = reply.answers
    return Slice(_records(reply, told, highest), last or None)


async def records(db: Database, wanted: Iterable[str]) -> dict[str, Record]:
    reply = await db.run("audit_tasks", pack(sorted(set(wanted))))
    told, highest, _ = reply.answers
    return {record.id: record for record in _records(reply, told, highest)}


def _records(reply: Reply, told: Sequence[Sequence[Any]], minted: int) -> list[Record]:
    highest = max(minted, reply.now_us)
    return [_record(reply, one, highest) for one in told]


def _record(reply: Reply, told: Sequence[Any], highest: int) -> Record:
    (
        id_, head_part, body_part, parents_part, attempts_part, lane_known, missing, place_taken, stored,
        listed, open_edges, knows, end_part, kept_is_right, digest,
    ) = told  # fmt: skip
    head = _head(reply.part(head_part))
    body = _read(_body.decode, reply.part(body_part))
    parents_text = reply.part(parents_part)
    parents = () if parents_text is None else _read(_parents.decode, parents_text)
    damaged = [name for name, decode in FIELDS_OF_BODY if not _reads(decode, getattr(body, name, None))]
    if not _reads(_attempts.decode, reply.part(attempts_part)):
        damaged.append("attempts")
    if parents is None:
        damaged.append("depends_on")
    facts = _facts(head or dict.fromkeys(FIELDS, False), reply.now_us, highest)
    is_blocked = facts.state == State.BLOCKED
    facts = msgspec.structs.replace(
        facts,
        lane_known=lane_known,
        place_taken=place_taken,
        in_line="ready" not in missing,
        parents=stored if is_blocked else 0,
        edges=listed if is_blocked else 0,
        open_edges=open_edges if is_blocked else 0,
        damaged=tuple(damaged),
        has_payload=body is not None and bool(body.payload),
        has_known_part=knows,
        has_settled_result=_has_settled_result(head, reply.part(end_part)),
    )
    return Record(
        id_, facts, head, body, parents or (), tuple(sorted(missing)),
        head is None or not is_blocked or head["OPEN_PARENTS"] == open_edges, kept_is_right, digest,
    )  # fmt: skip


def _head(text: bytes | None) -> dict[str, Any] | None:
    told = None if text is None else _read(unpack, text)
    return dict(zip(FIELDS, told, strict=True)) if isinstance(told, list) else None


def _facts(head: dict[str, Any], now_us: int, highest: int) -> TaskFacts:
    lease_until = head["LEASE_UNTIL"]
    place = head["SEQ"]
    state = _number(head["STATE"])
    is_held = bool(head["WORKER"]) and isinstance(head["INCARNATION"], str)
    return TaskFacts(
        state,
        highest,
        _number(head["TOKEN"]),
        _number(head["VERSION"]),
        None if place is False else _number(place),
        held=is_held if state == State.RUNNING else bool(head["WORKER"]),
        lease_left_us=None if lease_until is False else _number(lease_until) - now_us,
        started=head["STARTED"] is not False,
        ended=head["FINISHED"] is not False,
        has_run_at=head["RUN_AT"] is not False,
        has_time_limit=head["TIMEOUT_AT"] is not False,
        cancel_wanted=head["CANCEL_AT"] is not False,
        lowest_counter=min(_number(head[name]) for name in COUNTERS),
    )


def _number(value: object) -> int:
    """A field that should be a number; one that is none counts as below all that there are."""
    return int(value) if isinstance(value, int | float) else -1


def _has_settled_result(head: dict[str, Any] | None, text: bytes | None) -> bool:
    end = None if text is None else _read(_end.decode, text)
    if head is None or end is None or end.result is None:
        return False
    return bool(head["SETTLED_TOKEN"] == head["TOKEN"] > 0)


def _reads(decode: Callable[[bytes], object], text: bytes | None) -> bool:
    return text is None or _read(decode, text) is not None


def _read(decode: Callable[[bytes], Any], text: bytes | None) -> Any:
    """`None` for what cannot be read."""
    try:
        return None if text is None else decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return None
