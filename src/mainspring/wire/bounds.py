"""How much of anything is accepted, and what a field is when nobody says: in one place."""

import msgspec

DEFAULT_KIND = "echo"
DEFAULT_QUEUE = "default"
DEFAULT_TENANT = "default"
DEFAULT_PAYLOAD = b"null"

MIB = 1024 * 1024


class Bounds(msgspec.Struct, frozen=True):
    """Limits on one request. Every door of a node is handed the same ones.

    `depth` is how deep a payload may nest; the document around it may be a few levels deeper.
    """

    body_bytes: int = 32 * MIB
    payload_bytes: int = MIB
    depth: int = 64
    batch_tasks: int = 10_000
    parents: int = 10_000
    labels: int = 32
    page_size: int = 1_000
    wait_s: float = 60.0
    slots: int = 1_000
    lines: int = 10_000
    max_retries: int = 100_000
    max_losses: int = 1_000


BOUNDS = Bounds()
PAGE_SIZE_DEFAULT = 100
