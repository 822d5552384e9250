"""How a bug is put in and taken out again."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class Patch(NamedTuple):
    """`make(original)` gives the function that takes its place."""

    owner: Any
    name: str
    make: Callable[[Any], Any]


class Bug(NamedTuple):
    """`name` says what is wrong, as it would stand in a change log."""

    name: str
    patches: tuple[Patch, ...]

    @contextlib.contextmanager
    def planted(self) -> Iterator[None]:
        originals = [getattr(patch.owner, patch.name) for patch in self.patches]
        try:
            for patch, original in zip(self.patches, originals, strict=True):
                setattr(patch.owner, patch.name, patch.make(original))
            yield
        finally:
            for patch, original in zip(self.patches, originals, strict=True):
                setattr(patch.owner, patch.name, original)


def bug(name: str, owner: Any, function: str, make: Callable[[Any], Any]) -> Bug:
    """A bug in one function."""
    return Bug(name, (Patch(owner, function, make),))


def instead(replacement: Any) -> Callable[[Any], Any]:
    """The replacement has no use for the original."""
    return lambda original: replacement
