"""Payloads that a program hands over as values: as JSON that a door would let pass."""

import json
from typing import Any

import msgspec

from mainspring.errors import InvalidInput
from mainspring.wire.bounds import BOUNDS
from mainspring.wire.strict import check_size, parse_json

ACCEPTED = (
    "what JSON can hold: None, bool, numbers, str, lists, dicts; dataclasses and times as JSON shows them"
)
_encode = msgspec.json.Encoder().encode


def encode_payload(value: Any, field: str = "payload") -> bytes:
    """Raises `InvalidInput` for a value that would come back as another one, or not at all."""
    if value is None:
        return b"null"
    try:
        payload = _encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(field, f"cannot be written as JSON: {error}", ACCEPTED) from None
    check_size(payload, BOUNDS.payload_bytes, field)
    try:
        parse_json(payload)
    except InvalidInput as error:
        problem = error.problem if error.field == "body" else f"{error.field}: {error.problem}"
        raise InvalidInput(field, problem, error.accepted) from None
    if b"null" in payload:
        _check_finite(value, field)
    return payload


def _check_finite(value: Any, field: str) -> None:
    """NaN and the infinities, which are no JSON, have become `null` on the way."""
    try:
        json.dumps(msgspec.to_builtins(value), allow_nan=False)
    except ValueError:
        raise InvalidInput(field, "NaN or an infinity, which JSON cannot hold", ACCEPTED) from None
