"""The steps of a schema: from the numbered files to the way from one number to another.

Each step has a file that goes up and one that goes down. What going down destroys is told in the latter's
head, with the question that finds out whether there is any:

    -- loses schedules: SELECT EXISTS (SELECT 1 FROM schedules)
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mainspring.errors import InvalidInput, StoreTooNew, StoreTooOld

_LOSS = re.compile(r"^-- loses (.+?): (SELECT .+)$", re.MULTILINE)


class Loss(NamedTuple):
    """`question` is SQL whose first value says whether there is any of `what`."""

    what: str
    question: str


class Step(NamedTuple):
    """`up` leads to its number, `down` from it to the one before. Both are SQL."""

    number: int
    name: str
    up: str
    down: str
    losses: tuple[Loss, ...]


def steps_of(ups: Mapping[str, str], downs: Mapping[str, str]) -> list[Step]:
    """By the names of their files, such as `0001_tasks.sql`."""
    steps = []
    for name in sorted(ups):
        assert name in downs, f"{name} has no file of its name in migrations/down, which undoes it"
        down = downs[name]
        losses = tuple(Loss(what, question) for what, question in _LOSS.findall(down))
        number, _, title = name.removesuffix(".sql").partition("_")
        steps.append(Step(int(number), title, ups[name], down, losses))
    return steps


def refuse_newer(number: int, newest: int, where: str = "the database") -> None:
    """Raises `StoreTooNew` for a schema from the future."""
    if number > newest:
        raise StoreTooNew(
            f"{where} was written by a newer Mainspring (schema {number}, this program knows {newest});"
            " nothing was changed, use that version or another database"
        )


def refuse_older(number: int, newest: int, where: str = "the database") -> None:
    """Raises `StoreTooOld` for a schema that somebody brings up to date by hand."""
    if number < newest:
        raise StoreTooOld(
            f"{where} has schema {number}, this program needs {newest} and is not to change it here:"
            " run `mainspring migrate up`, or `mainspring migrate sql` for what to run by hand"
        )


def way(steps: Sequence[Step], number: int, to: int | None) -> tuple[list[Step], list[Step]]:
    """The steps to go up and those to go down, in their order, from `number` to `to` (the newest if none is
    named). One of the two lists is empty.

    Raises `InvalidInput` for a number that is none, and `StoreTooNew`."""
    newest = steps[-1].number
    refuse_newer(number, newest)
    to = newest if to is None else to
    if not 0 <= to <= newest:
        raise InvalidInput("to", f"no such schema: {to}", f"0 to {newest}")
    ups = [step for step in steps if number < step.number <= to]
    downs = [step for step in reversed(steps) if to < step.number <= number]
    return ups, downs
