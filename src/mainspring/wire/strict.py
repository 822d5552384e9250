"""Reading JSON without mercy: what two parsers could understand differently is refused at the door.

RFC 8259 leaves open what duplicate keys, huge numbers, lone surrogates or deep nesting mean. A value that
this server read in one way and a worker in another would be a bug that nobody can find; so none is stored.
"""

import json
import math
import re
from difflib import get_close_matches
from typing import Any, Generic, TypeVar

import msgspec

from mainspring.errors import InvalidInput, TooLarge
from mainspring.wire.bounds import BOUNDS

T = TypeVar("T")

WHOLE = "body"
VALUES = 2_000_000  # 32 MiB of `[],[],...` would become a gigabyte of empty lists
LARGE = 1024 * 1024
INTEGER_DIGITS = 308  # longer ones are beyond a double: every other language would read infinity
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SQUARE = bytes.maketrans(b"{}", b"[]")


def parse_json(body: bytes, depth: int = BOUNDS.depth) -> Any:
    """The value of a JSON text that means the same everywhere.

    Raises `TooLarge` for millions of values, and `InvalidInput` for bad UTF-8, syntax errors, NaN and
    Infinity, numbers beyond a double, duplicate keys, lone surrogates, and nesting deeper than `depth`.
    """
    if len(body) > LARGE and body.count(b",") + body.count(b"[") + body.count(b"{") > VALUES:
        raise TooLarge(WHOLE, "has too many values", f"about {VALUES} values")
    if _is_deeper(body, depth):
        raise InvalidInput(WHOLE, f"nested deeper than {depth} levels", f"at most {depth} levels")
    try:
        value = _decoder.decode(body.decode("utf-8"))
        if b"\\u" in body:
            # A lone surrogate is no character: it can be escaped in JSON but written in no encoding.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        raise InvalidInput(WHOLE, f"not JSON: {error.msg} at character {error.pos}", "a JSON text") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(WHOLE, f"not UTF-8 at byte {error.start}", "JSON in UTF-8") from None
    except UnicodeEncodeError:
        raise InvalidInput(WHOLE, "a lone surrogate in a string", "whole characters") from None
    return value


def _is_deeper(body: bytes, depth: int) -> bool:
    if body.count(b"[") + body.count(b"{") <= depth:
        return False
    brackets = _STRINGS.sub(b"", body).translate(_SQUARE, _NOT_BRACKETS)
    for _ in range(depth):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    # What is left is deeper still, or not JSON: then the parser says so, unless it would run out of stack.
    return b"[]" in brackets or brackets.count(b"[") > depth


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        # The problem document is UTF-8, and the key may not be: what it holds has not been looked at yet.
        field = twice[:100].encode("utf-8", "replace").decode()
        raise InvalidInput(field, "the key appears twice in one object", "each key once")
    return members


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise InvalidInput(WHOLE, f"number out of range: {text[:40]}", "numbers within a double's range")
    return value


def _int(text: str) -> int:
    if len(text) > INTEGER_DIGITS:
        raise InvalidInput(WHOLE, f"number of {len(text)} digits", f"at most {INTEGER_DIGITS} digits")
    return int(text)


def _constant(text: str) -> None:
    raise InvalidInput(WHOLE, f"{text} is not JSON", "a number, or null")


_decoder = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_float, parse_int=_int, parse_constant=_constant
)


# --- typed shapes -----------------------------------------------------------------------------------


class Shape(Generic[T]):
    """One kind of request body: strict JSON first, then msgspec's typed decoding.

    `envelope` is how many levels the shape itself puts around a payload.
    """

    def __init__(self, kind: type[T], envelope: int = 1, accepted: dict[str, str] | None = None) -> None:
        self.kind = kind
        self._decoder = msgspec.json.Decoder(kind)
        self._depth = BOUNDS.depth + envelope
        self._accepted = accepted or {}

    def read(self, body: bytes) -> T:
        """Raises `InvalidInput` that names the field, with a hint if a name is nearly right."""
        parse_json(body, self._depth)
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError as error:
            raise self._explained(str(error)) from None

    def _explained(self, message: str) -> InvalidInput:
        problem, _, at = message.partition(" - at `$")
        path = at.rstrip("`").lstrip(".")
        unknown = re.fullmatch(r"Object contains unknown field `(.*)`", problem, re.DOTALL)
        if unknown:
            return self._unknown(path, unknown[1])
        missing = re.fullmatch(r"Object missing required field `(.*)`", problem)
        if missing:
            return InvalidInput(_join(path, missing[1]), "missing", self._accepted.get(missing[1], ""))
        problem = problem[0].lower() + problem[1:].replace("`", "")
        return InvalidInput(path or WHOLE, problem, self._accepted.get(path.rpartition(".")[2], ""))

    def _unknown(self, path: str, name: str) -> InvalidInput:
        names = _fields_at(self.kind, path)
        near = get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return InvalidInput(_join(path, name[:100]), f"unknown field{hint}", ", ".join(names))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _fields_at(kind: Any, path: str) -> list[str]:
    """The members that the struct at this path of the shape has."""
    found = msgspec.inspect.type_info(kind)
    for part in re.findall(r"[^.\[\]]+|\[", path):
        choices = found.types if isinstance(found, msgspec.inspect.UnionType) else (found,)
        for choice in choices:
            if isinstance(choice, msgspec.inspect.StructType) and part != "[":
                found = next((field.type for field in choice.fields if field.encode_name == part), choice)
            elif isinstance(choice, msgspec.inspect.ListType) and part == "[":
                found = choice.item_type
    choices = found.types if isinstance(found, msgspec.inspect.UnionType) else (found,)
    return [
        field.encode_name
        for choice in choices
        if isinstance(choice, msgspec.inspect.StructType)
        for field in choice.fields
    ]


def check_size(value: bytes, limit: int, field: str) -> None:
    if len(value) > limit:
        raise TooLarge(field, f"has {len(value)} bytes", f"at most {limit} bytes")
