"""Requests and answers of the scripts. Lua sees numbers, ids and lanes; payloads, policies, labels, results
and errors are opaque strings that travel in one blob beside the request, and are never looked into.

The server's packer knows text but no bytes, and no `nil` in an array: digests go as hex, `None` as `False`.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from mainspring.core.lifecycle import KEEPS_PLACE, Change
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
    name: str | None


class End(NamedTuple):
    """How the last run ended."""

    result: bytes | None = None
    error: bytes | None = None


_body = msgspec.msgpack.Decoder(Body)
_end = msgspec.msgpack.Decoder(End)
_lane = msgspec.json.Decoder(Lane)


class Head(NamedTuple):
    """A packed head, in the order of `record.lua`."""

    state: int
    lane_id: int
    seq: int
    token: int
    version: int
    created_at_us: int
    run_at_us: int
    timeout_us: int
    deadline_us: int
    started_at_us: int
    lease_until_us: int
    timeout_at_us: int
    finished_at_us: int
    cancel_requested_at_us: int
    claim_seq: int
    settled_token: int
    settled_digest: int
    attempt: int
    retries: int
    losses: int
    snoozes: int
    open_parents: int
    on_parent_failure: int
    is_parent: bool
    worker: str
    incarnation: str
    ordinal: int
    fingerprint: str
    schedule_id: str
    fire_at_us: int
    workflow: str
    callback: int


class Request:
    """Lines of an exchange, with their opaque strings set aside."""

    def __init__(self) -> None:
        self._blobs: list[bytes] = []

    def _aside(self, text: bytes | None) -> int:
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
            [self._settlement(line) for line in settles],
            [self._group(group) for group in submits],
            [_ask(ask) for ask in claims],
            charges,
        )
        return pack((*lines, self._lengths())), b"".join(self._blobs)

    def packed_decisions(
        self, decisions: Iterable[tuple[tuple[object, ...], Group, tuple[object, ...]]]
    ) -> tuple[bytes, bytes]:
        """Decisions about schedules: what stands before the group of their tasks, and what behind it."""
        lines = [(*before, self._group(group), *behind) for before, group, behind in decisions]
        return pack((lines, self._lengths())), b"".join(self._blobs)

    def _lengths(self) -> list[int]:
        return [len(blob) for blob in self._blobs]

    def _settlement(self, line: Settlement) -> tuple[object, ...]:
        other = line.if_cancelled is not line.change and self._change(line.if_cancelled)
        change = self._change(line.change)
        return line.task, line.token, line.digest, line.only_if_lapsed, change, other

    def _change(self, change: Change) -> tuple[object, ...]:
        end = None if change.result is None and change.error is None else pack((change.result, change.error))
        return (
            change.state, change.cause in KEEPS_PLACE, change.attempt, change.retries, change.losses,
            change.snoozes, change.delay_us, self._aside(end), self._aside(change.attempts),
            fingerprint_text(change.fingerprint),
        )  # fmt: skip

    def _group(self, group: Group) -> tuple[object, ...]:
        key = False if group.idempotency is None else _key(group.idempotency)
        workflow = False if group.workflow is None else _workflow(group.workflow)
        return [self._task(task) for task in group.tasks], key, workflow

    def _task(self, task: NewTask) -> tuple[object, ...]:
        body = Body(task.payload, task.policy, task.labels, task.name)
        rule = decode_policy(task.policy).on_parent_failure if task.depends_on else OnParentFailure.CANCEL
        unique = False if task.unique is None else _unique(task.unique)
        return (
            task.id, _lane_text(task.lane), task.delay_us, _or_false(task.run_at_us),
            _or_false(task.timeout_us), _or_false(task.deadline_us), task.depends_on, unique, rule,
            self._aside(pack(body)),
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


def _or_false(value: int | None) -> int | bool:
    return False if value is None else value


@lru_cache(4096)
def _lane_text(lane: Lane) -> str:
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
    """A script's answer. `view` numbers in it become tasks or leases; `more` are strings as stored."""

    def __init__(self, packed: bytes, blob: bytes, *more: bytes) -> None:
        self.more = more
        self.now_us, self.answers, told, lengths = unpack(packed)
        self.lanes: dict[int, Lane] = {number: _lane.decode(text) for number, text in told}
        self._parts: list[bytes] = []
        start = 0
        for length in lengths:
            self._parts.append(blob[start : start + length])
            start += length

    def _view(self, number: int) -> tuple[str, dict[str, Any], Body, list[bytes]]:
        task, head, body, *rest = self._parts[6 * number - 6 : 6 * number]
        fields = {
            name: None if value is False else value
            for name, value in zip(Head._fields, unpack(head), strict=True)
        }
        return task.decode(), fields, _body.decode(body), rest

    def task(self, number: int) -> Task:
        task, head, body, (parents, end, attempts) = self._view(number)
        result, error = _end.decode(end) if end else End()
        return Task(
            id=task, lane=self.lanes[head["lane_id"]], state=State(head["state"]), payload=body.payload,
            policy=body.policy, labels=body.labels, name=body.name,
            depends_on=tuple(unpack(parents)) if parents else (), result=result, error=error,
            attempts=attempts or None, **{name: head[name] for name in _IN_TASK},
        )  # fmt: skip

    def lease(self, number: int) -> Lease:
        task, head, body, (_, _, attempts) = self._view(number)
        return Lease(
            task=task, lane=self.lanes[head["lane_id"]], payload=body.payload, policy=body.policy,
            labels=body.labels, attempts=attempts or None, **{name: head[name] for name in _IN_LEASE},
        )  # fmt: skip

    def heads(self, ready: Sequence[tuple[int, int]]) -> list[LaneHead]:
        return [LaneHead(number, self.lanes[number], seq) for number, seq in ready]

    @staticmethod
    def usage(told: Sequence[tuple[str, int, float]]) -> dict[str, LimitState]:
        return {name: LimitState(running, arrival_us) for name, running, arrival_us in told}

    def submitted(self, answer: Sequence[Any]) -> Accepted | Existing | Refused:
        kind, *said = answer
        if kind == _REFUSED:
            code, detail, row = said
            return Refused(code, detail, None if row < 0 else row)
        if kind == _EXISTING:
            return Existing([self.task(number) for number in said[0]])
        states, versions, existing = said
        found = {place: self.task(number) for place, number in existing}
        return Accepted(self.now_us, [State(state) for state in states], versions, found)


_EXISTING, _REFUSED = 2, 3
_IN_TASK = [name for name in Head._fields if name in Task.__struct_fields__ and name != "state"]
_IN_LEASE = [name for name in Head._fields if name in Lease.__struct_fields__]
