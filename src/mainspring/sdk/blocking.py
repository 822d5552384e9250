"""One implementation, two ways to call it.

    handle.result(timeout=5)              blocks this thread
    await handle.result.aio(timeout=5)    waits in the caller's event loop

Every method of the SDK that waits is a coroutine function, marked `@blocking`. Both ways run it in the
application's home (`sdk.home`), so there is nothing that could behave differently in one of them.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, overload

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="Housed")


class Home(Protocol):
    """Where the coroutines of an application run."""

    def block(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine there to its end, while this thread waits. Interrupted, it is cancelled."""
        ...

    def follow(self, start: Callable[[], Coroutine[Any, Any, T]]) -> Coroutine[Any, Any, T]:
        """Run a coroutine there, while the caller's event loop goes on. Cancelled, it is cancelled."""
        ...


class Housed(Protocol):
    """What has methods that are `@blocking`."""

    @property
    def home(self) -> Home: ...


class Blocking(Generic[P, T]):
    """A coroutine function that blocks when it is called as a plain one. `aio` is the coroutine function.

    Called where an event loop runs it raises `RuntimeError`: it would hold up everything in that loop.
    """

    __slots__ = ("_housed", "_start")

    def __init__(self, start: Callable[P, Coroutine[Any, Any, T]], housed: Housed) -> None:
        self._start = start
        self._housed = housed

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        refuse_in_loop(f"await {self._start.__name__.lstrip('_')}.aio(...)")
        return self._housed.home.block(lambda: self._start(*args, **kwargs))

    def aio(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        """As the plain call, for `await`."""
        return self._housed.home.follow(lambda: self._start(*args, **kwargs))


class blocking(Generic[S, P, T]):
    """Marks a coroutine method, or one that returns a coroutine: it can be called both ways. What such a one
    does before it returns, it does in the caller's thread."""

    def __init__(self, method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: S, owner: type) -> Blocking[P, T]: ...

    def __get__(self, instance: S | None, owner: type) -> Self | Blocking[P, T]:
        if instance is None:
            return self
        return Blocking(self._method.__get__(instance), instance)


def refuse_in_loop(instead: str) -> None:
    """Raise `RuntimeError` if an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"this would block the event loop that runs here; use `{instead}`")
