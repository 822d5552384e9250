"""Of a verb and the parts that it uses one text, with the definitions that the verb reaches and no others:
the server makes each of them anew at every call, used or not.

A file's first line may name its parts: `-- uses: moves, reply`; the next one what is to be left out with all
that it alone reaches: `-- without: unique_match`. Statements begin at the left margin, and nothing else does
but the words that close them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

_USES = re.compile(r"-- uses: (.+)\n")
_WITHOUT = re.compile(r"^-- without: (.+)\n", re.MULTILINE)
_COMMENT = re.compile(r"(^|\s+)-- .*")
_CLOSES = re.compile(r"[\s)}\]]|(?:end|else|elseif|until)\b")
_DEFINES = re.compile(r"local function (\w+)|local (\w+(?:, \w+)*)|(\w+(?:\.\w+)?) = ")
_WORD = re.compile(r"(?<![\w.])[A-Za-z_]\w*(?:\.\w+)?")


class Statement(NamedTuple):
    """One that begins at the left margin; the names that it gives something to, if that is all it does."""

    text: str
    names: frozenset[str]
    words: frozenset[str]

    @property
    def is_function(self) -> bool:
        return self.text.startswith("local function")


def compose(verb: str, sources: Mapping[str, str]) -> str:
    """The verb behind what it reaches in its parts."""
    parts: list[str] = []
    _gather(verb, sources, parts)
    statements = [each for part in parts[:-1] for each in _statements(sources[part])]
    own = _statements(sources[verb])
    without = left_out(sources[verb])
    offered = [each for each in (*statements, *own) if not each.names & without]
    wanted = [each for each in own if not each.is_function]
    reached = _reached(wanted, [each for each in offered if each not in wanted])
    return "".join(each.text for each in offered if each in reached)


def left_out(source: str) -> frozenset[str]:
    """What the verb says that it does without."""
    return frozenset(_listed(_WITHOUT.search(source)))


def _gather(name: str, sources: Mapping[str, str], parts: list[str]) -> None:
    """A part once, behind those that it uses."""
    for used in _listed(_USES.match(sources[name])):
        if used not in parts:
            _gather(used, sources, parts)
    parts.append(name)


def _listed(found: re.Match[str] | None) -> Sequence[str]:
    return found[1].split(", ") if found else ()


def _reached(wanted: Iterable[Statement], offered: Iterable[Statement]) -> set[Statement]:
    giving: dict[str, list[Statement]] = {}
    for each in offered:
        for name in each.names:
            giving.setdefault(name, []).append(each)
    reached: set[Statement] = set()
    pending = list(wanted)
    while pending:
        each = pending.pop()
        if each not in reached:
            reached.add(each)
            pending += (other for word in each.words for other in giving.get(word, ()))
    return reached


@lru_cache(None)
def _statements(source: str) -> tuple[Statement, ...]:
    return tuple(_statement(text) for text in _split(source))


def _split(source: str) -> Iterator[str]:
    lines: list[str] = []
    for line in source.splitlines():
        code = _COMMENT.sub("", line)
        if code and not _CLOSES.match(code) and lines:
            yield "".join(lines)
            lines = []
        if code:
            lines.append(code + "\n")
    if lines:
        yield "".join(lines)


def _statement(text: str) -> Statement:
    given = _DEFINES.match(text)
    names = next(filter(None, given.groups())).split(", ") if given else ()
    words = set(_WORD.findall(text))
    return Statement(text, frozenset(names), frozenset(words | {word.partition(".")[0] for word in words}))
