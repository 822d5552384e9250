"""Every route of the native interface and of its dialects, once: what is registered is what is documented."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from mainspring.api import (
    cluster,
    dead,
    jobs,
    leasing,
    queues,
    schedules,
    submitting,
    tasks,
    watching,
    workflows,
)
from mainspring.api.dialects import s4
from mainspring.api.door import Door
from mainspring.api.explaining import explain
from mainspring.api.http import Answer, Call
from mainspring.wire import leases, progress
from mainspring.wire.batches import BatchIn
from mainspring.wire.controls import (
    ClusterView,
    LimitIn,
    LimitView,
    PauseIn,
    QueueView,
    StatsView,
    WeightIn,
    WorkerView,
)
from mainspring.wire.dead import DeadFilterIn, DeadGroupsView, ReplayIn
from mainspring.wire.explain import ExplanationView
from mainspring.wire.patches import PatchIn
from mainspring.wire.queries import FilterIn
from mainspring.wire.schedule_views import FiresView, NextView, SchedulesView, ScheduleView
from mainspring.wire.schedules import PreviewIn, ScheduleIn, SchedulePatchIn
from mainspring.wire.tasks import TaskIn
from mainspring.wire.views import PageView, TaskView
from mainspring.wire.watching import LogView
from mainspring.wire.workflow_views import (
    CancelledView,
    GraphView,
    RetriedView,
    WorkflowsView,
    WorkflowView,
)
from mainspring.wire.workflows import WorkflowIn

Handler = Callable[[Door, Call], Awaitable[Answer]]
TEXT = "text/plain"
EVENTS = "text/event-stream"
OPENMETRICS = "application/openmetrics-text"
TEXTS = (TEXT, EVENTS, OPENMETRICS)


class Route(NamedTuple):
    """One operation. `takes` is the body's shape, `gives` the shape of each answer that is no problem, or the
    several that `Accept` chooses from.

    `is_open`: no token is asked for. `head`: HEAD is answered as GET is.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    gives: Mapping[int, Any]
    takes: Any = None
    query: Mapping[str, str] = {}
    headers: tuple[str, ...] = ()
    is_open: bool = False
    head: bool = True


_KEY = ("Idempotency-Key",)
_TAGS = ("If-Match", "If-None-Match")
_NEW = ("If-None-Match",)
_RESUME = ("Last-Event-ID",)
_ONE = {200: TaskView, 304: None}
_COUNT = {200: tasks.CountView}
API = "/api/v1"

# fmt: off
_TASKS = (
    Route("POST", f"{API}/tasks", submitting.submit_one,
          "Submit a task", {201: TaskView, 200: TaskView}, TaskIn, {}, _KEY),
    Route("POST", f"{API}/tasks/batch", submitting.submit_batch,
          "Submit many tasks, all or nothing", {201: submitting.BatchView}, BatchIn, {}, _KEY),
    Route("GET", f"{API}/tasks", tasks.read_many,
          "List tasks, newest first", {200: PageView}, None, tasks.LIST_QUERY),
    Route("GET", f"{API}/tasks/status/{{status}}", tasks.read_by_status,
          "List tasks of one state", {200: PageView}, None, tasks.STATUS_QUERY),
    Route("POST", f"{API}/tasks/cancel", tasks.cancel_many,
          "Cancel every unfinished task that matches", _COUNT, FilterIn),
    Route("GET", f"{API}/tasks/{{id}}", tasks.read_one,
          "Read a task, or wait for its end", _ONE, None, tasks.GET_QUERY, _TAGS),
    Route("GET", f"{API}/tasks/{{id}}/explain", explain,
          "Why a task is not running", {200: ExplanationView}),
    Route("GET", f"{API}/tasks/{{id}}/events", watching.events,
          "Watch a task's states and progress", {200: EVENTS, 204: None}, None, {}, _RESUME),
    Route("GET", f"{API}/tasks/{{id}}/logs", watching.logs,
          "Read a task's log, or follow it", {200: (LogView, TEXT, EVENTS), 204: None}, None,
          watching.LOG_QUERY, (*_RESUME, "Accept")),
    Route("PATCH", f"{API}/tasks/{{id}}", tasks.edit,
          "Change a waiting task", {200: TaskView}, PatchIn, {}, _TAGS),
    Route("DELETE", f"{API}/tasks/{{id}}", tasks.delete,
          "Delete a task, or ask a running one to stop", {204: None, 202: TaskView}, None, {}, _TAGS),
    Route("POST", f"{API}/tasks/{{id}}/cancel", tasks.cancel,
          "Cancel a task", {200: TaskView, 202: TaskView}, tasks.CancelIn, {}, _TAGS),
    Route("POST", f"{API}/tasks/{{id}}/retry", tasks.retry,
          "Run a failed or cancelled task again", {200: TaskView}, None, {}, _TAGS),
    Route("POST", f"{API}/tasks/{{id}}/run", tasks.run_now,
          "Run a scheduled task now", {200: TaskView}, None, {}, _TAGS),
)

_DEAD = (
    Route("GET", f"{API}/dead", dead.read_many,
          "List dead letters, newest first", {200: PageView}, None, dead.LIST_QUERY),
    Route("GET", f"{API}/dead/groups", dead.read_groups,
          "Dead letters by what killed them", {200: DeadGroupsView}, None, tasks.PAGING),
    Route("POST", f"{API}/dead/replay", dead.replay_many,
          "Replay every dead letter that matches, at once or at a rate", _COUNT, ReplayIn),
    Route("POST", f"{API}/dead/purge", dead.purge_many,
          "Forget every dead letter that matches", _COUNT, DeadFilterIn),
    Route("GET", f"{API}/dead/{{id}}", dead.read_one,
          "Read a dead letter, with every attempt's error", _ONE, None, {}, _TAGS),
    Route("POST", f"{API}/dead/{{id}}/replay", dead.replay,
          "Replay a dead letter", {200: TaskView}, None, {}, _TAGS),
    Route("DELETE", f"{API}/dead/{{id}}", dead.purge, "Forget a dead letter", {204: None}, None, {}, _TAGS),
)

_WORKFLOWS = (
    Route("POST", f"{API}/workflows", workflows.submit,
          "Submit a workflow", {201: WorkflowView}, WorkflowIn, {}, _KEY),
    Route("GET", f"{API}/workflows", workflows.read_many,
          "List workflows, newest first", {200: WorkflowsView}, None, workflows.LIST_QUERY),
    Route("GET", f"{API}/workflows/{{id}}", workflows.read_one,
          "Read a workflow with its tasks and its critical path, or wait for its end",
          {200: GraphView}, None, workflows.GET_QUERY),
    Route("POST", f"{API}/workflows/{{id}}/cancel", workflows.cancel,
          "Cancel every unfinished task of a workflow", {200: CancelledView}, workflows.CancelWorkflowIn),
    Route("POST", f"{API}/workflows/{{id}}/retry-failed", workflows.retry_failed,
          "Retry what failed in a workflow, and let what was to follow wait again", {200: RetriedView}),
)

_SCHEDULES = (
    Route("POST", f"{API}/schedules", schedules.create,
          "Make a schedule", {201: ScheduleView}, ScheduleIn, {}, _KEY),
    Route("GET", f"{API}/schedules", schedules.read_many,
          "List schedules, by id", {200: SchedulesView}, None, schedules.PAGING),
    Route("POST", f"{API}/schedules/preview", schedules.preview,
          "The fires to come of rules that are not stored", {200: NextView}, PreviewIn, schedules.COUNT),
    Route("GET", f"{API}/schedules/{{id}}", schedules.read_one,
          "Read a schedule", {200: ScheduleView, 304: None}, None, {}, _TAGS),
    Route("PUT", f"{API}/schedules/{{id}}", schedules.put, "Make a schedule, or replace it",
          {201: ScheduleView, 200: ScheduleView}, ScheduleIn, {}, _TAGS),
    Route("PATCH", f"{API}/schedules/{{id}}", schedules.edit,
          "Change a schedule", {200: ScheduleView}, SchedulePatchIn, {}, _TAGS),
    Route("DELETE", f"{API}/schedules/{{id}}", schedules.delete,
          "Forget a schedule; its tasks stay", {204: None}, None, {}, _TAGS),
    Route("POST", f"{API}/schedules/{{id}}/pause", schedules.pause,
          "No fires until it is resumed", {200: ScheduleView}, None, {}, _TAGS),
    Route("POST", f"{API}/schedules/{{id}}/resume", schedules.resume,
          "Fire again from now on", {200: ScheduleView}, None, {}, _TAGS),
    Route("POST", f"{API}/schedules/{{id}}/trigger", schedules.trigger,
          "Make a task now", {201: TaskView}, None, {}, (*_TAGS, *_KEY)),
    Route("POST", f"{API}/schedules/{{id}}/skip-next", schedules.skip_next,
          "Let the next fire make no task", {200: ScheduleView}, None, {}, _TAGS),
    Route("POST", f"{API}/schedules/{{id}}/skip-until", schedules.skip_until,
          "Let no fire up to a time make a task", {200: ScheduleView}, schedules.SkipIn, {}, _TAGS),
    Route("GET", f"{API}/schedules/{{id}}/fires", schedules.read_fires,
          "What became of the fires, newest first", {200: FiresView}, None, schedules.PAGING),
    Route("GET", f"{API}/schedules/{{id}}/next", schedules.read_next,
          "The fires to come", {200: NextView}, None, schedules.COUNT),
)

_QUEUES = (
    Route("GET", f"{API}/queues", queues.read_queues,
          "List queues with their counts", {200: queues.QueuesView}),
    Route("GET", f"{API}/queues/{{queue}}", queues.read_queue, "Read one queue", {200: QueueView}),
    Route("POST", f"{API}/queues/{{queue}}/pause", queues.pause,
          "Stop claims from a queue", {200: QueueView}, PauseIn),
    Route("POST", f"{API}/queues/{{queue}}/resume", queues.resume,
          "Allow claims from a queue again", {200: QueueView}),
    Route("GET", f"{API}/limits", queues.read_limits, "List limits", {200: queues.LimitsView}),
    Route("GET", f"{API}/limits/{{name:path}}", queues.read_limit, "Read a limit", {200: LimitView}),
    Route("PUT", f"{API}/limits/{{name:path}}", queues.put_limit,
          "Set a limit", {200: LimitView, 201: LimitView}, LimitIn, {}, _NEW),
    Route("DELETE", f"{API}/limits/{{name:path}}", queues.delete_limit, "Remove a limit", {204: None}),
    Route("PUT", f"{API}/tenants/{{tenant}}/weight", queues.put_weight,
          "Set a tenant's share", {204: None}, WeightIn),
)

_WORKERS = (
    Route("POST", f"{API}/leases/claim", leasing.claim,
          "Claim tasks; waits for the first", {200: leases.ClaimOut}, leases.ClaimIn),
    Route("POST", f"{API}/leases/renew", leasing.renew,
          "Renew leases", {200: leases.AnswersOut}, leases.RenewIn),
    Route("POST", f"{API}/leases/settle", leasing.settle,
          "Report finished runs", {200: leases.AnswersOut}, leases.SettleIn),
    Route("POST", f"{API}/leases/append", leasing.append,
          "Record checkpoints, progress, steps and logs", {200: leases.AnswersOut}, progress.AppendIn),
    Route("POST", f"{API}/leases/recall", leasing.recall,
          "Ask what earlier runs recorded, and how parents ended", {200: progress.RecallOut},
          progress.RecallIn),
    Route("GET", f"{API}/workers", cluster.read_workers, "List workers", {200: cluster.WorkersView}),
    Route("GET", f"{API}/workers/{{worker}}", cluster.read_worker, "Read a worker", {200: WorkerView}),
    Route("PUT", f"{API}/workers/{{worker}}", leasing.beat,
          "Register, or say that one is alive", {204: None}, leases.WorkerIn),
    Route("DELETE", f"{API}/workers/{{worker}}", leasing.leave,
          "Leave for good", {204: None}, None, leasing.LEAVE_QUERY),
    Route("GET", f"{API}/cluster/info", cluster.read_cluster,
          "This node, and who leads", {200: ClusterView}),
    Route("GET", f"{API}/cluster/stats", cluster.read_stats,
          "How many tasks are in each state", {200: StatsView}),
)

_JOBS = (
    Route("POST", "/jobs", jobs.submit, "Submit a job", {201: s4.JobView}, s4.JobIn, {}, _KEY),
    Route("GET", "/jobs/{id}", jobs.read, "Read a job", {200: s4.JobView, 304: None}, None, {}, _TAGS),
    Route("GET", "/next-job", jobs.fetch,
          "Fetch a worker's next job", {200: s4.JobView, 204: None}, None, jobs.NEXT_QUERY, head=False),
    Route("POST", "/jobs/{id}/complete", jobs.complete,
          "Report a job's end", {200: s4.JobView}, s4.CompletionIn),
)
# fmt: on

_PROBES = tuple(
    Route("GET", path, handler, summary, gives, is_open=True)
    for paths, handler, summary, gives in (
        (("/health",), cluster.health, "How this node is", {200: cluster.Health, 503: cluster.Health}),
        (("/livez", "/healthz", "/health/live"), cluster.live, "Liveness", {200: cluster.Probe}),
        (
            ("/readyz", "/startupz", "/health/ready"),
            cluster.ready,
            "Readiness: the store answers",
            {200: cluster.Probe, 503: cluster.Probe},
        ),
    )
    for path in paths
)

_OTHERS = (
    Route("GET", "/metrics", cluster.read_metrics, "Metrics for Prometheus", {200: (TEXT, OPENMETRICS)}),
    Route(
        "GET",
        "/problems/{code}",
        cluster.read_problem,
        "What a problem type means",
        {200: TEXT},
        is_open=True,
    ),
)

ROUTES: tuple[Route, ...] = (
    *_TASKS,
    *_DEAD,
    *_WORKFLOWS,
    *_SCHEDULES,
    *_QUEUES,
    *_WORKERS,
    *_JOBS,
    *_PROBES,
    *_OTHERS,
)


class Router:
    """Finds the operations of a path. Fixed paths, the hot ones among them, cost one look-up."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self.fixed: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        patterns: dict[str, dict[str, Route]] = {}
        for route in routes:
            group = patterns if "{" in route.path else self.fixed
            methods = group.setdefault(route.path, {})
            methods[route.method] = route
            if route.method == "GET" and route.head:
                methods["HEAD"] = route
        for path, methods in patterns.items():
            self._patterns.append((_pattern(path), methods))

    def find(self, path: str) -> tuple[dict[str, Route], dict[str, str]] | None:
        """The operations by method, and what the pattern captured; `None` if there is no such path."""
        methods = self.fixed.get(path)
        if methods is not None:
            return methods, {}
        for pattern, methods in self._patterns:
            match = pattern.fullmatch(path)
            if match is not None:
                return methods, match.groupdict()
        return None


def _pattern(path: str) -> re.Pattern[str]:
    text = re.sub(r"\{(\w+):path\}", r"(?P<\1>.+)", path)
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", text))
