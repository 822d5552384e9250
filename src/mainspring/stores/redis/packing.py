"""Requests and answers of the scripts. Lua sees numbers, ids and lanes; payloads, policies, labels, results
and errors are opaque strings that travel in one blob beside the request, and are never looked into.

The server's packer knows text but no bytes, and no `nil` in an array: digests go as hex, `None` as `False`.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, NamedTuple

import msgspec

from mainspring.core.lifecycle import Change
from mainspring.core.limits import LimitState
from mainspring.core.model import (
    Lane,
    Lease,
    NewTask,
    OnParentFailure,
    State,
    Task,
    UniqueRule,
    decode_policy,
)
from mainspring.core.order import LaneHead
from mainspring.errors import StoreCorrupt
from mainspring.ports import (
    Accepted,
    Ask,
    Charge,
    Existing,
    Group,
    Idempotency,
    Refused,
    Renewal,
    Settlement,
)
from mainspring.verbs import NewWorkflow

pack = msgspec.msgpack.encode
unpack = msgspec.msgpack.decode


class Body(NamedTuple):
    """What a submit says once and no script reads."""

    payload: bytes
    policy: bytes | None
    labels: bytes | None


class End(NamedTuple):
    """How the last run ended."""

    result: bytes | None = None
    error: bytes | None = None


_body = msgspec.msgpack.Decoder(Body)
_end = msgspec.msgpack.Decoder(End)
_lane = msgspec.json.Decoder(Lane)


# A head's fields: each one's name in scripts, and in records; `None` if it stays inside. From FIRST_RARE on
# they are those that few tasks have.
_HEAD = {
    "STATE": "state", "LANE": "lane_id", "TOKEN": "token", "VERSION": "version", "CREATED": "created_at_us",
    "ORDINAL": None, "CLAIM_SEQ": None, "SETTLED_TOKEN": None, "SETTLED_DIGEST": None, "ATTEMPT": "attempt",
    "RETRIES": "retries", "LOSSES": "losses", "SNOOZES": "snoozes", "OPEN_PARENTS": "open_parents",
    "ON_PARENT_FAILURE": None, "IS_PARENT": None, "KEPT": None, "SEQ": "seq", "STARTED": "started_at_us",
    "LEASE_UNTIL": "lease_until_us", "FINISHED": "finished_at_us", "WORKER": "worker", "INCARNATION": None,
    "TIMEOUT_AT": "timeout_at_us", "RUN_AT": "run_at_us", "TIMEOUT": "timeout_us", "DEADLINE": "deadline_us",
    "CANCEL_AT": "cancel_requested_at_us", "UNIQUE": None, "FINGERPRINT": None, "SCHEDULE": "schedule_id",
    "FIRE_AT": "fire_at_us", "WORKFLOW": "workflow", "CALLBACK": None, "NOTED_TOKEN": None, "NOTED": None,
    "NAME": "name",
}  # fmt: skip
FIELDS = {name: place for place, name in enumerate(_HEAD, 1)}
FIRST_RARE = FIELDS["TIMEOUT_AT"]
# Everything before, as scripts pack it: whole numbers, then two texts behind their lengths.
HEAD_FORM = ">BI8I8I8I8I8I8I8I4i4i4i4i4I4BBBI8I8I8I8I2c0I2c0"
_NUMBERS = Struct(">B7QI4iI3B4QH")
# What other tables hold of a task, as bits of the head's field KEPT.
KEPT = {
    "KEPT_END": 1, "KEPT_ATTEMPTS": 2, "KEPT_CHECKPOINT": 4, "KEPT_PROGRESS": 8, "KEPT_PARENTS": 16,
    "KEPT_STEPS": 32, "KEPT_LOG": 64,
}  # fmt: skip
# What a task that is ready at once is given (ready.py): ORDINAL, then SEQ.
NUMBERS_A_TASK = 2
ACCEPTED, EXISTING, REFUSED, READY_FROM = 1, 2, 3, 4
# A head's digest has 32 bits: all of them set, it is `lifecycle.IN_TRANSACTION` from another store.
DIGESTS = 0xFFFFFFFF
# Whole numbers that a script's floats hold.
EXACT = 1 << 53


class Request:
    """Lines of an exchange, with their opaque strings set aside."""

    def __init__(self) -> None:
        self._blobs: list[bytes] = []
        self._ends: dict[tuple[bytes | None, bytes | None], int] = {(None, None): 0}

    def aside(self, text: bytes | None) -> int:
        """The number by which scripts know an opaque string; 0 for none."""
        if text is None:
            return 0
        self._blobs.append(text)
        return len(self._blobs)

    def packed(
        self,
        settles: Sequence[Settlement],
        submits: Sequence[Group],
        claims: Sequence[Ask],
        charges: Sequence[Charge],
    ) -> tuple[bytes, bytes]:
        lines = (
            self._settlements(settles),
            [self._group(group) for group in submits],
            [_ask(ask) for ask in claims],
            charges,
        )
        return pack((*lines, self._lengths())), b"".join(self._blobs)

    def pack(self, lines: Sequence[object]) -> tuple[bytes, bytes]:
        """Lines that name their opaque strings, and these."""
        return pack((lines, self._lengths())), b"".join(self._blobs)

    def packed_decisions(
        self, decisions: Iterable[tuple[tuple[object, ...], Group, tuple[object, ...]]]
    ) -> tuple[bytes, bytes]:
        """Decisions about schedules: what stands before the group of their tasks, and what behind it."""
        lines = [(*before, self._group(group), *behind) for before, group, behind in decisions]
        return self.pack(lines)

    def _lengths(self) -> list[int]:
        return [len(blob) for blob in self._blobs]

    def _settlements(self, lines: Sequence[Settlement]) -> tuple[object, ...]:
        """The changes that there are, and the lines behind each other: most say the same."""
        changes: dict[tuple[object, ...], int] = {}
        told: list[object] = []
        for line in lines:
            change, other = line.change, line.if_cancelled
            told += (
                line.task, line.token, line.digest, (line.lane_id > 0) + 2 * line.only_if_lapsed,
                self._change(change, changes), self._end(change),
            )  # fmt: skip
            told += (0, 0) if other is change else (self._change(other, changes), self._end(other))
        return list(changes), told

    def _change(self, change: Change, changes: dict[tuple[object, ...], int]) -> int:
        said = (
            change.state, change.cause, change.attempt, change.retries, change.losses, change.snoozes,
            change.delay_us, self.aside(change.attempts), fingerprint_text(change.fingerprint),
        )  # fmt: skip
        return changes.setdefault(said, len(changes) + 1)

    def _end(self, change: Change) -> int:
        said = change.result, change.error
        if said not in self._ends:
            self._ends[said] = self.aside(pack(said))
        return self._ends[said]

    def _group(self, group: Group) -> tuple[object, ...]:
        key = False if group.idempotency is None else _key(group.idempotency)
        workflow = False if group.workflow is None else _workflow(group.workflow)
        return [self._task(task) for task in group.tasks], key, workflow

    def _task(self, task: NewTask) -> tuple[object, ...]:
        body = Body(task.payload, task.policy, task.labels)
        rule = decode_policy(task.policy).on_parent_failure if task.depends_on else OnParentFailure.CANCEL
        unique = False if task.unique is None else _unique(task.unique)
        return (
            task.id, lane_text(task.lane), task.delay_us, exact(task.run_at_us), exact(task.timeout_us),
            exact(task.deadline_us), task.depends_on, unique, rule,
            self.aside(pack(body)), task.name is not None and task.name,
        )  # fmt: skip


def can_be_stored(text: str) -> bool:
    """Whether the text is one: half of a letter that takes two is none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def prefixed(text: str) -> bytes:
    """The text as it stands in front of others in a name."""
    encoded = text.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def fingerprint_text(fingerprint: int | None) -> str | bool:
    """63 bits are more than a script's numbers hold."""
    return False if fingerprint is None else f"{fingerprint:016x}"


def exact(value: int | None) -> int | str | bool:
    """A number as scripts take it: text if it is beyond what their floats hold, which only a user's own
    time can be."""
    if value is None:
        return False
    return value if -EXACT < value < EXACT else str(value)


def number(told: int | str | bool) -> int | None:
    """The inverse of `exact`."""
    return None if told is False else int(told)


def _or_false(value: int | None) -> int | bool:
    return False if value is None else value


@lru_cache(4096)
def lane_text(lane: Lane) -> str:
    return msgspec.json.encode(lane).decode()


def _unique(rule: UniqueRule) -> tuple[object, ...]:
    return rule.digest.hex(), sorted(rule.states), _or_false(rule.period_us)


def _key(key: Idempotency) -> tuple[object, ...]:
    name = msgspec.json.encode((key.principal, key.key)).decode()
    return name, key.digest.hex(), key.ttl_us


def _workflow(new: NewWorkflow) -> tuple[object, ...]:
    labels = None if new.labels is None else new.labels.decode()
    kept = msgspec.json.encode((new.name, labels, new.callbacks)).decode()
    return new.id, kept, {task: int(callback) for callback, task in new.callbacks.items()}


def _ask(ask: Ask) -> tuple[object, ...]:
    return (
        ask.worker, ask.incarnation, ask.claim_seq, ask.lanes, ask.limit, ask.lease_us, _or_false(ask.term),
    )  # fmt: skip


def pack_renewals(renewals: Sequence[Renewal]) -> bytes:
    return pack([(r.incarnation, r.claim_seq, r.lease_us, r.held) for r in renewals])


class Reply:
    """A script's answer. `view` numbers in it become tasks or leases."""

    def __init__(self, packed: bytes, blob: bytes) -> None:
        self.now_us, self.answers, told, lengths = unpack(packed)
        self.lanes: dict[int, Lane] = {number: _lane.decode(text) for number, text in told}
        self._parts: list[bytes] = []
        start = 0
        for length in lengths:
            self._parts.append(blob[start : start + length])
            start += length

    def part(self, number: int) -> bytes | None:
        """An opaque string; `None` for 0."""
        return self._parts[number - 1] if number else None

    def texts(self, names: Sequence[str], numbers: Sequence[int]) -> dict[str, bytes]:
        """Opaque strings by name, of those that there are."""
        return {name: self._parts[n - 1] for name, n in zip(names, numbers, strict=True) if n}

    def end(self, number: int) -> End:
        return _end.decode(self._parts[number - 1]) if number else End()

    def _body(self, number: int) -> Body:
        """One that is lost, or cannot be read, says nothing: the auditor tells of it."""
        try:
            return _body.decode(self.part(number) or b"")
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return Body(b"", None, None)

    def task(self, view: Sequence[Any]) -> Task:
        """Raises `StoreCorrupt`."""
        try:
            return self._task(view)
        except (KeyError, TypeError, ValueError, msgspec.MsgspecError):
            raise StoreCorrupt(f"task {view[0]} is damaged: run mainspring doctor") from None

    def _task(self, view: Sequence[Any]) -> Task:
        task, head, body, parents, end, attempts, checkpoint, progress = view
        said = self._body(body)
        result, error = self.end(end)
        found = Task(
            task, self.lanes[head[_LANE]], STATES[head[_STATE]], said.payload,
            policy=said.policy, labels=said.labels, created_at_us=0, version=0,
            depends_on=tuple(unpack(self._parts[parents - 1])) if parents else (), result=result, error=error,
            attempts=self.part(attempts), checkpoint=self.part(checkpoint), progress=self.part(progress),
        )  # fmt: skip
        for place, name in _PLAIN:
            value = head[place]
            setattr(found, name, None if value is False else value)
        for place, name in _EXACT:
            setattr(found, name, number(head[place]))
        return found

    def leases(self, told: Sequence[Any]) -> list[Lease]:
        """Those that stand behind each other."""
        return [self.lease(told[start : start + 5]) for start in range(0, len(told), 5)]

    def lease(self, told: Sequence[Any]) -> Lease:
        task, head, body, attempts, checkpoint = told
        text = self._parts[head - 1]
        (
            _, lane_id, token, _, _, _, _, _, _, attempt, retries, losses, snoozes, _, _, _, _,
            _, started_at_us, lease_until_us, _, length,
        ) = _NUMBERS.unpack_from(text)  # fmt: skip
        end = _NUMBERS.size + length
        rest = end + 2 + int.from_bytes(text[end : end + 2], "big")
        rare = unpack(text[rest:]) if rest < len(text) else _NONE
        said = self._body(body)
        return Lease(
            task, token, lane_id, self.lanes[lane_id], said.payload, attempt, retries, losses, snoozes,
            said.policy, _far(rare, "TIMEOUT"), _far(rare, "DEADLINE"), self.part(checkpoint),
            self.part(attempts), said.labels, started_at_us or None, lease_until_us,
            text[_NUMBERS.size : end].decode(), _far(rare, "FIRE_AT"),
        )  # fmt: skip

    def heads(self, ready: Sequence[tuple[int, int]]) -> list[LaneHead]:
        return [LaneHead(number, self.lanes[number], seq) for number, seq in ready]

    @staticmethod
    def usage(told: Sequence[tuple[str, int, float]]) -> dict[str, LimitState]:
        return {name: LimitState(running, arrival_us) for name, running, arrival_us in told}

    def submitted(self, answer: Sequence[Any]) -> Accepted | Existing | Refused:
        kind, *said = answer
        if kind == REFUSED:
            code, detail, row = said
            return Refused(code, detail, None if row < 0 else row)
        if kind == READY_FROM:
            first, count = said
            versions = range(first, first + NUMBERS_A_TASK * count, NUMBERS_A_TASK)
            return Accepted(self.now_us, [State.READY] * count, list(versions))
        if kind == EXISTING:
            return Existing([self.task(view) for view in said[0]])
        states, versions, existing = said
        found = {place: self.task(view) for place, view in existing}
        return Accepted(self.now_us, [STATES[state] for state in states], versions, found)


STATES = {int(state): state for state in State}
_NONE: Mapping[int, Any] = {}


def _far(rare: Mapping[int, Any], field: str) -> int | None:
    return number(rare.get(FIELDS[field], False))


_LANE, _STATE = FIELDS["LANE"] - 1, FIELDS["STATE"] - 1
_MAY_BE_FAR = {"run_at_us", "timeout_us", "deadline_us", "timeout_at_us", "fire_at_us"}
_SHOWN = [(FIELDS[place] - 1, name) for place, name in _HEAD.items() if name in Task.__struct_fields__]
_PLAIN = [(place, name) for place, name in _SHOWN if name not in {"state", *_MAY_BE_FAR}]
_EXACT = [(place, name) for place, name in _SHOWN if name in _MAY_BE_FAR]
