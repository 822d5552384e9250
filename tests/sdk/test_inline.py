"""`testing.inline`: a user's tests run tasks where they are submitted."""

import asyncio
import threading
from datetime import timedelta

import pytest

from mainspring import Context, Mainspring, Retry, Snooze, TaskCancelled, TaskFailed, testing
from mainspring.errors import InvalidInput, NotFound
from tests.sdk.jobs import Jobs


@pytest.fixture
def jobs():
    """Its address is nobody's: it must not be used."""
    jobs = Jobs("http://127.0.0.1:9")
    threads = threading.active_count()
    with testing.inline(jobs.app):
        yield jobs
    assert threading.active_count() <= threads


def test_a_task_has_run_when_submit_returns(jobs):
    handle = jobs.add.submit(1, right=2)
    assert handle.status() == "succeeded"
    assert handle.result() == 3
    assert jobs.double.submit(4).result() == 8
    assert jobs.app.submit("echo", {"a": 1}).result() == {"a": 1}


async def test_the_same_awaited():
    jobs = Jobs()
    with testing.inline(jobs.app):
        assert await (await jobs.double.submit.aio(4)) == 8
        assert await (await jobs.add.submit.aio(4)) == 14
        handles = await asyncio.gather(*(jobs.double.submit.aio(number) for number in range(10)))
        assert await asyncio.gather(*handles) == [2 * number for number in range(10)]
        with pytest.raises(RuntimeError, match=r"await submit\.aio"):
            jobs.add.submit(1)


async def test_coroutines_run_in_the_tests_own_loop_and_context():
    app = Mainspring()
    here = asyncio.get_running_loop()

    @app.task
    async def is_here() -> bool:
        return asyncio.get_running_loop() is here

    @app.task
    def sees_no_loop() -> int:
        return asyncio.run(asyncio.sleep(0, 5))

    with testing.inline(app):
        assert await (await is_here.submit.aio()) is True
        assert await (await sees_no_loop.submit.aio()) == 5


def test_functions_run_in_the_tests_own_thread():
    """So a test's transaction, or whatever else belongs to its thread, is theirs, too."""
    app = Mainspring()

    @app.task
    def thread() -> int:
        return threading.get_ident()

    with testing.inline(app):
        assert thread.submit().result() == threading.get_ident()


def test_failures_are_those_of_the_record(jobs):
    with pytest.raises(TaskFailed, match="ValueError: no") as caught:
        jobs.broken.submit("no").result()
    assert caught.value.error["type"] == "ValueError"
    with pytest.raises(TaskCancelled, match="not needed"):
        jobs.quits.submit("not needed").result()
    with pytest.raises(TaskFailed, match="a lost cause"):
        jobs.hopeless.submit("a lost cause").result()


def test_retries_and_snoozes_take_no_time():
    app = Mainspring()
    runs = []

    @app.task
    def flaky(ctx: Context) -> int:
        runs.append((ctx.attempt, ctx.saved))
        ctx.checkpoint(len(runs))
        if len(runs) == 1:
            raise Retry(after_s=3600)
        if len(runs) == 2:
            raise Snooze(86_400)
        if len(runs) == 3:
            raise ConnectionError("hung up")
        return len(runs)

    with testing.inline(app):
        handle = flaky.submit()
        assert handle.result() == 4
        record = handle.refresh()
    assert runs == [(1, None), (2, 1), (2, 2), (3, 3)]
    assert (record.attempt, record.retries, record.snoozes) == (3, 2, 1)
    assert [attempt.outcome for attempt in record.attempts] == ["failed", "failed"]
    assert record.finished_at - record.created_at > timedelta(hours=25)


def test_a_task_that_always_fails_is_a_dead_letter():
    app = Mainspring()
    runs = []

    @app.task
    async def fails() -> None:
        runs.append(1)
        raise OSError("no")

    with testing.inline(app):
        assert fails.submit().status() == "failed"
        assert fails.with_options(max_retries=0).submit().status() == "failed"
    assert len(runs) == 4 + 1


def test_what_tasks_submit_runs_inside_them(jobs):
    assert jobs.total.submit([1, 2]).result() == 3
    assert jobs.atotal.submit([3, 4]).result() == 7


async def test_what_tasks_submit_runs_inside_them_awaited():
    jobs = Jobs()
    with testing.inline(jobs.app):
        assert await (await jobs.total.submit.aio([1, 2])) == 3
        assert await (await jobs.atotal.submit.aio([3, 4])) == 7


def test_the_context_records_as_in_a_worker():
    app = Mainspring()
    paid = []

    @app.task
    def buy(ctx: Context, item: str) -> str:
        receipt = ctx.step("pay", lambda: paid.append(item) or f"receipt for {item}")
        ctx.progress(0.5, "paid")
        ctx.log.info("paid %s", item)
        if ctx.attempt == 1:
            raise ConnectionError("the shipper does not answer")
        return receipt

    @app.task
    async def ship(ctx: Context) -> str:
        parents = await ctx.parents
        receipt = next(iter(parents.values())).result
        return await ctx.step("label", lambda: f"sent with {receipt}")

    with testing.inline(app):
        bought = buy.submit("a lamp")
        assert ship.with_options(depends_on=[bought]).submit().result() == "sent with receipt for a lamp"
        assert bought.refresh().progress == {"fraction": 0.5, "message": "paid"}
    assert paid == ["a lamp"]


def test_dependencies_delays_keys_and_rules_hold(jobs):
    first = jobs.add.bind(1)
    second = jobs.double.with_options(depends_on=[first], delay="1h").bind(5)
    assert [handle.result() for handle in jobs.app.submit_many([second, first])] == [10, 11]
    failed = jobs.broken.submit("no")
    assert jobs.add.with_options(depends_on=[failed]).submit(1).status() == "cancelled"
    keyed = jobs.add.with_options(idempotency_key="k")
    assert keyed.submit(1) == keyed.submit(1)
    with pytest.raises(InvalidInput, match="priority"):
        jobs.add.with_options(priority=11).submit(1)


def test_what_nobody_here_can_run_waits(jobs):
    """And whoever waits for it is told, instead of waiting for ever."""
    foreign = jobs.app.submit("train-model", {"epochs": 3})
    child = jobs.add.with_options(depends_on=[foreign]).submit(1)
    assert [foreign.status(), child.status()] == ["ready", "blocked"]
    for timeout in (None, 0, 5):
        with pytest.raises(TimeoutError, match="nothing here will end it"):
            foreign.result(timeout)
    assert foreign.cancel()
    assert jobs.add.submit(2).result() == 12
    assert child.status() == "cancelled"
    with pytest.raises(NotFound):
        jobs.app.handle("nobody").status()


def test_what_was_submitted_can_be_looked_at():
    jobs = Jobs()
    with testing.inline(jobs.app) as inline:
        assert inline.tasks() == []
        jobs.total.submit([1, 2])
        tasks = inline.tasks()
    assert [(task.kind, task.payload, task.result) for task in tasks] == [
        ("total", {"numbers": [1, 2]}, 3),
        ("add", {"left": 1, "right": 2}, 3),
    ]


def test_tasks_without_end_are_told():
    app = Mainspring()

    @app.task
    def again() -> None:
        raise Snooze(1)

    with testing.inline(app), pytest.raises(RuntimeError, match="still something to run"):
        again.submit()


def test_threads_of_the_program_under_test_may_submit(jobs):
    results = []
    threads = [
        threading.Thread(target=lambda number=number: results.append(jobs.add.submit(number).result()))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [number + 10 for number in range(8)]


def test_afterwards_the_application_is_what_it_was():
    jobs = Jobs("memory:")
    with jobs.app:
        before = jobs.add.submit(1)
        with testing.inline(jobs.app):
            assert jobs.add.submit(1).result() == 11
            with pytest.raises(NotFound):
                before.status()
            with testing.inline(jobs.app), pytest.raises(RuntimeError, match="nothing to do"):
                jobs.app.worker().__enter__()
        assert before.status() == "ready"
