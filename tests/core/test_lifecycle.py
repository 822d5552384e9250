"""What a report turns a task into: every outcome, under every policy that matters, read out as a table."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.lifecycle import (
    DOOMED_ERROR,
    EDGES,
    EXPIRED_ERROR,
    KEEPS_PLACE,
    TRANSITIONS,
    Cause,
    Outcome,
    Report,
    allows,
    digest,
    settle,
)
from mainspring.core.model import FINAL, Attempt, Lane, Lease, Policy, RetryPolicy, State, encode_policy

SECOND = 1_000_000
ERROR = b'{"type":"ValueError","message":"no"}'
FIXED = RetryPolicy("fixed", delay_s=5.0, jitter=0.0)
AT_ONCE = RetryPolicy("fixed", delay_s=0.0)
SUCCEEDED, FAILED, RELEASED = Outcome.SUCCEEDED, Outcome.FAILED, Outcome.RELEASED
SNOOZED, CANCELLED, LOST = Outcome.SNOOZED, Outcome.CANCELLED, Outcome.LOST


def lease(policy=None, attempt=3, retries=1, losses=1, snoozes=1, **fields):
    return Lease(
        "t1",
        7,
        1,
        Lane("q", "k", "t", 5),
        b"1",
        attempt,
        retries,
        losses,
        snoozes,
        encode_policy(policy or Policy(retry=FIXED)),
        **fields,
    )


def told(outcome, **fields):
    return Report("t1", 7, outcome, **fields)


# (outcome, report, policy, state, cause, attempt, retries, losses, snoozes, delay in seconds)
# of a lease in its third attempt, after one retry, one loss and one snooze.
TABLE = [
    (SUCCEEDED, {}, Policy(), State.SUCCEEDED, Cause.SUCCEED, 3, 1, 1, 1, 0),
    (SUCCEEDED, {}, Policy(max_retries=0), State.SUCCEEDED, Cause.SUCCEED, 3, 1, 1, 1, 0),
    (FAILED, {}, Policy(3, FIXED), State.SCHEDULED, Cause.RETRY, 3, 2, 1, 1, 5),
    (FAILED, {}, Policy(2, FIXED), State.SCHEDULED, Cause.RETRY, 3, 2, 1, 1, 5),
    (FAILED, {}, Policy(1, FIXED), State.FAILED, Cause.FAIL, 3, 1, 1, 1, 0),
    (FAILED, {}, Policy(0, FIXED), State.FAILED, Cause.FAIL, 3, 1, 1, 1, 0),
    (FAILED, {}, Policy(3, AT_ONCE), State.READY, Cause.RETRY, 3, 2, 1, 1, 0),
    (FAILED, {"retryable": False}, Policy(3, FIXED), State.FAILED, Cause.FAIL, 3, 1, 1, 1, 0),
    (FAILED, {"delay_us": 9 * SECOND}, Policy(3, FIXED), State.SCHEDULED, Cause.RETRY, 3, 2, 1, 1, 9),
    (FAILED, {"delay_us": 9 * SECOND}, Policy(1, FIXED), State.FAILED, Cause.FAIL, 3, 1, 1, 1, 0),
    (FAILED, {"delay_us": 0}, Policy(3, FIXED), State.SCHEDULED, Cause.RETRY, 3, 2, 1, 1, 5),
    (FAILED, {"delay_us": -5}, Policy(3, FIXED), State.SCHEDULED, Cause.RETRY, 3, 2, 1, 1, 5),
    (
        FAILED, {"error_type": "KeyError"}, Policy(3, RetryPolicy(only=("ValueError",))),
        State.FAILED, Cause.FAIL, 3, 1, 1, 1, 0,
    ),
    (
        FAILED, {"error_type": "KeyError"}, Policy(3, RetryPolicy(never=("KeyError",))),
        State.FAILED, Cause.FAIL, 3, 1, 1, 1, 0,
    ),
    (RELEASED, {}, Policy(), State.READY, Cause.RELEASE, 2, 1, 1, 1, 0),
    (RELEASED, {}, Policy(max_retries=0, max_losses=1), State.READY, Cause.RELEASE, 2, 1, 1, 1, 0),
    (SNOOZED, {"delay_us": 9 * SECOND}, Policy(), State.SCHEDULED, Cause.SNOOZE, 2, 1, 1, 2, 9),
    (SNOOZED, {"delay_us": 0}, Policy(), State.READY, Cause.SNOOZE, 2, 1, 1, 2, 0),
    (SNOOZED, {"delay_us": -9}, Policy(), State.READY, Cause.SNOOZE, 2, 1, 1, 2, 0),
    (SNOOZED, {}, Policy(max_retries=0), State.READY, Cause.SNOOZE, 2, 1, 1, 2, 0),
    (CANCELLED, {}, Policy(), State.CANCELLED, Cause.CANCEL, 3, 1, 1, 1, 0),
    (LOST, {}, Policy(), State.SCHEDULED, Cause.LOSE, 3, 1, 2, 1, 1),
    (LOST, {}, Policy(max_retries=0), State.SCHEDULED, Cause.LOSE, 3, 1, 2, 1, 1),
    (LOST, {}, Policy(max_losses=2), State.FAILED, Cause.POISON, 3, 1, 2, 1, 0),
    (LOST, {}, Policy(max_losses=1), State.FAILED, Cause.POISON, 3, 1, 2, 1, 0),
]  # fmt: skip


@pytest.mark.parametrize("line", TABLE, ids=lambda line: f"{line[0].name}-{line[4].name}-{line[3].name}")
def test_table(line):
    """S1-53, S4-03: which change each report makes."""
    outcome, report, policy, state, cause, *counters, delay_s = line
    change, _ = settle(told(outcome, **report), lease(policy), 0.5)
    assert (change.state, change.cause) == (state, cause)
    assert [change.attempt, change.retries, change.losses, change.snoozes] == counters
    assert change.delay_us == delay_s * SECOND
    assert allows(State.RUNNING, change.cause, change.state)


@pytest.mark.parametrize("line", TABLE, ids=lambda line: f"{line[0].name}-{line[4].name}-{line[3].name}")
def test_under_cancellation(line):
    """A success stays one; everything else ends cancelled, with its counters as they were."""
    outcome, report, policy, *_ = line
    change, if_cancelled = settle(told(outcome, error=ERROR, **report), lease(policy), 0.5)
    if outcome is SUCCEEDED:
        assert if_cancelled == change
    else:
        assert (if_cancelled.state, if_cancelled.cause) == (State.CANCELLED, Cause.CANCEL)
        counters = (if_cancelled.attempt, if_cancelled.retries, if_cancelled.losses, if_cancelled.snoozes)
        assert counters == (3, 1, 1, 1)
        assert if_cancelled.error == ERROR
    assert allows(State.RUNNING, if_cancelled.cause, if_cancelled.state)


def test_the_first_loss_costs_no_time():
    """A machine's crash is most likely not the task's fault."""
    change, _ = settle(told(LOST), lease(losses=0), 0.5)
    assert (change.state, change.losses, change.delay_us) == (State.READY, 1, 0)


def test_losses_wait_longer_each_time():
    policy = Policy(max_losses=100)
    delays = [settle(told(LOST), lease(policy, losses=n), 0.5)[0].delay_us / SECOND for n in range(9)]
    assert delays == [0, 1, 2, 4, 8, 16, 32, 60, 60]


def test_four_runs_with_three_retries():
    """S1-53: one first run and up to three retries."""
    held, causes = lease(Policy(3, FIXED), attempt=1, retries=0), []
    while not causes or causes[-1] is Cause.RETRY:
        change, _ = settle(told(FAILED), held, 0.5)
        causes.append(change.cause)
        held = lease(Policy(3, FIXED), attempt=held.attempt + 1, retries=change.retries)
    assert causes == [Cause.RETRY] * 3 + [Cause.FAIL]


# --- results, errors, attempts -----------------------------------------------------------------------


def test_a_success_carries_its_result():
    change, _ = settle(told(SUCCEEDED, result=b"[1]"), lease(attempts=b"[]"), 0.5)
    assert (change.result, change.error, change.attempts) == (b"[1]", None, b"[]")


@pytest.mark.parametrize(
    ("outcome", "policy"),
    [(FAILED, Policy(max_retries=0)), (LOST, Policy(max_losses=1)), (CANCELLED, Policy())],
)
def test_a_bad_end_carries_its_error(outcome, policy):
    change, _ = settle(told(outcome, error=ERROR), lease(policy), 0.5)
    assert (change.error, change.result) == (ERROR, None)


@pytest.mark.parametrize("outcome", [FAILED, LOST, RELEASED, SNOOZED])
def test_between_attempts_no_error_shows_as_the_end(outcome):
    change, _ = settle(told(outcome, error=ERROR), lease(), 0.5)
    assert change.error is None


@pytest.mark.parametrize("outcome", list(Outcome))
def test_which_runs_stay_on_record(outcome):
    """A run that ended badly does; a hand-back and a snooze are none."""
    earlier = msgspec.json.encode([Attempt(1, "failed")])
    change, _ = settle(told(outcome, error=ERROR), lease(attempts=earlier), 0.5)
    kept = msgspec.json.decode(change.attempts, type=list[Attempt])
    recorded = outcome in (FAILED, LOST, CANCELLED)
    assert [run.outcome for run in kept] == ["failed", outcome.name.lower()][: 1 + recorded]


def test_an_attempt_says_who_when_and_why():
    """S3-27: dead letters are kept for analysis."""
    held = lease(worker="w1", started_at_us=50 * SECOND)
    change, _ = settle(told(FAILED, error=ERROR, duration_us=2 * SECOND), held, 0.5)
    (run,) = msgspec.json.decode(change.attempts, type=list[Attempt])
    assert (run.attempt, run.outcome, run.worker) == (3, "failed", "w1")
    assert (run.started_at_us, run.finished_at_us) == (50 * SECOND, 52 * SECOND)
    assert msgspec.json.decode(run.error)["message"] == "no"


def test_nobody_knows_when_a_lost_run_ended():
    change, _ = settle(told(LOST), lease(started_at_us=50 * SECOND), 0.5)
    (run,) = msgspec.json.decode(change.attempts, type=list[Attempt])
    assert (run.started_at_us, run.finished_at_us) == (50 * SECOND, None)


@given(
    outcome=st.sampled_from(Outcome),
    policy=st.builds(Policy, max_retries=st.integers(0, 5), max_losses=st.integers(1, 5)),
    counters=st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
    delay_us=st.none() | st.integers(-10, 10 * SECOND),
    retryable=st.booleans(),
    unit=st.floats(0, 1, exclude_max=True),
)
def test_every_change_is_a_step_of_the_lifecycle(outcome, policy, counters, delay_us, retryable, unit):
    """And no counter ever jumps or falls, but the attempt that is given back."""
    held = lease(policy, *counters)
    report = told(outcome, delay_us=delay_us, retryable=retryable, error=ERROR)
    for change in settle(report, held, unit):
        assert (State.RUNNING, change.cause, change.state) in EDGES
        assert change.attempt in (held.attempt, held.attempt - 1)
        assert change.retries in (held.retries, held.retries + 1)
        assert change.losses in (held.losses, held.losses + 1)
        assert change.snoozes in (held.snoozes, held.snoozes + 1)
        assert (change.delay_us > 0) == (change.state is State.SCHEDULED)
        assert change.state is not State.SUCCEEDED or outcome is SUCCEEDED


# --- the table of transitions ------------------------------------------------------------------------


def test_every_cause_is_in_the_table():
    assert set(TRANSITIONS) == set(Cause)
    assert all(TRANSITIONS.values())


def test_final_states_are_left_by_hand_alone():
    assert {cause for old, cause, _ in EDGES if old in FINAL} == {Cause.REPLAY, Cause.REOPEN}
    assert not any(old is State.SUCCEEDED for old, _, _ in EDGES)


def test_a_task_runs_by_claim_alone():
    assert [(old, cause) for old, cause, new in EDGES if new is State.RUNNING] == [(State.READY, Cause.CLAIM)]


def test_every_state_can_be_reached_and_left():
    assert {new for _, _, new in EDGES} == set(State)
    assert {old for old, _, _ in EDGES} - {None} == set(State) - {State.SUCCEEDED}


def test_allows_exactly_the_edges():
    for cause in Cause:
        for old in (None, *State):
            for new in State:
                assert allows(old, cause, new) == ((old, cause, new) in EDGES)


def test_only_a_workers_doing_keeps_a_place():
    assert all(old is State.RUNNING for old, cause, _ in EDGES if cause in KEEPS_PLACE)


@pytest.mark.parametrize("error", [DOOMED_ERROR, EXPIRED_ERROR])
def test_the_stores_own_errors_read_like_a_workers(error):
    assert set(msgspec.json.decode(error)) == {"type", "message"}


# --- digests -----------------------------------------------------------------------------------------


def test_digests_tell_reports_apart():
    reports = [
        told(SUCCEEDED), told(SUCCEEDED, result=b"1"), told(SUCCEEDED, result=b"2"), told(FAILED),
        told(FAILED, error=ERROR), told(LOST), told(RELEASED), told(SNOOZED), told(CANCELLED),
    ]  # fmt: skip
    assert len({digest(report) for report in reports}) == len(reports)


def test_a_repeat_has_the_same_digest():
    """Also from another process, and whatever the run took."""
    assert digest(told(SUCCEEDED, result=b"1", duration_us=1)) == digest(told(SUCCEEDED, result=b"1"))
    assert digest(told(SUCCEEDED, result=b"1")) == 4108050209
