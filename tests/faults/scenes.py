"""A scene for every verb of the port: the verb is called until it was cut off so many times, and each time
repeated. Whatever came of the first call, the second is answered as if it were the only one, and what is
stored in the end is what one call makes."""

from collections import Counter
from collections.abc import Awaitable, Callable

import msgspec

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Cause, Outcome
from mainspring.core.limits import LimitRule
from mainspring.core.model import OnParentFailure, Policy, State
from mainspring.core.progress import LogPiece
from mainspring.core.schedules import Schedule, begin, decide
from mainspring.core.templates import Template
from mainspring.core.timing import Timing
from mainspring.scheduler.firing import line_of
from mainspring.stores.memory import MemoryStore
from mainspring.verbs import (
    Accepted,
    Action,
    Answer,
    Append,
    Edit,
    Exchange,
    Force,
    Glance,
    Group,
    Held,
    Idempotency,
    Moved,
    NewSchedule,
    NewWorkflow,
    Query,
    Recall,
    Recalled,
    Refused,
    Retention,
    Retried,
    ScheduleRecord,
    SeenSchedule,
    WorkerInfo,
    WorkflowQuery,
)
from mainspring.verbs.audit import Mending
from mainspring.verbs.moving import MovedTask
from tests.faults.stage import Stage

Scene = Callable[[Stage], Awaitable[None]]
SCENES: dict[str, Scene] = {}
ONCE = Policy(max_retries=0)
DOOMED = Policy(max_retries=0, on_parent_failure=OnParentFailure.CANCEL)
DAY_US = 86_400_000_000


def scene(verb: str) -> Callable[[Scene], Scene]:
    def add(make: Scene) -> Scene:
        SCENES[verb] = make
        return make

    return add


async def caused(stage: Stage, task: str, cause: Cause) -> int:
    """How many times the task was moved for this reason."""
    return sum(step.cause is cause for step in await stage.bench.store.history(task))


# --- the hot verbs ------------------------------------------------------------------------------------


@scene("exchange")
async def submits_settles_and_claims(stage: Stage) -> None:
    bench, number = stage.bench, 0
    await stage.task()
    lane_id = await bench.lane_id(stage.lane)
    stored, settled, claimed = [], [], Counter[str]()
    while stage.goes_on:
        number += 1
        new, key = bench.task(stage.lane), None
        if number % 2:
            key = Idempotency("cut", f"key-{number}", b"digest", DAY_US)
        lease = await stage.lease()
        ask = bench.ask(1, [stage.lane], worker=f"w-{number % 7}", lease=3600)
        batch = Exchange([Group([new], key)], [bench.line(lease)], [ask])
        answers = await stage.cut(lambda store, batch=batch: store.exchange(batch))
        (submitted,), (told,), (granted,) = answers.submits, answers.settles, answers.claims
        if key is None:
            assert isinstance(submitted, Accepted) or submitted.code == "id_taken"
        else:
            assert isinstance(submitted, Accepted) or [task.id for task in submitted.tasks] == [new.id]
        assert told in (Answer.OK, Answer.ALREADY)
        (got,) = granted.leases
        claimed[got.task] += 1
        stored.append(new.id)
        settled.append(lease.task)
    assert lane_id == await bench.lane_id(stage.lane)
    assert max(claimed.values()) == 1
    assert all(await bench.store.get(stored))
    assert set(await bench.states(*settled)) == {State.SUCCEEDED}
    assert {await caused(stage, task, Cause.SUCCEED) for task in settled} == {1}
    assert {await caused(stage, task, Cause.SUBMIT) for task in stored} == {1}
    assert {await caused(stage, task, Cause.CLAIM) for task in claimed} == {1}


@scene("renew")
async def renews(stage: Stage) -> None:
    lease = await stage.lease()
    seq = stage.bench.claims_made("w1")
    while stage.goes_on:
        renewal = stage.bench.renewal(lease, seq=0, lease=3600)
        assert await stage.cut(lambda store, line=renewal: store.renew([line])) == [[Answer.OK]]
    unnamed = stage.bench.renewal(seq=seq, lease=3600)
    await stage.bench.store.renew([unnamed])
    assert await caused(stage, lease.task, Cause.RELEASE) == 1


@scene("append")
async def appends(stage: Stage) -> None:
    lease, number, size = await stage.lease(), 0, 0
    while stage.goes_on:
        number += 1
        text = f"line {number}\n"
        line = Append(
            lease.task,
            lease.token,
            checkpoint=b"%d" % number,
            steps={f"step {number % 50}": b"%d" % number},
            log=[LogPiece(size, "stdout", 1, text)],
            number=number,
        )
        size += len(text)
        assert await stage.cut(lambda store, line=line: store.append([line])) == [Answer.OK]
    assert (await stage.bench.get(lease.task)).checkpoint == b"%d" % number
    (recalled,) = await stage.bench.store.recall([Recall(lease.task, lease.token)])
    assert recalled.steps == {f"step {n % 50}": b"%d" % n for n in range(1, min(number, 50) + 1)}
    page = await stage.bench.store.logs(lease.task, 0, 1 << 20)
    assert "".join(piece.text for piece in page.pieces).split("\n")[-2] == f"line {number}"
    assert page.ends == size


# --- what running tasks have recorded -------------------------------------------------------------------


@scene("recall")
async def recalls(stage: Stage) -> None:
    lease = await stage.lease()
    await stage.bench.store.append([Append(lease.task, lease.token, steps={"one": b"1"})])
    await stage.same(lambda store: store.recall([Recall(lease.task, lease.token)]))
    assert await stage.bench.store.recall([Recall(lease.task, lease.token)]) == [Recalled({"one": b"1"})]


@scene("logs")
async def reads_logs(stage: Stage) -> None:
    lease = await stage.lease()
    await stage.bench.store.append([Append(lease.task, lease.token, log=[LogPiece(0, "stdout", 1, "hello")])])
    await stage.same(lambda store: store.logs(lease.task, 0, 1000))


@scene("glance")
async def glances(stage: Stage) -> None:
    task = await stage.task()
    await stage.same(lambda store: store.glance([task, "nobody"]))
    seen, nobody = await stage.bench.store.glance([task, "nobody"])
    assert isinstance(seen, Glance)
    assert nobody is None


# --- by hand --------------------------------------------------------------------------------------------


@scene("amend")
async def amends(stage: Stage) -> None:
    number = 0
    while stage.goes_on:
        number += 1
        record = await stage.bench.get(await stage.task())
        edit = Edit(record.lane, b"%d" % number, None, record.policy, None, None, None)
        answer = await stage.cut(
            lambda store, record=record, edit=edit: store.amend(record.id, record.version, edit)
        )
        # The record has moved on if the first call was heard: by this very edit.
        assert not isinstance(answer, Refused) or answer.code == "version_mismatch"
        after = await stage.bench.get(record.id)
        assert (after.payload, after.state) == (b"%d" % number, State.READY)


@scene("force")
async def forces(stage: Stage) -> None:
    done = []
    while stage.goes_on:
        task = await stage.task()
        (answer,) = await stage.cut(lambda store, task=task: store.force([Force(task, Action.CANCEL)]))
        assert not isinstance(answer, Refused) or answer.code == "wrong_state"
        done.append(task)
    assert set(await stage.bench.states(*done)) == {State.CANCELLED}
    assert {await caused(stage, task, Cause.CANCEL) for task in done} == {1}


@scene("delete")
async def deletes(stage: Stage) -> None:
    done = []
    while stage.goes_on:
        task = await stage.task()
        await stage.bench.store.force([Force(task, Action.CANCEL)])
        (answer,) = await stage.cut(lambda store, task=task: store.delete([task]))
        assert answer is None or answer.code == "not_found"
        done.append(task)
    assert not any(await stage.bench.store.get(done))


# --- services -------------------------------------------------------------------------------------------


@scene("promote")
async def promotes(stage: Stage) -> None:
    bench, done = stage.bench, []
    while stage.goes_on:
        done += await bench.submit(bench.task(stage.lane, delay=0.001))
        await stage.cut(lambda store: store.promote(100))
    while await bench.states(*done) != [State.READY] * len(done):
        await bench.promote()
    assert {await caused(stage, task, Cause.PROMOTE) for task in done} == {1}


@scene("expired")
async def finds_lapsed_leases(stage: Stage) -> None:
    await stage.bench.submit_many(3, stage.lane)
    await stage.bench.claim(3, [stage.lane], lease=0.001)
    while len(await stage.bench.store.expired(100)) < 3:
        pass
    await stage.same(lambda store: store.expired(100))


@scene("overdue")
async def ends_what_is_overdue(stage: Stage) -> None:
    bench, done = stage.bench, []
    while stage.goes_on:
        soon_us = (await bench.store.stats()).now_us + 1_000
        done += await bench.submit(bench.task(stage.lane, deadline_us=soon_us))
        await stage.cut(lambda store: store.overdue(100, 0))
    while set(await bench.states(*done)) != {State.FAILED}:
        await bench.store.overdue(100, 0)
    assert {await caused(stage, task, Cause.EXPIRE) for task in done} == {1}


@scene("resolve")
async def resolves(stage: Stage) -> None:
    bench, done = stage.bench, []
    while stage.goes_on:
        parent = bench.task(stage.lane, policy=ONCE)
        child = bench.task(stage.lane, policy=DOOMED, depends_on=(parent.id,))
        await bench.submit(parent, child)
        (lease,) = await bench.claim(1, [stage.lane])
        await bench.settle(lease, Outcome.FAILED)
        await stage.cut(lambda store: store.resolve(100))
        done.append(child.id)
    assert set(await bench.states(*done)) == {State.CANCELLED}
    assert {await caused(stage, task, Cause.DOOM) for task in done} == {1}


@scene("prune")
async def prunes(stage: Stage) -> None:
    bench, gone = stage.bench, []
    kept = await stage.task()
    while stage.goes_on:
        task = await stage.task()
        await bench.store.force([Force(task, Action.CANCEL)])
        await stage.cut(lambda store: store.prune(5_000, Retention(0, 0, 0), None))
        gone.append(task)
    await bench.store.prune(5_000, Retention(0, 0, 0), None)
    assert not any(await bench.store.get(gone))
    assert (await bench.get(kept)).state is State.READY


# --- schedules ------------------------------------------------------------------------------------------


async def line_for(stage: Stage, schedule: str):  # type: ignore[no-untyped-def]
    """The line that makes a schedule with one fire, which is due at once."""
    now_us = (await stage.bench.store.schedules([schedule])).now_us
    rules = Schedule(Timing(at_us=now_us - 1_000_000))
    template = Template(stage.lane)
    seen = SeenSchedule(ScheduleRecord(schedule, rules, template, 0))
    decision = decide(begin(rules, now_us), rules, now_us)
    return line_of(seen, decision, stage.bench.clock.new_id, NewSchedule(rules, template))


async def schedule_on(stage: Stage) -> str:
    schedule = f"s-{stage.bench.clock.new_id()}"
    fired = await stage.bench.store.fire([await line_for(stage, schedule)], None)
    assert isinstance(fired.answers[0], int)
    return schedule


@scene("due_schedules")
async def finds_due_schedules(stage: Stage) -> None:
    await schedule_on(stage)
    await stage.same(lambda store: store.due_schedules(10))


@scene("schedules")
async def reads_schedules(stage: Stage) -> None:
    schedule = await schedule_on(stage)
    await stage.same(lambda store: store.schedules([schedule, "nobody"]))


@scene("find_schedules")
async def finds_schedules(stage: Stage) -> None:
    await schedule_on(stage)
    await stage.same(lambda store: store.find_schedules(10, None))


@scene("fire")
async def fires_once(stage: Stage) -> None:
    made = {}
    while stage.goes_on:
        schedule = f"s-{stage.bench.clock.new_id()}"
        line = await line_for(stage, schedule)
        fired = await stage.cut(lambda store, line=line: store.fire([line], None))
        (answer,) = fired.answers
        assert isinstance(answer, int), answer
        made[schedule] = [one.task.id for one in line.made]
    for schedule, tasks in made.items():
        page = await stage.bench.store.fires(schedule, 10, None)
        assert [record.task for record in page.fires] == tasks
        assert [await caused(stage, task, Cause.SUBMIT) for task in tasks] == [1]


@scene("delete_schedule")
async def deletes_schedules(stage: Stage) -> None:
    while stage.goes_on:
        schedule = await schedule_on(stage)
        answer = await stage.cut(lambda store, name=schedule: store.delete_schedule(name, None))
        assert answer is None or answer.code == "not_found"
        assert (await stage.bench.store.schedules([schedule])).schedules == [None]


@scene("fires")
async def reads_fires(stage: Stage) -> None:
    schedule = await schedule_on(stage)
    await stage.same(lambda store: store.fires(schedule, 10, None))


# --- workflows ------------------------------------------------------------------------------------------


async def workflow_on(stage: Stage, *, fails: bool = False) -> tuple[str, str]:
    """A workflow of two tasks, one after the other, and the first of them, which has failed if it should."""
    bench = stage.bench
    workflow, first = bench.clock.new_id(), bench.task(stage.lane, policy=ONCE)
    second = bench.task(stage.lane, policy=DOOMED, depends_on=(first.id,))
    (answer,) = await bench.put([Group([first, second], None, NewWorkflow(workflow))])
    assert isinstance(answer, Accepted)
    if fails:
        (lease,) = await bench.claim(1, [stage.lane])
        assert lease.task == first.id
        await bench.settle(lease, Outcome.FAILED)
        await bench.resolve_all()
    return workflow, first.id


@scene("get_workflow")
async def reads_a_workflow(stage: Stage) -> None:
    workflow, _ = await workflow_on(stage)
    await stage.same(lambda store: store.get_workflow(workflow))


@scene("workflow_graph")
async def reads_a_graph(stage: Stage) -> None:
    workflow, _ = await workflow_on(stage)
    await stage.same(lambda store: store.workflow_graph(workflow))


@scene("find_workflows")
async def finds_workflows(stage: Stage) -> None:
    await workflow_on(stage)
    await stage.same(lambda store: store.find_workflows(WorkflowQuery()))


@scene("cancel_workflow")
async def cancels_workflows(stage: Stage) -> None:
    done = []
    while stage.goes_on:
        workflow, first = await workflow_on(stage)
        answer = await stage.cut(lambda store, name=workflow: store.cancel_workflow(name, True))
        assert isinstance(answer, Moved)
        done.append(first)
    assert set(await stage.bench.states(*done)) == {State.CANCELLED}
    assert {await caused(stage, task, Cause.CANCEL) for task in done} == {1}


@scene("retry_workflow")
async def retries_workflows(stage: Stage) -> None:
    while stage.goes_on:
        workflow, first = await workflow_on(stage, fails=True)
        answer = await stage.cut(lambda store, name=workflow: store.retry_workflow(name))
        assert isinstance(answer, Retried)
        assert await stage.bench.states(first) == [State.READY]
        assert await caused(stage, first, Cause.REPLAY) + await caused(stage, first, Cause.REOPEN) == 1
        await stage.bench.store.cancel_workflow(workflow, True)


# --- reading --------------------------------------------------------------------------------------------


@scene("board")
async def reads_the_board(stage: Stage) -> None:
    await stage.task()
    await stage.same(lambda store: store.board())


@scene("get")
async def gets(stage: Stage) -> None:
    task = await stage.task()
    await stage.same(lambda store: store.get([task, "nobody"]))


@scene("leases")
async def reads_leases(stage: Stage) -> None:
    lease = await stage.lease()
    await stage.same(lambda store: store.leases([Held(lease.task, lease.token), Held(lease.task, 1)]))


@scene("find")
async def finds(stage: Stage) -> None:
    await stage.task()
    await stage.same(lambda store: store.find(Query(queue=stage.lane.queue, limit=10)))


@scene("stats")
async def counts(stage: Stage) -> None:
    await stage.task()
    await stage.same(lambda store: store.stats())


@scene("history")
async def reads_history(stage: Stage) -> None:
    lease = await stage.lease()
    await stage.same(lambda store: store.history(lease.task))
    assert len(await stage.bench.store.history(lease.task)) == 2


@scene("surroundings")
async def looks_around(stage: Stage) -> None:
    task = await stage.task()
    await stage.same(lambda store: store.surroundings(task, 10))


@scene("dead_groups")
async def groups_the_dead(stage: Stage) -> None:
    await workflow_on(stage, fails=True)
    await stage.same(lambda store: store.dead_groups(10, None))
    assert (await stage.bench.store.dead_groups(10, None)).groups


# --- moving house ---------------------------------------------------------------------------------------


@scene("dump")
async def dumps(stage: Stage) -> None:
    await stage.lease()
    await stage.same(lambda store: store.dump(None, 10))
    assert (await stage.bench.store.dump(None, 10)).records


@scene("begin_load")
async def begins_to_load(stage: Stage) -> None:
    number = 0
    while stage.goes_on:
        number += 1
        copy = f"copy-{number}"
        assert await stage.cut(lambda store, copy=copy: store.begin_load(copy)) is None
        assert await stage.bench.store.unfinished_load() == copy


@scene("load")
async def loads(stage: Stage) -> None:
    source, loaded = MemoryStore(SystemClock()), []
    await source.open()
    assert await stage.bench.store.begin_load("copy") is None
    while stage.goes_on:
        new = stage.bench.task(stage.lane)
        await source.submit([Group([new])])
        record = next(one for one in await _dumped(source) if one.task.id == new.id)
        await source.force([Force(new.id, Action.CANCEL)])
        await source.delete([new.id])
        assert await stage.cut(lambda store, line=record: store.load("copy", [line])) == [None]
        loaded.append(new.id)
    await stage.bench.store.end_load("copy")
    assert set(await stage.bench.states(*loaded)) == {State.READY}
    assert (await stage.bench.store.stats()).counts[stage.lane.queue, State.READY] == len(loaded)


async def _dumped(source: MemoryStore) -> list[MovedTask]:
    page = await source.dump(None, 1_000)
    return [record for record in page.records if isinstance(record, MovedTask)]


@scene("end_load")
async def ends_to_load(stage: Stage) -> None:
    while stage.goes_on:
        await stage.bench.store.begin_load("copy")
        await stage.cut(lambda store: store.end_load("copy"))
        assert await stage.bench.store.unfinished_load() is None


@scene("unfinished_load")
async def asks_for_a_load(stage: Stage) -> None:
    await stage.bench.store.begin_load("copy")
    await stage.same(lambda store: store.unfinished_load())
    assert await stage.bench.store.unfinished_load() == "copy"


# --- the laws -------------------------------------------------------------------------------------------


@scene("audit")
async def audits(stage: Stage) -> None:
    await stage.lease()
    await stage.same(lambda store: store.audit(None, 1_000))


@scene("inspect")
async def inspects(stage: Stage) -> None:
    await stage.lease()
    await stage.same(lambda store: store.inspect())
    assert list(await stage.bench.store.inspect()) == []


@scene("repair")
async def repairs(stage: Stage) -> None:
    await stage.lease()
    while stage.goes_on:
        await stage.damage()
        findings = await stage.bench.store.inspect()
        assert findings
        mended = await stage.cut(lambda store, found=findings: store.repair(found))
        assert {one.mending for one in mended} <= {Mending.REPAIRED, Mending.GONE}
        assert list(await stage.bench.store.inspect()) == []


# --- controls, membership, leadership -------------------------------------------------------------------


@scene("set_queue")
async def pauses(stage: Stage) -> None:
    number = 0
    while stage.goes_on:
        number += 1
        name = f"operator {number}" if number % 2 else None
        await stage.cut(lambda store, name=name: store.set_queue("paused", name))
        assert (await stage.bench.store.board()).paused == ({"paused": name} if name else {})
    await stage.bench.store.set_queue("paused", None)


@scene("set_limit")
async def limits(stage: Stage) -> None:
    number = 0
    while stage.goes_on:
        number += 1
        name, rule = f"queue:limited-{number % 5}", LimitRule(max_running=number)
        await stage.cut(lambda store, name=name, rule=rule: store.set_limit(name, rule))
        assert (await stage.bench.store.board()).rules[name] == rule


@scene("set_weight")
async def weighs(stage: Stage) -> None:
    number = 0
    while stage.goes_on:
        number += 1
        weight = float(number)
        await stage.cut(lambda store, weight=weight: store.set_weight("acme", weight))
        assert (await stage.bench.store.board()).shares["acme"].weight == weight


def worker(name: str) -> WorkerInfo:
    return WorkerInfo(name, f"{name}-incarnation", "node", ("echo",), (), 10)


@scene("beat")
async def beats(stage: Stage) -> None:
    number = 0
    while stage.goes_on:
        number += 1
        info = msgspec.structs.replace(worker("w1"), running=number % 10)
        await stage.cut(lambda store, info=info: store.beat(info))
        (found,) = await stage.bench.store.workers()
        assert msgspec.structs.replace(found, age_us=0) == info


@scene("leave")
async def leaves(stage: Stage) -> None:
    while stage.goes_on:
        await stage.bench.store.beat(worker("w1"))
        await stage.cut(lambda store: store.leave("w1", "w1-incarnation"))
        assert list(await stage.bench.store.workers()) == []


@scene("workers")
async def lists_workers(stage: Stage) -> None:
    await stage.bench.store.beat(worker("w1"))
    await stage.same(lambda store: store.workers())


@scene("take_term")
async def takes_terms(stage: Stage) -> None:
    first = await stage.bench.store.take_term("one", DAY_US // 2)
    while stage.goes_on:
        term = await stage.cut(lambda store: store.take_term("one", DAY_US // 2))
        assert term[:2] == first[:2]
        assert (await stage.bench.store.take_term("two", DAY_US // 2))[:2] == first[:2]


@scene("term")
async def reads_the_term(stage: Stage) -> None:
    first = await stage.bench.store.take_term("one", DAY_US // 2)
    while stage.goes_on:
        term = await stage.cut(lambda store: store.term())
        assert term[:2] == first[:2]


@scene("resign")
async def resigns(stage: Stage) -> None:
    last = 0
    while stage.goes_on:
        term = await stage.bench.store.take_term("one", DAY_US // 2)
        assert term.number > last
        last = term.number
        await stage.cut(lambda store, number=last: store.resign("one", number))
