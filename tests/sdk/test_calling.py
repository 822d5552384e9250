"""Two ways to call, from any thread and loop; and from the first call to the end, through forks and exits."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from mainspring import Mainspring
from mainspring.errors import InvalidInput, StoreUnavailable
from mainspring.ports import Exchange
from mainspring.stores.memory import MemoryStore
from tests.sdk.conftest import serving
from tests.sdk.jobs import Jobs


def until(condition, what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.001)


def homes() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "mainspring-home"]


def waiting_for_results(app) -> bool:
    """Whether somebody waits for a task's end in this embedded application."""
    return app.life.opening()._backend.scheduler._finals.anybody_waits


@pytest.fixture(autouse=True)
def nobody_left():
    """Each test closes what it opened."""
    yield
    for thread in homes():
        thread.join(60)
    assert homes() == []


@pytest.fixture
def memory():
    jobs = Jobs("memory:")
    with jobs.app:
        yield jobs


# --- blocking and awaiting --------------------------------------------------------------------------


async def test_a_blocking_call_in_an_event_loop_is_refused():
    """It would hold up everybody in that loop, and in an embedded application itself: for ever."""
    jobs = Jobs("memory:")
    async with jobs.app:
        handle = await jobs.add.submit.aio(1)
        for call, instead in (
            (lambda: jobs.add.submit(1), "await submit.aio"),
            (handle.result, "await result.aio"),
            (handle.cancel, "await cancel.aio"),
            (jobs.app.close, "await aclose"),
            (jobs.app.__enter__, "async with"),
            (jobs.app.run_worker, "async with app.worker"),
        ):
            with pytest.raises(RuntimeError, match=instead):
                call()
        assert await handle.status.aio() == "ready"


def test_a_hundred_threads_share_one_commit(memory, monkeypatch):
    """The first submit is in the air until the others have come; they go together."""
    batcher = memory.app.life.opening()._backend.scheduler._batcher
    flights: list[int] = []
    exchange = MemoryStore.exchange

    async def slow(self, batch: Exchange):
        if batch.submits:
            flights.append(len(batch.submits))
            while len(flights) == 1 and len(batcher._submits) < 100 - flights[0]:
                await asyncio.sleep(0)
        return await exchange(self, batch)

    monkeypatch.setattr(MemoryStore, "exchange", slow)
    with ThreadPoolExecutor(100) as pool:
        handles = list(pool.map(memory.add.submit, range(100)))
    assert len({handle.id for handle in handles}) == sum(flights) == 100
    assert len(flights) == 2


def test_an_application_serves_any_event_loop():
    jobs = Jobs("memory:")

    async def there_and_back() -> int:
        return await (await jobs.double.submit.aio(4))

    with jobs.app, jobs.app.worker(), ThreadPoolExecutor(4) as pool:
        loops = [pool.submit(lambda: asyncio.run(there_and_back())) for _ in range(4)]
        assert [loop.result() for loop in loops] == [8] * 4
        assert asyncio.run(there_and_back()) == 8


async def test_inside_async_with_everything_runs_in_the_callers_loop():
    app = Mainspring("memory:")
    here = asyncio.get_running_loop()

    @app.task
    async def is_here() -> bool:
        return asyncio.get_running_loop() is here

    async with app, app.worker():
        handle = await is_here.submit.aio()
        assert await handle.result.aio(timeout=60) is True
        # Threads of this program, and functions among the tasks, call it all the same.
        assert await asyncio.to_thread(lambda: is_here.submit().result(timeout=60)) is True
        assert homes() == []


async def test_a_worker_alone_opens_the_application_in_the_callers_loop():
    jobs = Jobs("memory:")
    async with jobs.app.worker():
        assert await (await jobs.double.submit.aio(1)) == 2
        assert homes() == []


async def test_a_call_that_is_cancelled_takes_nothing_with_it():
    jobs = Jobs("memory:")
    async with jobs.app:
        handle = await jobs.add.submit.aio(1)
        for context in (jobs.app, None):
            waiting = asyncio.create_task(handle.result.aio())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert context is None or await handle.status.aio() == "ready"
    never_begun = asyncio.create_task(handle.result.aio())
    never_begun.cancel()
    with pytest.raises(asyncio.CancelledError):
        await never_begun
    await jobs.app.aclose()


async def test_a_cancelled_wait_ends_in_the_home_too():
    jobs = Jobs("memory:")
    handle = await jobs.add.submit.aio(1)  # on a thread of its own
    waiting = asyncio.create_task(handle.result.aio())
    while not waiting_for_results(jobs.app):
        await asyncio.sleep(0.001)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    while waiting_for_results(jobs.app):
        await asyncio.sleep(0.001)
    await jobs.app.aclose()


def test_an_interrupt_ends_the_wait_and_nothing_else(memory):
    handle = memory.add.submit(1)
    main = threading.get_ident()

    def interrupt() -> None:
        until(lambda: waiting_for_results(memory.app), "nobody waits")
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        handle.result()
    thread.join()
    until(lambda: not waiting_for_results(memory.app), "the wait goes on")
    assert handle.status() == "ready"


# --- opening and closing ----------------------------------------------------------------------------


def test_nothing_is_opened_before_it_is_needed(tmp_path):
    jobs = Jobs(f"sqlite:///{tmp_path}/m.db")
    jobs.add.bind(1)
    assert homes() == []
    assert not (tmp_path / "m.db").exists()
    jobs.app.close()  # which is nothing, too
    jobs.add.submit(1)
    assert (tmp_path / "m.db").exists()
    jobs.app.close()
    assert homes() == []


def test_what_was_closed_opens_again(tmp_path):
    jobs = Jobs(f"sqlite:///{tmp_path}/m.db")
    with jobs.app:
        handle = jobs.add.submit(1)
        with jobs.app:
            assert handle.status() == "ready"
        assert len(homes()) == 1
    assert homes() == []
    assert handle.status() == "ready"
    jobs.app.close()
    jobs.app.close()


def test_a_close_ends_all_waits(memory):
    handle = memory.add.submit(1)
    with ThreadPoolExecutor(3) as pool:
        waits = [pool.submit(handle.result) for _ in range(3)]
        until(lambda: waiting_for_results(memory.app), "nobody waits")
        memory.app.close()
        for wait in waits:
            with pytest.raises(StoreUnavailable, match="closed"):
                wait.result(timeout=60)


async def test_a_close_ends_the_waits_of_other_loops():
    jobs = Jobs("memory:")
    handle = await jobs.add.submit.aio(1)
    waiting = asyncio.create_task(handle.result.aio())
    while not waiting_for_results(jobs.app):
        await asyncio.sleep(0.001)
    await jobs.app.aclose()
    with pytest.raises(StoreUnavailable, match="closed"):
        await waiting


def test_closing_lets_the_running_tasks_of_its_worker_finish():
    jobs = Jobs("memory:")
    worker = jobs.app.worker()
    worker.__enter__()
    handle = jobs.held.submit()
    assert jobs.begun.wait(60)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(handle.result)
        until(lambda: waiting_for_results(jobs.app), "nobody waits")
        threading.Timer(0.05, jobs.gate.set).start()
        jobs.app.close()
        assert ended.result(timeout=60) == "let go"


def test_a_worker_is_left_after_its_application_was_closed():
    jobs = Jobs("memory:")
    with jobs.app.worker():
        assert jobs.add.submit(1).result(timeout=60) == 11
        jobs.app.close()
        assert homes() == []
    assert homes() == []


def test_what_cannot_be_opened_is_told_and_tried_again(tmp_path):
    jobs = Jobs(f"sqlite:///{tmp_path}/not/there.db")
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="folder does not exist"), jobs.app:
            pass
    assert homes() == []
    (tmp_path / "not").mkdir()
    assert jobs.add.submit(1).status() == "ready"
    jobs.app.close()


@pytest.mark.parametrize("url", ["", "ftp://host", "mysql://host", "m.db", "sqlite"])
def test_an_address_that_is_none_is_refused_at_once(url):
    with pytest.raises(InvalidInput, match="url: not an address"):
        Mainspring(url)


def test_the_environment_may_say_where_to_submit(tmp_path, monkeypatch):
    jobs = Jobs()
    with pytest.raises(InvalidInput, match="MAINSPRING_API_URL or MAINSPRING_STORE"):
        jobs.add.submit(1)
    monkeypatch.setenv("MAINSPRING_STORE", f"sqlite:///{tmp_path}/m.db")
    assert jobs.add.submit(1).status() == "ready"
    jobs.app.close()
    monkeypatch.setenv("MAINSPRING_API_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:9"), Jobs(timeout=0.1).app as app:
        app.submit("echo")
    # What the program says counts more.
    with Mainspring(f"sqlite:///{tmp_path}/m.db") as app:
        assert app.submit("echo").status() == "ready"


def test_an_application_that_nobody_holds_any_more_is_closed():
    jobs = Jobs("memory:")
    jobs.add.submit(1)
    (thread,) = homes()
    gone = weakref.ref(jobs.app)
    del jobs
    gc.collect()
    assert gone() is None
    thread.join(20)
    assert not thread.is_alive()


# --- processes --------------------------------------------------------------------------------------

LAZY = """
import sys
from mainspring import Mainspring

app = Mainspring(sys.argv[1])

@app.task
def add(left: int) -> int: ...
"""


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, "-W", "error", "-c", LAZY + script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=os.getcwd())
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_program_that_closes_nothing_ends_in_good_order(tmp_path):
    """Its leadership is given up, so that others need not wait for its term to run out."""
    url = f"sqlite:///{tmp_path}/m.db"
    task = run("app.__enter__(); print(add.submit(1).id)", url).strip()
    assert not (tmp_path / "m.db-wal").exists()  # the last connection was closed as it should be
    with Mainspring(url) as app:
        assert app.handle(task).status() == "ready"


def test_an_exit_is_not_held_up_by_a_call_that_waits(tmp_path):
    script = """
import contextlib, threading

handle = add.submit(1)

def wait():
    with contextlib.suppress(Exception):
        handle.result()

threading.Thread(target=wait, daemon=True).start()
"""
    assert run(script, f"sqlite:///{tmp_path}/m.db") == ""


FORKS = """
import os

def submit():
    for number in range(20):
        os.write(1, (add.submit(number).id + "\\n").encode())

def fork(ending):
    child = os.fork()
    if not child:
        submit()
        ending(0)
    submit()
    assert os.waitpid(child, 0)[1] == 0

"""


@pytest.mark.parametrize("ending", ["os._exit", "sys.exit"])
def test_a_forked_child_has_a_connection_of_its_own(tmp_path, ending):
    """Its ids are its own, too: the dice are not the parent's."""
    with serving(f"sqlite:///{tmp_path}/m.db") as url:
        tasks = run(FORKS + f"submit(); fork({ending}); submit(); app.close()", url).split()
        assert len(set(tasks)) == len(tasks) == 80
        with Mainspring(url) as app:
            assert {app.handle(task).status() for task in tasks} == {"ready"}


def test_a_file_is_not_shared_with_a_forked_child(tmp_path):
    """SQLite cannot: it is told, and the parent's file stays whole. What was closed before may be opened."""
    script = """
submit()
if not os.fork():
    try:
        submit()
    except Exception as error:
        print(error)
    sys.exit(0)
assert os.wait()[1] == 0
submit()
app.close()
fork(sys.exit)
"""
    *tasks, last = sorted(run(FORKS + script, f"sqlite:///{tmp_path}/m.db").splitlines())
    assert "was open when this process was forked" in last or "was open" in tasks[0]


def test_several_processes_share_one_file(tmp_path):
    url = f"sqlite:///{tmp_path}/m.db"
    waits = "print(add.submit(1).result(timeout=30))"
    command = [sys.executable, "-W", "error", "-c", LAZY + waits, url]
    clients = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    jobs = Jobs(url)
    with jobs.app.worker():
        told = [client.communicate(timeout=60)[0] for client in clients]
    assert told == ["11\n"] * 3


def test_run_worker_works_until_it_is_told(tmp_path):
    """The first signal lets the running task finish."""
    url = f"sqlite:///{tmp_path}/m.db"
    script = """
import time

@app.task
def slow() -> str:
    print("begun", flush=True)
    time.sleep(0.3)
    return "done"

app.run_worker(concurrency=2, grace="10s")
print("ended")
"""
    command = [sys.executable, "-W", "error", "-c", LAZY + script, url]
    with Mainspring(url) as app, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        handle = app.submit("slow")
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=30)[0] == "ended\n"
        assert process.returncode == 0
        assert handle.result(timeout=60) == "done"


ENDLESS = {
    "a function": """
import time

@app.task
def endless() -> None:
    print("begun", flush=True)
    time.sleep(3600)
""",
    "a coroutine that swallows every cancel": """
import asyncio

@app.task
async def endless() -> None:
    print("begun", flush=True)
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
""",
}


@pytest.mark.parametrize("handler", ENDLESS.values(), ids=ENDLESS)
def test_a_second_signal_stops_run_worker_at_once(tmp_path, handler):
    """Peer behaviour 122: whatever its handlers do; their tasks go back uncounted."""
    url = f"sqlite:///{tmp_path}/m.db"
    script = (
        handler
        + """
app.run_worker(grace="1h")
print("ended")
"""
    )
    command = [sys.executable, "-c", LAZY + script, url]
    with Mainspring(url) as app, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        handle = app.submit("endless")
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=30)[0] == "ended\n"
        record = handle.refresh()
        assert (record.state, record.attempt, record.attempts) == ("ready", 0, [])
