"""What the built-in kinds' payloads have in common: how they are refused, and how bytes travel in them."""

import base64
import binascii
import codecs
from typing import Literal

import msgspec

from mainspring.errors import InvalidInput
from mainspring.sdk.handlers import BadPayload
from mainspring.wire.strict import WHOLE

Encoding = Literal["text", "base64"]
ESCAPES_BYTES = 1024


def bad_payload(error: InvalidInput) -> BadPayload:
    """The same complaint about a task's payload, as the end of its run."""
    return BadPayload(
        str(
            InvalidInput("payload", error.problem, error.accepted)
            if error.field == WHOLE
            else error.under("payload")
        )
    )


def pack(data: bytes, cut: bool = False) -> tuple[str, Encoding]:
    """What to put into the JSON text, and how it is to be read. Text so full of escapes that base64 would be
    shorter is packed, too. Of data that was `cut`, the last character may be left out: half of it is gone."""
    packed = base64.b64encode(data).decode()
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(data, final=not cut)
    except UnicodeDecodeError:
        return packed, "base64"
    if len(msgspec.json.encode(text)) > len(packed) + ESCAPES_BYTES:
        return packed, "base64"
    return text, "text"


def unpack(text: str, encoding: Encoding, field: str) -> bytes:
    """The inverse of `pack`. Raises `InvalidInput` naming `field`."""
    if encoding == "text":
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise InvalidInput(field, f"not base64: {error}", "base64 with its padding") from None
