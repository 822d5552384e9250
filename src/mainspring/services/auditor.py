"""The leader looks the store's own laws up, a slice at a time, for as long as it leads.

A breach is told once, as an event and by the metric `audit_violations`; it is told anew if it was gone for a
sweep. Nothing is mended here: what breaks a law is a bug or a damaged disk, and a person should know first.
"""

import logging
from collections import Counter

from mainspring.core.laws import LAWS
from mainspring.ports import Clock, Elector, Store
from mainspring.telemetry import Sink
from mainspring.verbs.audit import Finding

# A node at rest asks its store less than five questions a second: this one has to be rare.
INTERVAL_S = 10.0
# A slice may take this long of a thread that others read by.
AIM_S = 0.01
ROWS_LEAST, ROWS_MOST = 200, 4_000
EVENTS_A_SWEEP = 10
REMEMBERED = 10_000

_log = logging.getLogger(__name__)


class Auditor:
    """The leader's work; two at once tell the same twice, and do no harm."""

    name = "auditor"

    def __init__(self, store: Store, elector: Elector, clock: Clock, sink: Sink) -> None:
        self._store = store
        self._elector = elector
        self._clock = clock
        self._sink = sink
        self._cursor: str | None = None
        self._rows = ROWS_LEAST
        self._known: set[object] = set()
        self._seen: set[object] = set()
        self._told: Counter[str] = Counter()
        for law in LAWS:
            # A series that begins with its first breach shows no increase.
            sink.count("audit_violations", law, by=0)

    async def tick(self) -> float:
        if not self._elector.leads():
            self._cursor = None
            return INTERVAL_S
        started_s = self._clock.monotonic()
        audit = await self._store.audit(self._cursor, self._rows)
        self._pace(self._clock.monotonic() - started_s, audit.looked)
        for finding in audit.findings:
            self._tell(finding)
        self._cursor = audit.cursor
        if self._cursor is None:
            self._begin_anew()
        return INTERVAL_S

    def _pace(self, took_s: float, looked: int) -> None:
        """Slices of the size that just fits; those at the end of a sweep say nothing about it."""
        if took_s > AIM_S:
            self._rows = max(ROWS_LEAST, self._rows // 2)
        elif looked >= self._rows and took_s < AIM_S / 2:
            self._rows = min(ROWS_MOST, self._rows * 2)

    def _begin_anew(self) -> None:
        self._sink.count("audit_sweeps")
        self._known, self._seen = self._seen, set()
        self._told.clear()

    def _tell(self, finding: Finding) -> None:
        name = (finding.law, finding.key)
        is_news = name not in self._known and name not in self._seen
        if len(self._seen) < REMEMBERED:
            self._seen.add(name)
        if not is_news:
            return
        self._sink.count("audit_violations", finding.law)
        self._told[finding.law] += 1
        if self._told[finding.law] <= EVENTS_A_SWEEP:
            level = logging.ERROR if LAWS[finding.law].grave else logging.WARNING
            fields = {"law": finding.law, "subject": finding.subject, "detail": finding.detail}
            _log.log(level, "a law of the store is broken: mainspring doctor mends it", extra=fields)
