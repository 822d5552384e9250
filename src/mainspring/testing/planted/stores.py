"""The store forgets a guard."""

from collections.abc import Callable
from heapq import heappop
from typing import Any

import msgspec

from mainspring.core.dag import Effect
from mainspring.core.lifecycle import Cause
from mainspring.core.limits import UNLIMITED
from mainspring.core.model import Lane, Lease, State
from mainspring.core.progress import LogHead
from mainspring.ports import Answer, Ask, Claimed, Held, Moved, Recall, Recalled, Renewal, Settlement
from mainspring.stores.memory import claiming, editing, moves, progress, settling, submitting, tending
from mainspring.stores.memory.moves import Call
from mainspring.stores.memory.reading import lease_of
from mainspring.stores.memory.submitting import _Plan
from mainspring.stores.memory.tables import Row, Tables
from mainspring.testing.planted.planting import Bug, bug, instead

_Settles = Callable[[Call, Settlement], Answer]


# --- settling and renewing --------------------------------------------------------------------------


def _settle_any_token(settle: _Settles) -> _Settles:
    def wrong(call: Call, line: Settlement) -> Answer:
        row = call.tables.rows.get(line.task)
        if row is not None and row.state is State.RUNNING:
            line = msgspec.structs.replace(line, token=row.token)
        return settle(call, line)

    return wrong


def _settle_lapsed_or_not(settle: _Settles) -> _Settles:
    return lambda call, line: settle(call, msgspec.structs.replace(line, only_if_lapsed=False))


def _settle_in_spite_of_cancel(settle: _Settles) -> _Settles:
    def wrong(call: Call, line: Settlement) -> Answer:
        row = call.tables.rows.get(line.task)
        if row is None:
            return settle(call, line)
        asked_us, row.cancel_requested_at_us = row.cancel_requested_at_us, None
        answer = settle(call, line)
        row.cancel_requested_at_us = asked_us
        return answer

    return wrong


def _settle_twice_in_a_batch(settle: _Settles) -> _Settles:
    def wrong(call: Call, line: Settlement) -> Answer:
        answer = settle(call, line)
        row = call.tables.rows.get(line.task)
        if answer is Answer.ALREADY and row is not None and row.version >= call.now_us:
            row.retries += 1
            return Answer.OK
        return answer

    return wrong


def _settle_without_result(settle: _Settles) -> _Settles:
    def wrong(call: Call, line: Settlement) -> Answer:
        bare = msgspec.structs.replace(line.change, result=None)
        return settle(call, msgspec.structs.replace(line, change=bare))

    return wrong


def _hold_any_token(call: Call, held: Held) -> Row | None:
    row = call.tables.rows.get(held.task)
    return row if row is not None and row.state is State.RUNNING else None


def _renew_as_latest(renew: Any) -> Any:
    def wrong(call: Call, renewal: Renewal) -> Any:
        return renew(call, msgspec.structs.replace(renewal, claim_seq=1 << 60))

    return wrong


# --- claiming ---------------------------------------------------------------------------------------


def _grant(token: Callable[[Call, Row], int], attempts: int = 1) -> Any:
    def wrong(call: Call, ask: Ask, row: Row) -> Lease:
        row.token = token(call, row)
        row.attempt += attempts
        row.worker, row.incarnation, row.claim_seq = ask.worker, ask.incarnation, ask.claim_seq
        row.lease_until_us = call.now_us + ask.lease_us
        claiming.start_run(call, row)
        call.move(row, Cause.CLAIM, State.RUNNING)
        return lease_of(row)

    return instead(wrong)


def _claim_again(claim: Any) -> Any:
    def wrong(call: Call, ask: Ask) -> Claimed:
        call.tables.claimed.pop(ask.incarnation, None)
        found: Claimed = claim(call, ask)
        return found

    return wrong


def _take_latest(take: Any) -> Any:
    def wrong(call: Call, ask: Ask, lane_id: int, count: int) -> Any:
        line = call.tables.ready.get(lane_id, [])
        line.sort(reverse=True)
        return take(call, ask, lane_id, count)

    return wrong


def _take_late_ones(call: Call, ask: Ask, lane_id: int, count: int) -> tuple[list[Lease], bool]:
    tables, leases = call.tables, list[Lease]()
    while line := tables.ready.get(lane_id, []):
        if not tables.in_line(line[0], lane_id):
            heappop(line)
        elif len(leases) == count:
            return leases, True
        else:
            leases.append(claiming._grant(call, ask, tables.rows[heappop(line).task]))
    return leases, False


def _room_without_limits(call: Call, lane: Lane) -> int:
    return 0 if lane.queue in call.tables.paused else UNLIMITED


def _room_without_pause(room: Any) -> Any:
    def wrong(call: Call, lane: Lane) -> int:
        paused, call.tables.paused = call.tables.paused, {}
        found: int = room(call, lane)
        call.tables.paused = paused
        return found

    return wrong


# --- submitting -------------------------------------------------------------------------------------


def _duplicates_of_stored_only(duplicate_of: Any) -> Any:
    def wrong(plan: _Plan, task: Any) -> Any:
        seen, plan._unique = plan._unique, {}
        found = duplicate_of(plan, task)
        plan._unique = seen
        return found

    return wrong


# --- moving -----------------------------------------------------------------------------------------


def _promote_early(promote: Any) -> Any:
    def wrong(call: Call, limit: int) -> Moved:
        call.now_us += 1_000_000
        moved: Moved = promote(call, limit)
        call.now_us -= 1_000_000
        return moved

    return wrong


def _release_at_first_parent(release: Any) -> Any:
    def wrong(call: Call, child: Row) -> None:
        child.open_parents = 1
        release(call, child)

    return wrong


def _forget_children_of_lost(apply_parent: Any) -> Any:
    def wrong(call: Call, parent: Row, limit: int, doom: bool) -> int:
        if parent.state is State.FAILED and parent.losses:
            return 0
        applied: int = apply_parent(call, parent, limit, doom)
        return applied

    return wrong


def _never_doom(apply_parent: Any) -> Any:
    def wrong(call: Call, parent: Row, limit: int, doom: bool) -> int:
        applied: int = apply_parent(call, parent, limit, doom)
        call.tables.unresolved.clear()
        return applied

    return wrong


def _count_all_but_blocked(count: Any) -> Any:
    def wrong(tables: Tables, row: Row, step: int) -> None:
        if row.state is not State.BLOCKED or step > 0:
            count(tables, row, step)

    return wrong


def _free_nothing(call: Call, lane: Lane) -> None:
    return None


def _expire_early(expire: Any) -> Any:
    def wrong(call: Call, limit: int) -> list[str]:
        call.now_us += 2_000_000
        found: list[str] = expire(call, limit)
        call.now_us -= 2_000_000
        return found

    return wrong


def _replay_anything(replay: Any) -> Any:
    def wrong(call: Call, row: Row, delay_us: int) -> bool:
        if row.state is State.SUCCEEDED:
            row.state = State.FAILED
        done: bool = replay(call, row, delay_us)
        return done

    return wrong


# --- steps and logs ---------------------------------------------------------------------------------


def _recall_nothing(tables: Tables, row: Row, line: Recall) -> Recalled:
    return Recalled()


def _admit_again(admit: Any) -> Any:
    def wrong(head: LogHead, token: int, pieces: Any) -> Any:
        base = head.ends if head.token != token else max(0, head.ends - pieces[0].offset)
        return admit(head._replace(token=token, base=base), token, pieces)

    return wrong


STORE_BUGS: tuple[Bug, ...] = (
    bug("settle takes any token", settling, "settle", _settle_any_token),
    bug("renew takes any token", settling, "_holder", instead(_hold_any_token)),
    bug("a claim raises no token", claiming, "_grant", _grant(lambda call, row: max(1, row.token))),
    bug("tokens repeat after lost writes", claiming, "_grant", _grant(lambda call, row: row.token + 1)),
    bug("the claim counts no attempt", claiming, "_grant", _grant(lambda call, row: call.mint(), attempts=0)),
    bug("a line in a batch is applied twice", settling, "settle", _settle_twice_in_a_batch),
    bug("the result is not stored", settling, "settle", _settle_without_result),
    bug("the reaper ends renewed leases", settling, "settle", _settle_lapsed_or_not),
    bug("settle ignores the cancellation", settling, "settle", _settle_in_spite_of_cancel),
    bug("unnamed leases are kept", settling, "_hand_back", instead(lambda call, row: None)),
    bug("leases of later claims are returned", settling, "renew", _renew_as_latest),
    bug("a repeated claim grants anew", claiming, "claim", _claim_again),
    bug("the last in a lane is the first out", claiming, "_take", _take_latest),
    bug("the deadline is ignored by claims", claiming, "_take", instead(_take_late_ones)),
    bug("the store guards no limit", Call, "room", instead(_room_without_limits)),
    bug("a paused queue is claimed from", Call, "room", _room_without_pause),
    bug("a freed slot is not booked", Call, "_free", instead(_free_nothing)),
    bug("unique rules are not checked within a group", _Plan, "_duplicate_of", _duplicates_of_stored_only),
    bug("idempotency keys are ignored", submitting, "_earlier_use", instead(lambda call, key: None)),
    bug("tasks are promoted early", tending, "promote", _promote_early),
    bug("deadlines strike early", tending, "expire", _expire_early),
    bug("children of failed parents run", moves, "effect", instead(lambda parent, rule: Effect.RELEASE)),
    bug("children are let go by their first parent", Call, "_release", _release_at_first_parent),
    bug("the reaper forgets the children", Call, "apply_parent", _forget_children_of_lost),
    bug("nobody dooms the children", Call, "apply_parent", _never_doom),
    bug("a loss sends a task to the end of its line", moves, "KEEPS_PLACE", instead(frozenset())),
    bug("counts are not kept", Tables, "count", _count_all_but_blocked),
    bug("what succeeded can be replayed", editing, "_replay", _replay_anything),
    bug("recorded steps are not handed on", progress, "recalled", instead(_recall_nothing)),
    bug("a repeated piece of a log is stored again", progress, "admit", _admit_again),
)
