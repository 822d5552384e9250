"""The scripts of `lua/*.lua`: each verb is a file of its own, behind what it reaches in its parts.

Words in capitals are put in here: fields of heads, and numbers and tables of the core, so that no rule is
written twice.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from hashlib import sha1
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple

from mainspring.core.dag import Effect, effect, holds_new
from mainspring.core.lifecycle import (
    DOOMED_ERROR,
    IN_TRANSACTION,
    KEEPS_PLACE,
    SPARED_ERROR,
    TRANSITIONS,
    Cause,
)
from mainspring.core.model import FINAL, OnParentFailure, State
from mainspring.core.progress import LOG_BYTES_KEPT
from mainspring.ports import Action, Answer
from mainspring.stores.redis.composing import compose
from mainspring.stores.redis.packing import (
    ACCEPTED,
    DIGESTS,
    EXISTING,
    FIELDS,
    FIRST_RARE,
    HEAD_FORM,
    KEPT,
    NUMBERS_A_TASK,
    READY_FROM,
    REFUSED,
    End,
    pack,
)
from mainspring.stores.redis.ready import READY_END, READY_FORM, READY_MIDDLE
from mainspring.verbs import CLAIM_BYTES

_FOLDER = files(__package__).joinpath("lua")
SOURCES = {path.name.removesuffix(".lua"): path.read_text() for path in _FOLDER.iterdir()}
# A part defines, a verb answers.
VERBS = sorted(name for name, text in SOURCES.items() if re.search(r"^return ", text, re.MULTILINE))
KEY_NAMES: list[str] = re.findall(r"^    (\w+) = KEYS\[n\]", SOURCES["keys"], re.MULTILINE)
_WORD = re.compile(r"\b[A-Z][A-Z0-9_]+\b")
# Arguments of one command: the interpreter's stack bounds them.
CHUNK = 2000
# So many bodies are read before it is looked whether they are too heavy for a claim.
BODIES_AT_ONCE = 50
CHILDREN_RELEASED_AT_ONCE = 500


class Script(NamedTuple):
    """A verb's whole text, the digest that it is called by, and the names of the keys that it is told."""

    text: str
    digest: str
    keys: tuple[str, ...]


@lru_cache(16)
def scripts(clock: str | None = None, *, keeps_history: bool = False) -> Mapping[str, Script]:
    """All verbs. A test may hand in a clock that it can move."""
    words = {**_constants(), "KEEPS_HISTORY": "true" if keeps_history else "false"}
    sources = SOURCES if clock is None else {**SOURCES, "clock": clock}
    return MappingProxyType({verb: _script(compose(verb, sources), words) for verb in VERBS})


def _script(body: str, words: Mapping[str, str]) -> Script:
    # One that picks keys by their names has to know all of them.
    picked = set(KEY_NAMES if "key[" in body else re.findall(r"\bkey\.(\w+)", body))
    names = tuple(name for name in KEY_NAMES if name in picked)
    told = "".join(f"    {name} = KEYS[{n}],\n" for n, name in enumerate(names, 1))
    text = f"local key = {{\n{told}}}\n" + _WORD.sub(lambda word: words.get(word[0], word[0]), body)
    return Script(text, sha1(text.encode()).hexdigest(), names)


@lru_cache
def _constants() -> dict[str, str]:
    enums = {
        **{state.name: state for state in State},
        **{answer.name: answer for answer in Answer},
        **{f"CAUSE_{cause.name}": cause for cause in Cause},
        **{f"RULE_{rule.name}": rule for rule in OnParentFailure},
        **{f"EFFECT_{each.name}": each for each in Effect},
        **{f"DO_{action.name}": action for action in Action},
    }
    numbers = {
        **{name: int(value) for name, value in enums.items()},
        **FIELDS,
        **KEPT,
        "FIELDS": len(FIELDS),
        "FIRST_RARE": FIRST_RARE,
        "CHUNK": CHUNK,
        "CLAIM_BYTES": CLAIM_BYTES,
        "BODIES_AT_ONCE": BODIES_AT_ONCE,
        "CHILDREN_RELEASED_AT_ONCE": CHILDREN_RELEASED_AT_ONCE,
        "ACCEPTED": ACCEPTED,
        "EXISTING": EXISTING,
        "REFUSED": REFUSED,
        "READY_FROM": READY_FROM,
        "NUMBERS_A_TASK": NUMBERS_A_TASK,
        "IN_TRANSACTION": IN_TRANSACTION & DIGESTS,
        "LOG_BYTES_KEPT": LOG_BYTES_KEPT,
    }
    tables = {
        "HEAD_FORM": f"'{HEAD_FORM}'",
        "READY_FORM": f"'{READY_FORM}'",
        "READY_MIDDLE": _quoted(READY_MIDDLE),
        "READY_END": _quoted(READY_END),
        "HEAD_FIELDS": ", ".join(f"head[{field}]" for field in range(1, FIRST_RARE)),
        "NO_FIELDS": ", ".join("false" for _ in FIELDS),
        "ALLOWED_STEPS": _set(
            cause * 100 + (old or 0) * 10 + new for cause, pairs in TRANSITIONS.items() for old, new in pairs
        ),
        "KEEPS_PLACE": _set(KEEPS_PLACE),
        "EFFECTS": _table(lambda parent, rule: str(int(effect(parent, rule)))),
        "HOLDS_NEW": _table(lambda parent, rule: "true" if holds_new(parent, rule) else "false"),
        "DOOMED_END": _quoted(pack(End(error=DOOMED_ERROR))),
        "SPARED_END": _quoted(pack(End(error=SPARED_ERROR))),
    }
    return {**{name: str(number) for name, number in numbers.items()}, **tables}


def _set(numbers: Iterable[int]) -> str:
    return "{" + ", ".join(f"[{number:d}] = true" for number in sorted(numbers)) + "}"


def _table(value: Callable[[State, OnParentFailure], str]) -> str:
    """By a parent's final state, and the rule of its child."""
    rows = (
        f"[{state:d}] = {{{', '.join(value(state, rule) for rule in OnParentFailure)}}}"
        for state in sorted(FINAL)
    )
    return "{" + ", ".join(rows) + "}"


def _quoted(text: bytes) -> str:
    return '"' + "".join(f"\\{byte:03d}" for byte in text) + '"'


def keys(namespace: str) -> dict[str, str]:
    """All keys of a namespace; one hash tag, so one slot."""
    return {name: f"{{{namespace}}}:{name}" for name in KEY_NAMES}
