"""`testing.cluster`: a user's tasks in virtual time, on a cluster where things go wrong as the seed says."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest

from mainspring import Context, Mainspring, TaskCancelled, TaskFailed, testing
from mainspring.errors import InvalidInput, NotFound
from tests.sdk.jobs import Jobs

FINAL = ("succeeded", "failed", "cancelled")


@pytest.fixture(autouse=True)
def nothing_is_left():
    """No thread outlives its cluster, and no test waits for real."""
    threads, began_s = threading.active_count(), time.monotonic()
    yield
    deadline = time.monotonic() + 60
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.001)
    assert threading.active_count() <= threads
    assert time.monotonic() - began_s < 600


# --- time -------------------------------------------------------------------------------------------


def test_tasks_run_in_virtual_time():
    app = Mainspring()

    @app.task
    async def nap(duration: float) -> float:
        await asyncio.sleep(duration)
        return duration

    with testing.cluster(app) as cluster:
        began = cluster.now
        assert nap.submit(3600).result() == 3600
        assert timedelta(hours=1) < cluster.now - began < timedelta(hours=1, seconds=5)
        with pytest.raises(TimeoutError, match="has not ended within 60 s"):
            nap.submit(3600).result(timeout="1m")


async def test_the_same_awaited():
    jobs = Jobs()
    async with testing.cluster(jobs.app) as cluster:
        handle = await jobs.double.with_options(delay="1h").submit.aio(4)
        await cluster.advance.aio("59m")
        assert await handle.status.aio() == "scheduled"
        await cluster.advance.aio(timedelta(minutes=2))
        assert await handle.status.aio() == "succeeded"
        assert await handle == 8
        assert await asyncio.gather(*[await jobs.double.submit.aio(n) for n in range(9)]) == [
            *range(0, 18, 2)
        ]
        with pytest.raises(RuntimeError, match="await advance"):
            cluster.advance(1)


def test_advance_takes_exactly_as_long_as_it_says():
    jobs = Jobs()
    with testing.cluster(jobs.app) as cluster:
        for duration, seconds in (
            ("90s", 90),
            (0.5, 0.5),
            ("30d", 30 * 86_400),
            (timedelta(days=365), 31_536_000),
        ):
            before = cluster.now
            cluster.advance(duration)
            assert cluster.now - before == timedelta(seconds=seconds)
        with pytest.raises(InvalidInput, match="duration"):
            cluster.advance("soon")


def test_a_task_that_is_due_in_a_week_starts_then():
    jobs = Jobs()
    with testing.cluster(jobs.app):
        record = jobs.add.with_options(delay="7d").submit(1)
        assert record.result() == 11
        record = record.refresh()
        late = record.started_at - record.run_at
        assert timedelta(0) <= late < timedelta(seconds=2)


def test_a_deadline_comes_while_nobody_works_for_it():
    jobs = Jobs()
    with testing.cluster(jobs.app) as cluster:
        due = cluster.now + timedelta(days=1)
        foreign = jobs.app.submit("train-model", deadline=due)
        with pytest.raises(TaskFailed, match="deadline"):
            foreign.result()
        assert timedelta(0) <= foreign.refresh().finished_at - due < timedelta(seconds=15)


# --- tasks ------------------------------------------------------------------------------------------


def test_results_failures_and_what_tasks_submit():
    jobs = Jobs()
    with testing.cluster(jobs.app):
        assert jobs.add.submit(1).result() == 11
        assert jobs.total.submit([1, 2]).result() == 3
        assert jobs.atotal.submit([3, 4]).result() == 7
        assert jobs.app.submit("echo", [1]).result() == [1]
        with pytest.raises(TaskFailed, match="ValueError: no"):
            jobs.broken.submit("no").result()
        with pytest.raises(TaskCancelled):
            jobs.quits.submit("no").result()
        with pytest.raises(NotFound):
            jobs.app.handle("nobody").status()
        handles = jobs.add.submit_many([jobs.add.bind(n) for n in range(50)])
        assert [handle.result() for handle in handles] == [n + 10 for n in range(50)]


def test_what_nobody_can_run_is_not_waited_for():
    jobs = Jobs()
    with testing.cluster(jobs.app):
        foreign = jobs.app.submit("train-model")
        child = jobs.add.with_options(depends_on=[foreign]).submit(1)
        for handle in (foreign, child):
            with pytest.raises(TimeoutError, match="nothing here will end it"):
                handle.result()
        assert foreign.cancel()
        with pytest.raises(TaskCancelled):
            child.result()


def test_a_function_waits_in_virtual_time():
    """For a step to be recorded, for its parents, for another task, for its cancellation."""
    app = Mainspring()

    @app.task
    def first(ctx: Context) -> int:
        return ctx.step("one", lambda: 1) + ctx.step("two", lambda: 2)

    @app.task
    def second(ctx: Context) -> int:
        (parent,) = ctx.parents.values()
        return parent.result + first.submit().result(timeout="1m")

    @app.task
    def patient(ctx: Context) -> float:
        waited = 0
        while not ctx.cancelled.wait(60):
            waited += 1
        return waited

    with testing.cluster(app) as cluster:
        assert second.with_options(depends_on=[first.submit()]).submit().result() == 6
        waiting = patient.submit()
        cluster.advance("1h")
        assert waiting.cancel()
        assert waiting.result() in (59, 60)


def test_sleeping_threads_and_sockets_are_refused_with_a_reason():
    app = Mainspring()

    @app.task(max_retries=0)
    async def escapes() -> None:
        await asyncio.to_thread(time.sleep, 1)

    @app.task(max_retries=0)
    async def connects() -> None:
        await asyncio.open_connection("localhost", 80)

    with testing.cluster(app):
        for task in (escapes, connects):
            with pytest.raises(TaskFailed, match="in virtual time there are no threads and no sockets"):
                task.submit().result()


# --- faults -----------------------------------------------------------------------------------------


def test_a_killed_workers_task_goes_on_from_its_checkpoint():
    app = Mainspring()
    begun: list[tuple[int, int]] = []

    @app.task
    async def count(ctx: Context, to: int) -> int:
        done = ctx.saved or 0
        begun.append((ctx.attempt, done))
        try:
            while done < to:
                await asyncio.sleep(1)
                done += 1
                ctx.checkpoint(done)
        finally:
            begun.append((ctx.attempt, -1))
        return done

    with testing.cluster(app, workers=1, lease=15) as cluster:
        handle = count.submit(30)
        cluster.advance("10s")
        cluster.strike("worker.crash")
        assert handle.status() == "running"  # nobody knows yet
        assert handle.result() == 30
        record = handle.refresh()
        assert (record.attempt, record.losses) == (2, 1)
        assert begun[0] == (1, 0)
        assert begun[1][0] == 2
        assert 7 <= begun[1][1] <= 10
        # A killed process says no last word.
        assert begun[2:] == [(2, -1)]
        lost = next(event for event in cluster.history() if event.cause == "lose")
        assert 10 < lost.at_s < 10 + 15 + 3


def test_a_step_is_run_once_whatever_happens_to_the_worker():
    """Functions on threads die with their host, too."""
    app = Mainspring()
    paid: list[str] = []

    @app.task
    def buy(ctx: Context, item: str) -> str:
        receipt = ctx.step("pay", lambda: paid.append(item) or item.upper())
        ctx.cancelled.wait(20)
        return ctx.step("ship", lambda: f"{receipt} by run {ctx.attempt}")

    with testing.cluster(app, workers=1) as cluster:
        handle = buy.submit("a lamp")
        cluster.advance("10s")
        cluster.strike("worker.crash")
        assert handle.result() == "A LAMP by run 2"
    assert paid == ["a lamp"]


@pytest.mark.parametrize("seed", range(6))
def test_every_task_ends_once_whatever_goes_wrong(seed):
    app = Mainspring()

    @app.task(max_retries=50)
    async def work(ctx: Context, number: int) -> int:
        for _ in range(3):
            await asyncio.sleep(2)
            ctx.progress(0.5)
        return number

    @app.task(max_retries=50)
    def collect(ctx: Context, number: int) -> int:
        return sum(parent.result for parent in ctx.parents.values()) + number

    work = work.with_options(max_losses=50)
    with testing.cluster(
        app, seed=seed, servers=2, workers=3, faults=testing.FAULTS, fault_every=3
    ) as cluster:
        parents = [work.submit(number) for number in range(12)]
        last = collect.with_options(depends_on=parents, max_losses=50).submit(1000)
        assert [parent.result() for parent in parents] == list(range(12))
        assert last.result() == 1066
        ends = [event.task for event in cluster.history() if event.new in FINAL]
    assert sorted(ends) == sorted(handle.id for handle in (*parents, last))


def _story(seed: int, **settings) -> list[testing.Event]:
    jobs = Jobs()
    with testing.cluster(jobs.app, seed=seed, **settings) as cluster:
        handles = [jobs.double.with_options(delay=n, max_losses=9).submit(n) for n in range(20)]
        handles.append(jobs.total.submit([1, 2]))
        cluster.advance("5m")
        assert [handle.result() for handle in handles] == [*range(0, 40, 2), 3]
        return cluster.history()


STORMY = {"servers": 2, "workers": 3, "faults": testing.FAULTS, "fault_every": 2}


@pytest.mark.parametrize("settings", [{}, STORMY], ids=["calm", "stormy"])
def test_the_same_seed_brings_the_same_history(settings):
    first = _story(7, **settings)
    assert _story(7, **settings) == first
    assert _story(8, **settings) != first
    assert any(not event.task for event in first) == bool(settings)


def test_the_same_seed_brings_the_same_history_in_another_process():
    """Whatever order sets and hashes have there."""
    script = """
from zlib import crc32
from tests.sdk.test_cluster import STORMY, _story

print(crc32(str(_story(7, **STORMY)).encode()))
"""
    told = set()
    for salt in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": salt}
        run = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        told.add(run.stdout)
    assert len(told) == 1


def test_bad_settings_are_named():
    jobs = Jobs()
    for settings, complaint in (
        ({"faults": ["worker.tired"]}, "faults: no such fault: 'worker.tired'; accepted: store.slow"),
        ({"workers": 0}, "workers: out of range"),
        ({"lease": "long"}, "lease: not a duration"),
    ):
        with pytest.raises(InvalidInput, match=complaint):
            testing.cluster(jobs.app, **settings)
    with testing.cluster(jobs.app) as cluster, pytest.raises(InvalidInput, match="no such fault"):
        cluster.strike("net.slow")


# --- the end ----------------------------------------------------------------------------------------


def test_afterwards_the_application_is_what_it_was():
    jobs = Jobs("memory:")
    with jobs.app:
        before = jobs.add.submit(1)
        with testing.cluster(jobs.app):
            assert jobs.add.submit(1).result() == 11
            with pytest.raises(RuntimeError, match="nothing to do"):
                jobs.app.worker().__enter__()
        assert before.status() == "ready"


def test_what_still_runs_at_the_end_is_gone_without_a_word():
    app = Mainspring()
    ends: list[str] = []

    @app.task
    def stays(ctx: Context) -> None:
        ctx.cancelled.wait()
        ends.append("went on")

    with testing.cluster(app) as cluster:
        stays.submit()
        cluster.advance(5)
    assert ends == []


def test_an_interrupt_ends_a_wait_that_has_no_end():
    app = Mainspring()

    @app.task
    async def endless() -> None:
        while True:
            await asyncio.sleep(0.01)

    with testing.cluster(app) as cluster:
        handle = endless.submit()
        cluster.advance(5)
        main = threading.get_ident()
        timer = threading.Timer(0.2, lambda: signal.pthread_kill(main, signal.SIGINT))

        def wait() -> None:
            timer.start()
            handle.result()

        with pytest.raises(KeyboardInterrupt):
            wait()
        timer.join()
        assert handle.status() == "running"


def test_nodes_keep_quiet_about_faults_and_tasks_may_speak(caplog):
    app = Mainspring()

    @app.task
    def speaks(ctx: Context) -> None:
        ctx.log.warning("I run")

    before = logging.getLogger("mainspring").level
    with caplog.at_level(logging.INFO), testing.cluster(app, faults=testing.FAULTS, fault_every=1) as cluster:
        speaks.submit().result()
        cluster.advance("1m")
    assert {record.name for record in caplog.records} == {"mainspring.task"}
    assert logging.getLogger("mainspring").level == before
