"""`mainspring demo` and the shown conversion of foreign workflows."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.e2e.processes import running

ROOT = Path(__file__).parents[2]
SCALE = 0.01


def test_the_demo_runs_and_leaves_nothing_behind(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "MAINSPRING_DB": "/nonexistent/other.db"}
    demo = subprocess.run(
        [sys.executable, "-m", "mainspring", "demo"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert demo.returncode == 0, demo.stderr
    assert "12 tasks in " in demo.stdout
    assert "1 failed, 11 succeeded" in demo.stdout
    assert (
        demo.stdout.count("ValueError: no such customer: 42") == 4
    )  # the summary, and each of its three runs
    assert "57 succeeded" in demo.stdout
    assert "words 36000" in demo.stdout
    assert "stopped cleanly" in demo.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_committed_workflow_is_what_its_script_makes():
    made = subprocess.run(
        [sys.executable, "make_workflow.py"],
        cwd=ROOT / "examples",
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout == (ROOT / "examples/workflow.json").read_text()


@pytest.fixture(scope="module")
def conversion():
    """The Python of docs/operations.md, as a reader would save it."""
    (source,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs/operations.md").read_text(), re.DOTALL | re.M
    )
    return source


def test_a_real_workflow_runs_in_order(tmp_path, cases, conversion):
    """montage-58: 58 tasks, 114 edges, 8 levels; converted as the docs say, it ends in dependency order."""
    dag = json.loads((cases / "dags/montage-58.dag.json").read_text())
    (tmp_path / "convert.py").write_text(conversion)
    batch = runpy.run_path(str(tmp_path / "convert.py"))["batch"](dag, SCALE)
    (tmp_path / "montage.json").write_text(json.dumps(batch))
    arguments = ("--listen", "127.0.0.1:0", "--concurrency", "16")
    with running(tmp_path, "standalone", "standalone", *arguments) as process:
        cli = Cli(process.url())
        tasks = cli.json("submit", "--file", str(tmp_path / "montage.json"), "--wait")["tasks"]
    assert {task["state"] for task in tasks} == {"succeeded"}
    ended = {task["name"]: task["finished_at"] for task in tasks}
    started = {task["name"]: task["started_at"] for task in tasks}
    edges = [(parent, node["id"]) for node in dag for parent in node["parents"]]
    assert (len(tasks), len(edges)) == (58, 114)
    assert [edge for edge in edges if started[edge[1]] < ended[edge[0]]] == []


def test_the_jq_of_the_docs_does_the_same(tmp_path, cases, conversion):
    document = (ROOT / "docs/operations.md").read_text()
    (filter_,) = re.findall(r"jq '(.*?)'", document)
    dag = cases / "dags/montage-58.dag.json"
    jq = subprocess.run(["jq", filter_, str(dag)], capture_output=True, text=True, check=True)
    (tmp_path / "convert.py").write_text(conversion)
    made = runpy.run_path(str(tmp_path / "convert.py"))["batch"](json.loads(dag.read_text()), SCALE)
    converted = json.loads(jq.stdout)
    for one, other in zip(converted, made, strict=True):
        assert one.pop("payload")["duration"] == pytest.approx(other.pop("payload")["duration"])
        assert one == other
