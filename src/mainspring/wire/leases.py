"""The worker protocol in JSON, both ways: the server reads what the HTTP worker writes, and back.

    claim    {"worker", "incarnation", "claim_seq", "kinds", ...}      -> {"leases": [{"task", "token", ...}]}
    renew    {"incarnation", "claim_seq", "held": [{"task", "token"}]} -> {"answers": ["ok", ...]}
    settle   {"reports": [{"task", "token", "outcome", ...}]}          -> {"answers": ["ok", "already", ...]}

Every line names `(task, token)` and has one answer, in order: `ok`, `lost`, `cancel` or `already`.
Durations are seconds. What running tasks record on the way is in `wire.progress`.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from mainspring.core.lifecycle import Outcome, Report
from mainspring.core.model import SECOND_US, Lane, Lease
from mainspring.errors import InvalidInput, TooLarge
from mainspring.ports import Answer, ClaimRequest, Held, Renewal, WorkerInfo
from mainspring.wire import fields
from mainspring.wire.bounds import BOUNDS, Bounds
from mainspring.wire.strict import Shape

# `lost` is a supervisor's word: the process that ran the task died under it, while the lease still stands.
OUTCOMES = {outcome.name.lower(): outcome for outcome in Outcome}
ANSWERS = {answer: answer.name.lower() for answer in Answer}
_ANSWERS_READ = {name: answer for answer, name in ANSWERS.items()}
_LONGEST_S = 100 * 365 * 86400.0

Token = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Names = Annotated[list[str], msgspec.Meta(max_length=1000)]


class ClaimIn(msgspec.Struct, forbid_unknown_fields=True):
    """Up to `slots` tasks of these kinds. Waits up to `wait` seconds for the first one.

    `(incarnation, claim_seq)` names the call: repeating the last one returns the same leases.
    """

    worker: str
    incarnation: str
    claim_seq: int
    kinds: Names
    queues: Names = []
    slots: int = 1
    wait: float = 0.0


class LeaseOut(msgspec.Struct, omit_defaults=True):
    """One claimed task. `token` goes on every later line about it.

    `started_at_us` and `lease_until_us` are the server's clock: their difference is how long the lease lasts,
    and a deadline less `started_at_us` is the time that is left, whatever the worker's own clock says.
    """

    task: str
    token: int
    kind: str
    queue: str
    tenant: str
    priority: int
    payload: msgspec.Raw
    attempt: int
    started_at_us: int | None = None
    lease_until_us: int = 0
    key: str = ""
    retries: int = 0
    losses: int = 0
    snoozes: int = 0
    lane_id: int = 0
    policy: msgspec.Raw | UnsetType = UNSET
    timeout_us: int | None = None
    deadline_us: int | None = None
    checkpoint: msgspec.Raw | UnsetType = UNSET
    labels: msgspec.Raw | UnsetType = UNSET
    fire_at_us: int | None = None


class ClaimOut(msgspec.Struct):
    leases: list[LeaseOut]


class HeldIn(msgspec.Struct, forbid_unknown_fields=True):
    task: str
    token: Token
    started: bool = True


class RenewIn(msgspec.Struct, forbid_unknown_fields=True):
    """The leases a worker holds. What it was granted and does not name goes back, uncounted."""

    incarnation: str
    claim_seq: int
    held: list[HeldIn]


class ReportIn(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """How one run ended. `delay` is a chosen retry or snooze, `duration` the run's, in seconds."""

    task: str
    token: Token
    outcome: str
    result: msgspec.Raw | UnsetType = UNSET
    error: msgspec.Raw | UnsetType = UNSET
    error_type: str = ""
    retryable: bool = True
    delay: float | None = None
    duration: float = 0.0


class SettleIn(msgspec.Struct, forbid_unknown_fields=True):
    reports: list[ReportIn]


class AnswersOut(msgspec.Struct):
    answers: list[str]


class WorkerIn(msgspec.Struct, forbid_unknown_fields=True):
    """A worker's word about itself; the name is in the path."""

    incarnation: str
    kinds: Names
    queues: Names = []
    slots: int = 1
    running: int = 0
    draining: bool = False
    version: str = ""
    node: str = ""


CLAIM = Shape(ClaimIn)
RENEW = Shape(RenewIn, envelope=3)
SETTLE = Shape(SettleIn, envelope=3)
WORKER = Shape(WorkerIn)

encode = msgspec.json.Encoder().encode
_claim_out = msgspec.json.Decoder(ClaimOut)
_answers_out = msgspec.json.Decoder(AnswersOut)


# --- claim ------------------------------------------------------------------------------------------


def read_claim(body: bytes, bounds: Bounds = BOUNDS) -> ClaimRequest:
    """Raises `InvalidInput` naming the field."""
    given = CLAIM.read(body)
    if not given.kinds:
        raise InvalidInput("kinds", "is empty", "the kinds that the worker has handlers for")
    return ClaimRequest(
        fields.key(given.worker, "worker"),
        fields.key(given.incarnation, "incarnation"),
        fields.whole(given.claim_seq, "claim_seq", 0, 1 << 53),
        tuple(fields.name(kind, f"kinds[{n}]") for n, kind in enumerate(given.kinds)),
        tuple(fields.name(queue, f"queues[{n}]") for n, queue in enumerate(given.queues)),
        fields.whole(given.slots, "slots", 1, bounds.slots),
        fields.real(given.wait, "wait", 0.0, bounds.wait_s),
    )


def write_claim(request: ClaimRequest) -> bytes:
    return encode(
        ClaimIn(
            request.worker,
            request.incarnation,
            request.claim_seq,
            list(request.kinds),
            list(request.queues),
            request.slots,
            request.wait_s,
        )
    )


def write_leases(leases: Sequence[Lease]) -> bytes:
    return encode(ClaimOut([_lease_out(lease) for lease in leases]))


def _lease_out(lease: Lease) -> LeaseOut:
    lane = lease.lane
    out = LeaseOut(
        lease.task,
        lease.token,
        lane.kind,
        lane.queue,
        lane.tenant,
        lane.priority,
        msgspec.Raw(lease.payload),
        lease.attempt,
        lease.started_at_us,
        lease.lease_until_us,
        lane.key,
        lease.retries,
        lease.losses,
        lease.snoozes,
        lease.lane_id,
    )
    out.timeout_us, out.deadline_us = lease.timeout_us, lease.deadline_us
    out.fire_at_us = lease.fire_at_us
    if lease.policy is not None:
        out.policy = msgspec.Raw(lease.policy)
    if lease.checkpoint is not None:
        out.checkpoint = msgspec.Raw(lease.checkpoint)
    if lease.labels is not None:
        out.labels = msgspec.Raw(lease.labels)
    return out


def read_leases(body: bytes, worker: str) -> list[Lease]:
    """Raises `msgspec.MsgspecError` if this is no answer to a claim."""
    return [
        Lease(
            out.task,
            out.token,
            out.lane_id,
            Lane(out.queue, out.kind, out.tenant, out.priority, out.key),
            bytes(out.payload),
            out.attempt,
            out.retries,
            out.losses,
            out.snoozes,
            _bytes(out.policy),
            out.timeout_us,
            out.deadline_us,
            _bytes(out.checkpoint),
            None,
            _bytes(out.labels),
            out.started_at_us,
            out.lease_until_us,
            worker,
            out.fire_at_us,
        )
        for out in _claim_out.decode(body).leases
    ]


def _bytes(raw: msgspec.Raw | UnsetType) -> bytes | None:
    return None if raw is UNSET else bytes(raw)


# --- renew ------------------------------------------------------------------------------------------


def read_renewal(body: bytes, bounds: Bounds = BOUNDS) -> Renewal:
    """Raises `InvalidInput`. How long a lease lasts is the server's to say: `lease_us` is 0 here."""
    given = RENEW.read(body)
    _check_lines(given.held, "held", bounds)
    held = [Held(line.task, line.token, line.started) for line in given.held]
    return Renewal(
        fields.key(given.incarnation, "incarnation"),
        fields.whole(given.claim_seq, "claim_seq", 0, 1 << 53),
        held,
        0,
    )


def write_renewal(renewal: Renewal) -> bytes:
    held = [HeldIn(line.task, line.token, line.started) for line in renewal.held]
    return encode(RenewIn(renewal.incarnation, renewal.claim_seq, held))


# --- settle -----------------------------------------------------------------------------------------


def read_reports(body: bytes, bounds: Bounds = BOUNDS) -> list[Report]:
    """Raises `InvalidInput` with a path such as `reports[3].outcome`."""
    given = SETTLE.read(body).reports
    _check_lines(given, "reports", bounds)
    return [_report(line, place) for place, line in enumerate(given)]


def _report(line: ReportIn, place: int) -> Report:
    outcome = OUTCOMES.get(line.outcome)
    if outcome is None:
        raise InvalidInput(
            f"reports[{place}].outcome", f"not one: {line.outcome[:40]!r}", ", ".join(OUTCOMES)
        )
    report = Report(line.task, line.token, outcome)
    if line.result is not UNSET:
        report.result = bytes(line.result)
    if line.error is not UNSET:
        report.error = bytes(line.error)
        report.error_type, report.retryable = line.error_type[:200], line.retryable
    if line.delay is not None:
        delay_s = fields.real(line.delay, f"reports[{place}].delay", 0.0, _LONGEST_S)
        report.delay_us = round(delay_s * SECOND_US)
    if line.duration:
        duration_s = fields.real(line.duration, f"reports[{place}].duration", 0.0, _LONGEST_S)
        report.duration_us = round(duration_s * SECOND_US)
    return report


def write_reports(reports: Iterable[Report]) -> bytes:
    return encode(SettleIn([_report_in(report) for report in reports]))


def _report_in(report: Report) -> ReportIn:
    line = ReportIn(report.task, report.token, report.outcome.name.lower())
    if report.result is not None:
        line.result = msgspec.Raw(report.result)
    if report.error is not None:
        line.error = msgspec.Raw(report.error)
    line.error_type, line.retryable = report.error_type, report.retryable
    line.delay = None if report.delay_us is None else report.delay_us / SECOND_US
    line.duration = report.duration_us / SECOND_US
    return line


def write_answers(answers: Iterable[Answer]) -> bytes:
    return encode(AnswersOut([ANSWERS[answer] for answer in answers]))


def read_answers(body: bytes) -> list[Answer]:
    """Raises `msgspec.MsgspecError` or `KeyError` if these are no answers."""
    return [_ANSWERS_READ[name] for name in _answers_out.decode(body).answers]


def _check_lines(lines: Sequence[object], field: str, bounds: Bounds) -> None:
    if len(lines) > bounds.lines:
        raise TooLarge(field, f"has {len(lines)} lines", f"at most {bounds.lines}")


# --- workers ----------------------------------------------------------------------------------------


def read_worker(body: bytes, worker: str) -> WorkerInfo:
    """Raises `InvalidInput`."""
    given = WORKER.read(body)
    return WorkerInfo(
        fields.key(worker, "worker"),
        fields.key(given.incarnation, "incarnation"),
        given.node[:200],
        tuple(fields.name(kind, f"kinds[{n}]") for n, kind in enumerate(given.kinds)),
        tuple(fields.name(queue, f"queues[{n}]") for n, queue in enumerate(given.queues)),
        fields.whole(given.slots, "slots", 0, 1_000_000),
        fields.whole(given.running, "running", 0, 1_000_000),
        given.draining,
        given.version[:200],
    )


def write_worker(info: WorkerInfo) -> bytes:
    return encode(
        WorkerIn(
            info.incarnation,
            list(info.kinds),
            list(info.queues),
            info.slots,
            info.running,
            info.draining,
            info.version,
            info.node,
        )
    )
