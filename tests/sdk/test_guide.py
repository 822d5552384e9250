"""The guide's application does what the guide says."""

import re
import sys
from pathlib import Path

from mainspring.clock import SystemClock
from mainspring.worker import InProcessEngine
from mainspring.worker.loading import load_app
from tests.worker.scripted import ScriptedSource, working

GUIDE = Path(__file__).parents[2] / "docs" / "tasks-in-python.md"


async def test_the_application_of_the_guide_runs(tmp_path, monkeypatch):
    source_text = re.search(r"```python\n# jobs.py\n(.*?)```", GUIDE.read_text(), re.DOTALL)[1]
    (tmp_path / "guide_jobs.py").write_text(source_text)
    (tmp_path / "lines.txt").write_text("a\n" * 250_000)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    source = ScriptedSource()
    async with working(source, InProcessEngine(load_app("guide_jobs:app"), SystemClock())):
        greeting = await source.put("greet", {"kwargs": {"name": "Ada"}})
        counted = await source.put("count-lines", {"path": "lines.txt"})
        resumed = await source.put("count-lines", {"path": "lines.txt"}, checkpoint=b"[200000,400000]")
        await source.settled(3)
    assert source.report_on(greeting).result == b'"Hello, Ada"'
    assert source.report_on(counted).result == source.report_on(resumed).result == b"250000"
    assert source.lines[-1].checkpoint == b"[200000,400000]"
    del sys.modules["guide_jobs"]


STUBS = """
ran = []


def charge(order):
    ran.append("charge")
    return f"receipt of {order}"


async def ship(order, paid):
    ran.append("ship")
    if ran.count("ship") == 1:
        raise ConnectionError("no parcel service")
    return f"parcel of {order}, {paid}"


def listing(folder):
    ran.append("list")
    return {f"{folder}/b", f"{folder}/a"}


def work_on(name):
    ran.append(name)
"""


async def test_the_steps_of_the_guide_run_once(tmp_path, monkeypatch):
    source_text = re.search(r"```python\n# orders.py\n(.*?)```", GUIDE.read_text(), re.DOTALL)[1]
    (tmp_path / "guide_orders.py").write_text(source_text + STUBS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    app = load_app("guide_orders:app")
    source = ScriptedSource()
    async with working(source, InProcessEngine(app, SystemClock())):
        await source.put("place", "1234", task="order")
        await source.settled(1)
        await source.put("place", "1234", task="order", attempt=2)
        await source.settled(2)
        await source.put("index", "in", task="index", checkpoint=b"1")
        await source.settled(3)
    failed, placed, indexed = source.reports
    assert b"no parcel service" in failed.error
    assert placed.result == b'"parcel of 1234, receipt of 1234"'
    assert indexed.result == b"2"
    assert sys.modules.pop("guide_orders").ran == ["charge", "ship", "ship", "list", "in/b"]
