"""Where a worker gets its work, when that is not the scheduler in its own process.

    http   a server's worker protocol: long-polls, batches, no store access; over `sdk.connections`

A source is a `ports.TaskSource`. The scheduler is one itself, so the embedded worker needs nothing from here.
"""

from mainspring.worker.sources.http import HttpSource

__all__ = ["HttpSource"]
