"""Submitting and completing in transactions of users' own: what commits happens once, and nothing else."""

import asyncio
import contextlib
import json
from collections import Counter

import pytest

from mainspring.core.lifecycle import Cause, Outcome, Report
from mainspring.core.limits import LimitRule
from mainspring.core.model import Lane, OnParentFailure, Policy, State, UniqueRule
from mainspring.core.workflows import Callback, WorkflowState
from mainspring.errors import NotFound
from mainspring.scheduler import Scheduler, SchedulerSettings
from mainspring.scheduler.intake import Intake
from mainspring.services import Promoter
from mainspring.telemetry import SILENT
from mainspring.verbs import Accepted, Action, Answer, Force, TakeIn
from tests.conformance.test_workflows import Flow

pytestmark = [pytest.mark.transactional]
FAILED = b'{"type":"ValueError","message":"no"}'


async def take_in(bench):
    """Take in all that is there, as the promoter does; how many submissions it was."""
    intake, count = Intake(bench.store, lambda moved: bench._learn(moved.ready)), 0
    while taken := await intake.take_in():
        count += taken
    return count


async def left(user):
    return (await user.run("SELECT count(*) FROM submissions"))[0][0]


async def claimed(bench, *tasks, **options):
    await bench.submit(*(tasks or (bench.task(),)))
    return await bench.claim_one(**options)


# --- submitting -------------------------------------------------------------------------------------


async def test_what_commits_runs_once_and_what_rolls_back_never_was(bench):
    """S3-29."""
    user = await bench.user()
    await user.run("BEGIN")
    (kept,) = await user.submit('{"kind": "send", "payload": {"to": "ada"}, "queue": "mail", "priority": 7}')
    await user.run("COMMIT")
    await user.run("BEGIN")
    (dropped,) = await user.submit('{"kind": "send"}')
    await user.run("ROLLBACK")
    assert (await bench.promote()).submissions
    assert await take_in(bench) == 1
    assert not (await bench.promote()).submissions
    assert [task and task.id for task in await bench.store.get([kept, dropped])] == [kept, None]
    (lease,) = await bench.claim()
    assert (lease.task, lease.payload) == (kept, b'{"to": "ada"}')
    assert lease.lane == Lane("mail", "send", "default", 7)
    assert await bench.settle(lease) is Answer.OK
    assert await take_in(bench) == 0
    assert await left(user) == 0
    await user.close()


async def test_every_field_of_a_submit_means_what_it_means_at_the_door(bench):
    user = await bench.user()
    fields = {
        "kind": "send", "payload": [1, 2.50], "queue": "q", "priority": "high", "tenant": "t", "key": "k",
        "name": "a name", "labels": {"for": "ada"}, "delay": "1h", "timeout": 30, "max_retries": 1,
        "retry": {"delay": "5s"}, "deadline": "2031-05-01T12:00:00Z",
    }  # fmt: skip
    (task,) = await user.submit(json.dumps(fields))
    await take_in(bench)
    record = await bench.get(task)
    assert record.state is State.SCHEDULED
    assert record.lane == Lane("q", "send", "t", 8, "k")
    assert (record.payload, record.name, record.labels) == (b"[1, 2.5]", "a name", b'{"for":"ada"}')
    assert record.run_at_us - record.created_at_us == 3_600_000_000
    assert record.timeout_us == 30_000_000
    assert json.loads(record.policy) == {"max_retries": 1, "retry": {"delay_s": 5.0}}
    await user.close()


BAD = {
    '{"priority": 11}': "priority",
    '{"kind": "no kind"}': "kind",
    '{"queue": ""}': "queue",
    '{"timeout": "soon"}': "timeout",
    '{"run_at": "2031-05-01"}': "run_at",
    '{"run_at": "2031-05-01T12:00:00Z", "delay": 1}': "delay",
    '{"labels": {"a": 1}}': "labels[...]",
    '{"payload": {"a": 1, "a": 2}}': "a",
    '{"payload": "\\ud800"}': "body",
    '{"quee": "q"}': "quee",
    '{"id": "01a1ff3a-d708-71e7-863d-d1143a62159c"}': "id",
    '{"depends_on": ["01a1ff3a-d708-71e7-863d-d1143a62159c"]}': "depends_on",
    '{"unique": {"fields": ["colour"]}}': "unique.fields",
    '{"payload": 1e999}': "body",
    '"text"': "body",
    "[" * 80 + "]" * 80: "body",
}


@pytest.mark.parametrize("document", BAD)
async def test_what_the_door_would_refuse_is_a_dead_letter_and_the_others_run(bench, document):
    user = await bench.user()
    before, bad, after = await user.submit('{"payload": 1}', document, '{"payload": 2}')
    assert await take_in(bench) == 3
    assert await bench.states(before, bad, after) == [State.READY, State.FAILED, State.READY]
    record = await bench.get(bad)
    error = json.loads(record.error)
    assert (error["type"], error["field"]) == ("InvalidInput", BAD[document])
    assert error["submitted"] == document
    assert record.finished_at_us is not None
    steps = [(step.old, step.cause, step.new) for step in await bench.store.history(bad)]
    assert steps == [
        (None, Cause.SUBMIT, State.SCHEDULED),
        (State.SCHEDULED, Cause.REJECT, State.FAILED),
    ]
    (group,) = (await bench.store.dead_groups(10, None)).groups
    assert group.count == 1
    assert sorted(await bench.claimed_ids()) == sorted([before, after])
    await user.close()


async def test_a_dead_letter_keeps_what_was_right_and_can_be_replayed(bench):
    user = await bench.user()
    (task,) = await user.submit(
        '{"kind": "send", "payload": 7, "queue": "mail", "priority": 99, "timeout": 5}'
    )
    await take_in(bench)
    (record,) = await bench.store.force([Force(task, Action.REPLAY)])
    assert (record.state, record.payload, record.timeout_us) == (State.READY, b"7", 5_000_000)
    assert record.lane == Lane("mail", "send", "default", 5)
    await user.close()


@pytest.mark.parametrize("document", ["{", "", "nothing"])
async def test_what_is_no_json_is_refused_by_the_database(bench, document):
    user = await bench.user()
    with pytest.raises(user.error):
        await user.submit(document)
    await user.close()


@pytest.mark.parametrize(
    "id", ["7", "", "01A1FF3A-D708-71E7-863D-D1143A62159C", "01a1ff3a-d708-41e7-863d-d1143a62159c"]
)
async def test_an_id_that_is_none_is_refused_by_the_database(bench, id):
    user = await bench.user()
    with pytest.raises(user.error):
        await user.run("INSERT INTO submissions (id, task) VALUES ($1, '{}')", id)
    await user.close()


async def test_ids_of_rows_are_those_of_tasks(bench):
    """UUIDv7 of the present time, each another one."""
    user = await bench.user()
    ids = await user.submit(*["{}"] * 200)
    assert len(set(ids)) == 200
    assert {id[14] for id in ids} == {"7"}
    assert {id[19] for id in ids} == set("89ab")
    minted_s = int(ids[0].replace("-", "")[:12], 16) / 1000
    assert 1_577_836_800 < minted_s < 4_102_444_800  # 2020 to 2100
    assert await take_in(bench) == 200
    await user.close()


async def test_the_same_id_again_is_the_same_task(bench):
    user = await bench.user()
    (task,) = await bench.submit(bench.task())
    await user.run("INSERT INTO submissions (id, task) VALUES ($1, '{\"payload\": 2}')", task)
    (other,) = await user.submit("{}")
    await take_in(bench)
    assert (await bench.get(task)).payload == b'{"n":1}'
    assert (await bench.get(other)).state is State.READY
    assert await left(user) == 0
    await user.close()


async def test_tasks_run_in_the_order_of_their_submits(bench):
    user = await bench.user()
    ids = await user.submit(*["{}"] * 50)
    await take_in(bench)
    assert await bench.claimed_ids(50) == ids
    await user.close()


async def test_a_second_task_under_a_unique_rule_is_cancelled_and_says_which_is_the_first(bench):
    user = await bench.user()
    first, second, other = await user.submit(*['{"payload": 1, "unique": true}'] * 2, "{}")
    await take_in(bench)
    assert await bench.states(first, second, other) == [State.READY, State.CANCELLED, State.READY]
    error = json.loads((await bench.get(second)).error)
    assert (error["type"], error["task"]) == ("Duplicate", first)
    (lease, _) = await bench.claim()
    await bench.settle(lease)
    (third,) = await user.submit('{"payload": 1, "unique": true}')
    await take_in(bench)
    assert (await bench.get(third)).state is State.READY
    await user.close()


async def test_a_queue_may_go_over_its_backlog(bench):
    """What has committed cannot be refused any more."""
    await bench.store.set_limit("queue:default", LimitRule(max_waiting=1))
    user = await bench.user()
    ids = await user.submit("{}", "{}", "{}")
    assert await take_in(bench) == 3
    assert set(await bench.states(*ids)) == {State.READY}
    await user.close()


# --- parents ----------------------------------------------------------------------------------------


async def test_a_child_waits_for_what_was_submitted_before_it(bench):
    user = await bench.user()
    (stored,) = await bench.submit(bench.task())
    (parent,) = await user.submit("{}")
    (child,) = await user.submit(json.dumps({"depends_on": [parent, stored]}))
    await take_in(bench)
    assert await bench.states(parent, child) == [State.READY, State.BLOCKED]
    for lease in await bench.claim():
        await bench.settle(lease)
    assert (await bench.get(child)).state is State.READY
    await user.close()


async def test_a_child_of_a_dead_letter_ends_by_its_own_rule(bench):
    user = await bench.user()
    bad, good = await user.submit('{"priority": 11}', "{}")
    doomed, runs = await user.submit(
        json.dumps({"depends_on": [bad, good]}),
        json.dumps({"depends_on": [bad], "on_parent_failure": "run"}),
    )
    (grandchild,) = await user.submit(json.dumps({"depends_on": [doomed]}))
    await take_in(bench)
    await bench.resolve_all()
    assert await bench.states(bad, doomed, runs, grandchild) == [
        State.FAILED, State.CANCELLED, State.READY, State.CANCELLED,
    ]  # fmt: skip
    await user.close()


async def test_a_child_of_one_that_the_store_refuses_is_its_child_all_the_same(bench):
    user = await bench.user()
    nobody = bench.clock.new_id()
    (bad,) = await user.submit(json.dumps({"depends_on": [nobody]}))
    (child,) = await user.submit(json.dumps({"depends_on": [bad]}))
    await take_in(bench)
    await bench.resolve_all()
    assert await bench.states(bad, child) == [State.FAILED, State.CANCELLED]
    assert (await bench.get(child)).depends_on == (bad,)
    await user.close()


async def test_a_circle_is_a_dead_letter(bench):
    user = await bench.user()
    one, other = bench.clock.new_id(), bench.clock.new_id()
    statement = "INSERT INTO submissions (id, task) VALUES ($1, $2)"
    await user.run(statement, one, json.dumps({"depends_on": [other]}))
    await user.run(statement, other, json.dumps({"depends_on": [one]}))
    await user.run(statement, nobody := bench.clock.new_id(), json.dumps({"depends_on": [nobody]}))
    await take_in(bench)
    await bench.resolve_all()
    assert await bench.states(one, other, nobody) == [State.FAILED, State.CANCELLED, State.FAILED]
    await user.close()


async def test_a_child_is_not_taken_in_before_its_parent(bench):
    """Whoever looks only at the child, for somebody asks for it, leaves it."""
    user = await bench.user()
    (parent,) = await user.submit("{}")
    (child,) = await user.submit(json.dumps({"depends_on": [parent]}))
    (line,) = await bench.store.submissions(10, child)
    taken = await bench.store.take_in([TakeIn(line.n, bench.task(id=child, depends_on=(parent,)))])
    assert taken.answers == [None]
    assert await take_in(bench) == 2
    await user.close()


# --- taking in --------------------------------------------------------------------------------------


async def test_two_nodes_take_in_each_once(bench):
    user = await bench.user()
    ids = await user.submit(*["{}"] * 3)
    seen = await bench.store.submissions(10)
    lines = [TakeIn(row.n, bench.task(id=row.id)) for row in seen]
    first, second = await bench.store.take_in(lines[:2]), await bench.store.take_in(lines)
    assert [isinstance(answer, Accepted) for answer in first.answers] == [True, True]
    assert second.answers[:2] == [None, None]
    assert isinstance(second.answers[2], Accepted)
    assert (first.moved.count, second.moved.count) == (2, 1)
    await bench.refresh_lanes()
    assert await bench.claimed_ids() == ids
    await user.close()


async def test_a_row_that_was_taken_in_is_never_taken_for_a_later_one(bench):
    user = await bench.user()
    await user.submit("{}")
    (first,) = await bench.store.submissions(10)
    await take_in(bench)
    await user.submit('{"kind": "other"}')
    taken = await bench.store.take_in([TakeIn(first.n, bench.task())])
    assert taken.answers == [None]
    assert await left(user) == 1
    await user.close()


async def test_long_rows_are_looked_at_a_few_at_a_time(bench):
    user = await bench.user()
    ids = await user.submit(*[json.dumps({"payload": "x" * 1_000_000})] * 12)
    assert 1 <= len(await bench.store.submissions(1000)) < 12
    assert await take_in(bench) == 12
    assert set(await bench.states(*ids)) == {State.READY}
    await user.close()


async def test_a_row_over_the_limit_is_refused_by_the_database_or_a_dead_letter(bench):
    user = await bench.user()
    (dead,) = await user.submit(json.dumps({"payload": "x" * 1_100_000}))
    with pytest.raises(user.error):
        await user.submit(json.dumps({"payload": "x" * 2_200_000}))
    await take_in(bench)
    error = json.loads((await bench.get(dead)).error)
    assert (error["field"], len(error["submitted"])) == ("payload", 4096)
    await user.close()


async def test_ten_thousand_in_one_transaction(bench):
    user = await bench.user()
    await user.run("BEGIN")
    numbers = "WITH RECURSIVE g (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < 10000) SELECT"
    await user.run(f"INSERT INTO submissions (task) {numbers} '{{}}' FROM g")
    await user.run("COMMIT")
    assert await take_in(bench) == 10_000
    assert (await bench.store.stats()).counts["default", State.READY] == 10_000
    await user.close()


async def test_whoever_asks_for_a_task_has_it_taken_in(bench):
    """Nothing else looks here: no service runs."""
    user = await bench.user()
    scheduler = Scheduler(bench.store, bench.clock, SchedulerSettings())
    got, explained, cancelled, parent, seen = await user.submit(*["{}"] * 5)
    (waited,) = await user.submit('{"priority": 0.5}')
    (child,) = await user.submit(json.dumps({"depends_on": [parent]}))
    assert (await scheduler.get(got)).state is State.READY
    assert [r.code for r in (await scheduler.explaining.explain(explained)).reasons] == ["no_worker"]
    assert (await scheduler.cancel(cancelled)).state is State.CANCELLED
    assert (await scheduler.get(child)).state is State.BLOCKED
    events = scheduler.progress.events(seen)
    assert (await anext(events)).state is State.READY
    await events.aclose()
    assert (await scheduler.wait(waited, 0.0)).state is State.FAILED
    with pytest.raises(NotFound):
        await scheduler.get(bench.clock.new_id())
    assert await left(user) == 0
    await user.close()


async def test_the_promoter_takes_in_and_comes_back_soon_while_there_is_more(bench):
    user = await bench.user()
    promoter = Promoter(bench.store, Scheduler(bench.store, bench.clock, SchedulerSettings()))
    assert await promoter.tick() == 1.0
    await user.submit("{}")
    assert await promoter.tick() == 0.05
    assert [await promoter.tick() for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert (await bench.store.stats()).counts["default", State.READY] == 1
    await user.close()


async def test_a_row_that_nobody_can_read_stops_nobody(bench, monkeypatch):
    """Were there a bug in the reading, one row would be lost by it, not all behind it."""
    from mainspring.scheduler import intake

    def read(submission):
        if b"trap" in submission.document:
            raise RecursionError
        return intake.bare_task(submission), None

    monkeypatch.setattr(intake, "read_submission", read)
    user = await bench.user()
    bad, good = await user.submit('"trap"', "{}")
    await take_in(bench)
    assert await bench.states(bad, good) == [State.FAILED, State.READY]
    await user.close()


# --- completing -------------------------------------------------------------------------------------


async def test_a_run_completes_with_the_transaction(bench):
    """S3-29."""
    user = await bench.user()
    lease = await claimed(bench, bench.task(timeout_us=bench.us(60)))
    await user.run("BEGIN")
    await user.complete(lease, '{"sum": 18014398509481985}')
    await user.run("COMMIT")
    record = await bench.get(lease.task)
    assert (record.state, record.result) == (State.SUCCEEDED, b'{"sum": 18014398509481985}')
    assert (record.attempt, record.worker, record.error) == (1, lease.worker, None)
    assert (record.lease_until_us, record.timeout_at_us) == (None, None)
    assert record.version > lease.token
    counts = (await bench.store.stats()).counts
    assert (counts.get(("default", State.RUNNING), 0), counts["default", State.SUCCEEDED]) == (0, 1)
    last = (await bench.store.history(lease.task))[-1]
    assert (last.old, last.cause, last.new) == (State.RUNNING, Cause.SUCCEED, State.SUCCEEDED)
    assert (last.token, last.attempt) == (lease.token, 1)
    await user.close()


@pytest.mark.parametrize("result", [None, "null", "7", '"ä"'])
async def test_a_result_is_what_it_would_be_without(bench, result):
    user = await bench.user()
    lease = await claimed(bench)
    await user.complete(lease, result)
    assert (await bench.get(lease.task)).result == (None if result is None else result.encode())
    await user.close()


@pytest.mark.parametrize("result", ["", "{", '"' + "x" * 1_048_577 + '"'])
async def test_a_result_that_is_none_is_refused(bench, result):
    user = await bench.user()
    lease = await claimed(bench)
    with pytest.raises(user.error):
        await user.complete(lease, result)
    assert (await bench.get(lease.task)).state is State.RUNNING
    await user.close()


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_what_the_worker_reports_afterwards_was_accepted_already(bench, outcome):
    user = await bench.user()
    lease = await claimed(bench)
    await user.complete(lease, "1")
    assert await bench.settle(lease, outcome, result=b"2", error=FAILED) is Answer.ALREADY
    assert (await bench.get(lease.task)).result == b"1"
    assert await bench.renew(lease) == [Answer.LOST]
    await user.close()


async def test_a_rollback_leaves_the_run_as_it_was(bench):
    user = await bench.user()
    lease = await claimed(bench)
    await user.run("BEGIN")
    await user.complete(lease, "1")
    await user.run("ROLLBACK")
    assert (await bench.get(lease.task)).state is State.RUNNING
    assert await bench.settle(lease, Outcome.RELEASED) is Answer.OK
    again = await bench.claim_one()
    assert again.task == lease.task
    assert await bench.settle(again) is Answer.OK
    await user.close()


async def notes(user):
    return [note for (note,) in await user.run("SELECT note FROM effects")]


@pytest.mark.parametrize("moved_on", ["lapsed", "taken over", "settled", "completed", "killed", "deleted"])
async def test_whoever_has_lost_the_lease_cannot_commit(bench, moved_on):
    """His effects and the completion are one: none of them is there."""
    user = await bench.user()
    lease = await claimed(bench)
    if moved_on in ("lapsed", "taken over"):
        await bench.settle(lease, Outcome.LOST, error=FAILED)
    if moved_on == "taken over":
        await bench.claim_one(worker="w2")
    if moved_on in ("settled", "deleted"):
        await bench.settle(lease)
    if moved_on == "deleted":
        await bench.store.delete([lease.task])
    if moved_on == "completed":
        await user.complete(lease, "1")
    if moved_on == "killed":
        await bench.store.force([Force(lease.task, Action.KILL)])
    await user.run("CREATE TABLE IF NOT EXISTS effects (note text)")
    try:
        await user.run("BEGIN")
        await user.run("INSERT INTO effects VALUES ('charged')")
        with pytest.raises(user.error, match="lease_lost"):
            await user.complete(lease)
        with contextlib.suppress(user.error):
            await user.run("COMMIT")
        assert await notes(user) == []
    finally:
        await user.run("DROP TABLE effects")
    await user.close()


async def test_a_lapsed_lease_that_nobody_took_still_counts(bench):
    user = await bench.user()
    lease = await claimed(bench, lease=5)
    await bench.advance(10)
    await user.complete(lease)
    assert (await bench.get(lease.task)).state is State.SUCCEEDED
    assert not await bench.store.expired(10)
    await user.close()


async def test_a_success_stays_one_though_cancellation_was_requested(bench):
    user = await bench.user()
    lease = await claimed(bench)
    await bench.store.force([Force(lease.task, Action.CANCEL)])
    await user.complete(lease)
    assert (await bench.get(lease.task)).state is State.SUCCEEDED
    await user.close()


async def test_children_are_released_by_the_resolver(bench):
    user = await bench.user()
    parent, child = bench.task(), bench.task()
    child.depends_on = (parent.id,)
    failing = bench.task(depends_on=(parent.id,), policy=Policy(on_parent_failure=OnParentFailure.ONLY))
    lease = await claimed(bench, parent, child, failing)
    await user.complete(lease)
    assert (await bench.get(child.id)).state is State.BLOCKED
    await bench.resolve_all()
    assert await bench.states(child.id, failing.id) == [State.READY, State.CANCELLED]
    await user.close()


async def test_a_workflow_goes_on_and_its_callbacks_follow(bench):
    user = await bench.user()
    flow = await Flow(bench, {"a": "", "b": "a"}, *Callback).submit()
    for _ in range(2):
        await user.complete(await bench.claim_one(), "1")
        await bench.resolve_all()
    states = dict(zip(flow.ids, await bench.states(*flow.ids.values()), strict=True))
    assert [states[name] for name in ("a", "b", *Callback)] == [
        State.SUCCEEDED, State.SUCCEEDED,
        *(State.CANCELLED if callback is Callback.ON_FAILURE else State.READY for callback in Callback),
    ]  # fmt: skip
    for lease in await bench.claim():
        await user.complete(lease)
    record = await bench.store.get_workflow(flow.id)
    assert record.state is WorkflowState.SUCCEEDED
    await user.close()


async def test_limits_and_unique_rules_are_free_again(bench):
    user = await bench.user()
    await bench.store.set_limit("queue:default", LimitRule(max_running=1))
    rule = UniqueRule(b"d", frozenset({State.READY, State.RUNNING}))
    lease = await claimed(bench, bench.task(unique=rule))
    assert (await bench.put_one(bench.task(unique=rule))).existing
    await bench.submit(bench.task())
    assert await bench.claim() == []
    await user.complete(lease)
    assert len(await bench.claim()) == 1
    assert not (await bench.put_one(bench.task(unique=rule))).existing
    assert (await bench.store.board()).usage["queue:default"].running == 1
    await user.close()


async def test_a_task_may_be_completed_and_others_submitted_in_one_transaction(bench):
    user = await bench.user()
    lease = await claimed(bench)
    await user.run("BEGIN")
    (follower,) = await user.submit(json.dumps({"depends_on": [lease.task]}))
    await user.complete(lease)
    await user.run("COMMIT")
    await take_in(bench)
    assert await bench.states(lease.task, follower) == [State.SUCCEEDED, State.READY]
    await user.close()


async def test_the_workers_report_tells_the_node_that_there_may_be_children(bench):
    """Nobody has told it of the commit: else children would wait for the resolver's next look."""
    user, woken = await bench.user(), []
    scheduler = Scheduler(bench.store, bench.clock, SchedulerSettings())
    await scheduler.start()
    scheduler.on_hint = lambda: woken.append(True)
    lease = await claimed(bench)
    await user.complete(lease)
    waited = asyncio.create_task(scheduler.wait(lease.task, 30))
    woken.clear()
    answers = await scheduler.settle([Report(lease.task, lease.token, Outcome.SUCCEEDED, b"2")])
    assert (answers, bool(woken)) == ([Answer.ALREADY], True)
    assert (await waited).state is State.SUCCEEDED
    await scheduler.close()
    await user.close()


async def test_what_became_of_submissions_is_counted(bench):
    user, counted = await bench.user(), Counter()

    class Sink(type(SILENT)):
        def count(self, name, label="", by=1):
            counted[name, label] += by

    await user.submit("{}", '{"priority": 11}', *['{"payload": 1, "unique": true}'] * 2)
    await Intake(bench.store, lambda moved: None, Sink()).take_in()
    outcomes = {"accepted": 2, "rejected": 1, "existing": 1}
    assert counted == {("tasks_submitted", outcome): n for outcome, n in outcomes.items()}
    await user.close()
