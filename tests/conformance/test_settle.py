"""Settling: one accepted outcome per lease, fenced by its token, and written as the core decided."""

import msgspec
import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.core.model import Policy, State
from mainspring.verbs import Action, Answer, Force
from tests.conformance.bench import LANE, MS

pytestmark = pytest.mark.verbs("submit", "claim", "settle")
ERROR = b'{"type":"ValueError","message":"no"}'


async def claimed(bench, **fields):
    await bench.submit(bench.task(**fields))
    return await bench.claim_one()


@pytest.mark.verbs("get")
async def test_success_is_recorded(bench):
    lease = await claimed(bench, timeout_us=bench.us(60))
    await bench.advance(2)
    assert await bench.settle(lease, result=b'{"sum":18014398509481985}') is Answer.OK
    record = await bench.get(lease.task)
    assert record.state is State.SUCCEEDED
    assert record.result == b'{"sum":18014398509481985}'
    assert record.error is None
    assert record.attempt == 1
    assert record.finished_at_us >= record.started_at_us + bench.us(1)
    assert (record.lease_until_us, record.timeout_at_us) == (None, None)
    assert record.worker == lease.worker


@pytest.mark.verbs("get")
async def test_a_result_of_null_is_not_no_result(bench):
    lease = await claimed(bench)
    await bench.settle(lease, result=b"null")
    assert (await bench.get(lease.task)).result == b"null"


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_a_settled_lease_is_not_claimed_by_its_token_again(bench, outcome):
    lease = await claimed(bench)
    assert await bench.settle(lease, outcome) is Answer.OK
    assert await bench.settle(lease, outcome, error=b'{"type":"Other"}') is Answer.LOST


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_the_same_report_again_is_already_done(bench, outcome):
    """The answer may have been lost: a worker repeats, and nothing happens twice."""
    lease = await claimed(bench)
    line = bench.line(lease, outcome, result=b"1")
    assert await bench.settle_lines(line) == [Answer.OK]
    assert await bench.settle_lines(line) == [Answer.ALREADY]


async def test_one_line_twice_in_a_batch(bench):
    lease = await claimed(bench)
    line = bench.line(lease)
    assert await bench.settle_lines(line, line) == [Answer.OK, Answer.ALREADY]


@pytest.mark.verbs("get")
async def test_two_reports_on_one_lease_in_a_batch(bench):
    """The first stands."""
    lease = await claimed(bench)
    answers = await bench.settle_lines(
        bench.line(lease, result=b"1"), bench.line(lease, Outcome.FAILED, error=ERROR)
    )
    assert answers == [Answer.OK, Answer.LOST]
    assert (await bench.get(lease.task)).state is State.SUCCEEDED


@pytest.mark.verbs("get")
async def test_a_wrong_token_changes_nothing(bench):
    lease = await claimed(bench)
    before = await bench.get(lease.task)
    for token in (lease.token - 1, lease.token + 1, 0):
        stranger = msgspec.structs.replace(lease, token=token)
        assert await bench.settle(stranger) is Answer.LOST
    assert await bench.get(lease.task) == before
    assert await bench.settle(lease) is Answer.OK


async def test_an_unknown_task_is_lost(bench):
    lease = await claimed(bench)
    assert await bench.settle(msgspec.structs.replace(lease, task=bench.clock.new_id())) is Answer.LOST


async def test_the_old_holder_is_fenced(bench):
    """S3-31: after a second claim only the second token counts."""
    old = await claimed(bench)
    await bench.settle(old, Outcome.RELEASED)
    new = await bench.claim_one(worker="w2")
    assert new.token > old.token
    assert await bench.settle(old, result=b'"late"') is Answer.LOST
    assert await bench.settle(new) is Answer.OK


async def test_a_repeat_that_comes_after_the_next_claim_is_still_known(bench):
    """A report that was accepted stays accepted while the task runs again."""
    old = await claimed(bench)
    line = bench.line(old, Outcome.RELEASED)
    await bench.settle_lines(line)
    new = await bench.claim_one(worker="w2")
    assert await bench.settle_lines(line) == [Answer.ALREADY]
    assert await bench.settle(new) is Answer.OK


async def test_lines_of_a_batch_are_independent(bench):
    await bench.submit_many(3)
    one, two, three = await bench.claim(3)
    stranger = msgspec.structs.replace(two, token=two.token + 1)
    lines = [bench.line(one), bench.line(stranger), bench.line(three, Outcome.FAILED, error=ERROR)]
    assert await bench.settle_lines(*lines) == [Answer.OK, Answer.LOST, Answer.OK]


async def test_no_lines_is_no_work(bench):
    assert await bench.settle_lines() == []


# --- what becomes of the task ------------------------------------------------------------------------


@pytest.mark.verbs("get", "promote")
async def test_a_failure_waits_for_its_retry(bench):
    """S1-53, S4-03: a failed attempt is recorded, and runs again after its backoff, not before."""
    lease = await claimed(bench)
    assert await bench.settle(lease, Outcome.FAILED, error=ERROR, delay=5) is Answer.OK
    record = await bench.get(lease.task)
    assert record.state is State.SCHEDULED
    assert (record.attempt, record.retries) == (1, 1)
    assert record.error is None
    (attempt,) = msgspec.json.decode(record.attempts)
    assert (attempt["attempt"], attempt["outcome"], attempt["error"]["message"]) == (1, "failed", "no")
    await bench.advance(1)
    assert (await bench.promote()).count == 0
    await bench.advance(5)
    assert (await bench.promote()).count == 1
    again = await bench.claim_one()
    assert (again.task, again.attempt, again.retries) == (lease.task, 2, 1)
    assert again.token > lease.token
    assert msgspec.json.decode(again.attempts) == [attempt]


@pytest.mark.verbs("get")
async def test_retries_spent_is_a_dead_letter(bench):
    """S1-10: failed for good, with its error, and never one run more."""
    lease = await claimed(bench, policy=Policy(max_retries=0))
    assert await bench.settle(lease, Outcome.FAILED, error=ERROR) is Answer.OK
    record = await bench.get(lease.task)
    assert (record.state, record.error, record.retries) == (State.FAILED, ERROR, 0)
    assert record.finished_at_us is not None
    assert await bench.claimed_ids(10) == []


@pytest.mark.verbs("get")
async def test_a_release_is_not_counted(bench):
    lease = await claimed(bench)
    assert await bench.settle(lease, Outcome.RELEASED) is Answer.OK
    record = await bench.get(lease.task)
    assert (record.state, record.attempt, record.retries, record.losses) == (State.READY, 0, 0, 0)
    assert (record.worker, record.lease_until_us, record.timeout_at_us) == (None, None, None)
    assert record.attempts is None
    assert (await bench.claim_one()).attempt == 1


@pytest.mark.verbs("get")
async def test_a_snooze_is_not_counted_but_told(bench):
    lease = await claimed(bench)
    assert await bench.settle(lease, Outcome.SNOOZED, delay=5) is Answer.OK
    record = await bench.get(lease.task)
    assert (record.state, record.attempt, record.retries, record.snoozes) == (State.SCHEDULED, 0, 0, 1)
    assert record.attempts is None


@pytest.mark.verbs("get")
async def test_the_first_loss_is_ready_at_once_the_second_waits(bench):
    lease = await claimed(bench)
    assert await bench.settle(lease, Outcome.LOST) is Answer.OK
    record = await bench.get(lease.task)
    assert (record.state, record.attempt, record.losses, record.retries) == (State.READY, 1, 1, 0)
    again = await bench.claim_one()
    assert (again.losses, again.attempt) == (1, 2)
    await bench.settle(again, Outcome.LOST)
    assert (await bench.get(lease.task)).state is State.SCHEDULED


@pytest.mark.verbs("get")
async def test_losses_spent_is_poison(bench):
    lease = await claimed(bench, policy=Policy(max_losses=1))
    assert await bench.settle(lease, Outcome.LOST, error=ERROR) is Answer.OK
    record = await bench.get(lease.task)
    assert (record.state, record.losses, record.error) == (State.FAILED, 1, ERROR)


@pytest.mark.verbs("get")
async def test_a_worker_may_say_cancelled(bench):
    lease = await claimed(bench)
    assert await bench.settle(lease, Outcome.CANCELLED, error=ERROR) is Answer.OK
    record = await bench.get(lease.task)
    assert (record.state, record.error) == (State.CANCELLED, ERROR)


@pytest.mark.verbs("get")
async def test_every_settlement_raises_the_version(bench):
    lease = await claimed(bench)
    before = (await bench.get(lease.task)).version
    await bench.settle(lease)
    assert (await bench.get(lease.task)).version > before


# --- the place in line -------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [Outcome.RELEASED, Outcome.LOST])
async def test_what_a_worker_gives_back_keeps_its_place(bench, outcome):
    """A worker's restart or crash does not send a task behind all those that came later."""
    tasks = await bench.submit_many(4)
    leases = await bench.claim(2)
    for lease in reversed(leases):
        await bench.settle(lease, outcome)
    assert await bench.claimed_ids(4) == tasks


@pytest.mark.parametrize(("outcome", "report"), [(Outcome.SNOOZED, {}), (Outcome.FAILED, {"error": ERROR})])
async def test_what_a_task_does_to_itself_sends_it_to_the_end(bench, outcome, report):
    policy = b'{"retry":{"strategy":"fixed","delay_s":0.0}}'
    tasks = await bench.submit_many(3, policy=policy)
    await bench.settle(await bench.claim_one(), outcome, **report)
    assert await bench.claimed_ids(4) == [tasks[1], tasks[2], tasks[0]]


async def test_what_is_given_back_can_be_claimed_at_once(bench):
    """In the same exchange, and though the line was found to be empty just before."""
    (task,) = await bench.submit_many(1)
    lease = await bench.claim_one()
    await bench.advance(0.5)
    assert await bench.claim(1) == []
    given_back = bench.line(lease, Outcome.RELEASED)
    answers = await bench.exchange(settles=[given_back], claims=[bench.ask(1)])
    assert [claimed.task for claimed in answers.claims[0].leases] == [task]


async def test_ready_names_the_lane_of_a_task_given_back(bench):
    lease = await claimed(bench)
    answers = await bench.exchange(settles=[bench.line(lease, Outcome.RELEASED)])
    assert [(head.lane_id, head.lane) for head in answers.ready] == [(lease.lane_id, LANE)]


async def test_ready_names_no_lane_for_a_finished_task(bench):
    lease = await claimed(bench)
    answers = await bench.exchange(settles=[bench.line(lease)])
    assert list(answers.ready) == []


# --- cancellation meanwhile --------------------------------------------------------------------------


async def cancel_requested(bench):
    lease = await claimed(bench)
    (record,) = await bench.store.force([Force(lease.task, Action.CANCEL)])
    assert record.state is State.RUNNING
    return lease


@pytest.mark.verbs("get", "force")
async def test_a_success_stays_a_success(bench):
    """The work is done: saying otherwise would be a lie."""
    lease = await cancel_requested(bench)
    assert await bench.settle(lease, result=b"1") is Answer.OK
    record = await bench.get(lease.task)
    assert (record.state, record.result) == (State.SUCCEEDED, b"1")


@pytest.mark.verbs("get", "force")
@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.SUCCEEDED])
async def test_everything_else_becomes_cancelled(bench, outcome):
    """A cancelled task is never retried, whatever its policy."""
    lease = await cancel_requested(bench)
    assert await bench.settle(lease, outcome, delay=5) is Answer.CANCEL
    assert (await bench.get(lease.task)).state is State.CANCELLED
    assert await bench.claimed_ids(10) == []


@pytest.mark.verbs("get", "force")
async def test_a_repeat_after_cancellation_is_already_done(bench):
    lease = await cancel_requested(bench)
    line = bench.line(lease, Outcome.FAILED)
    assert await bench.settle_lines(line, line) == [Answer.CANCEL, Answer.ALREADY]


# --- the reaper's settlement -------------------------------------------------------------------------


async def test_only_if_lapsed_spares_a_live_lease(bench):
    lease = await claimed(bench)
    await bench.advance(5)
    assert await bench.settle(lease, Outcome.LOST, only_if_lapsed=True) is Answer.LOST
    assert await bench.settle(lease) is Answer.OK


@pytest.mark.verbs("get")
async def test_only_if_lapsed_takes_a_lapsed_one(bench):
    """A killed worker's task is claimable again after its lease."""
    lease = await claimed(bench)
    await bench.advance(16)
    assert await bench.settle(lease, Outcome.LOST, only_if_lapsed=True) is Answer.OK
    assert (await bench.get(lease.task)).state is State.READY
    assert await bench.settle(lease) is Answer.LOST


async def test_a_lapsed_lease_that_nobody_took_still_counts(bench):
    """Lapsing alone takes nothing away: work that is reported in time to find its token is kept."""
    lease = await claimed(bench)
    await bench.advance(60)
    assert await bench.settle(lease) is Answer.OK


@pytest.mark.exact_time
async def test_a_lease_lapses_in_time(bench):
    await bench.submit_many(2)
    one, two = await bench.claim(2)
    bench.clock.offset_us += bench.us(15) - MS
    assert await bench.settle(one, Outcome.LOST, only_if_lapsed=True) is Answer.LOST
    bench.clock.offset_us += 2 * MS
    assert await bench.settle(two, Outcome.LOST, only_if_lapsed=True) is Answer.OK
