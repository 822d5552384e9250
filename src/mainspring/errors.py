"""Every error that Mainspring raises on purpose, as one tree.

    MainspringError
    ├── InvalidInput            a value that the caller sent is not acceptable; names the field
    ├── NotFound                no such task, queue, worker
    │   └── Gone                    there was one, and it has been deleted
    ├── Conflict                the thing exists, but is not in a state that allows this
    │   ├── LeaseLost           the lease named by (task, token) is no longer the caller's
    │   ├── VersionMismatch     somebody else edited the record first
    │   ├── WrongState          for example: retry of a task that runs
    │   └── KeyReused           an idempotency key came back with another body
    ├── Refused                 nothing wrong with the request, but not now
    │   ├── BacklogFull         the queue's backlog cap is reached
    │   └── Overloaded          this node has too much in flight
    ├── NotAllowed
    │   ├── Unauthenticated     no credentials, or wrong ones
    │   └── Forbidden           known, but not entitled
    ├── Unsuccessful            somebody waited for a task's result, and it has none
    │   ├── TaskFailed              it is a dead letter
    │   └── TaskCancelled
    └── StoreError
        ├── StoreUnavailable    the store does not answer; try again
        ├── StoreFull           no space left; nothing was stored
        ├── StoreCorrupt        the file is not a healthy Mainspring database
        ├── StoreTooNew         the database was written by a newer Mainspring
        ├── StoreTooOld         its schema is older than this program, which may not change it
        └── StoreUnfinished     a copy from another store fills it, or broke off while it did

A `code` is part of the public interface: it never changes once released. Doors translate codes
(HTTP status, gRPC status, exit code); no error knows which door it will leave through.
"""

from collections.abc import Mapping
from typing import Any


class MainspringError(Exception):
    """Root of the tree. `code` is stable; `detail` is one sentence for a person."""

    code = "internal_error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidInput(MainspringError):
    """`field` is a path such as `tasks[3].priority`; `accepted` says what would have been right."""

    code = "invalid_input"

    def __init__(self, field: str, detail: str, accepted: str = "") -> None:
        super().__init__(f"{field}: {detail}" + (f"; accepted: {accepted}" if accepted else ""))
        self.field = field
        self.problem = detail
        self.accepted = accepted

    def __reduce__(self) -> tuple[type["InvalidInput"], tuple[str, str, str]]:
        return type(self), (self.field, self.problem, self.accepted)

    def under(self, prefix: str) -> "InvalidInput":
        """The same complaint, one level further out: `priority` becomes `tasks[3].priority`."""
        return type(self)(f"{prefix}.{self.field}" if self.field else prefix, self.problem, self.accepted)


class TooLarge(InvalidInput):
    """The input is over a size limit (HTTP 413)."""

    code = "too_large"


class NotFound(MainspringError):
    code = "not_found"


class Gone(NotFound):
    code = "gone"


class Conflict(MainspringError):
    code = "conflict"


class LeaseLost(Conflict):
    code = "lease_lost"


class VersionMismatch(Conflict):
    code = "version_mismatch"


class WrongState(Conflict):
    code = "wrong_state"


class KeyReused(Conflict):
    code = "idempotency_key_reused"


class Refused(MainspringError):
    """`retry_after_s` is a whole number of seconds, for the caller's next try."""

    code = "refused"

    def __init__(self, detail: str, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class BacklogFull(Refused):
    code = "backlog_full"


class Overloaded(Refused):
    code = "overloaded"


class NotAllowed(MainspringError):
    code = "not_allowed"


class Unauthenticated(NotAllowed):
    code = "unauthenticated"


class Forbidden(NotAllowed):
    code = "forbidden"


class Unsuccessful(MainspringError):
    """`task` is its id; `error` is what its last run left behind: `type`, `message`, often `place` and
    `traceback`; empty if there was nothing to record."""

    code = "unsuccessful"

    def __init__(self, detail: str, task: str = "", error: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.task = task
        self.error = error or {}

    def __reduce__(self) -> tuple[type["Unsuccessful"], tuple[str, str, Mapping[str, Any]]]:
        return type(self), (self.detail, self.task, self.error)


class TaskFailed(Unsuccessful):
    code = "task_failed"


class TaskCancelled(Unsuccessful):
    code = "task_cancelled"


class StoreError(MainspringError):
    code = "store_error"


class StoreUnavailable(StoreError):
    code = "store_unavailable"


class StoreFull(StoreError):
    code = "store_full"


class StoreCorrupt(StoreError):
    code = "store_corrupt"


class StoreTooNew(StoreError):
    code = "store_too_new"


class StoreTooOld(StoreError):
    code = "store_too_old"


class StoreUnfinished(StoreError):
    code = "store_unfinished"
