"""The task that is running, as its handler sees it."""

import logging
import sys
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar, overload

import msgspec

from mainspring.core.model import SECOND_US, Lease
from mainspring.core.progress import STREAMS
from mainspring.errors import InvalidInput, TooLarge
from mainspring.sdk.journal import Parents, Source, Steps
from mainspring.sdk.transactions import Entry, Within, check_in_transaction
from mainspring.wire.payloads import encode_payload

T = TypeVar("T")

CHECKPOINT_BYTES = 1024 * 1024
_log = logging.getLogger("mainspring.task")
_formatter = logging.Formatter("%(message)s")
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


class Recorder(Source, Protocol):
    """Where a context writes to, and asks: its worker."""

    def record(self, *, checkpoint: bytes | None = None, progress: bytes | None = None) -> None:
        """Send it on soon, and in any case before the run's outcome. May be called from any thread."""
        ...

    def log(self, stream: str, text: str) -> None:
        """Add to the task's log, soon. May be called from any thread; never blocks."""
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
        self._steps: Steps | None = None
        self._parents: Parents | None = None

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
    def fire_at(self) -> datetime | None:
        """The nominal time of the schedule's fire that made this task, however late it runs; `None` for a
        task that no schedule made."""
        fire_us = self._lease.fire_at_us
        return None if fire_us is None else datetime.fromtimestamp(fire_us / SECOND_US, UTC)

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
        """A logger for the task. Its lines from `info` on go to the task's own log, where they can be
        followed live, and to the worker's, with the task's id, kind and attempt.

        Never blocks. Of a log that grows too fast, or over 1 MiB, the oldest is left out, and it shows.
        """
        if self._log is None:
            tags = {"task": self.task, "kind": self.kind, "attempt": self.attempt}
            self._log = _TaskLog(_log, tags, self._recorder.log)
        return self._log

    def write(self, text: str, stream: str = "stdout") -> None:
        """Add text to the task's log as it is, as what another program says. Never blocks.

        Raises `InvalidInput` for a `stream` other than stdout, stderr and the names of log levels.
        """
        if stream not in STREAMS:
            raise InvalidInput("stream", f"not a stream: {stream!r}", ", ".join(STREAMS))
        self._recorder.log(stream, text)

    @property
    def parents(self) -> Parents:
        """How the tasks that this one depends on have ended, by name or id. In a coroutine to be awaited.

        Raises `TooLarge` if their results are over 16 MiB together, and `LeaseLost`.
        """
        if self._parents is None:
            self._parents = Parents(self._recorder)
        return self._parents.load()

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

    @property
    def complete_in(self) -> Within[[Any], None]:
        """End this run well in a transaction of your own on the scheduler's database, so that what it has
        written there and its success are one: `ctx.complete_in(connection, result)`, or `await
        ctx.complete_in.aio(connection, result)`. Return soon after the commit; what you return is not used.

        Raises `LeaseLost` if the task is somebody else's by now, or has ended: then the transaction cannot
        commit. On PostgreSQL that may show at the commit only, as an error of the connection's library.
        Raises `InvalidInput` for a connection that is of no use or in no transaction, and for a result that
        JSON cannot hold; `TooLarge` for one over 1 MiB; and what the connection's library raises.
        """
        return Within(self._completion, check_in_transaction)

    def _completion(self, result: Any = None, /) -> tuple[Entry, None]:
        text = encode_payload(result, "result").decode()
        return Entry("completions", {"task": self.task, "token": self.fence, "result": text}, "result"), None

    @overload
    def step(self, name: str, function: Callable[[], Awaitable[T]]) -> Awaitable[T]: ...

    @overload
    def step(self, name: str, function: Callable[[], T]) -> T: ...

    def step(self, name: str, function: Callable[[], Any]) -> Any:
        """Run `function` once in the task's life: a later run gets the recorded result instead.

        In a coroutine it has to be awaited, and `function` may be a coroutine function. When it returns, the
        result is durably recorded; a crash before that runs the step again. What it returns is the result as
        JSON gives it back, the first time too. A step that raises is not recorded.

        Raises `InvalidInput` for a name that was used in this run before, or is over 200 characters;
        `TooLarge` for a result over 256 KiB, more than 1,000 steps, or 8 MiB of results in all; `LeaseLost`
        when the task is somebody else's by now: let it pass; what msgspec raises for a value that JSON
        cannot hold.
        """
        if self._steps is None:
            self._steps = Steps(self._recorder)
        return self._steps.run(name, function)


class _TaskLog(logging.LoggerAdapter[logging.Logger]):
    """Adds the task's tags to what the caller passes as `extra`, instead of replacing it; and tells the
    task's own log, whatever level the worker's has."""

    def __init__(
        self, logger: logging.Logger, tags: dict[str, Any], write: Callable[[str, str], None]
    ) -> None:
        super().__init__(logger, tags)
        self._write = write

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        if level >= logging.INFO or self.isEnabledFor(level):
            self._write(_stream(level), _line(level, msg, args, kwargs.get("exc_info")) + "\n")
        # One frame further up is the caller, for the worker's log.
        super().log(level, msg, *args, **{**kwargs, "stacklevel": kwargs.get("stacklevel", 1) + 1})

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


def _stream(level: int) -> str:
    for least in (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO):
        if level >= least:
            return logging.getLevelName(least).lower()
    return "debug"


def _line(level: int, msg: object, args: tuple[object, ...], exc_info: Any) -> str:
    """As the standard library would write it; what it cannot format is shown raw."""
    if isinstance(exc_info, BaseException):
        exc_info = type(exc_info), exc_info, exc_info.__traceback__
    elif exc_info and not isinstance(exc_info, tuple):
        exc_info = sys.exc_info()
    try:
        return _formatter.format(logging.LogRecord("", level, "", 0, msg, args, exc_info or None))
    except Exception:
        return f"{msg!r} {args!r}"


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
