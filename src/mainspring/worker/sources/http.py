"""A server as a worker's source: the worker protocol over HTTP (`wire.leases`)."""

from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from mainspring import __version__
from mainspring.core.lifecycle import Report
from mainspring.core.model import Lease
from mainspring.errors import InvalidInput, StoreUnavailable
from mainspring.ports import (
    Answer,
    Append,
    ClaimRequest,
    Recall,
    Recalled,
    Refused,
    Renewal,
    WorkerInfo,
)
from mainspring.sdk.connections import Connections
from mainspring.wire import leases as wire
from mainspring.wire import progress
from mainspring.wire.problems import error_of

API = "/api/v1"
ANSWER_S = 15.0
_OK = range(200, 300)


class HttpSource:
    """A `ports.TaskSource` at `api_url`. `token` is shown as a bearer token.

    Every call raises what the server's problem document says, and `StoreUnavailable` when no server answers
    or the answer makes no sense.
    """

    flights = 1

    def __init__(self, api_url: str, token: str = "") -> None:
        headers = {"User-Agent": f"mainspring-worker/{__version__}"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._connections = Connections(api_url, headers)

    async def claim(self, request: ClaimRequest) -> list[Lease]:
        wait_s = request.wait_s + ANSWER_S
        body = await self._call("POST", "/leases/claim", wire.write_claim(request), wait_s)
        try:
            return wire.read_leases(body, request.worker)
        except msgspec.MsgspecError as error:
            raise self._nonsense(error) from None

    async def renew(self, renewal: Renewal) -> Sequence[Answer]:
        return await self._answers("/leases/renew", wire.write_renewal(renewal), len(renewal.held))

    async def settle(self, reports: Sequence[Report]) -> Sequence[Answer]:
        return await self._answers("/leases/settle", wire.write_reports(reports), len(reports))

    async def append(self, lines: Sequence[Append]) -> Sequence[Answer]:
        return await self._answers("/leases/append", progress.write_append(lines), len(lines))

    async def recall(self, lines: Sequence[Recall]) -> Sequence[Recalled | Refused]:
        reply = await self._call("POST", "/leases/recall", progress.write_recall(lines))
        try:
            answers = progress.read_recalled(reply)
        except (msgspec.MsgspecError, KeyError) as error:
            raise self._nonsense(error) from None
        if len(answers) != len(lines):
            raise self._nonsense(ValueError(f"{len(answers)} answers to {len(lines)} lines"))
        return answers

    async def beat(self, worker: WorkerInfo) -> None:
        await self._call("PUT", f"/workers/{quote(worker.worker, safe='')}", wire.write_worker(worker))

    async def leave(self, worker: str, incarnation: str) -> None:
        path = f"/workers/{quote(worker, safe='')}?incarnation={quote(incarnation, safe='')}"
        await self._call("DELETE", path, None)

    async def close(self) -> None:
        """Hang up. The source may be used again: it would connect anew."""
        await self._connections.close()

    async def _answers(self, path: str, body: bytes, count: int) -> Sequence[Answer]:
        reply = await self._call("POST", path, body)
        try:
            answers = wire.read_answers(reply)
        except (msgspec.MsgspecError, KeyError) as error:
            raise self._nonsense(error) from None
        if len(answers) != count:
            raise self._nonsense(ValueError(f"{len(answers)} answers to {count} lines"))
        return answers

    async def _call(self, method: str, path: str, body: bytes | None, timeout_s: float = ANSWER_S) -> bytes:
        reply = await self._connections.call(method, API + path, body, timeout_s)
        if reply.status in _OK:
            return reply.body
        error = error_of(reply.body, reply.status)
        if isinstance(error, InvalidInput) and b'"code"' not in reply.body:
            # Somebody between here and the server: its word must not make a task fail.
            raise self._nonsense(error)
        raise error

    def _nonsense(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(f"{self._connections.url} answers, but not as a Mainspring server: {error}")
