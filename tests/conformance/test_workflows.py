"""Workflows: one document is one group, callbacks run once, and what failed is retried with what was to
follow it."""

import asyncio

import pytest

from mainspring.core.lifecycle import DOOMED_ERROR, SPARED_ERROR, Outcome
from mainspring.core.model import OnParentFailure, Policy, RetryPolicy, State
from mainspring.core.workflows import Callback, Tally, WorkflowState
from mainspring.verbs import (
    Accepted,
    Action,
    Existing,
    Force,
    Group,
    Idempotency,
    NewWorkflow,
    Query,
    Refused,
    Retention,
    WorkflowQuery,
)
from tests.conformance.bench import LANE

pytestmark = pytest.mark.verbs(
    *("submit", "claim", "settle", "force", "resolve", "get", "find", "delete", "prune", "promote", "board"),
    *("get_workflow", "workflow_graph", "find_workflows", "cancel_workflow", "retry_workflow"),
)

ONLY = Policy(0, on_parent_failure=OnParentFailure.ONLY)
RUN = Policy(0, on_parent_failure=OnParentFailure.RUN)
ONCE = Policy(max_retries=0)
B, S, READY, RUNNING = State.BLOCKED, State.SCHEDULED, State.READY, State.RUNNING
SUCCEEDED, FAILED, CANCELLED = State.SUCCEEDED, State.FAILED, State.CANCELLED


class Flow:
    """A workflow on a bench. `edges` are members with their parents, a letter each: `{"a": "", "b": "a"}`."""

    def __init__(self, bench, edges, *callbacks, policies=None, **document):
        self.bench = bench
        self.id = bench.clock.new_id()
        self.ids = {name: bench.clock.new_id() for name in [*edges, *callbacks]}
        self.names = {task: name for name, task in self.ids.items()}
        policies = policies or {}
        self.tasks = [
            bench.task(
                id=self.ids[name],
                name=name,
                depends_on=tuple(self.ids[parent] for parent in parents),
                policy=policies.get(name, ONCE),
            )
            for name, parents in edges.items()
        ]
        members = tuple(self.ids[name] for name in edges)
        for callback in callbacks:
            policy = Policy(0, on_parent_failure=callback.rule)
            self.tasks.append(
                bench.task(id=self.ids[callback], name=callback.label, depends_on=members, policy=policy)
            )
        roles = {callback: self.ids[callback] for callback in callbacks}
        self.workflow = NewWorkflow(self.id, callbacks=roles, **document)

    async def put(self, idempotency=None):
        (answer,) = await self.bench.put([Group(self.tasks, idempotency, self.workflow)])
        return answer

    async def submit(self):
        answer = await self.put()
        assert isinstance(answer, Accepted), answer
        return self

    async def run(self, outcomes=None, left=()):
        """Run what can be run until nothing is left but `left`; the names in the order of their runs. Tasks
        that `outcomes` names end so; all others succeed."""
        ran = []
        while True:
            while (await self.bench.store.resolve(1000)).count:
                pass
            await self.bench.refresh_lanes()
            leases = [lease for lease in await self.bench.claim(1) if self.names[lease.task] not in left]
            if not leases:
                return ran
            name = self.names[leases[0].task]
            ran.append(name)
            outcome = (outcomes or {}).get(name, Outcome.SUCCEEDED)
            await self.bench.settle(leases[0], outcome, error=b'{"type":"E"}')

    async def states(self):
        found = await self.bench.store.get(list(self.ids.values()))
        return {name: record and record.state for name, record in zip(self.ids, found, strict=True)}

    async def state(self, name):
        return (await self.states())[name]

    async def record(self):
        record = await self.bench.store.get_workflow(self.id)
        assert record is not None
        return record

    async def retry(self):
        retried = await self.bench.store.retry_workflow(self.id)
        self.bench._learn(retried.ready)
        return retried.count, retried.waiting

    async def fenced(self, name, action):
        (answer,) = await self.bench.store.force([Force(self.ids[name], action)])
        assert not isinstance(answer, Refused), answer


COMPLETE, SUCCESS, FAILURE = Callback.ON_COMPLETE, Callback.ON_SUCCESS, Callback.ON_FAILURE
CHAIN = {"a": "", "b": "a", "c": "b"}
DIAMOND = {"a": "", "b": "a", "c": "a", "d": "bc"}
FAIL = {"a": Outcome.FAILED}


# --- submitting and reading --------------------------------------------------------------------------


async def test_a_document_is_stored_whole_and_read_back(bench):
    flow = await Flow(bench, DIAMOND, COMPLETE, name="nightly", labels=b'{"team":"data"}').submit()
    record = await flow.record()
    assert (record.id, record.name, record.labels) == (flow.id, "nightly", b'{"team":"data"}')
    assert record.members == Tally(ready=1, blocked=3)
    assert record.callbacks[COMPLETE].id == flow.ids[COMPLETE]
    assert record.callbacks[COMPLETE].state is B
    assert (record.state, record.is_over) == (WorkflowState.RUNNING, False)
    tasks = await bench.store.get(list(flow.ids.values()))
    assert {task.workflow for task in tasks} == {flow.id}
    assert record.created_at_us == tasks[0].created_at_us


async def test_the_graph_has_every_task_once_parents_first(bench):
    flow = await Flow(bench, DIAMOND, FAILURE, COMPLETE).submit()
    graph = await bench.store.workflow_graph(flow.id)
    assert [task.name for task in graph.tasks[:4]] in (["a", "b", "c", "d"], ["a", "c", "b", "d"])
    assert [task.callback for task in graph.tasks] == [None] * 4 + [COMPLETE, FAILURE]
    assert [flow.names[parent] for parent in graph.tasks[3].depends_on] == ["b", "c"]
    assert graph.tasks[0].kind == LANE.kind
    assert graph.record == await flow.record()
    assert graph.now_us >= graph.record.created_at_us


async def test_members_tell_when_they_ran(bench):
    flow = await Flow(bench, {"a": "", "b": "a"}).submit()
    lease = await bench.claim_one(lease=600)
    await bench.advance(100)
    await bench.settle(lease)
    first, second = (await bench.store.workflow_graph(flow.id)).tasks
    assert first.finished_at_us - first.started_at_us == pytest.approx(bench.us(100), abs=bench.us(60))
    assert (first.attempt, first.worker) == (1, "w1")
    assert (second.started_at_us, second.finished_at_us, second.worker) == (None, None, None)


async def test_what_is_not_there_is_none_or_refused(bench):
    nobody = bench.clock.new_id()
    assert await bench.store.get_workflow(nobody) is None
    assert await bench.store.workflow_graph(nobody) is None
    assert (await bench.store.cancel_workflow(nobody, True)).code == "not_found"
    assert (await bench.store.retry_workflow(nobody)).code == "not_found"


async def test_a_refused_document_leaves_nothing(bench):
    flow = Flow(bench, CHAIN, COMPLETE)
    flow.tasks.append(bench.task(depends_on=(bench.clock.new_id(),)))
    assert (await flow.put()).code == "unknown_parent"
    assert await bench.store.get_workflow(flow.id) is None
    assert set((await flow.states()).values()) == {None}


async def test_a_document_sent_again_is_refused_as_taken(bench):
    """Its ids are its own: who lost the answer finds the workflow as it was stored first."""
    flow = await Flow(bench, CHAIN).submit()
    assert (await flow.put()).code == "id_taken"
    other = Flow(bench, CHAIN)
    other.workflow = flow.workflow
    assert (await other.put()).code == "id_taken"
    assert set((await other.states()).values()) == {None}
    assert (await flow.record()).members.total == 3


async def test_an_idempotency_key_holds_for_the_document(bench):
    key = Idempotency("me", "k", b"digest", bench.us(60))
    flow = Flow(bench, CHAIN, COMPLETE)
    assert isinstance(await flow.put(key), Accepted)
    again = Flow(bench, CHAIN, COMPLETE)
    answer = await again.put(key)
    assert isinstance(answer, Existing)
    assert {task.workflow for task in answer.tasks} == {flow.id}
    assert await bench.store.get_workflow(again.id) is None


async def test_the_tasks_of_a_workflow_can_be_listed(bench):
    await bench.submit_many(3)
    flow = await Flow(bench, DIAMOND, COMPLETE).submit()
    await bench.submit_many(3)
    page = await bench.store.find(Query(workflow=flow.id))
    assert {task.id for task in page.tasks} == set(flow.ids.values())
    ready = await bench.store.find(Query(states=frozenset({READY}), workflow=flow.id))
    assert [task.name for task in ready.tasks] == ["a"]
    paged = await bench.store.find(Query(workflow=flow.id, limit=2))
    rest = await bench.store.find(Query(workflow=flow.id, cursor=paged.cursor))
    assert [task.id for task in [*paged.tasks, *rest.tasks]] == [task.id for task in page.tasks]
    assert (await bench.store.find(Query(workflow=bench.clock.new_id()))).tasks == []
    (plain, *_) = (await bench.store.find(Query())).tasks
    assert plain.workflow is None


async def test_workflows_are_listed_newest_first_and_by_page(bench):
    flows = [await Flow(bench, CHAIN, name=f"n{place}").submit() for place in range(5)]
    found, cursor, pages = [], None, 0
    while True:
        page = await bench.store.find_workflows(WorkflowQuery(limit=2, cursor=cursor))
        found += [record.id for record in page.workflows]
        cursor, pages = page.cursor, pages + 1
        if cursor is None:
            break
    assert found == [flow.id for flow in reversed(flows)]
    assert pages == 3


async def test_workflows_are_found_by_state_name_and_label(bench):
    good = await Flow(bench, {"a": ""}, name="one", labels=b'{"team":"x"}').submit()
    await good.run()
    bad = await Flow(bench, {"a": ""}, name="two", labels=b'{"team":"y"}').submit()
    await bad.run(FAIL)
    open_ = await Flow(bench, {"a": ""}, name="two").submit()

    async def found(**query):
        return [record.id for record in (await bench.store.find_workflows(WorkflowQuery(**query))).workflows]

    assert await found(states=frozenset({WorkflowState.SUCCEEDED})) == [good.id]
    assert await found(states=frozenset({WorkflowState.FAILED, WorkflowState.RUNNING})) == [open_.id, bad.id]
    assert await found(name="two") == [open_.id, bad.id]
    assert await found(label=("team", "x")) == [good.id]
    assert await found(label=("team", "x"), name="two") == []
    assert await found() == [open_.id, bad.id, good.id]


async def test_ten_thousand_members_in_one_call(bench):
    """S0-68: a document as large as a batch may be, with every callback."""
    edges = {f"m{n}": () for n in range(10_000)}
    flow = await Flow(bench, edges, COMPLETE, SUCCESS, FAILURE).submit()
    assert (await flow.record()).members == Tally(ready=10_000)
    leases = await bench.claim(10_000)
    await bench.settle_lines(*[bench.line(lease) for lease in leases])
    await bench.resolve_all()
    record = await flow.record()
    assert (record.members, record.state) == (Tally(succeeded=10_000), WorkflowState.SUCCEEDED)
    assert {callback: one.state for callback, one in record.callbacks.items()} == {
        COMPLETE: READY,
        SUCCESS: READY,
        FAILURE: CANCELLED,
    }


# --- callbacks ---------------------------------------------------------------------------------------


async def test_callbacks_after_a_success(bench):
    flow = await Flow(bench, DIAMOND, COMPLETE, SUCCESS, FAILURE).submit()
    ran = await flow.run()
    assert (ran[0], ran[3]) == ("a", "d")
    assert sorted(ran[4:]) == [COMPLETE, SUCCESS]
    record = await flow.record()
    assert record.callbacks[FAILURE].state is CANCELLED
    assert record.callbacks[FAILURE].spared
    assert (record.state, record.is_over) == (WorkflowState.SUCCEEDED, True)
    assert (await bench.get(flow.ids[FAILURE])).error == SPARED_ERROR


async def test_callbacks_after_a_failure(bench):
    """The completion callback and that for failures run after the last member, and each once: peer
    behaviours 145 and 147."""
    flow = await Flow(bench, DIAMOND, COMPLETE, SUCCESS, FAILURE).submit()
    ran = await flow.run({"b": Outcome.FAILED})
    assert sorted(ran[:3]) == ["a", "b", "c"]
    assert sorted(ran[3:]) == [COMPLETE, FAILURE]
    record = await flow.record()
    assert record.members == Tally(succeeded=2, failed=1, cancelled=1)
    assert record.callbacks[SUCCESS].state is CANCELLED
    assert not record.callbacks[SUCCESS].spared
    assert (record.state, record.is_over) == (WorkflowState.FAILED, True)
    assert await flow.run() == []


async def test_callbacks_wait_for_the_last_member(bench):
    """S3-01: a failure elsewhere dooms what follows it at once; a member that still runs is waited for."""
    flow = await Flow(bench, {"a": "", "b": "", "c": "ab"}, COMPLETE, FAILURE).submit()
    bad, slow = await bench.claim(2)
    await bench.settle(bad, Outcome.FAILED)
    await bench.resolve_all()
    assert await flow.states() == {"a": FAILED, "b": RUNNING, "c": CANCELLED, COMPLETE: B, FAILURE: B}
    await bench.settle(slow)
    await bench.resolve_all()
    assert await flow.states() == {
        "a": FAILED,
        "b": SUCCEEDED,
        "c": CANCELLED,
        COMPLETE: READY,
        FAILURE: READY,
    }


async def test_a_member_that_was_retried_calls_back_once(bench):
    """Peer behaviour 146."""
    policy = Policy(3, RetryPolicy("fixed", delay_s=0.0))
    flow = await Flow(bench, {"a": ""}, COMPLETE, policies={"a": policy}).submit()
    for outcome in (Outcome.FAILED, Outcome.LOST, Outcome.SNOOZED):
        await bench.settle(await bench.claim_one(), outcome)
        await bench.resolve_all()
        assert await flow.state(COMPLETE) is B
    assert await flow.run() == ["a", COMPLETE]


async def test_a_member_replayed_before_the_last_has_ended_is_waited_for(bench):
    flow = await Flow(bench, {"a": "", "b": ""}, COMPLETE, FAILURE).submit()
    bad, slow = await bench.claim(2)
    await bench.settle(bad, Outcome.FAILED)
    await bench.resolve_all()
    await flow.fenced(flow.names[bad.task], Action.REPLAY)
    await bench.settle(slow)
    await bench.resolve_all()
    assert await flow.state(COMPLETE) is B
    again = await bench.claim_one()
    await bench.settle(again)
    await bench.resolve_all()
    # By the time that it could run nothing has failed any more.
    assert await flow.states() == {"a": SUCCEEDED, "b": SUCCEEDED, COMPLETE: READY, FAILURE: CANCELLED}


async def test_only_counts_cancelled_members_as_failures(bench):
    flow = await Flow(bench, {"a": "", "b": ""}, FAILURE).submit()
    await flow.fenced("a", Action.CANCEL)
    assert await flow.run() == ["b", FAILURE]
    record = await flow.record()
    assert record.state is WorkflowState.CANCELLED


@pytest.mark.parametrize("fails", [True, False])
async def test_only_waits_for_all_parents_and_passes_its_end_on(bench, fails):
    """The children of a task that was not needed are told, as those of any other cancelled one."""
    edges = {"a": "", "b": "", "c": "ab", "d": "c", "e": "c"}
    flow = await Flow(bench, edges, policies={"c": ONLY, "d": RUN}).submit()
    first, second = await bench.claim(2)
    await bench.settle(first, Outcome.FAILED if fails else Outcome.SUCCEEDED)
    await bench.resolve_all()
    assert await flow.state("c") is B
    await bench.settle(second)
    await flow.run()
    states = [await flow.state(name) for name in "cde"]
    assert states == ([SUCCEEDED] * 3 if fails else [CANCELLED, SUCCEEDED, CANCELLED])


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED])
async def test_only_under_a_parent_that_ended_before_the_submit(bench, outcome):
    (parent,) = await bench.submit(bench.task(policy=ONCE))
    await bench.settle(await bench.claim_one(), outcome)
    (child,) = await bench.submit(bench.task(depends_on=(parent,), policy=ONLY))
    await bench.resolve_all()
    assert (await bench.get(child)).state is (CANCELLED if outcome is Outcome.SUCCEEDED else READY)


# --- cancelling --------------------------------------------------------------------------------------


async def test_cancelling_a_workflow(bench):
    """Waiting members are cancelled, running ones asked to stop; then the callbacks follow their rules."""
    flow = await Flow(bench, {"a": "", "b": "", "c": "b"}, COMPLETE, SUCCESS, FAILURE).submit()
    (running,) = await bench.claim(1)
    name = flow.names[running.task]
    moved = await bench.store.cancel_workflow(flow.id, False)
    assert moved.count == 3
    assert len(moved.finished) == 2
    assert await flow.state(name) is RUNNING
    assert (await bench.get(running.task)).cancel_requested_at_us is not None
    assert await flow.state(COMPLETE) is B
    await bench.settle(running, Outcome.CANCELLED)
    assert sorted(await flow.run()) == [COMPLETE, FAILURE]
    record = await flow.record()
    assert (record.members, record.state) == (Tally(cancelled=3), WorkflowState.CANCELLED)
    assert record.callbacks[SUCCESS].state is CANCELLED


async def test_cancelling_a_workflow_with_its_callbacks(bench):
    flow = await Flow(bench, CHAIN, COMPLETE, SUCCESS, FAILURE).submit()
    assert (await bench.store.cancel_workflow(flow.id, True)).count == 6
    assert set((await flow.states()).values()) == {CANCELLED}
    assert await flow.run() == []
    assert (await flow.record()).is_over


async def test_cancelling_twice_changes_nothing_more(bench):
    flow = await Flow(bench, CHAIN, COMPLETE).submit()
    await bench.store.cancel_workflow(flow.id, False)
    before = await bench.store.get(list(flow.ids.values()))
    assert (await bench.store.cancel_workflow(flow.id, False)).count == 0
    assert await bench.store.get(list(flow.ids.values())) == before


async def test_cancelling_leaves_others_alone(bench):
    (other,) = await bench.submit(bench.task())
    flow = await Flow(bench, CHAIN).submit()
    (child,) = await bench.submit(bench.task(depends_on=(flow.ids["c"],), policy=RUN))
    await bench.store.cancel_workflow(flow.id, True)
    await bench.resolve_all()
    assert (await bench.get(other)).state is READY
    assert (await bench.get(child)).state is READY


# --- retrying ----------------------------------------------------------------------------------------


async def test_retrying_runs_what_failed_and_what_followed(bench):
    flow = await Flow(bench, {"a": "", "b": "a", "c": "b", "d": ""}, SUCCESS).submit()
    assert sorted(await flow.run(FAIL)) == ["a", "d"]
    assert await flow.retry() == (4, 3)
    assert await flow.states() == {"a": READY, "b": B, "c": B, "d": SUCCEEDED, SUCCESS: B}
    assert (await bench.get(flow.ids["c"])).open_parents == 1
    assert (await bench.get(flow.ids["b"])).error is None
    assert await flow.run() == ["a", "b", "c", SUCCESS]
    record = await flow.record()
    assert (record.members, record.state) == (Tally(succeeded=4), WorkflowState.SUCCEEDED)


async def test_retrying_before_the_doom_has_gone_all_the_way(bench):
    flow = await Flow(bench, CHAIN).submit()
    await bench.settle(await bench.claim_one(), Outcome.FAILED)
    await bench.store.resolve(1)
    assert await flow.states() == {"a": FAILED, "b": CANCELLED, "c": B}
    assert await flow.retry() == (2, 1)
    assert await flow.run() == ["a", "b", "c"]


async def test_a_retry_that_fails_again_can_be_retried(bench):
    flow = await Flow(bench, CHAIN, FAILURE).submit()
    for _ in range(3):
        await flow.run(FAIL)
        assert (await flow.record()).state is WorkflowState.FAILED
        await flow.retry()
    assert await flow.run() == ["a", "b", "c"]


async def test_a_callback_that_has_run_does_not_run_again(bench):
    flow = await Flow(bench, CHAIN, COMPLETE, SUCCESS, FAILURE).submit()
    assert sorted(map(str, await flow.run(FAIL))) == sorted(map(str, ["a", COMPLETE, FAILURE]))
    assert await flow.retry() == (4, 3)
    assert await flow.run() == ["a", "b", "c", SUCCESS]


async def test_a_callback_that_failed_is_retried(bench):
    flow = await Flow(bench, {"a": ""}, COMPLETE).submit()
    await flow.run({COMPLETE: Outcome.FAILED})
    assert (await flow.record()).state is WorkflowState.SUCCEEDED
    assert await flow.retry() == (1, 0)
    assert await flow.run() == [COMPLETE]


async def test_a_callback_that_has_not_started_waits_again(bench):
    flow = await Flow(bench, {"a": ""}, COMPLETE, FAILURE).submit()
    await bench.settle(await bench.claim_one(), Outcome.FAILED)
    await bench.resolve_all()
    assert await flow.state(COMPLETE) is READY
    assert await flow.retry() == (3, 2)
    assert await flow.states() == {"a": READY, COMPLETE: B, FAILURE: B}
    assert await flow.run() == ["a", COMPLETE]
    assert await flow.state(FAILURE) is CANCELLED


async def test_a_callback_that_runs_is_left_alone(bench):
    flow = await Flow(bench, {"a": ""}, COMPLETE).submit()
    await bench.settle(await bench.claim_one(), Outcome.FAILED)
    await bench.resolve_all()
    callback = await bench.claim_one()
    assert await flow.retry() == (1, 0)
    await bench.settle(callback)
    assert await flow.run() == ["a"]
    assert (await flow.record()).is_over


async def test_what_was_cancelled_by_hand_stays_cancelled(bench):
    """And so does what follows it, whatever else had failed."""
    flow = await Flow(bench, {"a": "", "b": "", "c": "ab", "d": "a"}).submit()
    await flow.fenced("b", Action.CANCEL)
    await flow.run(FAIL)
    assert await flow.retry() == (2, 1)
    assert await flow.states() == {"a": READY, "b": CANCELLED, "c": CANCELLED, "d": B}
    assert await flow.run() == ["a", "d"]


async def test_a_failed_member_replayed_alone_leaves_the_doomed(bench):
    flow = await Flow(bench, CHAIN).submit()
    await flow.run(FAIL)
    await flow.fenced("a", Action.REPLAY)
    assert await flow.run() == ["a"]
    assert await flow.states() == {"a": SUCCEEDED, "b": CANCELLED, "c": CANCELLED}
    # The parent has succeeded since: the first of them may run at once.
    assert await flow.retry() == (2, 1)
    assert await flow.states() == {"a": SUCCEEDED, "b": READY, "c": B}


async def test_two_failures_and_their_common_child(bench):
    flow = await Flow(bench, {"a": "", "b": "", "c": "ab"}).submit()
    await flow.run({"a": Outcome.FAILED, "b": Outcome.FAILED})
    assert await flow.retry() == (3, 1)
    assert (await bench.get(flow.ids["c"])).open_parents == 2
    assert sorted(await flow.run()) == ["a", "b", "c"]


async def test_retrying_while_others_run(bench):
    flow = await Flow(bench, {"a": "", "b": "", "c": "ab"}, COMPLETE).submit()
    bad, slow = await bench.claim(2)
    await bench.settle(bad, Outcome.FAILED)
    await bench.resolve_all()
    assert await flow.retry() == (2, 1)
    await bench.settle(slow)
    assert await flow.run() == [flow.names[bad.task], "c", COMPLETE]


async def test_retrying_nothing_changes_nothing(bench):
    flow = await Flow(bench, CHAIN, COMPLETE).submit()
    await flow.run()
    before = await bench.store.get(list(flow.ids.values()))
    assert await flow.retry() == (0, 0)
    assert await bench.store.get(list(flow.ids.values())) == before


async def test_retrying_twice_is_retrying_once(bench):
    """The answer to the first may have been lost."""
    flow = await Flow(bench, CHAIN, COMPLETE).submit()
    await flow.run(FAIL)
    await flow.retry()
    before = await bench.store.get(list(flow.ids.values()))
    assert await flow.retry() == (0, 0)
    assert await bench.store.get(list(flow.ids.values())) == before


async def test_a_delayed_member_that_was_doomed_keeps_its_time(bench):
    flow = Flow(bench, {"a": "", "b": "a"})
    flow.tasks[1].delay_us = bench.us(30)
    await flow.submit()
    await flow.run(FAIL)
    await flow.fenced("a", Action.REPLAY)
    await flow.run()
    assert await flow.retry() == (1, 0)
    assert await flow.state("b") is S
    await bench.advance(31)
    await bench.promote()
    assert await flow.run() == ["b"]


@pytest.mark.verbs("overdue")
async def test_a_member_that_expired_waits_for_its_parents_again(bench):
    """It never ran: a retry must not let it overtake what it depends on."""
    flow = Flow(bench, {"a": "", "b": "a"})
    flow.tasks[1].deadline_us = bench.clock.now_us() + bench.us(5)
    await flow.submit()
    lease = await bench.claim_one()
    await bench.advance(6)
    await bench.store.overdue(100, 0)
    assert await flow.states() == {"a": RUNNING, "b": FAILED}
    assert await flow.retry() == (1, 1)
    assert (await bench.get(flow.ids["b"])).deadline_us is None
    await bench.settle(lease)
    assert await flow.run() == ["b"]


async def test_tasks_outside_wait_for_a_retried_member(bench):
    flow = await Flow(bench, {"a": "", "b": "a"}).submit()
    (slow,) = await bench.submit(bench.task(LANE._replace(queue="other")))
    (child,) = await bench.submit(bench.task(depends_on=(flow.ids["a"], slow), policy=RUN))
    await bench.settle(await bench.claim_one(lanes=[LANE]), Outcome.FAILED)
    await bench.resolve_all()
    assert (await bench.get(child)).open_parents == 1
    await flow.retry()
    assert (await bench.get(child)).open_parents == 2


async def test_a_parent_outside_that_failed_keeps_its_child_cancelled(bench):
    (outside,) = await bench.submit(bench.task(policy=ONCE))
    await bench.settle(await bench.claim_one(), Outcome.FAILED)
    flow = Flow(bench, {"a": "", "b": "a"})
    flow.tasks[1].depends_on = (*flow.tasks[1].depends_on, outside)
    await flow.submit()
    await flow.run(FAIL)
    assert await flow.retry() == (1, 0)
    assert await flow.states() == {"a": READY, "b": CANCELLED}


# --- forgetting --------------------------------------------------------------------------------------


async def prune(bench, seconds=0, failed=None):
    kept = [bench.us(seconds), None if failed is None else bench.us(failed), bench.us(seconds)]
    cursor, count = None, 0
    while True:
        pruned = await bench.store.prune(2, Retention(*kept), cursor)
        count, cursor = count + pruned.count, pruned.cursor
        if cursor is None:
            return count


async def test_a_workflow_is_forgotten_whole_when_all_of_it_may_be(bench):
    """The failed member is kept for longer, and so are its parents: a retry needs them."""
    flow = await Flow(bench, CHAIN, COMPLETE).submit()
    await flow.run({"b": Outcome.FAILED})
    await bench.advance(20)
    assert await prune(bench, 10, failed=None) == 0
    assert await prune(bench, 10, failed=30) == 0
    assert await flow.retry() == (2, 1)
    assert await flow.run() == ["b", "c"]
    await bench.advance(20)
    assert await prune(bench, 10, failed=30) == 4
    assert await bench.store.get_workflow(flow.id) is None
    assert (await bench.store.find_workflows(WorkflowQuery())).workflows == []


async def test_an_unfinished_workflow_keeps_its_members(bench):
    flow = await Flow(bench, {"a": "", "b": ""}).submit()
    await bench.settle(await bench.claim_one())
    await bench.advance(20)
    assert await prune(bench) == 0
    assert (await flow.record()).members == Tally(succeeded=1, ready=1)


async def test_a_member_deleted_by_hand_goes_on_counting(bench):
    """Deleting the dead letter must not make a success of a failure."""
    flow = await Flow(bench, {"a": "", "b": ""}, COMPLETE).submit()
    await flow.run(FAIL)
    assert await bench.store.delete([flow.ids["a"], flow.ids[COMPLETE]]) == [None, None]
    record = await flow.record()
    assert (record.members, record.state) == (Tally(succeeded=1, failed=1), WorkflowState.FAILED)
    assert record.callbacks[COMPLETE].state is None
    assert record.is_over
    graph = await bench.store.workflow_graph(flow.id)
    assert [task.name for task in graph.tasks] == ["b"]
    assert await flow.retry() == (0, 0)
    assert await bench.store.delete([flow.ids["b"]]) == [None]
    assert await bench.store.get_workflow(flow.id) is None


async def test_what_waits_for_a_deleted_parent_does_not_come_back(bench):
    flow = await Flow(bench, CHAIN).submit()
    await flow.run(FAIL)
    await bench.store.delete([flow.ids["a"]])
    assert await flow.retry() == (0, 0)
    assert await flow.states() == {"a": None, "b": CANCELLED, "c": CANCELLED}


async def test_doomed_members_say_so(bench):
    flow = await Flow(bench, CHAIN).submit()
    await flow.run(FAIL)
    assert (await bench.get(flow.ids["c"])).error == DOOMED_ERROR


# --- crashes, and two at once ------------------------------------------------------------------------


@pytest.mark.loses_writes
async def test_a_submit_that_is_lost_is_lost_whole(bench):
    flow = Flow(bench, CHAIN, COMPLETE)
    await bench.mark()
    await flow.submit()
    await bench.lose_writes()
    assert await bench.store.get_workflow(flow.id) is None
    assert set((await flow.states()).values()) == {None}
    assert isinstance(await flow.put(), Accepted)
    assert await flow.run() == ["a", "b", "c", COMPLETE]


@pytest.mark.loses_writes
async def test_a_retry_that_is_lost_can_be_asked_for_again(bench):
    flow = await Flow(bench, CHAIN, FAILURE).submit()
    await flow.run(FAIL)
    before = await bench.store.get(list(flow.ids.values()))
    await bench.mark()
    await flow.retry()
    await bench.lose_writes()
    assert await bench.store.get(list(flow.ids.values())) == before
    assert await flow.retry() == (3, 2)
    assert await flow.run() == ["a", "b", "c"]


@pytest.mark.several_nodes
async def test_two_nodes_retry_and_cancel_at_once(bench):
    """Each is one step: whoever comes second finds what the first has done."""
    flow = await Flow(bench, CHAIN, COMPLETE).submit()
    await flow.run(FAIL)
    other = bench.new_node()
    await other.open()
    try:
        answers = await asyncio.gather(
            *(store.retry_workflow(flow.id) for store in (bench.store, other) for _ in range(3))
        )
        assert sorted(answer.count for answer in answers) == [0, 0, 0, 0, 0, 3]
        moved = await asyncio.gather(
            *(store.cancel_workflow(flow.id, True) for store in (bench.store, other) for _ in range(3))
        )
        assert sum(answer.count for answer in moved) == 3
        assert (await other.get_workflow(flow.id)) == await flow.record()
    finally:
        await other.close()
    assert (await flow.record()).state is WorkflowState.CANCELLED
