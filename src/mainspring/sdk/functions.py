"""Functions that are tasks, and the decorator that makes them so."""

import functools
from collections.abc import Callable, Coroutine, Iterable
from typing import (
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    TypeVar,
    Unpack,
    get_type_hints,
    overload,
)

import msgspec

from mainspring.core.model import PRIORITY_DEFAULT
from mainspring.sdk.blocking import Blocking, Home, blocking
from mainspring.sdk.calls import TaskCall
from mainspring.sdk.context import Context
from mainspring.sdk.handlers import Handler, Isolation
from mainspring.sdk.handles import TaskHandle
from mainspring.sdk.options import Plan, TaskOptions
from mainspring.sdk.schedules import ScheduleHandle, When
from mainspring.sdk.submitting import Submitter
from mainspring.sdk.transactions import Entry, Within
from mainspring.wire.payloads import encode_payload

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])
_plain = msgspec.json.Decoder().decode


class TaskFunction(Generic[P, R, F]):
    """A function that is also a task. Called, it is the function it was: nothing is submitted.

    `P` are the parameters that a submitter fills in, `R` is what the task results in, `F` the function.
    """

    def __init__(self, submitter: Submitter, function: F, handler: Handler, plan: Plan | None = None) -> None:
        functools.update_wrapper(self, function)
        self.handler = handler
        self._submitter = submitter
        self._function = function
        self._plan = plan

    @property
    def kind(self) -> str:
        """The kind under which tasks for this function are submitted."""
        return self.handler.kind

    @property
    def home(self) -> Home:
        return self._submitter.home

    @property
    def __call__(self) -> F:
        return self._function

    def __repr__(self) -> str:
        return f"<task {self.kind}>"

    def bind(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskCall[R]:
        """The call as a value, to be submitted with others. Raises `TypeError` as the call itself would, and
        `InvalidInput` for what JSON cannot hold."""
        payload = encode_payload(self.handler.payload(args, kwargs), self.kind)
        return TaskCall(self.kind, payload, self._planned, self._decode)

    @property
    def submit(self) -> Blocking[P, TaskHandle[R]]:
        """Have a worker call the function with these arguments. Durable on return.

        Raises as `bind` does; `InvalidInput` for bad options; `BacklogFull` if the queue is; and
        `StoreUnavailable` if nothing answers in time, when the task may or may not be stored.
        """
        return Blocking(self._submit, self)

    def _submit(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, TaskHandle[R]]:
        return self._submitter.submit_call(self.bind(*args, **kwargs))

    @property
    def submit_in(self) -> Within[P, TaskHandle[R]]:
        """As `submit`, on a connection of the caller's and in its transaction: `send.submit_in(connection,
        "ada")`. The task is there once that has committed, and runs a moment later; if it rolls back, nothing
        was ever submitted. On a connection that is awaited: `await send.submit_in.aio(connection, "ada")`.

        Raises as `bind` does; `InvalidInput` for bad options, a connection that is of no use, and an
        application whose store has no transactions; and what the connection's library raises.
        """
        return Within(self._submit_in, self._submitter.check_connection)

    def _submit_in(self, /, *args: P.args, **kwargs: P.kwargs) -> tuple[Entry, TaskHandle[R]]:
        return self._submitter.entry(self.bind(*args, **kwargs))

    @blocking
    def submit_many(
        self, calls: Iterable[TaskCall[R]], *, idempotency_key: str | None = None
    ) -> Coroutine[Any, Any, list[TaskHandle[R]]]:
        """Submit calls made by `bind`, all or nothing, as one. Raises as `submit` does, naming the task."""
        return self._submitter.submit_calls(list(calls), idempotency_key)

    @property
    def schedule(self) -> Blocking[Concatenate[str, When, P], ScheduleHandle[R]]:
        """Have the function called with these arguments again and again:
        `report.schedule("nightly", When(cron="0 3 * * *"), "sales")`.

        The id names the schedule: one that is there already gets these rules and arguments. Raises as `bind`
        does; and `InvalidInput`, also for a schedule that would never fire, and for options that belong to
        one task alone.
        """
        return Blocking(self._schedule, self)

    def _schedule(
        self, id: str, when: When, /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, ScheduleHandle[R]]:
        return self._submitter.put_schedule(id, when, self.bind(*args, **kwargs))

    def with_options(self, **options: Unpack[TaskOptions]) -> "TaskFunction[P, R, F]":
        """The same function, submitted in another way. Raises `InvalidInput`."""
        return TaskFunction(self._submitter, self._function, self.handler, self._planned.having(options))

    def handle(self, task: str) -> TaskHandle[R]:
        """The handle of a task of this function, by its id."""
        return TaskHandle(self._submitter, task, self._decode)

    @property
    def _planned(self) -> Plan:
        if self._plan is None:
            handler = self.handler
            self._plan = Plan(
                {
                    "queue": handler.queue,
                    "priority": handler.priority,
                    "max_retries": handler.max_retries,
                    "timeout": handler.timeout_s,
                }
            )
        return self._plan

    @functools.cached_property
    def _decode(self) -> Callable[[bytes], R]:
        return result_decoder(self._function)


def result_decoder(function: Callable[..., Any]) -> Callable[[bytes], Any]:
    """Reads results as the type that the function says it returns: a tuple, a dataclass, a `datetime`. What
    does not say so, or returned something else, is read as JSON."""
    try:
        wanted = get_type_hints(function).get("return", Any)
        decode = msgspec.json.Decoder(wanted).decode
    except Exception:  # annotations may be anything
        return _plain

    def read(result: bytes) -> Any:
        try:
            return decode(result)
        except msgspec.ValidationError:
            return _plain(result)

    return read


class TaskDecorator:
    """`@app.task`, bare or with options."""

    def __init__(self, submitter: Submitter, options: dict[str, Any] | None = None) -> None:
        self._submitter = submitter
        self._options = options or {}

    @overload
    def __call__(  # type: ignore[overload-overlap] # a coroutine function is a function, too: the first wins
        self, function: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /
    ) -> TaskFunction[P, R, Callable[Concatenate[Context, P], Coroutine[Any, Any, R]]]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[Context, P], R], /
    ) -> TaskFunction[P, R, Callable[Concatenate[Context, P], R]]: ...

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> TaskFunction[P, R, Callable[P, Coroutine[Any, Any, R]]]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> TaskFunction[P, R, Callable[P, R]]: ...

    @overload
    def __call__(
        self,
        /,
        *,
        name: str | None = None,
        queue: str = "default",
        priority: int | str = PRIORITY_DEFAULT,
        max_retries: int | None = None,
        timeout: float | str | None = None,
        isolation: Isolation | None = None,
    ) -> "TaskDecorator": ...

    def __call__(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Make a function a task. An `async def` runs as a coroutine, a `def` on a thread.

        `name` is the kind (default: the function's name). `isolation="process"` runs each task alone in a
        child process, where a crash or a leak hurts nothing else; a worker embedded in another process
        has no children, and runs it as any other. `timeout` is in seconds, or text such as `30s`; it
        holds for tasks submitted without one. `max_retries` holds for tasks submitted without a policy,
        and can lower the server's default. Raises `InvalidInput`.
        """
        if function is None:
            return TaskDecorator(self._submitter, options)
        name = self._options.get("name")
        settings = {option: value for option, value in self._options.items() if option != "name"}
        handler = Handler(name if name is not None else function.__name__, function, **settings)
        self._submitter.registry.add(handler)
        return TaskFunction(self._submitter, function, handler)
