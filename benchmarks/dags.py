"""Real workflows on a real node: does the order hold, and how much slower than greed is it?

python -m benchmarks.dags [--slots 8,32] [--seconds 30] [NAME ...]

Each workflow runs as one submitted document of `sleep` tasks on a `mainspring standalone` of its own, with so
many slots. Runtimes are scaled so that the greedy bound takes `--seconds`. The bound is FIFO(P) of the
workflow's facts: P slots, ready tasks in the order in which they became ready, nothing lost between them. The
makespan is counted from the submit to the last end, by the store's clock. Exits with 1 if an order was broken
or a makespan is over 1.10 times its bound.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.harness import ROOT
from benchmarks.mainspring_node import command
from mainspring.wire.workflow_views import GraphView, MemberView, WorkflowView

AT_MOST = 1.10
CASES = Path(os.environ.get("MAINSPRING_CASES", ROOT.parent / "shared" / "cases")) / "dags"


class Node(msgspec.Struct):
    """A task of a recorded workflow, after its parents."""

    id: str
    runtime_s: float
    parents: list[str]


@dataclass
class Dag:
    name: str
    nodes: list[Node]
    bounds_s: dict[str, float]

    def document(self, scale: float) -> bytes:
        tasks = [
            {
                "name": node.id,
                "kind": "sleep",
                "payload": {"duration": node.runtime_s * scale},
                "depends_on": node.parents,
            }
            for node in self.nodes
        ]
        return msgspec.json.encode({"name": self.name, "tasks": tasks, "on_complete": {}})


@dataclass
class Outcome:
    dag: Dag
    slots: int
    bound_s: float
    makespan_s: float
    broken: list[str]

    @property
    def ratio(self) -> float:
        return self.makespan_s / self.bound_s

    @property
    def is_good(self) -> bool:
        return not self.broken and self.ratio <= AT_MOST


def dags(names: Sequence[str]) -> Iterator[Dag]:
    """Those of the names, or all that there are."""
    for file in sorted(CASES.glob("*.dag.json")):
        name = file.name.removesuffix(".dag.json")
        if not names or name in names:
            facts: dict[str, Any] = msgspec.json.decode((CASES / f"{name}.facts.json").read_bytes())
            nodes = msgspec.json.decode(file.read_bytes(), type=list[Node])
            yield Dag(name, nodes, facts["greedy_fifo_s"])


def run(dag: Dag, slots: int, bound_s: float) -> Outcome:
    """On a node of its own, in a directory of its own."""
    home = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="mainspring-dags-") as directory:
        os.chdir(directory)
        try:
            arguments = ("--listen", "127.0.0.1:0", "--db", "dags.db", "--concurrency", str(slots))
            with command("standalone", *arguments) as node:
                made, graph = _submit(node.url, dag.document(bound_s / dag.bounds_s[str(slots)]))
        finally:
            os.chdir(home)
    members = {task.name or "": task for task in graph.tasks}
    ends = [task.finished_at for task in graph.tasks if task.finished_at is not None]
    makespan_s = (max(ends) - made.created_at).total_seconds()
    return Outcome(dag, slots, bound_s, makespan_s, list(_broken(dag, members)))


def _submit(url: str, document: bytes) -> tuple[WorkflowView, GraphView]:
    """The workflow as it was made, and as it ended."""
    with httpx.Client(base_url=f"{url}/api/v1", timeout=90) as client:
        reply = client.post("/workflows", content=document, headers={"content-type": "application/json"})
        made = msgspec.json.decode(reply.raise_for_status().content, type=WorkflowView)
        while True:
            reply = client.get(f"/workflows/{made.id}", params={"wait": 60}).raise_for_status()
            graph = msgspec.json.decode(reply.content, type=GraphView)
            if graph.is_over:
                return made, graph


def _broken(dag: Dag, members: dict[str, MemberView]) -> Iterator[str]:
    """Tasks that did not succeed, and tasks that did not wait for a parent."""
    for node in dag.nodes:
        task = members[node.id]
        if task.state != "succeeded" or task.started_at is None:
            yield f"{node.id} ended {task.state}"
            continue
        for parent in node.parents:
            ended: datetime | None = members[parent].finished_at
            if ended is None or ended > task.started_at:
                yield f"{node.id} did not wait for {parent}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.dags", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="some of the workflows; all by default")
    parser.add_argument("--slots", default="8,32", help="by commas; the facts know 1, 2, 4 ... 128")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the bound shall take")
    options = parser.parse_args()
    chosen = list(dags(options.names))
    if not chosen:
        parser.error(f"no such workflows in {CASES} (MAINSPRING_CASES)")
    outcomes = []
    for dag in chosen:
        for slots in map(int, options.slots.split(",")):
            print(f"running {dag.name} on {slots} slots, {time.strftime('%H:%M:%S')}", file=sys.stderr)
            outcomes.append(run(dag, slots, options.seconds))
    _show(outcomes)
    return 0 if all(outcome.is_good for outcome in outcomes) else 1


def _show(outcomes: Sequence[Outcome]) -> None:
    console = Console(width=120)
    table = Table(box=None, pad_edge=False)
    for heading in ("workflow", "tasks", "slots", "FIFO(P)", "makespan", "ratio", "order", ""):
        table.add_column(heading, justify="left" if heading in ("workflow", "order") else "right")
    for one in outcomes:
        table.add_row(
            one.dag.name,
            str(len(one.dag.nodes)),
            str(one.slots),
            f"{one.bound_s:.2f} s",
            f"{one.makespan_s:.2f} s",
            f"{one.ratio:.3f}",
            "kept" if not one.broken else f"BROKEN: {one.broken[0]}",
            f"<= {AT_MOST:g}" if one.ratio <= AT_MOST else f"OVER {AT_MOST:g}",
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
