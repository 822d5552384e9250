"""Single values as people write them: names, priorities, states, times."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from mainspring.core import durations
from mainspring.core.model import (
    PRIORITY_DEFAULT,
    PRIORITY_HIGHEST,
    PRIORITY_LOWEST,
    PRIORITY_WORDS,
    SECOND_US,
    WAITING,
    State,
)
from mainspring.errors import InvalidInput

NAME_ACCEPTED = "1 to 200 characters of A-Z a-z 0-9 _ . : / -"
KEY_ACCEPTED = "up to 200 characters of A-Z a-z 0-9 _ . : / - @ + = ,"
ID_ACCEPTED = "a UUID in lower case, as in the answer to a submit"
PRIORITY_ACCEPTED = "1 to 10 (higher runs sooner), or high, medium, low"
TIME_ACCEPTED = "an RFC 3339 time with offset, such as 2031-05-01T12:00:00Z"
GROUP_ACCEPTED = "16 hexadecimal digits, as in the list of groups"
LABELS_ACCEPTED = "text values of up to 200 characters under names of up to 200"

_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,200}")
_KEY = re.compile(r"[A-Za-z0-9_.:/@+=,-]{1,200}")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_GROUP = re.compile(r"[0-9a-f]{16}")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:[0-5]\d)", re.ASCII)
_NAIVE = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?)?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST_US = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST_US = (datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC) - _EPOCH) // _MICROSECOND

# Every spelling that any surface of Mainspring shows is understood on all of them.
_SPELLINGS: dict[str, frozenset[State]] = {
    **{state.label: frozenset({state}) for state in State},
    "pending": WAITING,
    "waiting": WAITING,
    "completed": frozenset({State.SUCCEEDED}),
    "dead": frozenset({State.FAILED}),
    "canceled": frozenset({State.CANCELLED}),
}
STATES_ACCEPTED = ", ".join(_SPELLINGS) + " (in any case)"


@lru_cache(4096)
def name(text: str, field: str) -> str:
    """A kind, queue or label name. The few that a workload uses are checked once."""
    if not _NAME.fullmatch(text):
        raise InvalidInput(field, f"not a name: {text[:40]!r}", NAME_ACCEPTED)
    return text


@lru_cache(4096)
def key(text: str, field: str) -> str:
    """A tenant or concurrency key: names of the users' own making."""
    if not _KEY.fullmatch(text):
        raise InvalidInput(field, f"not a key: {text[:40]!r}", KEY_ACCEPTED)
    return text


def title(text: str, field: str) -> str:
    """A name for people."""
    if not (0 < len(text) <= 200 and text.isprintable()):
        raise InvalidInput(field, "not a name", "1 to 200 printable characters")
    return text


def is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def is_uuid7(text: str) -> bool:
    """Version and variant as RFC 9562 has them: the ids of tasks sort by their age."""
    return _UUID7.fullmatch(text) is not None


def fingerprint(text: str, field: str) -> int:
    """What names a group of dead letters."""
    if not _GROUP.fullmatch(text) or not 0 < int(text, 16) < 1 << 63:
        raise InvalidInput(field, f"not a group: {text[:40]!r}", GROUP_ACCEPTED)
    return int(text, 16)


def priority(value: object, field: str = "priority") -> int:
    """1 to 10; the words; 0 and nothing at all mean the default."""
    if isinstance(value, str):
        word = value.strip().lower()
        number = PRIORITY_WORDS.get(word, int(word) if word.isascii() and word.isdecimal() else -1)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        number = PRIORITY_DEFAULT if value is None else -1
    if number == 0:
        return PRIORITY_DEFAULT
    if not PRIORITY_LOWEST <= number <= PRIORITY_HIGHEST:
        raise InvalidInput(field, f"not a priority: {str(value)[:40]}", PRIORITY_ACCEPTED)
    return number


def states(text: str, field: str = "state") -> frozenset[State]:
    """What a spelling stands for: `completed` is one state, `pending` three."""
    found = _SPELLINGS.get(text.strip().lower())
    if found is None:
        raise InvalidInput(field, f"not a state: {text[:40]!r}", STATES_ACCEPTED)
    return found


def time_us(text: str, field: str) -> int:
    """Microseconds since the epoch. A time without offset is refused: nobody can say when it is."""
    parts = _TIME.fullmatch(text.strip())
    if parts is None:
        naive = _NAIVE.fullmatch(text.strip()) is not None
        problem = "a time without offset" if naive else "not a time"
        raise InvalidInput(field, f"{problem}: {text[:40]!r}", TIME_ACCEPTED)
    fraction = (parts[3] or ".0")[1:7].ljust(6, "0")
    offset = "+00:00" if parts[4] in "Zz" else parts[4]
    try:
        moment = datetime.fromisoformat(f"{parts[1]}T{parts[2]}.{fraction}{offset}")
    except ValueError:
        raise InvalidInput(field, f"no such time: {text[:40]!r}", TIME_ACCEPTED) from None
    instant_us = (moment - _EPOCH) // _MICROSECOND
    if not 0 <= instant_us <= _LAST_US:
        raise InvalidInput(field, f"out of range: {text[:40]!r}", "1970-01-01T00:00:00Z to the end of 9999")
    return instant_us


def moment(instant_us: int) -> datetime:
    """The inverse of `time_us`: what msgspec writes as RFC 3339 in UTC. A time that SQL wrote, in no year
    from 1 to 9999, is shown as the nearest that is: it must not keep the rest of a list from being read."""
    return _EPOCH + timedelta(microseconds=min(max(instant_us, _FIRST_US), _LAST_US))


def duration_us(value: object, field: str) -> int:
    return round(durations.parse_duration_s(value, field) * SECOND_US)


def seconds(duration: int) -> int | float:
    """Microseconds as seconds for people: 30, not 30.0."""
    whole, rest = divmod(duration, SECOND_US)
    return duration / SECOND_US if rest else whole


def whole(value: int, field: str, least: int, most: int) -> int:
    if not least <= value <= most:
        raise InvalidInput(field, f"out of range: {str(value)[:40]}", f"{least} to {most}")
    return value


def real(value: float, field: str, least: float, most: float) -> float:
    if not (math.isfinite(value) and least <= value <= most):
        raise InvalidInput(field, f"out of range: {value}", f"{least:g} to {most:g}")
    return value


def labels(given: Mapping[str, str], most: int, field: str = "labels") -> Mapping[str, str]:
    if len(given) > most:
        raise InvalidInput(field, f"has {len(given)} labels", f"at most {most}")
    for label, text in given.items():
        name(label, field)
        if len(text) > 200 or not text.isprintable():
            raise InvalidInput(f"{field}.{label}", f"not a label's value: {text[:40]!r}", LABELS_ACCEPTED)
    return given
