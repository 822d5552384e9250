"""This node and its neighbours: health probes, metrics, workers, who leads."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from mainspring import __version__
from mainspring.api.door import Door
from mainspring.api.http import NO_STORE, Answer, Call, json_answer
from mainspring.core.model import State
from mainspring.errors import MainspringError, NotFound
from mainspring.ports import Stats, WorkerInfo
from mainspring.telemetry import OTHER, PREFIX, Metrics
from mainspring.wire import fields
from mainspring.wire.controls import ClusterView, StatsView, WorkerView, stats_view, worker_views
from mainspring.wire.problems import PROBLEMS

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

PROBE_S = 0.8
QUEUES_SHOWN = 200
_LIVE = (State.BLOCKED, State.SCHEDULED, State.READY, State.RUNNING)


class Health(msgspec.Struct):
    """`queue_size` counts ready tasks; it is `null` while the store does not answer."""

    node_id: str
    is_leader: bool
    leader_id: str | None
    queue_size: int | None
    timestamp: datetime
    status: str
    version: str
    role: str
    checks: dict[str, str]


class Probe(msgspec.Struct):
    status: str
    detail: str = ""


class WorkersView(msgspec.Struct):
    workers: list[WorkerView]


# --- probes -----------------------------------------------------------------------------------------


async def live(door: Door, call: Call) -> Answer:
    """Alive: the event loop turns. The store is not asked, so that its fault restarts nobody."""
    return json_answer(Probe("pass"), 200, NO_STORE)


async def ready(door: Door, call: Call) -> Answer:
    try:
        await door.pulse.stats(PROBE_S)
    except MainspringError as error:
        return json_answer(Probe("fail", error.detail), 503, NO_STORE, (b"retry-after", b"1"))
    return json_answer(Probe("pass"), 200, NO_STORE)


async def health(door: Door, call: Call) -> Answer:
    cluster = door.scheduler.cluster()
    checks = {"queue": "pass", "election": "pass" if cluster.leader else "warn"}
    queue_size: int | None = None
    try:
        stats = await door.pulse.stats(PROBE_S)
        queue_size = sum(count for (_, state), count in stats.counts.items() if state is State.READY)
        checks["store"] = "pass"
    except MainspringError as error:
        checks["store"] = f"fail: {error.code}"
        checks["queue"] = "unknown"
    healthy = checks["store"] == "pass"
    body = Health(
        cluster.node_id,
        cluster.is_leader,
        cluster.leader or None,
        queue_size,
        fields.moment(door.clock.now_us()),
        "pass" if healthy else "fail",
        __version__,
        door.options.role,
        checks,
    )
    return json_answer(body, 200 if healthy else 503, NO_STORE)


# --- cluster ----------------------------------------------------------------------------------------


async def read_cluster(door: Door, call: Call) -> Answer:
    info = door.scheduler.cluster()
    return json_answer(
        ClusterView(
            info.node_id,
            info.is_leader,
            info.leader or None,
            info.term,
            info.version,
            door.options.role,
            info.store,
            info.durability,
        )
    )


async def read_stats(door: Door, call: Call) -> Answer:
    view: StatsView = stats_view(await door.scheduler.stats())
    return json_answer(view)


async def read_workers(door: Door, call: Call) -> Answer:
    return json_answer(WorkersView(worker_views(await door.scheduler.workers())))


async def read_worker(door: Door, call: Call) -> Answer:
    found = [info for info in await door.scheduler.workers() if info.worker == call.path["worker"]]
    if not found:
        raise NotFound(f"no worker {call.path['worker'][:100]!r}")
    return json_answer(worker_views(found)[0])


async def read_problem(door: Door, call: Call) -> Answer:
    """What a problem's `type` means, for the person who follows it."""
    kind = PROBLEMS.get(call.path["code"])
    if kind is None:
        raise NotFound(f"no such problem: {call.path['code'][:100]!r}")
    text = f"{kind.title} (HTTP {int(kind.status)})\n\n{kind.meaning}\n"
    return Answer(200, text.encode(), [(b"content-type", b"text/plain; charset=utf-8")])


# --- metrics ----------------------------------------------------------------------------------------


async def read_metrics(door: Door, call: Call) -> Answer:
    stats, workers = None, []
    try:
        stats = await door.pulse.stats(PROBE_S)
        workers = list(await door.scheduler.workers())
    except MainspringError:
        stats = None
    metrics = door.metrics or Metrics()
    text, content_type = metrics.expose(call.header(b"accept") or "", _gauges(door, stats, workers))
    return Answer(200, text, [(b"content-type", content_type.encode()), NO_STORE])


def _gauges(door: Door, stats: Stats | None, workers: list[WorkerInfo]) -> Iterator["Metric"]:
    from prometheus_client.metrics_core import GaugeMetricFamily

    cluster = door.scheduler.cluster()

    def gauge(name: str, text: str, rows: list[tuple[tuple[str, ...], float]], *labels: str) -> "Metric":
        family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
        for values, value in rows:
            family.add_metric(values, value)
        return family

    build: list[tuple[tuple[str, ...], float]] = [((cluster.version, cluster.store), 1.0)]
    yield gauge("build_info", "Always 1; the version and the store", build, "version", "store")
    yield gauge("is_leader", "Whether this node leads", [((), float(cluster.is_leader))])
    yield gauge("store_up", "Whether the store answers", [((), float(stats is not None))])
    if stats is not None:
        yield gauge("queue_depth", "Unfinished tasks by queue", _depths(stats), "queue", "state")
        totals = Counter[State]()
        for (_, state), count in stats.counts.items():
            totals[state] += count
        by_state: list[tuple[tuple[str, ...], float]] = [((s.label,), float(totals[s])) for s in State]
        yield gauge("tasks", "Tasks in the store, by state", by_state, "state")
        yield gauge("workers", "Workers that reported themselves lately", [((), float(len(workers)))])
        yield gauge("worker_slots", "Tasks that all workers can run at once", [((), _sum(workers, "slots"))])
        yield gauge("worker_running", "Tasks that workers say they run", [((), _sum(workers, "running"))])


def _sum(workers: list[WorkerInfo], name: str) -> float:
    return float(sum(getattr(info, name) for info in workers))


def _depths(stats: Stats) -> list[tuple[tuple[str, ...], float]]:
    """The deepest queues by name, the rest as one: ten thousand queues must not become as many series."""
    sizes = Counter[str]()
    for (queue, state), count in stats.counts.items():
        sizes[queue] += count * (state in _LIVE)
    shown = {queue for queue, _ in sizes.most_common(QUEUES_SHOWN)}
    depths = Counter[tuple[str, ...]]()
    for (queue, state), count in stats.counts.items():
        if state in _LIVE:
            depths[queue if queue in shown else OTHER, state.label] += count
    return [(labels, float(count)) for labels, count in sorted(depths.items())]
