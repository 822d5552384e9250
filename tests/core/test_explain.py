"""Every reason on its own: when it is named, with which numbers, and in which order."""

import msgspec
import pytest

from mainspring.core.explain import NAMED, Crew, OpenParent, Scene, explain
from mainspring.core.limits import LimitRule, LimitState, start
from mainspring.core.model import (
    SECOND_US,
    Attempt,
    Lane,
    OnParentFailure,
    Policy,
    State,
    Task,
    encode_policy,
)
from mainspring.core.order import Board, LaneHead, Wanted

NOW = 1_000_000 * SECOND_US
LANE = Lane("mail", "send", "acme", 5, "k1")
FREE = Crew("w1", Wanted(frozenset({"send"})), 4, 2)


def task(state=State.READY, **fields):
    fields = {"seq": NOW, "created_at_us": NOW, "version": 1, **fields}
    return Task("t1", fields.pop("lane", LANE), state, b"{}", **fields)


def scene(**fields):
    board = Board()
    board.add([LaneHead(1, LANE, NOW)])
    for name in ("paused", "rules", "usage"):
        if name in fields:
            setattr(board, name, fields.pop(name))
    return Scene(NOW, board, **{"crews": [FREE], "waiting": {1: 1}, **fields})


def reasons(subject, **fields):
    return explain(subject, scene(**fields))


def codes(subject, **fields):
    return [reason.code for reason in reasons(subject, **fields)]


def test_nothing_is_in_its_way():
    (reason,) = reasons(task())
    assert (reason.code, reason.blocking, reason.facts["worker"]) == ("next", False, "w1")
    assert reason.text == "nothing is in its way: the next claim of w1 takes it"


# --- its own state -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (State.SUCCEEDED, "it succeeded 3 m ago"),
        (State.FAILED, "it failed 3 m ago"),
        (State.CANCELLED, "it was cancelled 3 m ago"),
    ],
)
def test_final(state, text):
    (reason,) = reasons(task(state, finished_at_us=NOW - 180 * SECOND_US), crews=[])
    assert (reason.code, reason.text, reason.blocking) == ("final", text, True)


def test_running():
    subject = task(
        State.RUNNING,
        worker="w9",
        attempt=2,
        started_at_us=NOW - 2 * SECOND_US,
        lease_until_us=NOW + 13 * SECOND_US,
    )
    (reason,) = reasons(subject)
    assert reason.code == "running"
    assert reason.text == "it is running: attempt 2 at w9 for 2 s, under a lease of 13 s more"
    subject.cancel_requested_at_us = NOW - SECOND_US
    assert codes(subject) == ["running", "cancel_requested"]
    subject.lease_until_us = NOW
    assert codes(subject) == ["lease_lapsed", "cancel_requested"]


@pytest.mark.parametrize("rule", list(OnParentFailure))
def test_blocked(rule):
    """Some parents by name, the rest by number."""
    parents = [
        OpenParent(f"p{number}", "extract" if not number else None, State.READY) for number in range(NAMED)
    ]
    policy = encode_policy(Policy(on_parent_failure=rule))
    (reason,) = reasons(task(State.BLOCKED, open_parents=9, policy=policy), parents=parents)
    assert reason.code == "blocked"
    assert reason.text == (
        "it waits for 9 tasks: extract (ready), p1 (ready), p2 (ready), p3 (ready), p4 (ready) and 4 more"
    )
    assert reason.facts["more"] == 4
    assert reason.hint.startswith("it is released when all of them")


def attempts(outcome="failed", started_at_us=5):
    return msgspec.json.encode([Attempt(1, outcome, started_at_us)])


@pytest.mark.parametrize(
    ("fields", "because"),
    [
        ({}, "user"),
        ({"attempts": attempts(), "started_at_us": 5}, "retry"),
        ({"attempts": attempts("lost"), "started_at_us": 5}, "loss"),
        ({"attempts": attempts(), "started_at_us": 9}, "snooze"),
        ({"started_at_us": 9}, "snooze"),
        ({"attempts": attempts()}, "replay"),
    ],
)
def test_scheduled(fields, because):
    """And what put it off."""
    (reason,) = reasons(task(State.SCHEDULED, run_at_us=NOW + 200 * SECOND_US, **fields))
    assert reason.code == "scheduled"
    assert reason.text.startswith("it is scheduled: due in 3 m 20 s, ")
    assert reason.facts == {
        "due_at_us": NOW + 200 * SECOND_US, "due_in_us": 200 * SECOND_US, "because": because,
    }  # fmt: skip


def test_due_but_not_promoted_yet():
    (reason,) = reasons(task(State.SCHEDULED, run_at_us=NOW - SECOND_US))
    assert (reason.code, reason.text) == (
        "scheduled",
        "it has been due for 1 s, and is about to become ready",
    )


@pytest.mark.parametrize(("left_us", "code"), [(-1, "deadline_passed"), (0, "deadline"), (1, "deadline")])
def test_a_deadline(left_us, code):
    """Exactly at it a task may still start."""
    found = {reason.code: reason.blocking for reason in reasons(task(deadline_us=NOW + left_us))}
    assert found[code] == (code == "deadline_passed")
    assert ("next" in found) == (code == "deadline")


# --- its lane ----------------------------------------------------------------------------------------


def test_a_paused_queue():
    (reason,) = reasons(task(), paused=frozenset({"mail"}), paused_by={"mail": "ada"})
    assert (reason.code, reason.text) == ("queue_paused", "queue mail is paused by ada")
    (reason,) = reasons(task(), paused=frozenset({"mail"}))
    assert reason.text == "queue mail is paused"


def test_slots_of_a_limit():
    usage, held = {"key:k1": LimitState(7)}, ["a", "b", "c", "d", "e"]
    rules = {"key:*": LimitRule(max_running=7)}
    (reason,) = reasons(task(), rules=rules, usage=usage, holders={"key:k1": held})
    assert reason.code == "limit_slots"
    assert reason.text == "limit key:k1: 7 of 7 slots are taken by a, b, c, d, e and 2 more"
    (reason,) = reasons(task(), rules={"queue:mail": LimitRule(max_running=0)})
    assert reason.text == "limit queue:mail lets none run"


def test_a_rate():
    rule, state = LimitRule(rate=2, per_s=10.0), LimitState()
    start(rule, state, 2, NOW)
    (reason,) = reasons(task(), rules={"kind:send": rule}, usage={"kind:send": state})
    assert (reason.code, reason.facts["opens_in_us"]) == ("limit_rate", 5 * SECOND_US)
    assert reason.text == "limit kind:send: 2 may start per 10 s, the next one in 5 s"


def test_every_limit_that_closes_the_lane_is_named():
    rules = {
        "queue:mail": LimitRule(max_running=1),
        "tenant:acme": LimitRule(max_running=1),
        "kind:send": LimitRule(9),
    }
    usage = {name: LimitState(1) for name in rules}
    assert codes(task(), rules=rules, usage=usage) == ["limit_slots", "limit_slots"]


def test_what_is_not_ready_does_not_wait_for_slots():
    """It would be a riddle: nobody knows who holds them when its time comes."""
    rules = {"queue:mail": LimitRule(max_running=0)}
    full = [FREE._replace(free=0)]
    assert codes(task(State.SCHEDULED, run_at_us=NOW + 9), rules=rules, crews=full) == ["scheduled"]
    found = codes(task(State.SCHEDULED, run_at_us=NOW + 9), paused=frozenset({"mail"}), crews=[])
    assert found == ["scheduled", "queue_paused", "no_worker"]


# --- the workers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("crews", "code"),
    [
        ([], "no_worker"),
        ([FREE._replace(wanted=Wanted(frozenset({"sent", "x"})))], "no_handler"),
        ([FREE._replace(wanted=Wanted(frozenset({"send"}), frozenset({"other"})))], "no_queue"),
        ([FREE._replace(draining=True)], "workers_draining"),
        ([FREE._replace(free=0), FREE._replace(draining=True)], "workers_full"),
        ([FREE._replace(free=0), FREE], "next"),
    ],
)
def test_who_could_take_it(crews, code):
    assert codes(task(), crews=crews) == [code]


def test_a_misspelt_kind_is_hinted_at():
    (reason,) = reasons(task(), crews=[FREE._replace(wanted=Wanted(frozenset({"sent", "echo"})))])
    assert reason.text == "no live worker has a handler for send (1 live)"
    assert reason.hint == "start a worker that has one; the nearest kind there is: sent"


# --- its turn ----------------------------------------------------------------------------------------


def test_it_is_behind_others():
    (reason,) = reasons(task(), place=2, waiting={1: 5})
    assert (reason.code, reason.text) == ("turn", "about 2 tasks start before it")
    assert reason.facts == {"ahead": 2, "ahead_in_lane": 2, "at_least": False}
    assert codes(task(), place=1, waiting={1: 5}) == ["next"]


def test_a_limit_that_does_not_let_all_before_it_start():
    (reason,) = reasons(task(), place=1, waiting={1: 5}, rules={"queue:mail": LimitRule(max_running=1)})
    assert reason.text == "about 1 task start before it, and limits leave room for 1"
    assert reason.facts["room"] == 1


def test_full_workers_and_a_place_in_line():
    crews = [FREE._replace(free=0)]
    assert codes(task(), place=3, waiting={1: 5}, crews=crews) == ["workers_full", "turn"]
    assert codes(task(), place=0, waiting={1: 5}, crews=crews) == ["workers_full"]


def test_the_fundamental_goes_first():
    found = codes(
        task(deadline_us=NOW + SECOND_US),
        paused=frozenset({"mail"}),
        rules={"queue:mail": LimitRule(max_running=0)},
        crews=[],
    )
    assert found == ["queue_paused", "limit_slots", "no_worker", "deadline"]
