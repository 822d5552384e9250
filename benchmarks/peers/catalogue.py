"""Classes of stores, who competes in them, the workloads, and what is aimed at."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers import servers
from benchmarks.peers.servers import Place

OURS = "mainspring"


@dataclass(frozen=True)
class Participant:
    """A peer with its results kept or dropped. `chooses`: it can do either, and runs both ways where that
    makes a difference."""

    peer: str
    kept: bool

    @property
    def name(self) -> str:
        return self.peer + (", results kept" if self.kept else "")


@dataclass(frozen=True)
class Class:
    """A kind of store, with its durability. `leaves_out`: workloads that would tell nothing new here.
    `fill_s`: how long a peer may take to fill a queue with a million; one that would not get there in that
    time gets a few seconds."""

    name: str
    title: str
    place: Callable[[Path], contextlib.AbstractContextManager[Place]]
    peers: Sequence[str]
    chooses: frozenset[str] = frozenset()
    leaves_out: frozenset[str] = frozenset()
    fill_s: float = 40.0

    def participants(self, both: bool) -> list[Participant]:
        """Ours first. `both`: each peer that can choose, with and without results."""
        found = [Participant(OURS, False)]
        for peer in self.peers:
            found.append(Participant(peer, False))
            if both and peer in self.chooses:
                found.append(Participant(peer, True))
        return found


_REDIS = ("celery", "rq", "dramatiq", "huey", "arq", "taskiq", "taskiq-stream", "saq", "streaq")

CLASSES = {
    at.name: at
    for at in (
        Class(
            "sqlite",
            "SQLite",
            servers.sqlite,
            ("huey",),
            frozenset({"huey"}),
            frozenset({"million"}),
        ),
        Class(
            "postgres",
            "PostgreSQL",
            servers.postgres,
            ("procrastinate", "pgqueuer"),
            frozenset({"procrastinate"}),
            fill_s=150.0,
        ),
        Class(
            "redis",
            "Redis, appendfsync everysec",
            partial(servers.redis, appendfsync="everysec"),
            _REDIS,
            frozenset(_REDIS),
        ),
        Class(
            "redis-always",
            "Redis, appendfsync always",
            partial(servers.redis, appendfsync="always"),
            _REDIS,
            frozenset(_REDIS),
            frozenset({"drain2", "million", "recovery"}),
        ),
    )
}


@dataclass(frozen=True)
class Workload:
    """`probe` is a function of `workloads`. `both`: with results kept and dropped. `after`: only those peers
    take part that were the fastest in that workload of the same round, with results and without."""

    name: str
    probe: str
    params: Mapping[str, Any]
    both: bool = False
    after: str = ""
    limit_s: float = 90.0

    def params_for(self, at: Class, who: Participant) -> Mapping[str, Any]:
        """A peer may be too slow to fill its queue; ours has to be measured as long as is said."""
        if "fill" not in self.params:
            return self.params
        limit_s, slow_s = self.params["fill"]
        fill = (self.limit_s, self.limit_s) if who.peer == OURS else (min(limit_s, at.fill_s), slow_s)
        return {**self.params, "fill": fill}


def workloads(quick: bool) -> list[Workload]:
    seconds, tasks = (0.7, 4_000) if quick else (1.2, 20_000)
    watched = {"count": tasks, "seconds": 3 * seconds}
    drain = {**watched, "waiting": tasks, "fill": (4 * seconds, 2 * seconds)}
    million = {
        **watched,
        "waiting": 100_000 if quick else 1_000_000,
        "workers": 1,
        "fill": (10.0, 2.0) if quick else (300.0, 6.0),
    }
    return [
        Workload("submits", "submits", {"seconds": seconds, "bulk": tasks}),
        Workload("drain", "drain", {**drain, "workers": 1}, both=True),
        Workload("drain2", "drain", {**drain, "workers": 2}, both=True, after="drain"),
        Workload("latency", "latency", {"rate": 200, "count": 200 if quick else 600}),
        Workload("million", "drain", million, limit_s=300.0),
    ]


RECOVERY = Workload("recovery", "recovery", {"watch_s": 90.0}, limit_s=240.0)


@dataclass(frozen=True)
class Line:
    """One line of a class's table: a value of a workload, ours beside the fastest peer's.

    `among` picks the peers: with results kept, without, or whatever they are best in. `aims` hold, by class,
    what our value divided by theirs is to be at least (at most, where `less` is better)."""

    title: str
    workload: str
    key: str
    unit: str
    aims: Mapping[str, float] = field(default_factory=dict)
    less: bool = False
    among: str = "dropped"

    @property
    def is_speed(self) -> bool:
        """And not what is used up, or how far a queue was filled."""
        return self.unit in ("/s", "s")


_REDIS_DRAIN = {"redis": (3.0, 5.0), "redis-always": (3.0, 5.0)}
_DROPPED = {name: aims[0] for name, aims in _REDIS_DRAIN.items()}
_KEPT = {name: aims[1] for name, aims in _REDIS_DRAIN.items()}
_BOTH_REDIS = ("redis", "redis-always")

LINES = (
    Line("sequential submit", "submits", "sequential", "/s", dict.fromkeys(_BOTH_REDIS, 0.8)),
    Line(
        "100 concurrent submits",
        "submits",
        "concurrent",
        "/s",
        {"postgres": 4.0, **dict.fromkeys(_BOTH_REDIS, 3.0)},
    ),
    Line("bulk submit", "submits", "bulk", "/s", {"postgres": 1.3, **dict.fromkeys(_BOTH_REDIS, 4.0)}),
    Line("drain, one worker", "drain", "rate", "/s", {"postgres": 1.3, **_DROPPED}),
    Line("drain, one worker; theirs keep results", "drain", "rate", "/s", _KEPT, among="kept"),
    Line("drain, two workers", "drain2", "rate", "/s", {"postgres": 1.3, **_DROPPED}),
    Line("drain, two workers; theirs keep results", "drain2", "rate", "/s", _KEPT, among="kept"),
    Line("drain with a million waiting", "million", "rate", "/s", {"postgres": 3.0}),
    Line("of a million were waiting", "million", "filled", ""),
    Line("submit to start at 200/s, p50", "latency", "p50", "s", dict.fromkeys(CLASSES, 1.2), less=True),
    Line("submit to start at 200/s, p99", "latency", "p99", "s", dict.fromkeys(CLASSES, 1.2), less=True),
    Line("worker's memory at rest", "latency", "rest_mb", "MB", less=True),
    Line("worker's memory, at most", "drain", "loaded_mb", "MB", less=True),
    Line("store's memory per waiting task", "drain", "bytes_per_task", "B", less=True),
)
RECOVERY_AIM_S = 16.0

# Why we are behind where we are, by what a class begins with and the line; told only where it is so.
REASONS = {
    ("", "worker's memory"): "A worker straight on the store is a whole node: scheduler, services, driver.",
    ("redis", "sequential submit"): (
        "More than half of one call is a script that puts a record into all its indexes; theirs pushes a"
        " message to a list by one command."
    ),
    ("redis", "submit to start"): (
        "A submit, its hint and a claim are two scripts, and wake four processes; a blocking pop of a list is"
        " one command, and wakes two."
    ),
    ("redis", "store's memory"): "A task is a whole record with its place in every index, not a message.",
    ("redis", "drain"): "The server's one thread runs all that decides: more workers do not make it faster.",
    ("postgres", "submit to start"): "A submit, its hint and a claim are two durable commits and a call.",
    ("postgres", "drain"): (
        "A claim and an end are each a new version of a row that stands in several lists, and the record"
        " stays with its result: worker and server take all of two cores. Theirs moves the row to a log"
        " without one."
    ),
}


def reason(at: Class, line: Line) -> str:
    """Empty if none is known."""
    fitting = [
        why
        for (store, title), why in REASONS.items()
        if at.name.startswith(store) and line.title.startswith(title)
    ]
    return fitting[0] if fitting else ""
