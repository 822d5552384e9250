"""huey on SQLite, in the settings that are fastest while still durable: `fsync=True`, one worker thread,
no results kept, polling as short as it allows."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path

FILE = "huey.db"
SETTINGS = f"SqliteHuey('bench', filename={FILE!r}, fsync=True, results=False)"
APPLICATION = f"""
from huey import SqliteHuey
import time
huey = {SETTINGS}

@huey.task()
def noop(note=""):
    pass

@huey.task()
def stamp(sent):
    with open("stamps", "a") as file:
        file.write(f"{{time.time() - sent}}\\n")
"""
CONSUMER = """
import logging
from huey_app import huey
logging.getLogger("huey").setLevel(logging.ERROR)
huey.create_consumer(
    workers=1, worker_type="thread", periodic=False, initial_delay=0.001, max_delay=0.002, backoff=1.0,
    check_worker_health=False,
).run()
"""


def _application():  # type: ignore[no-untyped-def]
    with open("huey_app.py", "w") as file:
        file.write(textwrap.dedent(APPLICATION))
    sys.path.insert(0, ".")
    import huey_app

    return huey_app


def _consumer() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CONSUMER])


def enqueue(count: int) -> float:
    """Tasks per second from one caller; huey makes one durable commit for each."""
    application, note = _application(), "x" * 175
    started = time.perf_counter()
    for _ in range(count):
        application.noop(note)
    return count / (time.perf_counter() - started)


def drain(count: int) -> float:
    """Tasks per second by a consumer process, from its first task to the last."""
    application, note = _application(), "x" * 175
    for _ in range(count):
        application.noop(note)
    consumer = _consumer()
    try:
        while (waiting := application.huey.storage.queue_size()) == count:
            time.sleep(0.001)
        started = time.perf_counter()
        while application.huey.storage.queue_size():
            time.sleep(0.005)
        return waiting / (time.perf_counter() - started)
    finally:
        consumer.terminate()
        consumer.wait(10)


def latency(rate: float, count: int) -> dict[str, float]:
    """Seconds from before the submit to the start of the handler, at `rate` tasks a second."""
    application = _application()
    Path("stamps").write_text("")
    consumer = _consumer()
    try:
        application.noop()
        while application.huey.storage.queue_size():
            time.sleep(0.01)
        due = time.perf_counter()
        for _ in range(count):
            application.stamp(time.time())
            due += 1 / rate
            time.sleep(max(0.0, due - time.perf_counter()))
        while len(stamps := Path("stamps").read_text().split()) < count:
            time.sleep(0.01)
    finally:
        consumer.terminate()
        consumer.wait(10)
    waits = sorted(float(stamp) for stamp in stamps)
    return {"p50": waits[len(waits) // 2], "p99": waits[int(len(waits) * 0.99)]}
