"""What users import: an application, and the functions that are its tasks."""

import functools
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar, overload

from mainspring.core.model import PRIORITY_DEFAULT
from mainspring.sdk.handlers import Handler, Isolation, Registry

P = ParamSpec("P")
R = TypeVar("R")


class TaskFunction(Generic[P, R]):
    """A function that is also a task. Called, it is the function it was: nothing is submitted."""

    def __init__(self, function: Callable[P, R], handler: Handler) -> None:
        functools.update_wrapper(self, function)
        self.handler = handler
        self._function = function

    @property
    def kind(self) -> str:
        """The kind under which tasks for this function are submitted."""
        return self.handler.kind

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task {self.kind}>"


class Mainspring:
    """An application: the set of functions that a worker started with `-A module:app` can run.

    app = Mainspring()

    @app.task(timeout=30)
    async def resize(path: str, width: int = 800) -> str: ...
    """

    def __init__(self) -> None:
        self.registry = Registry()

    @overload
    def task(self, function: Callable[P, R], /) -> TaskFunction[P, R]: ...

    @overload
    def task(
        self,
        /,
        *,
        name: str | None = None,
        queue: str = "default",
        priority: int | str = PRIORITY_DEFAULT,
        max_retries: int | None = None,
        timeout: float | str | None = None,
        isolation: Isolation | None = None,
    ) -> Callable[[Callable[P, R]], TaskFunction[P, R]]: ...

    def task(
        self,
        function: Callable[P, R] | None = None,
        /,
        *,
        name: str | None = None,
        queue: str = "default",
        priority: int | str = PRIORITY_DEFAULT,
        max_retries: int | None = None,
        timeout: float | str | None = None,
        isolation: Isolation | None = None,
    ) -> TaskFunction[P, R] | Callable[[Callable[P, R]], TaskFunction[P, R]]:
        """Make a function a task. An `async def` runs as a coroutine, a `def` on a thread.

        `name` is the kind (default: the function's name). `isolation="process"` runs each task alone in a
        child process, where a crash or a leak hurts nothing else; a worker embedded in another process
        has no children, and runs it as any other. `timeout` is in seconds, or text such as `30s`; it
        holds for tasks submitted without one. `max_retries` holds for tasks submitted without a policy,
        and can lower the server's default. Raises `InvalidInput`.
        """

        def register(function: Callable[P, R]) -> TaskFunction[P, R]:
            handler = Handler(
                name if name is not None else function.__name__,
                function,
                queue=queue,
                priority=priority,
                max_retries=max_retries,
                timeout=timeout,
                isolation=isolation,
            )
            self.registry.add(handler)
            return TaskFunction(function, handler)

        return register if function is None else register(function)
