"""What becomes of the fire times of a schedule: a task, or a skip with its reason. Never neither, never both.

    cursor               now - grace        now
      │   missed              │   on time    │   to come
      ├─────────────▼─────▼───┼─────▼─────▼──┤─────▼─────►
          misfire policy            fire

Everything up to the cursor is decided; the next fire is the first one strictly after it. `decide`
moves the cursor, together with what was decided, in one write of the store: so a fire time is decided
once, however many schedulers look, and a clock that goes back decides nothing twice.

The rules in force stand beside the cursor. Whoever changes a schedule first lets the old rules decide
up to now, then the new ones start there: no fire is lost at the change, and none is made twice.
"""

import re
from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from mainspring.core.model import SECOND_US
from mainspring.core.timing import Timing, check_timing, count_fires, last_us, next_us
from mainspring.errors import InvalidInput, WrongState

MISFIRES = ("skip", "fire_once", "fire_all")
OVERLAPS = ("allow", "skip", "queue", "cancel")
MOST_AT_ONCE = 1000
"""No decision makes more fires than this on time, nor more than this missed."""
DEFAULT_LIMIT = 100
LONGEST_QUEUE = 100
"""With overlap `queue` so many tasks may wait; a schedule that outruns its tasks must not grow for ever."""
LONGEST_GRACE_US = 366 * 86_400 * SECOND_US
LONGEST_JITTER_US = 86_400 * SECOND_US
_MISFIRE = re.compile(r"(skip|fire_once|fire_all)(?:\(([0-9]{1,9})\))?", re.ASCII)

# Why a fire time has no task. Stored and shown; never changed once released.
PAUSED = "paused"
BY_HAND = "by_hand"
MISSED = "missed"
COALESCED = "coalesced"
OVER_LIMIT = "over_limit"
OVERLAP = "overlap"
QUEUE_FULL = "queue_full"
SUPERSEDED = "superseded"
BACKLOG_FULL = "backlog_full"
LOST = "lost"
_MISFIRE_REASON = {"skip": MISSED, "fire_once": COALESCED, "fire_all": OVER_LIMIT}


class Schedule(msgspec.Struct, frozen=True, omit_defaults=True):
    """The rules of a schedule.

    A fire that is decided more than `misfire_grace_us` late was missed; until then it is on time, so that
    a change of leaders costs no fire. Of the missed ones `skip` makes none, `fire_once` the latest one
    unless a later fire is made anyway, and `fire_all` the latest `misfire_limit`.
    """

    timing: Timing
    misfire: str = "fire_once"
    misfire_limit: int = DEFAULT_LIMIT
    misfire_grace_us: int = 30 * SECOND_US
    overlap: str = "allow"
    jitter_us: int = 0
    paused: bool = False


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a schedule has come: the rules in force, and the instant up to which they have decided."""

    rules: Schedule
    cursor_us: int
    skip_through_us: int = 0


class Fire(msgspec.Struct, frozen=True):
    """A fire time that becomes a task: `fire_us` is its nominal time, from `run_us` (jitter) it may run."""

    fire_us: int
    run_us: int


class Skip(msgspec.Struct, frozen=True):
    """`count` fire times in a row that become no task, from `first_us` to `last_us`, for one reason."""

    reason: str
    first_us: int
    last_us: int
    count: int


class Decision(msgspec.Struct, frozen=True):
    """To be written at once: tasks for `fires`, records of `skips`, the new `standing`, and when to look
    again. `next_us` is `None` if the schedule is paused or has no more fires."""

    fires: tuple[Fire, ...]
    skips: tuple[Skip, ...]
    standing: Standing
    next_us: int | None


class Start(msgspec.Struct, frozen=True):
    """A task to make for `fire`, after `cancels` have been asked to stop, not to run before `waits_for` are
    final (in whatever way they end)."""

    fire: Fire
    task: str
    cancels: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()


def check_schedule(schedule: Schedule) -> None:
    """Raises `InvalidInput` that names the field."""
    check_timing(schedule.timing)
    if schedule.misfire not in MISFIRES:
        raise InvalidInput("misfire", f"no such policy: {schedule.misfire[:40]!r}", ", ".join(MISFIRES))
    if schedule.overlap not in OVERLAPS:
        raise InvalidInput("overlap", f"no such policy: {schedule.overlap[:40]!r}", ", ".join(OVERLAPS))
    if not 1 <= schedule.misfire_limit <= MOST_AT_ONCE:
        raise InvalidInput("misfire_limit", f"out of range: {schedule.misfire_limit}", f"1 to {MOST_AT_ONCE}")
    if not 0 <= schedule.misfire_grace_us <= LONGEST_GRACE_US:
        raise InvalidInput("misfire_grace", "out of range", "0 to 366 days")
    if not 0 <= schedule.jitter_us <= LONGEST_JITTER_US:
        raise InvalidInput("jitter", "out of range", "0 to 1 day")


def parse_misfire(text: str) -> tuple[str, int]:
    """Policy and limit of `skip`, `fire_once`, `fire_all` or `fire_all(10)`. Raises `InvalidInput`."""
    found = _MISFIRE.fullmatch(text.strip())
    if found is None or (found[2] and found[1] != "fire_all"):
        raise InvalidInput("misfire", f"no such policy: {text[:40]!r}", "skip, fire_once, fire_all(limit)")
    return found[1], int(found[2]) if found[2] else DEFAULT_LIMIT


def begin(schedule: Schedule, now_us: int) -> Standing:
    """A new schedule stands at now: nothing of the past is made up for. An instant (`at`) that has passed
    is due at once, as a task's `run_at` is.

    Raises `InvalidInput` that names the field, also if the schedule would never fire.
    """
    check_schedule(schedule)
    standing = Standing(schedule, _before_instant(schedule, now_us))
    if next_us(schedule.timing, standing.cursor_us) is None:
        timing = schedule.timing
        field = "end" if timing.end_us is not None else "cron" if timing.at_us is None else "at"
        raise InvalidInput(field, "the schedule never fires", "a fire within 50 years, from start to end")
    return standing


def decide(standing: Standing, schedule_id: str, now_us: int) -> Decision:
    """What becomes of the fire times in (cursor, now]. Pure: the same question has the same answer.

    Raises `InvalidInput` if the rules in force cannot be read (a zone that the system has lost).
    """
    usual = _one_on_time(standing, schedule_id, now_us)
    if usual is not None:
        return usual
    rules, after_us = standing.rules, standing.cursor_us
    last_due_us = last_us(rules.timing, after_us, now_us)
    if last_due_us is None:
        return Decision((), (), standing, _next_look(standing))
    skips: list[Skip] = []
    fires: list[int] = []
    if rules.paused:
        _skip(skips, PAUSED, rules.timing, after_us, now_us)
    else:
        by_hand_us = min(standing.skip_through_us, now_us)
        _skip(skips, BY_HAND, rules.timing, after_us, by_hand_us)
        fires = _survivors(skips, rules, max(after_us, by_hand_us), now_us)
    moved = msgspec.structs.replace(standing, cursor_us=last_due_us)
    made = tuple(Fire(fire_us, fire_us + jitter_us(rules, schedule_id, fire_us)) for fire_us in fires)
    return Decision(made, tuple(skips), moved, _next_look(moved))


def edit(standing: Standing, schedule_id: str, changed: Schedule, now_us: int) -> Decision:
    """Change the rules: the old ones decide up to now, the new ones start there.

    Only a new instant (`at`) in the past is due at once; it is another fire time than the old one.
    Raises `InvalidInput` that names the field, if the new rules are not acceptable.
    """
    check_schedule(changed)
    try:
        decision = decide(standing, schedule_id, now_us)
    except InvalidInput:
        # The old rules can no longer be read; the edit is what mends them.
        decision = Decision((), (), standing, None)
    cursor_us = max(standing.cursor_us, now_us)
    if changed.timing != standing.rules.timing:
        cursor_us = _before_instant(changed, cursor_us)
    moved = Standing(changed, cursor_us, standing.skip_through_us)
    return Decision(decision.fires, decision.skips, moved, _next_look(moved))


def skip_next(standing: Standing, schedule_id: str, now_us: int) -> Decision:
    """Let the next fire after now become no task. Asked again before that fire, it changes nothing; a longer
    skip stays.

    Raises `WrongState` if there is no next fire.
    """
    fire_us = next_us(standing.rules.timing, max(standing.cursor_us, now_us))
    if fire_us is None:
        raise WrongState("the schedule has no more fires to skip")
    return skip_until(standing, schedule_id, max(fire_us, standing.skip_through_us), now_us)


def skip_until(standing: Standing, schedule_id: str, until_us: int, now_us: int) -> Decision:
    """Let every fire after now up to and including `until_us` become no task. What is due now still does.
    This replaces an earlier skip; a time that is not after now takes it back."""
    decision = decide(standing, schedule_id, now_us)
    moved = msgspec.structs.replace(decision.standing, skip_through_us=until_us)
    return msgspec.structs.replace(decision, standing=moved)


def by_hand_us(rules: Schedule, last_fire_us: int | None, now_us: int) -> int:
    """The nominal time of a task that is made by hand: the present, or the first moment after it that is
    neither one of the schedule's own fire times nor taken by its last task."""
    moment_us = now_us if last_fire_us is None else max(now_us, last_fire_us + 1)
    while last_us(rules.timing, moment_us - 1, moment_us) is not None:
        moment_us += 1
    return moment_us


def jitter_us(rules: Schedule, schedule_id: str, fire_us: int) -> int:
    """How much later than its nominal time the task of a fire may run: the same for whoever asks, at most
    `jitter_us` of the rules, and always before the next fire."""
    return _jitter_us(rules, schedule_id, fire_us, next_us(rules.timing, fire_us)) if rules.jitter_us else 0


def _jitter_us(rules: Schedule, schedule_id: str, fire_us: int, following_us: int | None) -> int:
    most_us = rules.jitter_us
    if following_us is not None:
        most_us = min(most_us, following_us - fire_us - 1)
    digest = blake2b(f"{schedule_id}\0{fire_us}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % (most_us + 1)


def overlap(
    policy: str, fires: Sequence[Fire], tasks: Sequence[str], unfinished: Sequence[str]
) -> tuple[list[Start], list[Skip]]:
    """What the overlap policy makes of the fires of one decision.

    `tasks` are the ids minted for `fires`, `unfinished` the tasks of this schedule that are not final, as
    the store knows them (so a restart changes nothing), oldest first. `skip` makes a task only where none
    is unfinished, `queue` one that waits for all before it, `cancel` only the latest, which replaces all.
    """
    open_tasks, starts, skips = list(unfinished), list[Start](), list[Skip]()
    for number, (fire, task) in enumerate(zip(fires, tasks, strict=True), start=1):
        if policy == "allow":
            starts.append(Start(fire, task))
        elif policy == "cancel" and number < len(fires):
            _skip_one(skips, SUPERSEDED, fire)
        elif policy == "cancel":
            starts.append(Start(fire, task, cancels=tuple(open_tasks), waits_for=tuple(open_tasks)))
        elif policy == "skip" and open_tasks:
            _skip_one(skips, OVERLAP, fire)
        elif policy == "queue" and len(open_tasks) > LONGEST_QUEUE:
            _skip_one(skips, QUEUE_FULL, fire)
        else:
            starts.append(Start(fire, task, waits_for=tuple(open_tasks)))
            open_tasks.append(task)
    return starts, skips


def _before_instant(schedule: Schedule, cursor_us: int) -> int:
    at_us = schedule.timing.at_us
    return cursor_us if at_us is None else min(cursor_us, at_us - 1)


def _next_look(standing: Standing) -> int | None:
    return None if standing.rules.paused else next_us(standing.rules.timing, standing.cursor_us)


def _one_on_time(standing: Standing, schedule_id: str, now_us: int) -> Decision | None:
    """The decision of nearly every look, by two questions to the timing where the general rule asks six: one
    fire is due, and nothing stands against it."""
    rules = standing.rules
    fire_us = next_us(rules.timing, standing.cursor_us)
    if fire_us is None or not now_us - rules.misfire_grace_us <= fire_us <= now_us:
        return None
    following_us = next_us(rules.timing, fire_us)
    if rules.paused or fire_us <= standing.skip_through_us or (following_us or now_us + 1) <= now_us:
        return None
    late_us = _jitter_us(rules, schedule_id, fire_us, following_us) if rules.jitter_us else 0
    moved = msgspec.structs.replace(standing, cursor_us=fire_us)
    return Decision((Fire(fire_us, fire_us + late_us),), (), moved, following_us)


def _survivors(skips: list[Skip], rules: Schedule, after_us: int, now_us: int) -> list[int]:
    """The fire times in (after, now] that become tasks, oldest first; the others are added to `skips`."""
    timing = rules.timing
    on_time = _latest(timing, max(after_us, now_us - rules.misfire_grace_us - 1), now_us, MOST_AT_ONCE)
    missed_until_us = on_time[0] - 1 if on_time else now_us
    kept = {"skip": 0, "fire_once": 0 if on_time else 1, "fire_all": rules.misfire_limit}[rules.misfire]
    made_up = _latest(timing, after_us, missed_until_us, kept)
    skipped_until_us = made_up[0] - 1 if made_up else missed_until_us
    _skip(skips, _MISFIRE_REASON[rules.misfire], timing, after_us, skipped_until_us)
    return made_up + on_time


def _latest(timing: Timing, after_us: int, until_us: int, limit: int) -> list[int]:
    """The last `limit` fires in (after, until], oldest first."""
    found: list[int] = []
    while len(found) < limit and (fire_us := last_us(timing, after_us, until_us)) is not None:
        found.append(fire_us)
        until_us = fire_us - 1
    return found[::-1]


def _skip(skips: list[Skip], reason: str, timing: Timing, after_us: int, until_us: int) -> None:
    final_us = last_us(timing, after_us, until_us)
    if final_us is not None and (first_us := next_us(timing, after_us)) is not None:
        skips.append(Skip(reason, first_us, final_us, count_fires(timing, after_us, until_us)))


def _skip_one(skips: list[Skip], reason: str, fire: Fire) -> None:
    """Fires of one decision are neighbours: those skipped in a row for one reason make one record."""
    if skips and skips[-1].reason == reason:
        last = skips.pop()
        skips.append(Skip(reason, last.first_us, fire.fire_us, last.count + 1))
    else:
        skips.append(Skip(reason, fire.fire_us, fire.fire_us, 1))
