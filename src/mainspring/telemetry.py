"""What a node tells about itself: events become logs, counts become metrics.

    scheduler, services, api ──count, observe──► Sink ─┬─ Metrics ──expose──► Prometheus
                                                       └─ SILENT
    logging.getLogger("mainspring....") ──► JSON lines, or plain ones on a terminal

The core knows nothing of this. Whoever reports names a family of `FAMILIES`: names are declared once, so
that a misspelt one fails its first test, and every label is bounded, so that ten thousand queues do not
become ten thousand series.
"""

import json
import logging
import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TextIO

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

PREFIX = "mainspring_"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
LABEL_SETS = 200
OTHER = "(other)"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LONG_SECONDS = (0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)
_ROWS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0)


class Family(NamedTuple):
    """One metric: a counter, or a histogram if it has buckets."""

    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


FAMILIES: Mapping[str, Family] = {
    "tasks_submitted": Family("Tasks that submitters handed in, by what became of them", ("outcome",)),
    "tasks_claimed": Family("Tasks leased to workers"),
    "tasks_settled": Family("Reports of finished runs, by outcome", ("outcome",)),
    "reports_refused": Family("Reports that came after the lease was lost, or a second time", ("answer",)),
    "task_run_seconds": Family("How long runs took, by outcome", ("outcome",), _LONG_SECONDS),
    "schedule_fires": Family("Tasks that schedules made"),
    "schedule_skips": Family("Fire times of schedules that became no task, by reason", ("reason",)),
    "schedules_quarantined": Family("Schedules found that cannot be obeyed"),
    "commit_rows": Family("Rows that shared one durable commit", (), _ROWS),
    "store_call_seconds": Family("How long store calls took, by verb", ("verb",), _SECONDS),
    "store_errors": Family("Store calls that failed, by error code", ("code",)),
    "audit_violations": Family("Breaches of the store's own laws that were found, by law", ("law",)),
    "audit_sweeps": Family("How often all of the store was looked over for such breaches"),
    "http_request_seconds": Family(
        "How long HTTP requests took, by route and status", ("method", "route", "status"), _SECONDS
    ),
}


class Sink(Protocol):
    """Where counts and measurements go. Names are keys of `FAMILIES`; labels stand in its order."""

    def count(self, name: str, *labels: str, by: int = 1) -> None: ...

    def observe(self, name: str, value: float, *labels: str) -> None: ...


class _Silent:
    def count(self, name: str, *labels: str, by: int = 1) -> None:
        pass

    def observe(self, name: str, value: float, *labels: str) -> None:
        pass


SILENT: Sink = _Silent()


class _Histogram:
    __slots__ = ("counts", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * (buckets + 1)
        self.total = 0.0


class Metrics:
    """Counts in plain dictionaries of this process; Prometheus' text is made when it is asked for."""

    def __init__(self) -> None:
        self._counters: dict[str, dict[tuple[str, ...], int]] = {name: {} for name in FAMILIES}
        self._histograms: dict[str, dict[tuple[str, ...], _Histogram]] = {name: {} for name in FAMILIES}

    def count(self, name: str, *labels: str, by: int = 1) -> None:
        series = self._counters[name]
        if labels not in series and len(series) >= LABEL_SETS:
            labels = (OTHER,) * len(labels)
        series[labels] = series.get(labels, 0) + by

    def observe(self, name: str, value: float, *labels: str) -> None:
        series = self._histograms[name]
        histogram = series.get(labels)
        if histogram is None:
            if len(series) >= LABEL_SETS:
                labels = (OTHER,) * len(labels)
            histogram = series.setdefault(labels, _Histogram(len(FAMILIES[name].buckets)))
        histogram.counts[bisect_left(FAMILIES[name].buckets, value)] += 1
        histogram.total += value

    def expose(self, accept: str, gauges: Iterable["Metric"] = ()) -> tuple[bytes, str]:
        """The text and its content type: OpenMetrics if `accept` asks for it, else Prometheus 0.0.4.

        `gauges` are families that the caller read for this very scrape.
        """
        from prometheus_client.exposition import generate_latest as text
        from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
        from prometheus_client.process_collector import ProcessCollector

        def families() -> Iterator["Metric"]:
            yield from self._families()
            yield from gauges
            yield from ProcessCollector(registry=None).collect()

        wanted = {choice.partition(";")[0].strip().lower() for choice in accept.split(",")}
        if "application/openmetrics-text" in wanted:
            return openmetrics(_Collected(families)), OPENMETRICS  # type: ignore[no-untyped-call]
        return text(_Collected(families)), TEXT

    def _families(self) -> Iterator["Metric"]:
        from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily

        for name, (text, labels, buckets) in FAMILIES.items():
            if not buckets:
                counter = CounterMetricFamily(PREFIX + name, text, labels=labels)
                # A counter without labels starts at 0, so that its first increase is seen as one.
                for values, value in (self._counters[name] or ({} if labels else {(): 0})).items():
                    counter.add_metric(values, value)
                yield counter
                continue
            histogram = HistogramMetricFamily(PREFIX + name, text, labels=labels)
            for values, measured in self._histograms[name].items():
                histogram.add_metric(values, _cumulated(buckets, measured.counts), measured.total)
            yield histogram


class _Collected:
    """What prometheus-client's encoders take for a registry."""

    def __init__(self, families: Any) -> None:
        self.collect = families


def _cumulated(buckets: tuple[float, ...], counts: list[int]) -> list[tuple[str, float]]:
    total, rows = 0, []
    for bound, count in zip((*map(str, buckets), "+Inf"), counts, strict=True):
        total += count
        rows.append((bound, float(total)))
    return rows


# --- logs -------------------------------------------------------------------------------------------

# What every record has, and uvicorn's second copy of its message.
_PLAIN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}


def configure_logging(level: str, stream: TextIO | None = None, as_json: bool | None = None) -> None:
    """Send what `mainspring` and `uvicorn` log to `stream` (standard error), one line an event.

    JSON if the stream is no terminal, unless `as_json` says. Fields given as `extra` become members.
    Raises `ValueError` if there is no such level.
    """
    stream = stream or sys.stderr
    if as_json is None:
        as_json = not stream.isatty()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if as_json else PlainFormatter())
    for name in ("mainspring", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level.upper())


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _PLAIN_ATTRIBUTES}


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, event, then the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        members = {
            "time": _time(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)
        return json.dumps(members, default=str, ensure_ascii=False)


class PlainFormatter(logging.Formatter):
    """`12:30:01.123 INFO  scheduler: event field=value`, for people."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        name = record.name.removeprefix("mainspring.")
        clock = f"{_time(record).astimezone():%H:%M:%S.%f}"[:-3]
        line = f"{clock} {record.levelname:<7} {name}: {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line
