"""Pages of a list: how many rows one has, and the opaque token that says where the next one begins."""

import base64
import binascii
from zlib import crc32

from mainspring.errors import InvalidInput
from mainspring.wire.bounds import BOUNDS, PAGE_SIZE_DEFAULT, Bounds

TOKEN_ACCEPTED = "the next_page_token of the last answer, with the same filter"


def page_size(text: str | None, bounds: Bounds = BOUNDS) -> int:
    """The query parameter `page_size`, or the default. Raises `InvalidInput`."""
    return PAGE_SIZE_DEFAULT if text is None else count(text, "page_size", bounds.page_size)


def count(text: str, field: str, most: int) -> int:
    """A whole number from 1 on, in a query parameter. Raises `InvalidInput`."""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
    if not 1 <= number <= most:
        raise InvalidInput(field, f"out of range: {text[:20]}", f"1 to {most}")
    return number


def seal(cursor: str, of: str) -> str:
    """The token for a store's cursor in the list `of`: a name that tells this list and filter from others."""
    text = f"{_mark(cursor, of):08x}{cursor}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def unseal(token: str, of: str) -> str:
    """The inverse of `seal`. Raises `InvalidInput` for a token of another list, or a damaged one."""
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True).decode()
        if int(text[:8], 16) == _mark(text[8:], of):
            return text[8:]
    except (binascii.Error, ValueError):
        pass
    raise InvalidInput("page_token", "not a token of this list", TOKEN_ACCEPTED)


def _mark(cursor: str, of: str) -> int:
    """A token used with another filter would skip rows silently. The cursor counts too, so that a damaged
    token is found here and not by the store."""
    return crc32(f"{of}\0{cursor}".encode())
