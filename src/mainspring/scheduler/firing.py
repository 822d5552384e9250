"""From what a schedule says to the line that a store writes: the firer's and the doors' one way to decide."""

import logging
from collections.abc import Callable

import msgspec

from mainspring.core.durations import LONGEST_S
from mainspring.core.model import PRIORITY_HIGHEST, PRIORITY_LOWEST, SECOND_US, decode_policy
from mainspring.core.schedules import (
    BACKLOG_FULL,
    Decision,
    Schedule,
    Skip,
    begin,
    decide,
    edit,
    overlap,
)
from mainspring.core.templates import Template, task_for
from mainspring.errors import InvalidInput
from mainspring.ports import FireLine, FireTask, NewSchedule, ScheduleRecord, SeenSchedule
from mainspring.telemetry import Sink
from mainspring.wire import fields
from mainspring.wire.bounds import BOUNDS
from mainspring.wire.strict import check_size, parse_json
from mainspring.wire.tasks import RetryIn, max_losses, max_retries, retry_policy

# What made a row unacceptable may have been the system: a zone is known once its package is installed.
QUARANTINE_LOOK_US = 600 * SECOND_US
_REASON_LENGTH = 500

NewId = Callable[[], str]
_log = logging.getLogger(__name__)
_labels = msgspec.json.Decoder(dict[str, str])


def due_line(seen: SeenSchedule, now_us: int, new_id: NewId) -> FireLine:
    """What is to be written about a schedule now: fires and skips of the rules in force, the beginning of
    a new row or the change of an edited one, or the quarantine of one that cannot be obeyed."""
    record = seen.record
    try:
        if seen.unreadable is not None:
            return quarantined(seen, now_us, seen.unreadable, new_id)
        if seen.is_news or record.quarantine is not None:
            check_template(record.id, record.template)
        return line_of(seen, decision_of(record, record.rules, now_us), new_id)
    except InvalidInput as problem:
        return quarantined(seen, now_us, str(problem), new_id)
    except Exception as error:
        # Whatever is wrong with one schedule, the others must fire.
        return quarantined(seen, now_us, f"{type(error).__name__}: {error}", new_id)


def decision_of(record: ScheduleRecord, rules: Schedule, now_us: int) -> Decision:
    """What the schedule does now if it shall go by `rules` from now on. Raises `InvalidInput`, also for new
    times that never come."""
    standing = record.standing
    if standing is None:
        return decide(begin(rules, now_us), record.id, now_us)
    if standing.rules == rules:
        return decide(standing, record.id, now_us)
    if standing.rules.timing != rules.timing:
        begin(rules, now_us)
    return edit(standing, record.id, rules, now_us)


def line_of(
    seen: SeenSchedule, decision: Decision, new_id: NewId, change: NewSchedule | None = None
) -> FireLine:
    """The decision as a line: fires that the overlap policy in force lets pass, with their tasks."""
    record = seen.record
    in_force = (record.standing or decision.standing).rules
    ids = [new_id() for _ in decision.fires]
    starts, skips = overlap(in_force.overlap, decision.fires, ids, seen.unfinished)
    return FireLine(
        record.id,
        record.version,
        new_id(),
        decision.standing,
        decision.next_us,
        [FireTask(start.fire.fire_us, task_for(record.template, start), start.cancels) for start in starts],
        [*decision.skips, *skips],
        change,
    )


def without_tasks(line: FireLine, new_id: NewId) -> FireLine:
    """The same decision where the queue takes no more tasks: its fires are skipped."""
    skips = [Skip(BACKLOG_FULL, made.fire_us, made.fire_us, 1) for made in line.made]
    return msgspec.structs.replace(line, mark=new_id(), made=(), skips=[*line.skips, *skips])


def quarantined(seen: SeenSchedule, now_us: int, problem: str, new_id: NewId) -> FireLine:
    """The standing stays: once the row is mended, the rules that were in force decide about the time between
    as about any time in which nobody looked."""
    record = seen.record
    return FireLine(
        record.id,
        record.version,
        new_id(),
        record.standing,
        now_us + QUARANTINE_LOOK_US,
        quarantine=problem[:_REASON_LENGTH],
    )


def tell(sink: Sink, seen: SeenSchedule, line: FireLine) -> None:
    """A decision was written: count what became of the fires, and say who went into quarantine or left it."""
    if line.made:
        sink.count("schedule_fires", by=len(line.made))
    for skip in line.skips:
        sink.count("schedule_skips", skip.reason, by=skip.count)
    before, after = seen.record.quarantine, line.quarantine
    if after is not None and (seen.is_news or before != after):
        sink.count("schedules_quarantined")
        _log.warning("schedule quarantined", extra={"schedule": line.schedule, "reason": after})
    elif after is None and before is not None:
        _log.info("schedule mended", extra={"schedule": line.schedule})


# --- templates --------------------------------------------------------------------------------------


def check_template(schedule: str, template: Template) -> None:
    """What a door asks of a submitted task, for a template that came through no door. Raises `InvalidInput`
    that names the field."""
    lane = template.lane
    fields.key(schedule, "id")
    fields.name(lane.kind, "kind")
    fields.name(lane.queue, "queue")
    fields.key(lane.tenant, "tenant")
    fields.whole(lane.priority, "priority", PRIORITY_LOWEST, PRIORITY_HIGHEST)
    if lane.key:
        fields.key(lane.key, "key")
    if template.name is not None and not (0 < len(template.name) <= 200 and template.name.isprintable()):
        raise InvalidInput("name", "not a name", "1 to 200 printable characters")
    if template.timeout_us is not None:
        fields.whole(template.timeout_us, "timeout", 1, int(LONGEST_S * SECOND_US))
    check_size(template.payload, BOUNDS.payload_bytes, "payload")
    try:
        parse_json(template.payload)
    except InvalidInput as error:
        raise InvalidInput("payload", error.problem, error.accepted) from None
    if template.labels is not None:
        fields.labels(_labels.decode(template.labels), BOUNDS.labels)
    _check_policy(template.policy)


def _check_policy(stored: bytes | None) -> None:
    policy = decode_policy(stored)
    retry = policy.retry
    max_retries(policy.max_retries, BOUNDS)
    max_losses(policy.max_losses, BOUNDS)
    retry_policy(
        RetryIn(
            retry.strategy,
            retry.delay_s,
            retry.factor,
            retry.max_delay_s,
            retry.jitter,
            list(retry.delays_s) or None,
            list(retry.only),
            list(retry.never),
        )
    )
