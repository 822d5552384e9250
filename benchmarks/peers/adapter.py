"""What a probe needs of a peer: to submit, to work, and to say what its own record still holds as undone.

Adapters run in their peer's own environment: here and in `tally`, `wire` and `workloads` nothing is imported
but the standard library.
"""

from abc import ABC, abstractmethod
from typing import Any

CALLERS = 100


class Adapter(ABC):
    """One peer over one store. `kept` says whether results are kept, where the peer can choose.

    `native` names the handlers' kind, `kept_means` and `record` what the report tells about results and about
    what a probe waits for after the last handler has run. `settings` names everything that differs from the
    peer's defaults; the recovery probe runs with the defaults (`work(defaults=True)`).
    """

    native = "async def"
    settings: str
    kept_means = "kept or dropped"
    record: str
    bulk = "one call per task: no bulk submit"

    def __init__(self, url: str, kept: bool) -> None:
        self.url = url
        self.kept = kept

    def about(self) -> dict[str, str]:
        """What the report tells of the peer."""
        return {
            "handlers": self.native,
            "settings": self.settings,
            "results": self.kept_means,
            "record": self.record,
            "bulk": self.bulk,
        }

    async def prepare(self) -> None:
        """Once per store, before anything else: tables and the like."""
        return

    async def open(self) -> None:
        """Connect as a submitter."""
        return

    async def rest(self) -> None:
        """Nothing more will be submitted: `left` is all that will be asked."""
        return

    async def close(self) -> None:
        """Disconnect."""
        return

    @abstractmethod
    def submit(self, task: str, *arguments: Any) -> Any:
        """Submit one task; durable, as far as the server is, on return. A coroutine where that is native."""

    @abstractmethod
    async def submit_bulk(self, count: int) -> None:
        """Submit `count` no-ops by the fastest documented way."""

    @abstractmethod
    async def left(self) -> int:
        """Submitted tasks that the peer's own record does not yet hold as done."""

    @abstractmethod
    def work(self, defaults: bool) -> None:
        """Be a worker, in this process, until it is killed. Calls `tally.wait_at_gate` before it starts."""
