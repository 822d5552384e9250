"""Why a task is not running: every reason there is, in the order in which they stand in its way.

    final, running                         it has run, or runs
    blocked, scheduled                     the state keeps it from every claim
    deadline_passed, queue_paused,
    limit_slots, limit_rate                its lane is closed to claims
    no_worker, no_handler, no_queue,
    workers_draining, workers_full         nobody could take it
    turn                                   others go first
    next, cancel_requested, deadline       good to know; not in its way

The judges are those of the claim itself: `Wanted.takes`, `room_for`, `allowance`, `rank`. So a task is
claimable now exactly if none of its reasons is `blocking`.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import msgspec

from mainspring.core.durations import spelled
from mainspring.core.limits import UNLIMITED, LimitRule, LimitState, allowance, opens_at_us, ruled
from mainspring.core.model import SECOND_US, Attempt, Lane, OnParentFailure, State, Task, decode_policy
from mainspring.core.order import Board, LaneHead, Wanted
from mainspring.core.turns import COUNTED, ahead, taken

NAMED = 5  # of parents, holders and workers so many are named, the rest is counted
CLAIMS_PLAYED = 8


class Reason(msgspec.Struct, frozen=True):
    """`code` is stable. `facts` are the numbers in the text: names that end in `_us` are durations,
    those in `_at_us` instants of the store's clock. `hint` says what would change it."""

    code: str
    text: str
    hint: str = ""
    blocking: bool = True
    facts: Mapping[str, Any] = {}


class OpenParent(NamedTuple):
    """A task whose end another one still waits for."""

    task: str
    name: str | None
    state: State


class Crew(NamedTuple):
    """A live worker, as far as it matters here: what it takes, and its slots as of its last heartbeat."""

    worker: str
    wanted: Wanted
    slots: int
    free: int
    draining: bool = False


class Scene(msgspec.Struct):
    """What surrounds the task, as of one moment. `place` is the number of tasks in its lane that a claim
    takes before it; `waiting` is how many each lane has, by its number; `parents` are those it waits for."""

    now_us: int
    board: Board
    paused_by: Mapping[str, str] = {}
    crews: Sequence[Crew] = ()
    place: int = 0
    waiting: Mapping[int, int] = {}
    holders: Mapping[str, Sequence[str]] = {}
    parents: Sequence[OpenParent] = ()


def explain(task: Task, scene: Scene) -> list[Reason]:
    """Every reason why the task is not running, the most fundamental first."""
    now_us = scene.now_us
    if task.state.is_final:
        return [_final(task, now_us)]
    if task.state is State.RUNNING:
        return _running(task, now_us)
    reasons = []
    if task.state is State.BLOCKED:
        reasons.append(_blocked(task, scene.parents))
    elif task.state is State.SCHEDULED:
        reasons.append(_scheduled(task, now_us))
    late = task.deadline_us is not None and task.deadline_us < now_us
    if late:
        reasons.append(_deadline_passed(task, now_us))
    reasons += _closed(task, scene)
    nobody, crews = _nobody(task.lane, scene.crews)
    if task.state is State.READY or not crews:
        reasons += nobody
    if task.state is State.READY and crews and not late:
        reasons += _turn(task, scene, crews, is_open=not reasons)
    if task.deadline_us is not None and not late:
        reasons.append(_deadline(task, now_us))
    return reasons


# --- the task's own state ---------------------------------------------------------------------------


_ENDED = {
    State.SUCCEEDED: ("it succeeded", "submit it again as a new task"),
    State.FAILED: ("it failed", "a replay runs it again"),
    State.CANCELLED: ("it was cancelled", "a replay runs it again"),
}


def _final(task: Task, now_us: int) -> Reason:
    ended_us = task.finished_at_us or now_us
    how, hint = _ENDED[task.state]
    facts = {"state": task.state.label, "finished_at_us": ended_us}
    return Reason("final", f"{how} {_span(now_us - ended_us)} ago", hint, facts=facts)


def _running(task: Task, now_us: int) -> list[Reason]:
    started_us, until_us = task.started_at_us or now_us, task.lease_until_us or now_us
    facts = {"worker": task.worker, "attempt": task.attempt, "started_at_us": started_us}
    facts["lease_ends_at_us"] = until_us
    if until_us > now_us:
        text = (
            f"it is running: attempt {task.attempt} at {task.worker} for {_span(now_us - started_us)},"
            f" under a lease of {_span(until_us - now_us)} more"
        )
        hint = "it ends when its worker reports; if the worker dies, the task is taken back with its lease"
        reasons = [Reason("running", text, hint, facts=facts)]
    else:
        text = f"its worker {task.worker} is silent: the lease ran out {_span(now_us - until_us)} ago"
        hint = "any server that runs takes it back within a second"
        reasons = [Reason("lease_lapsed", text, hint, facts=facts)]
    if task.cancel_requested_at_us is not None:
        asked_us = task.cancel_requested_at_us
        text = f"its worker was asked {_span(now_us - asked_us)} ago to stop"
        reasons.append(
            Reason("cancel_requested", text, "a kill does not wait", False, {"requested_at_us": asked_us})
        )
    return reasons


_RELEASED = {
    OnParentFailure.CANCEL: "it is released when all of them succeed, and cancelled when one does not",
    OnParentFailure.RUN: "it is released when all of them have ended",
    OnParentFailure.BLOCK: "it is released when all of them succeed, if need be after a replay",
    OnParentFailure.ONLY: "it is released when all of them have ended, if one has not succeeded",
}


def _blocked(task: Task, parents: Sequence[OpenParent]) -> Reason:
    named = ", ".join(f"{parent.name or parent.task} ({parent.state.label})" for parent in parents[:NAMED])
    more = max(0, task.open_parents - min(len(parents), NAMED))
    text = f"it waits for {_count(task.open_parents, 'task')}: {_and_more(named, more)}"
    hint = _RELEASED[decode_policy(task.policy).on_parent_failure]
    shown = [
        {"task": parent.task, "name": parent.name, "state": parent.state.label} for parent in parents[:NAMED]
    ]
    return Reason("blocked", text, hint, facts={"parents": shown, "more": more})


_BECAUSE = {
    "user": "as submitted",
    "retry": "to be tried again after a failure",
    "loss": "to be tried again after its worker was lost",
    "snooze": "as its handler asked",
    "replay": "as the replay's rate says",
}


def _scheduled(task: Task, now_us: int) -> Reason:
    due_us = task.run_at_us or now_us
    because = _because(task)
    facts = {"due_at_us": due_us, "due_in_us": max(0, due_us - now_us), "because": because}
    if due_us > now_us:
        text = f"it is scheduled: due in {_span(due_us - now_us)}, {_BECAUSE[because]}"
        return Reason("scheduled", text, "it can be run now", facts=facts)
    text = f"it has been due for {_span(now_us - due_us)}, and is about to become ready"
    return Reason("scheduled", text, "any server that runs sees to it", facts=facts)


def _because(task: Task) -> str:
    """What put the task off."""
    runs = msgspec.json.decode(task.attempts, type=list[Attempt]) if task.attempts else []
    if task.started_at_us is None:
        return "replay" if runs else "user"
    if not runs or runs[-1].started_at_us != task.started_at_us:
        return "snooze"
    return "loss" if runs[-1].outcome == "lost" else "retry"


def _deadline_passed(task: Task, now_us: int) -> Reason:
    passed_us = now_us - (task.deadline_us or now_us)
    text = f"its deadline passed {_span(passed_us)} ago: it is about to fail"
    return Reason("deadline_passed", text, "submit it again", facts={"deadline_at_us": task.deadline_us})


def _deadline(task: Task, now_us: int) -> Reason:
    left_us = (task.deadline_us or now_us) - now_us
    text = f"it fails unless it has ended in {_span(left_us)}"
    facts = {"deadline_at_us": task.deadline_us, "left_us": left_us}
    return Reason("deadline", text, "its deadline can be edited", False, facts)


# --- its lane ---------------------------------------------------------------------------------------


def _closed(task: Task, scene: Scene) -> list[Reason]:
    """The pause of its queue, and, when that is what it waits for, every limit that lets none start."""
    reasons, board, lane = [], scene.board, task.lane
    if lane.queue in board.paused:
        by = scene.paused_by.get(lane.queue, "")
        text = f"queue {lane.queue} is paused" + (f" by {by}" if by else "")
        facts = {"queue": lane.queue, "by": by}
        reasons.append(Reason("queue_paused", text, "resume the queue", facts=facts))
    if task.state is State.READY:
        for name, rule in ruled(lane, board.rules):
            usage = board.usage.get(name) or LimitState()
            if allowance(rule, usage, scene.now_us) == 0:
                reasons.append(_limit(name, rule, usage, scene))
    return reasons


def _limit(name: str, rule: LimitRule, usage: LimitState, scene: Scene) -> Reason:
    opens_us = opens_at_us(rule, usage, scene.now_us)
    if opens_us is not None:
        wait_us = max(0, opens_us - scene.now_us)
        rate = f"{rule.rate} may start per {spelled(rule.per_s)}"
        text = f"limit {name}: {rate}, the next one in {_span(wait_us)}"
        facts = {
            "name": name,
            "rate": rule.rate,
            "per_us": int(rule.per_s * SECOND_US),
            "opens_in_us": wait_us,
        }
        return Reason("limit_rate", text, "wait, or raise the rate", facts=facts)
    held = list(scene.holders.get(name, ()))[:NAMED]
    more = max(0, usage.running - len(held))
    text = f"limit {name} lets none run"
    if rule.max_running:
        by = f" by {_and_more(', '.join(held), more)}" if held else ""
        text = f"limit {name}: {usage.running} of {rule.max_running} slots are taken{by}"
    facts = {"name": name, "running": usage.running, "max_running": rule.max_running}
    hint = "it starts when one of them ends, or when the limit is raised"
    return Reason("limit_slots", text, hint, facts={**facts, "held_by": held, "more": more})


# --- the workers ------------------------------------------------------------------------------------


def _nobody(lane: Lane, live: Sequence[Crew]) -> tuple[list[Reason], list[Crew]]:
    """Why no worker could take a task of this lane; and those that could, if they had a free slot."""
    if not live:
        return [Reason("no_worker", "no live worker is registered", "start a worker")], []
    able = [crew for crew in live if Wanted(crew.wanted.kinds).takes(lane)]
    if not able:
        near = get_close_matches(lane.kind, sorted({kind for crew in live for kind in crew.wanted.kinds}), 1)
        hint = "start a worker that has one" + (f"; the nearest kind there is: {near[0]}" if near else "")
        text = f"no live worker has a handler for {lane.kind} ({len(live)} live)"
        return [Reason("no_handler", text, hint, facts={"kind": lane.kind, "workers": len(live)})], []
    serving = [crew for crew in able if crew.wanted.takes(lane)]
    if not serving:
        text = f"{_count(len(able), 'live worker')} can run {lane.kind}, but none from queue {lane.queue}"
        facts = {"kind": lane.kind, "queue": lane.queue, "workers": len(able)}
        return [Reason("no_queue", text, "start a worker on this queue, or move the task", facts=facts)], []
    crews = [crew for crew in serving if not crew.draining]
    if not crews:
        text = f"{_count(len(serving), 'live worker')} could run it, and all are about to stop"
        facts = {"workers": len(serving)}
        return [Reason("workers_draining", text, "start a worker", facts=facts)], []
    if any(crew.free > 0 for crew in crews):
        return [], crews
    slots = sum(crew.slots for crew in crews)
    text = f"all {slots} slots of {_count(len(crews), 'live worker')} that could run it are taken"
    facts = {"workers": len(crews), "slots": slots}
    return [Reason("workers_full", text, "wait, or add workers or slots", facts=facts)], crews


# --- the order --------------------------------------------------------------------------------------


def _turn(task: Task, scene: Scene, crews: Sequence[Crew], *, is_open: bool) -> list[Reason]:
    """Whether the next claim of one of these workers takes the task, or how many go first. A lane that is
    closed has no turn."""
    board, waiting, now_us = scene.board, scene.waiting, scene.now_us
    own = next((head for head in board.heads.values() if head.lane == task.lane), None)
    room = board.room(task.lane, now_us)
    if own is None or not room:
        return []
    before = ahead(board, own, scene.place, [crew.wanted for crew in crews], waiting, now_us)
    facts: dict[str, Any] = {"ahead": before, "ahead_in_lane": scene.place}
    taker = _taker(own, scene, crews) if is_open else None
    if taker is not None:
        text = f"nothing is in its way: the next claim of {taker.worker} takes it"
        return [Reason("next", text, "", False, {**facts, "worker": taker.worker})]
    if not (before or is_open):
        return []
    before = facts["ahead"] = max(1, before)
    counted = max(waiting.values(), default=0) >= COUNTED
    text = f"{'over' if counted else 'about'} {_count(before, 'task')} start before it"
    hint = "wait, raise its priority, or add workers"
    if room < UNLIMITED:
        facts["room"] = room
        text += f", and limits leave room for {room}"
    return [Reason("turn", text, hint, facts={**facts, "at_least": counted})]


def _taker(own: LaneHead, scene: Scene, crews: Sequence[Crew]) -> Crew | None:
    """A worker whose claim for its free slots would take the task now."""
    played: set[tuple[Wanted, int]] = set()
    for crew in sorted(crews, key=lambda crew: -crew.free):
        claim = (crew.wanted, crew.free)
        if crew.free <= 0 or claim in played:
            continue
        if len(played) == CLAIMS_PLAYED:
            break
        played.add(claim)
        counts = taken(scene.board, crew.wanted, crew.free, scene.waiting, scene.now_us)
        if counts.get(own.lane_id, 0) > scene.place:
            return crew
    return None


def _span(duration_us: int) -> str:
    return spelled(max(0, duration_us) / SECOND_US)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _and_more(named: str, more: int) -> str:
    return f"{named} and {more} more" if more else named
