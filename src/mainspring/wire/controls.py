"""Queues, limits, workers and the cluster, as shown and as set."""

from collections.abc import Mapping, Sequence

import msgspec

from mainspring.core.limits import FAMILIES, LimitRule, LimitState
from mainspring.core.model import SECOND_US, State
from mainspring.errors import InvalidInput
from mainspring.ports import BoardView, Stats, WorkerInfo
from mainspring.wire import fields
from mainspring.wire.strict import Shape

LIMIT_NAME_ACCEPTED = "FAMILY:NAME or FAMILY:*, where FAMILY is " + ", ".join(FAMILIES)
HIGHEST = 1_000_000_000


class LimitIn(msgspec.Struct, forbid_unknown_fields=True):
    """A limit. `rate` tasks may start per `per` seconds, `burst` of them at once."""

    max_running: int | None = None
    rate: int | None = None
    per: int | float | str = 1.0
    burst: int | None = None
    max_waiting: int | None = None


class LimitView(msgspec.Struct):
    name: str
    max_running: int | None
    rate: int | None
    per: float
    burst: int | None
    max_waiting: int | None
    running: int


class QueueView(msgspec.Struct):
    """A queue with how many of its tasks are in each state."""

    name: str
    paused: bool
    paused_by: str | None
    counts: dict[str, int]
    limit: LimitView | None


class PauseIn(msgspec.Struct, forbid_unknown_fields=True):
    by: str = ""


class WeightIn(msgspec.Struct, forbid_unknown_fields=True):
    weight: float


class WorkerView(msgspec.Struct):
    """A worker as it last reported itself, `age` seconds ago."""

    worker: str
    incarnation: str
    node: str
    kinds: tuple[str, ...]
    queues: tuple[str, ...]
    slots: int
    running: int
    draining: bool
    version: str
    age: float


class ClusterView(msgspec.Struct):
    """This node, and who leads as far as it knows; no leader while nobody has been elected."""

    node_id: str
    is_leader: bool
    leader_id: str | None
    term: int
    version: str
    role: str
    store: str
    durability: str


class StatsView(msgspec.Struct):
    """How many tasks are in each state: over all, and by queue."""

    tasks: dict[str, int]
    queues: dict[str, dict[str, int]]
    total: int


LIMIT = Shape(LimitIn)
PAUSE = Shape(PauseIn)
WEIGHT = Shape(WeightIn)


def limit_name(text: str) -> str:
    """`queue:emails`, `key:*` ... Raises `InvalidInput`."""
    family, _, rest = text.partition(":")
    if family not in FAMILIES or not rest:
        raise InvalidInput("name", f"not a limit's name: {text[:40]!r}", LIMIT_NAME_ACCEPTED)
    return text if rest == "*" else f"{family}:{fields.key(rest, 'name')}"


def limit_rule(name: str, body: bytes) -> LimitRule:
    """Raises `InvalidInput`, for a limit that limits nothing too."""
    given = LIMIT.read(body)
    per_s = fields.duration_us(given.per, "per") / SECOND_US
    if per_s <= 0:
        raise InvalidInput("per", "is zero", "more than 0 seconds")
    if given.max_running is None and given.rate is None and given.max_waiting is None:
        raise InvalidInput("body", "limits nothing", "at least one of max_running, rate, max_waiting")
    if given.max_waiting is not None and not name.startswith("queue:"):
        raise InvalidInput(
            "max_waiting", f"{name} has no backlog of its own", "for queue:NAME and queue:* only"
        )
    if given.burst is not None and given.rate is None:
        raise InvalidInput("burst", "given without rate", "rate and burst, or neither")
    return LimitRule(
        _count(given.max_running, "max_running", 0),
        _count(given.rate, "rate", 1),
        per_s,
        _count(given.burst, "burst", 1),
        _count(given.max_waiting, "max_waiting", 0),
    )


def _count(value: int | None, field: str, least: int) -> int | None:
    return None if value is None else fields.whole(value, field, least, HIGHEST)


def weight(body: bytes) -> float:
    return fields.real(WEIGHT.read(body).weight, "weight", 0.001, 1_000_000.0)


def limit_view(name: str, rule: LimitRule, usage: Mapping[str, LimitState]) -> LimitView:
    running = usage[name].running if name in usage else 0
    return LimitView(name, rule.max_running, rule.rate, rule.per_s, rule.burst, rule.max_waiting, running)


def queue_views(stats: Stats, board: BoardView) -> list[QueueView]:
    """Every queue that has a task, a pause or a limit."""
    counts = _by_queue(stats)
    limited = {name.removeprefix("queue:") for name in board.rules if name.startswith("queue:")} - {"*"}
    return [
        queue_view(queue, counts.get(queue, {}), board)
        for queue in sorted(set(counts) | set(board.paused) | limited)
    ]


def queue_view(queue: str, counts: Mapping[str, int], board: BoardView) -> QueueView:
    rule = board.rules.get(f"queue:{queue}")
    return QueueView(
        queue,
        queue in board.paused,
        board.paused.get(queue),
        {state.label: counts.get(state.label, 0) for state in State},
        None if rule is None else limit_view(f"queue:{queue}", rule, board.usage),
    )


def stats_view(stats: Stats) -> StatsView:
    totals = {state.label: 0 for state in State}
    for (_, state), count in stats.counts.items():
        totals[state.label] += count
    return StatsView(totals, _by_queue(stats), sum(totals.values()))


def _by_queue(stats: Stats) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for (queue, state), count in sorted(stats.counts.items()):
        if count:
            counts.setdefault(queue, {})[state.label] = count
    return counts


def worker_views(workers: Sequence[WorkerInfo]) -> list[WorkerView]:
    return [
        WorkerView(
            info.worker,
            info.incarnation,
            info.node,
            info.kinds,
            info.queues,
            info.slots,
            info.running,
            info.draining,
            info.version,
            info.age_us / SECOND_US,
        )
        for info in sorted(workers, key=lambda info: info.worker)
    ]
