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
