"""Real workflows on one node and its worker, in virtual time: in order, and as fast as greed allows."""

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from mainspring.ports import Group
from mainspring.scheduler import Scheduler, SchedulerSettings
from mainspring.services import Resolver, ServiceLoop
from mainspring.stores.memory import MemoryStore
from mainspring.testing.loop import Host, VirtualLoop
from mainspring.verbs import WorkflowGraph
from mainspring.wire.workflow_views import graph_view
from mainspring.wire.workflows import WORKFLOW, new_workflow
from mainspring.worker import InProcessEngine, Worker, WorkerSettings
from mainspring.worker.kinds import builtin_kinds

NAMES = ["1000genome-208", "blast-303", "montage-58"]
AT_MOST = 1.10


class Dag:
    def __init__(self, cases: Path, name: str) -> None:
        self.nodes = json.loads((cases / "dags" / f"{name}.dag.json").read_text())
        self.facts = json.loads((cases / "dags" / f"{name}.facts.json").read_text())

    @property
    def document(self) -> dict:
        tasks = [
            {
                "name": node["id"],
                "kind": "sleep",
                "payload": {"duration": node["runtime_s"]},
                "depends_on": node["parents"],
            }
            for node in self.nodes
        ]
        return {"tasks": tasks, "on_complete": {}}


def run(document: dict, slots: int) -> WorkflowGraph:
    """The workflow as it stands when it is over."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(_run(loop, document, slots))
    finally:
        loop.end()


async def _run(loop: VirtualLoop, document: dict, slots: int) -> WorkflowGraph:
    clock = Host(loop, "node", 1).clock
    store = MemoryStore(clock)
    await store.open()
    scheduler = Scheduler(store, clock, SchedulerSettings())
    await scheduler.start()
    resolver = ServiceLoop(Resolver(store, scheduler), clock)
    resolver.start()
    engine = InProcessEngine(builtin_kinds(), clock)
    worker = Worker(scheduler, engine, clock, WorkerSettings(worker="w", slots=slots))
    working = asyncio.ensure_future(worker.run())
    made = new_workflow(WORKFLOW.read(msgspec.json.encode(document)), clock.new_id)
    await scheduler.submit([Group(made.tasks, workflow=made.workflow)])
    record = await scheduler.workflows.wait(made.workflow.id, 1e9)
    assert record.is_over
    graph = await scheduler.workflows.graph(made.workflow.id)
    worker.halt()
    await asyncio.gather(working)
    await resolver.stop()
    await scheduler.close()
    return graph


@pytest.mark.parametrize("slots", [8, 32])
@pytest.mark.parametrize("name", NAMES)
def test_real_workflows_run_in_order_and_waste_no_slots(cases, name, slots):
    """S0-68."""
    dag = Dag(cases, name)
    graph = run(dag.document, slots)
    members = {task.name: task for task in graph.tasks if task.callback is None}
    assert graph.record.members.succeeded == dag.facts["tasks"] == len(members)
    for node in dag.nodes:
        task = members[node["id"]]
        assert all(members[parent].finished_at_us <= task.started_at_us for parent in node["parents"])
    last_us = max(task.finished_at_us for task in members.values())
    makespan_s = (last_us - graph.record.created_at_us) / 1e6
    assert makespan_s <= AT_MOST * dag.facts["greedy_fifo_s"][str(slots)]
    callback = graph.tasks[-1]
    assert callback.started_at_us >= last_us


@pytest.mark.parametrize("name", NAMES)
def test_the_critical_path_of_real_workflows(cases, name):
    """With slots for all, a workflow takes as long as its critical path, and that is found."""
    dag = Dag(cases, name)
    graph = run(dag.document, dag.facts["width"])
    path = graph_view(graph).critical_path
    assert path.duration == pytest.approx(dag.facts["critical_path_s"], rel=0.02)
    assert path.left == 0
    runtimes = {node["id"]: node["runtime_s"] for node in dag.nodes}
    assert sum(runtimes[task] for task in path.tasks) == pytest.approx(dag.facts["critical_path_s"])
