"""The task that is running, as its handler sees it."""

import logging
import threading
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from mainspring.core.model import SECOND_US, Lease
from mainspring.errors import InvalidInput, TooLarge

CHECKPOINT_BYTES = 1024 * 1024
_log = logging.getLogger("mainspring.task")
_decode = msgspec.json.Decoder().decode
_labels = msgspec.json.Decoder(dict[str, str]).decode


class Cancellation:
    """Says that the run should end early, and why. Set once or more; never unset.

    `reason` is `soft_timeout`, `timeout`, `deadline`, `cancel`, `drain` or `lost`; the latest counts.
    A coroutine is told by exceptions as well; code on a thread has to look here.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._event = threading.Event()
        self._calls: list[Callable[[str], None]] = []

    def __bool__(self) -> bool:
        return self.reason is not None

    def is_set(self) -> bool:
        return self.reason is not None

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block this thread until cancelled, or for `timeout_s`; whether it is cancelled."""
        return self._event.wait(timeout_s)

    def on_set(self, call: Callable[[str], None]) -> None:
        """Call `call(reason)`, from another thread, whenever a reason is named. Must not block."""
        self._calls.append(call)
        if self.reason is not None:
            call(self.reason)

    def set(self, reason: str) -> None:
        """For the worker: name the reason."""
        self.reason = reason
        self._event.set()
        for call in list(self._calls):
            call(reason)


class Recorder(Protocol):
    """Where a context writes to: its worker."""

    def record(self, *, checkpoint: bytes | None = None, progress: bytes | None = None) -> None:
        """Send it on soon, and in any case before the run's outcome. May be called from any thread."""
        ...

    def remaining_s(self) -> float | None: ...


class Context:
    """One run of one task.

    `fence` rises with every run of the task, wherever it happens: hand it to a database or a file store to
    refuse writes of an earlier run that is still winding down somewhere.
    """

    def __init__(self, lease: Lease, cancelled: Cancellation, recorder: Recorder) -> None:
        self.cancelled = cancelled
        self._lease = lease
        self._recorder = recorder
        self._log: logging.LoggerAdapter[logging.Logger] | None = None

    @property
    def task(self) -> str:
        return self._lease.task

    @property
    def kind(self) -> str:
        return self._lease.lane.kind

    @property
    def queue(self) -> str:
        return self._lease.lane.queue

    @property
    def attempt(self) -> int:
        """1 for the first run."""
        return self._lease.attempt

    @property
    def fence(self) -> int:
        return self._lease.token

    @property
    def payload(self) -> Any:
        """The task's payload, decoded anew by each reading."""
        return _decode(self._lease.payload)

    @property
    def raw_payload(self) -> bytes:
        """The payload's JSON text."""
        return self._lease.payload

    @property
    def labels(self) -> dict[str, str]:
        return _labels(self._lease.labels) if self._lease.labels else {}

    @property
    def deadline(self) -> datetime | None:
        """The time by which the submitter wants the task done, if there is one."""
        due_us = self._lease.deadline_us
        return None if due_us is None else datetime.fromtimestamp(due_us / SECOND_US, UTC)

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the timeout or the deadline, whichever is first; `None` without either."""
        return self._recorder.remaining_s()

    @property
    def saved(self) -> Any:
        """What an earlier run of this task gave to `checkpoint`, or `None`."""
        return _decode(self._lease.checkpoint) if self._lease.checkpoint else None

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines carry the task's id, kind and attempt."""
        if self._log is None:
            tags = {"task": self.task, "kind": self.kind, "attempt": self.attempt}
            self._log = _TaskLog(_log, tags)
        return self._log

    def checkpoint(self, state: Any) -> None:
        """Keep `state` (anything JSON) for a later run of this task, which finds it as `saved`.

        Returns at once; what was given last is stored before the run's outcome is. Raises `TooLarge` over
        1 MiB, and what msgspec raises for a value that JSON cannot hold.
        """
        encoded = msgspec.json.encode(state)
        if len(encoded) > CHECKPOINT_BYTES:
            raise TooLarge("state", f"has {len(encoded)} bytes", f"at most {CHECKPOINT_BYTES} bytes")
        self._recorder.record(checkpoint=encoded)

    def progress(self, fraction: float, message: str = "") -> None:
        """Show how far the run is: `fraction` from 0 to 1. Raises `InvalidInput` outside of that."""
        if not 0.0 <= fraction <= 1.0:
            raise InvalidInput("fraction", f"out of range: {fraction}", "0 to 1")
        self._recorder.record(progress=msgspec.json.encode({"fraction": fraction, "message": message}))


class _TaskLog(logging.LoggerAdapter[logging.Logger]):
    """Adds the task's tags to what the caller passes as `extra`, instead of replacing it."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


class Bearer(Protocol):
    """A run. It makes its context only when somebody asks, for most handlers never do."""

    def context(self) -> Context: ...


running: ContextVar[Bearer | None] = ContextVar("mainspring_running", default=None)


def current() -> Context:
    """The context of the task whose handler is running. Raises `LookupError` outside of a handler."""
    bearer = running.get()
    if bearer is None:
        raise LookupError("no task is running here")
    return bearer.context()
