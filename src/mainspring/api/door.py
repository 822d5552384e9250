"""What every route is handed: the scheduler behind it, the limits on input, what this node remembers."""

import asyncio
import hashlib
import json
import re
from collections import OrderedDict

import msgspec

from mainspring.api.http import Answer, Call
from mainspring.api.streaming import Streams
from mainspring.api.waiting import Waits
from mainspring.core.model import SECOND_US
from mainspring.errors import InvalidInput, StoreUnavailable
from mainspring.ports import Clock, Idempotency, Stats
from mainspring.scheduler import Scheduler
from mainspring.telemetry import SILENT, Metrics, Sink
from mainspring.wire.bounds import BOUNDS, Bounds
from mainspring.wire.strict import parse_json

KEY_ACCEPTED = 'up to 200 visible characters, as a quoted string ("8e03...") or bare'
REPLIES_KEPT = 1_000
REPLY_BYTES = 64 * 1024
_QUOTED = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_BARE = re.compile(r"[\x21\x23-\x7e]+")


class ApiOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the doors behave. On `loopback` foreign `Host`s and `Origin`s are refused, but for those listed;
    a `token`, if there is one, is asked for on every request but the health probes."""

    token: str = ""
    loopback: bool = True
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    role: str = "standalone"
    idempotency_ttl_s: float = 86_400.0
    job_timeout_s: float = 300.0
    bounds: Bounds = BOUNDS


class Door:
    """Shared by all routes of one node."""

    def __init__(
        self, scheduler: Scheduler, clock: Clock, options: ApiOptions, metrics: Metrics | None
    ) -> None:
        self.scheduler = scheduler
        self.clock = clock
        self.options = options
        self.bounds = options.bounds
        self.metrics = metrics
        self.sink: Sink = metrics or SILENT
        self.new_id = clock.new_id
        self.pulse = Pulse(scheduler)
        self.replies = Replies()
        self.streams = Streams()
        self.waits = Waits()


class Replies:
    """The latest answers given under an idempotency key, so that a repeat gets the very same one.

    Only a courtesy: whether a key was used is the store's to say, and after a restart or on another node
    a repeat is answered with the task as it is by then.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], Answer] = OrderedDict()

    def keep(self, idempotency: Idempotency, answer: Answer) -> None:
        if len(answer.body) <= REPLY_BYTES:
            copy = Answer(answer.status, answer.body, list(answer.headers))
            self._kept[idempotency.principal, idempotency.key] = copy
            if len(self._kept) > REPLIES_KEPT:
                self._kept.popitem(last=False)

    def find(self, idempotency: Idempotency) -> Answer | None:
        kept = self._kept.get((idempotency.principal, idempotency.key))
        return None if kept is None else Answer(kept.status, kept.body, list(kept.headers))


class Pulse:
    """Asks the store for its counts, once for all who want them at the moment, and not for ever."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._asking: asyncio.Task[Stats] | None = None

    async def stats(self, patience_s: float) -> Stats:
        """Raises `StoreUnavailable` after `patience_s`; a store that hangs is not asked again meanwhile."""
        asking = self._asking
        if asking is None or asking.done():
            asking = self._asking = asyncio.ensure_future(self._scheduler.stats())
        await asyncio.wait((asking,), timeout=patience_s)
        if not asking.done():
            raise StoreUnavailable(f"the store has not answered for {patience_s:g} s")
        return asking.result()


def idempotency(door: Door, call: Call, body: bytes) -> Idempotency | None:
    """What the Idempotency-Key field says. A key belongs to its caller and its route. Of the body counts
    what it means: the order of keys and white space do not. Raises `InvalidInput`."""
    field = call.header(b"idempotency-key")
    if field is None:
        return None
    quoted = _QUOTED.fullmatch(field)
    if quoted is not None:
        key = re.sub(r'\\(["\\])', r"\1", quoted[1])
    else:
        key = field if _BARE.fullmatch(field) else ""
    if not 0 < len(key) <= 200:
        raise InvalidInput("Idempotency-Key", f"not a key: {field[:40]!r}", KEY_ACCEPTED)
    meaning = json.dumps(parse_json(body, door.bounds.depth + 3), sort_keys=True, separators=(",", ":"))
    return Idempotency(
        f"{call.caller} {call.route}",
        key,
        hashlib.sha256(meaning.encode()).digest(),
        int(door.options.idempotency_ttl_s * SECOND_US),
    )
