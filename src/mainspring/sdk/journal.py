"""What a run knows of earlier runs: the steps they recorded, and the tasks that its task depends on.

Nothing is asked for before a handler wants it, and then once. On a thread asking blocks; on the event loop it
is awaited. Which of the two it is, the calling thread decides.
"""

import asyncio
import inspect
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, Protocol

import msgspec

from mainspring.core.progress import check_step, check_step_name
from mainspring.errors import InvalidInput
from mainspring.ports import Parent as Told
from mainspring.ports import Recalled

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Source(Protocol):
    """Where a journal reads and writes: its worker. Futures fail with `LeaseLost` when the run has lost its
    lease, or ends otherwise before there is an answer."""

    @property
    def on_loop(self) -> bool:
        """Whether the caller is on the event loop, where nothing may block."""
        ...

    def keep_step(self, name: str, result: bytes) -> "Future[None]":
        """Done when the step is durably recorded."""
        ...

    def recall(self, *, steps: bool, parents: bool) -> "Future[Recalled]": ...


def _answer(asked: "Future[Recalled]") -> "asyncio.Future[Recalled]":
    """To be awaited by one of many: whoever gives up does not take the question back."""
    return asyncio.shield(asyncio.wrap_future(asked))


class Steps:
    """The recorded steps of one run's task."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._recalled: Future[Recalled] | None = None
        self._used: set[str] = set()
        self._unsure: dict[str, bytes] = {}  # run, and perhaps recorded: whoever waited for that gave up

    def run(self, name: str, function: Callable[[], Any]) -> Any:
        """See `Context.step`."""
        self._take(name)
        if self._source.on_loop:
            return self._run_on_loop(name, function)
        try:
            known = self._ask().result().steps
            if name not in known:
                if name not in self._unsure:
                    value = function()
                    if inspect.iscoroutine(value):
                        value.close()
                        raise InvalidInput("function", "is a coroutine, on a thread", "a plain function")
                    self._unsure[name] = self._encoded(name, value, known)
                self._source.keep_step(name, self._unsure[name]).result()
                known[name] = self._unsure.pop(name)
        except BaseException:
            self._used.discard(name)
            raise
        return _decode(known[name])

    async def _run_on_loop(self, name: str, function: Callable[[], Any]) -> Any:
        try:
            known = (await _answer(self._ask())).steps
            if name not in known:
                if name not in self._unsure:
                    value = function()
                    if inspect.isawaitable(value):
                        value = await value
                    self._unsure[name] = self._encoded(name, value, known)
                await asyncio.wrap_future(self._source.keep_step(name, self._unsure[name]))
                known[name] = self._unsure.pop(name)
        except BaseException:
            self._used.discard(name)
            raise
        return _decode(known[name])

    def _take(self, name: str) -> None:
        """A name stands for one step: a second one under it would be given the first one's result."""
        check_step_name(name)
        with self._lock:
            if name in self._used:
                raise InvalidInput("name", f"there was a step {name!r} in this run", "a name for each step")
            self._used.add(name)

    def _ask(self) -> "Future[Recalled]":
        with self._lock:
            if self._recalled is None or (self._recalled.done() and self._recalled.exception() is not None):
                self._recalled = self._source.recall(steps=True, parents=False)
            return self._recalled

    def _encoded(self, name: str, value: Any, known: Mapping[str, bytes]) -> bytes:
        result = _encode(value)
        check_step(name, result, len(known), sum(map(len, known.values())))
        return result


class Parent:
    """A task that this one depends on, as it ended: `state` is `succeeded`, `failed` or `cancelled`."""

    __slots__ = ("id", "name", "raw_error", "raw_result", "state")

    def __init__(self, told: Told) -> None:
        self.id = told.id
        self.name = told.name
        self.state = told.state.label
        self.raw_result = told.result  # JSON text
        self.raw_error = told.error

    @property
    def succeeded(self) -> bool:
        return self.state == "succeeded"

    @property
    def result(self) -> Any:
        """What it returned; `None` if it did not succeed. Decoded anew by each reading."""
        return _decode(self.raw_result) if self.raw_result else None

    @property
    def error(self) -> Any:
        """Its error, an object with `type` and `message`; `None` if there is none."""
        return _decode(self.raw_error) if self.raw_error else None

    def __repr__(self) -> str:
        return f"<parent {self.name or self.id} {self.state}>"


class Parents(Mapping[str, Parent]):
    """The tasks that this one depends on, in the order in which they were named. A key is a parent's name if
    it has one of its own, else its id; by id each is found.

    On a thread it is there at once. In a coroutine it has to be awaited: `(await ctx.parents)["fetch"]`.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._asked: Future[Recalled] | None = None
        self._parents: dict[str, Parent] | None = None
        self._by_id: dict[str, Parent] = {}

    def load(self) -> "Parents":
        """On a thread: ask, if nobody has."""
        if self._parents is None and not self._source.on_loop:
            self._learn(self._ask().result())
        return self

    def __await__(self) -> Generator[Any, None, "Parents"]:
        if self._parents is None:
            self._learn((yield from _answer(self._ask()).__await__()))
        return self

    def _ask(self) -> "Future[Recalled]":
        if self._asked is None or (self._asked.done() and self._asked.exception() is not None):
            self._asked = self._source.recall(steps=False, parents=True)
        return self._asked

    def _learn(self, recalled: Recalled) -> None:
        parents = [Parent(told) for told in recalled.parents]
        names = Counter(parent.name for parent in parents)
        self._by_id = {parent.id: parent for parent in parents}
        self._parents = {
            parent.name if parent.name is not None and names[parent.name] == 1 else parent.id: parent
            for parent in parents
        }

    @property
    def _known(self) -> dict[str, Parent]:
        if self._parents is None:
            raise RuntimeError("parents have to be awaited in a coroutine: (await ctx.parents)[...]")
        return self._parents

    def __getitem__(self, key: str) -> Parent:
        known = self._known
        return known[key] if key in known else self._by_id[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)
