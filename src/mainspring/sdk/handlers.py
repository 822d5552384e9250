"""Handlers: which function runs which kind, and how a payload becomes its arguments.

A payload is any JSON. It reaches the function by the first rule that fits:

    {"args": [...], "kwargs": {...}}    as written; either may be missing, nothing else may be there
    the function takes nothing          called with nothing
    null                                called with nothing
    an object                           its members as keyword arguments, if the function takes just these
    anything                            the one argument, if the function takes one

If none fits, the run fails with `BadPayload` and is not retried. A parameter annotated `Context`, or one
named `ctx` without an annotation, is not counted: the worker fills it in.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from mainspring.core.durations import parse_duration_s
from mainspring.core.model import PRIORITY_DEFAULT, PRIORITY_HIGHEST, PRIORITY_LOWEST, PRIORITY_WORDS
from mainspring.errors import InvalidInput
from mainspring.sdk.context import Bearer, Context

Isolation = Literal["thread", "process"]
KIND_LONGEST = 200
_decode = msgspec.json.Decoder().decode
_CALL = frozenset({"args", "kwargs"})
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class BadPayload(Exception):
    """The payload does not fit the handler's parameters. Running again cannot help."""


class Handler:
    """A function that runs tasks of one kind.

    `queue` and `priority` are what a client submits with unless told otherwise. `timeout_s` holds for
    tasks that bring none. `max_retries` holds for tasks that bring no policy of their own.
    """

    def __init__(
        self,
        kind: str,
        function: Callable[..., Any],
        *,
        queue: str = "default",
        priority: int | str = PRIORITY_DEFAULT,
        max_retries: int | None = None,
        timeout: float | str | None = None,
        isolation: Isolation | None = None,
    ) -> None:
        self.kind = _checked_kind(kind)
        self.function = function
        self.queue = queue
        self.priority = _checked_priority(priority)
        self.max_retries = max_retries
        self.timeout_s = None if timeout is None else parse_duration_s(timeout, "timeout") or None
        self.is_coroutine = inspect.iscoroutinefunction(function)
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise InvalidInput("function", "is a generator, which has no result", "a function or a coroutine")
        self.isolation = isolation
        if isolation not in (None, "thread", "process"):
            raise InvalidInput("isolation", f"not known: {isolation!r}", "thread, process or None")
        if isolation == "thread" and self.is_coroutine:
            raise InvalidInput("isolation", "a coroutine cannot run on a thread", "process or None")
        if max_retries is not None and max_retries < 0:
            raise InvalidInput("max_retries", f"out of range: {max_retries}", "0 or more")
        self._parameters = _Parameters(function)

    def call(self, payload: bytes, bearer: Bearer) -> Any:
        """Call the function with what the payload says; for a coroutine function, returns the coroutine.
        Raises `BadPayload`."""
        parameters = self._parameters
        value = _decode(payload)
        if parameters.takes_nothing and not (type(value) is dict and value.keys() <= _CALL):
            return self.function() if parameters.context is None else self._with_context([], {}, bearer)
        args, kwargs = parameters.arguments(value)
        if parameters.context is None:
            return self.function(*args, **kwargs)
        return self._with_context(args, kwargs, bearer)

    def payload(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The payload that `call` turns into this call. Raises `TypeError` as the function itself would."""
        return self._parameters.payload(args, kwargs)

    def _with_context(self, args: list[Any], kwargs: dict[str, Any], bearer: Bearer) -> Any:
        place, name = self._parameters.context_place, self._parameters.context
        assert name is not None
        if place is not None and len(args) >= place:
            return self.function(*args[:place], bearer.context(), *args[place:], **kwargs)
        return self.function(*args, **kwargs, **{name: bearer.context()})


class _Parameters:
    """What a function takes, besides the context."""

    def __init__(self, function: Callable[..., Any]) -> None:
        signature = inspect.signature(function)
        self.text = str(signature)
        self.context: str | None = None
        self.context_place: int | None = None
        self.by_position: list[str] = []
        self.keywords: set[str] = set()
        self.required: set[str] = set()
        self.any_positions = self.any_keywords = False
        for parameter in signature.parameters.values():
            self._add(parameter, _annotation(function, parameter))
        given = [one for one in signature.parameters.values() if one.name != self.context]
        self._given_by_submitters = signature.replace(parameters=given)
        self._is_by_name = self.keywords.issuperset(self.by_position) and self.required.issubset(
            self.by_position
        )
        self.takes_nothing = not (
            self.by_position or self.keywords or self.any_positions or self.any_keywords
        )
        others = self.required - set(self.by_position[:1])
        self.takes_one = bool(self.by_position or self.any_positions) and not others

    def _add(self, parameter: inspect.Parameter, annotation: Any) -> None:
        if annotation is Context or (parameter.name == "ctx" and annotation is parameter.empty):
            self.context = parameter.name
            self.context_place = len(self.by_position) if parameter.kind in _BY_POSITION else None
        elif parameter.kind is parameter.VAR_POSITIONAL:
            self.any_positions = True
        elif parameter.kind is parameter.VAR_KEYWORD:
            self.any_keywords = True
        else:
            if parameter.kind in _BY_POSITION:
                self.by_position.append(parameter.name)
            if parameter.kind is not parameter.POSITIONAL_ONLY:
                self.keywords.add(parameter.name)
            if parameter.default is parameter.empty:
                self.required.add(parameter.name)

    def arguments(self, value: Any) -> tuple[list[Any], dict[str, Any]]:
        if type(value) is dict:
            if value and value.keys() <= _CALL and not value.keys() & self.keywords:
                args, kwargs = value.get("args", []), value.get("kwargs", {})
                if type(args) is list and type(kwargs) is dict and self._fit(len(args), kwargs):
                    return args, kwargs
                raise BadPayload(f"args and kwargs do not fit the handler, which takes {self.text}")
            if self._fit(0, value):
                return [], value
        elif value is None and not self.required:
            return [], {}
        if self.takes_one:
            return [value], {}
        raise BadPayload(f"the payload does not fit the handler, which takes {self.text}")

    def payload(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """By names where that can be understood, for people read payloads, too."""
        if self.takes_nothing and not args and not kwargs:
            return None
        if self._is_by_name and not kwargs and len(self.required) <= len(args) <= len(self.by_position):
            # As below; but to bind a call costs as much as all else that is done with it here.
            return dict(zip(self.by_position, args, strict=False)) or None
        bound = self._given_by_submitters.bind(*args, **kwargs)
        names = self.by_position[: len(bound.args)]
        if len(names) == len(bound.args) and self.keywords.issuperset(names):
            named = {**dict(zip(names, bound.args, strict=True)), **bound.kwargs}
            if not named:
                return None
            if named.keys() & self.keywords or not named.keys() <= _CALL:
                return named
        if self.keywords & _CALL:
            raise TypeError(f"parameters named args and kwargs cannot be told from a call's: {self.text}")
        return {"args": list(bound.args), "kwargs": bound.kwargs}

    def _fit(self, count: int, kwargs: dict[str, Any]) -> bool:
        if count > len(self.by_position) and not self.any_positions:
            return False
        named = kwargs.keys()
        placed = set(self.by_position[:count])
        if placed & named or not (self.any_keywords or named <= self.keywords):
            return False
        return self.required <= placed | named


class Registry:
    """The handlers of a program, by kind."""

    def __init__(self, *handlers: Handler) -> None:
        self._handlers: dict[str, Handler] = {}
        for handler in handlers:
            self.add(handler)

    def add(self, handler: Handler) -> None:
        """Raises `InvalidInput` if the kind is taken."""
        if handler.kind in self._handlers:
            raise InvalidInput("name", f"there is a handler for {handler.kind!r} already", "another name")
        self._handlers[handler.kind] = handler

    def get(self, kind: str) -> Handler | None:
        return self._handlers.get(kind)

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._handlers.values())

    def __contains__(self, kind: object) -> bool:
        return kind in self._handlers

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(sorted(self._handlers))


def _annotation(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """The parameter's annotation; where it is text that names `Context`, the class."""
    annotation = parameter.annotation
    if not isinstance(annotation, str):
        return annotation
    if annotation.rpartition(".")[2] != "Context":
        return annotation
    scope: Any = inspect.unwrap(function).__globals__
    found: Any = None
    for part in annotation.split("."):
        found = scope.get(part) if isinstance(scope, dict) else getattr(scope, part, None)
        scope = found
    return found


def _checked_kind(kind: str) -> str:
    if not kind or kind != kind.strip() or len(kind) > KIND_LONGEST or not kind.isprintable():
        raise InvalidInput("name", f"not a name for a kind: {kind[:40]!r}", f"1 to {KIND_LONGEST} characters")
    return kind


def _checked_priority(priority: int | str) -> int:
    level = PRIORITY_WORDS.get(priority) if isinstance(priority, str) else priority
    if isinstance(level, bool) or level is None or not PRIORITY_LOWEST <= level <= PRIORITY_HIGHEST:
        raise InvalidInput("priority", f"not a priority: {priority!r}", "1 to 10, low, medium or high")
    return level
