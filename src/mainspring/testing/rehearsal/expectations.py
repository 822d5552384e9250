"""What a rehearsal is expected to show: one number of its report, compared with another one.

expectation = [SCHEDULE "."] NAME operator VALUE
operator    = "<" | "<=" | ">" | ">=" | "==" | "!="
VALUE       = a number, or for times a duration: 90, 1.5, 5m
"""

import operator
import re
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from mainspring.core.durations import parse_duration_s
from mainspring.errors import InvalidInput
from mainspring.testing.rehearsal.report import TIMES, TOTALS

ACCEPTED = "[SCHEDULE.]NAME OPERATOR NUMBER, such as max_running<50; operators are < <= > >= == !="
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_EXPECTATION = re.compile(r"\s*([^\s<>=!]+)\s*(<=|>=|==|!=|<|>)\s*([^\s<>=!]+)\s*")
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?", re.ASCII)


class Expectation(NamedTuple):
    """One comparison, as it was written."""

    text: str
    name: str
    operator: str
    value: float

    def check(self, names: Collection[str]) -> None:
        """Raises `InvalidInput` if a report has no such number."""
        if self.name not in names:
            raise InvalidInput(
                "assert",
                f"no such number: {self.name[:80]}",
                f"{', '.join(TOTALS)}, skips.REASON, SCHEDULE.NAME",
            )

    def failure(self, numbers: Mapping[str, float]) -> str | None:
        """Why it does not hold, `None` if it does."""
        found = numbers[self.name]
        if _OPERATORS[self.operator](found, self.value):
            return None
        return f"{self.text}: {self.name} is {found:g}"


def parse_expectation(text: str) -> Expectation:
    """Raises `InvalidInput` for what is no comparison."""
    parts = _EXPECTATION.fullmatch(text)
    if parts is None:
        raise InvalidInput("assert", f"not a comparison: {text[:80]!r}", ACCEPTED)
    name, comparison, value = parts.groups()
    return Expectation(text.strip(), name, comparison, _value(name, value))


def _value(name: str, text: str) -> float:
    if _NUMBER.fullmatch(text):
        return float(text)
    if name.rpartition(".")[2] in TIMES:
        return parse_duration_s(text, "assert")
    raise InvalidInput("assert", f"not a number: {text[:40]!r}", ACCEPTED)
