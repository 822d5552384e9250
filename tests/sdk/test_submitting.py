"""What an application promises, whatever it talks to: a store in its process, or a server."""

from datetime import UTC, datetime, timedelta

import pytest

from mainspring.errors import (
    InvalidInput,
    KeyReused,
    NotFound,
    TaskCancelled,
    TaskFailed,
    TooLarge,
)
from tests.sdk.jobs import Picture

SOON = datetime(2031, 5, 1, 12, tzinfo=UTC)


def test_a_submitted_task_gives_its_result(busy):
    handle = busy.add.submit(1, right=2)
    assert handle.result(timeout=60) == 3
    assert handle.status() == "succeeded"
    assert busy.add.submit(1).result("20s") == 11
    assert busy.add(1, 2) == 3  # called, it is the function it was


async def test_the_same_awaited(busy):
    handle = await busy.double.submit.aio(21)
    assert await handle == await handle.result.aio(timeout=60) == 42
    assert await handle.status.aio() == "succeeded"
    assert (await handle.refresh.aio()).result == 42


def test_the_record_tells_what_was_submitted_and_what_came_of_it(busy):
    handle = busy.draw.with_options(labels={"for": "ada"}, name="a picture", key="k", tenant="t").submit(
        "a.png", 3, 4
    )
    handle.result(timeout=60)
    record = handle.refresh()
    assert (record.id, record.kind, record.queue, record.priority) == (
        handle.id,
        "draw-picture",
        "pictures",
        8,
    )
    assert (record.labels, record.name, record.key, record.tenant) == ({"for": "ada"}, "a picture", "k", "t")
    assert record.payload == {"args": ["a.png", 3, 4], "kwargs": {}}
    assert record.state == "succeeded"
    assert record.attempt == 1
    assert record.started_at <= record.finished_at
    assert record.worker


def test_a_result_comes_back_as_the_type_that_the_function_names(busy):
    handle = busy.draw.submit("a.png", 3, 4, made=SOON)
    assert handle.result(timeout=60) == Picture("a.png", (3, 4), SOON)
    assert busy.draw.handle(handle.id).result() == handle.result()
    assert busy.app.handle(handle.id).result()["size"] == [3, 4]  # without the function, it is JSON


def test_a_failure_is_raised_with_what_was_recorded(busy):
    with pytest.raises(TaskFailed, match="failed: ValueError: no such file") as caught:
        busy.broken.submit("no such file").result(timeout=60)
    assert caught.value.error["type"] == "ValueError"
    assert "broken" in caught.value.error["place"]
    record = busy.app.handle(caught.value.task).refresh()
    assert record.state == "failed"
    with pytest.raises(TaskFailed, match="a lost cause"):
        busy.hopeless.submit("a lost cause").result(timeout=60)


def test_a_task_that_was_cancelled_says_so(busy):
    with pytest.raises(TaskCancelled, match="not needed"):
        busy.quits.submit("not needed").result(timeout=60)


def test_cancel_is_true_until_the_task_has_ended_otherwise(jobs):
    waiting = jobs.add.submit(1)
    assert waiting.cancel()
    assert waiting.cancel()
    with pytest.raises(TaskCancelled):
        waiting.result(timeout=0)
    with jobs.app.worker():
        done = jobs.add.submit(1)
        done.result(timeout=60)
        assert not done.cancel()
        running = jobs.held.submit()
        assert jobs.begun.wait(60)
        assert running.cancel(kill=True)
        assert running.status() == "cancelled"
        jobs.gate.set()


def test_a_result_that_does_not_come_in_time(jobs):
    handle = jobs.add.submit(1)
    for timeout in (0, 0.01, "1ms"):
        with pytest.raises(TimeoutError, match="has not ended"):
            handle.result(timeout)
    with pytest.raises(InvalidInput, match="timeout: not a duration"):
        handle.result("soon")


def test_a_task_that_does_not_exist(jobs):
    for task in (jobs.add.submit(1).id[:-1] + "x", "../workers", ""):
        handle = jobs.app.handle(task)
        for ask in (handle.result, handle.status, handle.refresh, handle.cancel):
            with pytest.raises(NotFound):
                ask()


def test_kinds_without_a_function(busy):
    echo = busy.app.submit("echo", {"any": ["json", None, 2**53 + 1]})
    assert echo.result(timeout=60) == {"any": ["json", None, 2**53 + 1]}
    assert busy.app.submit("echo").result(timeout=60) is None


# --- many at once -----------------------------------------------------------------------------------


def test_many_calls_are_one_submit(busy):
    handles = busy.add.submit_many(busy.add.bind(number) for number in range(200))
    assert [handle.result(timeout=30) for handle in handles] == [number + 10 for number in range(200)]
    assert busy.add.submit_many([]) == []


def test_of_many_calls_each_has_its_own_payload_and_options(jobs):
    eager, later = jobs.add.with_options(priority="high", name="eager"), jobs.draw.with_options(delay="1h")
    calls = [
        call
        for number in range(3)
        for call in (jobs.add.bind(number), eager.bind(number), later.bind("a.png", number, 1))
    ]
    records = [handle.refresh() for handle in jobs.app.submit_many(calls)]
    assert len({record.id for record in records}) == 9
    for number in range(3):
        plain, soon, delayed = records[3 * number : 3 * number + 3]
        assert [plain.payload, soon.payload] == [{"left": number}] * 2
        assert delayed.payload == {"args": ["a.png", number, 1], "kwargs": {}}
        assert [record.kind for record in (plain, soon, delayed)] == [jobs.add.kind] * 2 + ["draw-picture"]
        assert [record.priority for record in (plain, soon)] == [5, 8]
        assert [record.name for record in (plain, soon)] == [None, "eager"]
        assert delayed.run_at - delayed.created_at == timedelta(hours=1)
        assert plain.run_at == plain.created_at


def test_calls_of_one_submit_may_depend_on_each_other(busy):
    first = busy.add.bind(1)
    second = busy.app.bind("echo", "second", depends_on=[first])
    third = busy.double.with_options(depends_on=[second, first]).bind(3)
    handles = busy.app.submit_many([third, second, first])
    assert [handle.result(timeout=60) for handle in handles] == [6, "second", 11]
    assert handles[0].refresh().depends_on == (handles[1].id, handles[2].id)
    times = [handle.refresh().finished_at for handle in handles]
    assert times == sorted(times, reverse=True)


def test_a_task_may_depend_on_handles_and_ids(busy):
    parents = busy.add.submit(1), busy.add.submit(2)
    child = busy.double.with_options(depends_on=[parents[0], parents[1].id]).submit(1)
    assert child.result(timeout=60) == 2
    assert set(child.refresh().depends_on) == {parent.id for parent in parents}


def test_one_bad_call_and_nothing_is_stored(jobs):
    """A complaint names the call by its place in the caller's list, whatever order tasks are stored in."""
    first = jobs.add.bind(1)
    ghost = jobs.add.with_options(depends_on=["01890a5d-ac96-774b-bcce-b302099a8057"]).bind(2)
    calls = [jobs.add.with_options(depends_on=[first]).bind(0), first, ghost]
    with pytest.raises(InvalidInput, match=r"^tasks\[2\]\.depends_on"):
        jobs.app.submit_many(calls)
    with pytest.raises(InvalidInput, match=r"^tasks\[1\]\.priority"):
        jobs.app.submit_many([first, jobs.add.with_options(priority=11).bind(3)])
    with pytest.raises(InvalidInput, match=r"^tasks\[0\]\.depends_on\[0\]: .* is not submitted along"):
        jobs.app.submit_many([calls[0]])
    with pytest.raises(InvalidInput, match=r"^tasks\[0\]\.depends_on\[0\]: .* is submitted twice"):
        jobs.app.submit_many([calls[0], first, first])
    with pytest.raises(InvalidInput, match=r"^tasks\[1\]\.idempotency_key"):
        jobs.app.submit_many([first, jobs.add.with_options(idempotency_key="k").bind(3)])
    witness = jobs.app.submit_many([first, first])
    assert len({handle.id for handle in witness}) == 2


def test_a_lone_task_cannot_depend_on_a_call(jobs):
    child = jobs.add.with_options(depends_on=[jobs.add.bind(1)])
    with pytest.raises(InvalidInput, match=r"depends_on.*is not submitted along"):
        child.submit(2)
    with pytest.raises(InvalidInput, match=r"depends_on.*not a list"):
        jobs.add.with_options(depends_on="all of them")
    with pytest.raises(InvalidInput, match="depends_on"):
        jobs.add.with_options(depends_on=[7]).submit(1)


# --- options ----------------------------------------------------------------------------------------


def test_options_hold_for_what_they_were_given_to(jobs):
    later = jobs.add.with_options(delay="1h", queue="slow")
    urgent = later.with_options(priority=10, delay=timedelta(minutes=1))
    records = [function.submit(1).refresh() for function in (jobs.add, later, urgent)]
    assert [record.queue for record in records] == ["default", "slow", "slow"]
    assert [record.priority for record in records] == [5, 5, 10]
    assert [record.state for record in records] == ["ready", "scheduled", "scheduled"]
    waits = [record.run_at - record.created_at for record in records]
    assert waits == [timedelta(0), timedelta(hours=1), timedelta(minutes=1)]
    assert later.with_options(delay=None).submit(1).status() == "ready"


def test_times_are_instants(jobs):
    for moment in (SOON, "2031-05-01T14:00:00+02:00"):
        record = jobs.add.with_options(run_at=moment, deadline=SOON + timedelta(days=1)).submit(1).refresh()
        assert (record.run_at, record.deadline) == (SOON, SOON + timedelta(days=1))
    with pytest.raises(InvalidInput, match="run_at: a time without offset"):
        jobs.add.with_options(run_at=SOON.replace(tzinfo=None)).submit(1)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"queue": "two words"}, "queue: not a name"),
        ({"priority": 11}, "priority: not a priority"),
        ({"delay": -1}, "delay: out of range"),
        ({"delay": 1, "run_at": "2031-05-01T14:00:00Z"}, "delay: given beside run_at"),
        ({"retry": {"strategy": "never"}}, "retry.strategy: not a strategy"),
        ({"prioritty": 3}, "prioritty: unknown field; did you mean priority"),
        ({"unique": {"fields": ["weather"]}}, "unique.fields: no such field"),
        ({"labels": {"a": "b" * 201}}, "labels.a: not a label"),
        ({"labels": {"a": object()}}, "options: cannot be written as JSON"),
        ({"idempotency_key": "ключ"}, "idempotency_key: not a key"),
        ({"idempotency_key": ""}, "idempotency_key: not a key"),
        ({"on_parent_failure": "panic"}, "on_parent_failure: not a rule"),
    ],
)
def test_bad_options_are_named(jobs, options, complaint):
    with pytest.raises(InvalidInput, match=complaint):
        jobs.add.with_options(**options).submit(1)
    with pytest.raises(InvalidInput, match=complaint):
        jobs.app.submit("echo", 1, **options)


def test_every_rule_of_a_task_arrives(jobs):
    record = (
        jobs.add.with_options(
            retry={"strategy": "list", "delays": ["1s", timedelta(minutes=1)], "never": ["ValueError"]},
            max_retries=7,
            max_losses=2,
            timeout="1m",
            soft_timeout=30,
            on_parent_failure="run",
        )
        .submit(1)
        .refresh()
    )
    task = jobs.app.home.block(lambda: _read(jobs.app, record.id))
    from mainspring.core.model import OnParentFailure, decode_policy

    policy = decode_policy(task.policy)
    assert (policy.max_retries, policy.max_losses, policy.soft_timeout_s) == (7, 2, 30.0)
    assert (policy.retry.strategy, policy.retry.delays_s, policy.retry.never) == (
        "list",
        (1.0, 60.0),
        ("ValueError",),
    )
    assert policy.on_parent_failure is OnParentFailure.RUN
    assert task.timeout_us == 60_000_000


async def _read(app, task):
    return await (await app.backend()).get(task)


# --- payloads ---------------------------------------------------------------------------------------


def test_arguments_that_do_not_fit_are_refused_as_by_the_function(jobs):
    for call in (jobs.add.submit, jobs.add.bind, jobs.add):
        with pytest.raises(TypeError, match="missing"):
            call()
        with pytest.raises(TypeError, match="unexpected keyword"):
            call(1, wrong=2)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (float("nan"), "NaN or an infinity"),
        ([None, float("inf")], "NaN or an infinity"),
        ("\ud800", "cannot be written"),
        ({1: "a", "1": "b"}, "twice"),
        (object(), "cannot be written"),
        (10**400, "digits"),
    ],
)
def test_what_json_cannot_hold_is_refused(jobs, value, complaint):
    with pytest.raises(InvalidInput, match=f"^payload: .*{complaint}"):
        jobs.app.submit("echo", value)
    with pytest.raises(InvalidInput, match=f"^add: .*{complaint}"):
        jobs.add.submit(value)


def test_deep_and_large_payloads(jobs):
    deep: list = []
    for _ in range(70):
        deep = [deep]
    with pytest.raises(InvalidInput, match="deeper than 64"):
        jobs.app.submit("echo", deep)
    with pytest.raises(TooLarge, match="payload"):
        jobs.app.submit("echo", "x" * (1024 * 1024 + 1))


# --- once -------------------------------------------------------------------------------------------


def test_an_idempotency_key_makes_tasks_once(jobs):
    first = jobs.add.with_options(idempotency_key='a "key"', delay="1h")
    assert first.submit(1) == first.submit(1)
    with pytest.raises(KeyReused):
        first.submit(2)
    calls = [jobs.add.bind(1), jobs.add.bind(2)]
    calls.append(jobs.add.with_options(depends_on=calls).bind(3))
    handles = jobs.app.submit_many(calls, idempotency_key="batch")
    assert jobs.app.submit_many(calls, idempotency_key="batch") == handles
    assert len(set(handles)) == 3
    with pytest.raises(KeyReused):
        jobs.app.submit_many(calls[:2], idempotency_key="batch")


def test_a_unique_rule_finds_the_earlier_task(jobs):
    unique = jobs.add.with_options(unique=True)
    first = unique.submit(1)
    assert unique.submit(1) == first
    assert unique.submit(2) != first
    by_queue = jobs.add.with_options(unique={"fields": ["queue"], "period": "1h"}, queue="one")
    assert by_queue.submit(1) == by_queue.submit(2)
    handles = jobs.app.submit_many([unique.bind(3), unique.bind(1), jobs.add.bind(1)])
    assert handles[1] == first
    assert len({handle.id for handle in handles}) == 3


# --- from within tasks ------------------------------------------------------------------------------


def test_tasks_submit_tasks(busy):
    assert busy.total.submit([1, 2]).result(timeout=60) == 3
    assert busy.atotal.submit([3, 4]).result(timeout=60) == 7
