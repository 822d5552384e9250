"""The ASGI application: guard, route, call, answer; and every error leaves as a problem document."""

import asyncio
import logging
from collections.abc import Mapping

import msgspec

from mainspring.api.conditions import refuse_tags
from mainspring.api.door import ApiOptions, Door
from mainspring.api.guard import Guard
from mainspring.api.http import (
    Answer,
    Call,
    ClientGone,
    MethodNotAllowed,
    Receive,
    Scope,
    Send,
    UnsupportedMediaType,
    read_query,
    send_answer,
)
from mainspring.api.openapi import document
from mainspring.api.routes import ROUTES, Route, Router
from mainspring.api.streaming import Stream
from mainspring.errors import InvalidInput, MainspringError, NotFound, StoreUnavailable, Unauthenticated
from mainspring.ports import Clock
from mainspring.scheduler import Scheduler
from mainspring.telemetry import Metrics
from mainspring.wire.problems import CONTENT_TYPE, Problem, problem_of

_log = logging.getLogger(__name__)
_PROBLEM = (b"content-type", CONTENT_TYPE.encode())
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_encode = msgspec.json.Encoder().encode


def create_app(
    scheduler: Scheduler, clock: Clock, options: ApiOptions | None = None, metrics: Metrics | None = None
) -> "Api":
    """The HTTP doors of one node, for any ASGI server. Without `metrics` nothing is counted."""
    return Api(Door(scheduler, clock, options or ApiOptions(), metrics))


class Api:
    """An ASGI application. One instance serves all connections of a node."""

    def __init__(self, door: Door) -> None:
        options = door.options
        self._door = door
        self._guard = Guard(options.token, options.loopback, options.hosts, options.origins)
        self._router = Router(
            (*ROUTES, Route("GET", "/openapi.json", self._describe, "This document", {200: None}))
        )
        self._description: bytes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _not_http(scope, receive, send)
            return
        door = self._door
        started_s = door.clock.monotonic()
        label, method = "(unknown)", scope["method"]
        answer: Answer
        try:
            found = self._router.find(scope["path"])
            headers = _headers(scope)
            self._guard.check_origin(headers, scope["http_version"])
            route = None if found is None else found[0].get(method)
            is_open = route is not None and route.is_open
            caller = "" if is_open else self._guard.caller(headers)
            if found is None:
                raise NotFound(f"there is nothing at {scope['path'][:200]}")
            if route is None:
                raise MethodNotAllowed(method[:20], ", ".join(sorted(found[0])))
            label = route.path
            if b"if-match" in headers and "If-Match" not in route.headers:
                refuse_tags(headers)
            call = Call(scope, receive, headers, door.bounds.body_bytes)
            call.path, call.caller, call.route = found[1], caller, label
            if scope.get("query_string"):
                call.query = read_query(scope["query_string"], route.query)
            answer = await route.handler(door, call)
        except MainspringError as error:
            answer = self._problem(error)
        except ClientGone:
            return
        except asyncio.CancelledError:
            # A server that stops waits only so long; then it would say 500 by itself, in plain text.
            stopping = self._problem(StoreUnavailable("this node is shutting down"))
            await send_answer(stopping, send, method != "HEAD")
            raise
        except Exception as error:
            answer = self._fault(error, scope)
        if isinstance(answer, Stream) and method != "HEAD":
            await door.streams.send(answer, send)
            return  # how long somebody watched is not how long an answer took
        await send_answer(answer, send, method != "HEAD")
        took_s = door.clock.monotonic() - started_s
        shown = method if method in _METHODS else "(other)"
        door.sink.observe("http_request_seconds", took_s, shown, label, str(answer.status))

    def close(self) -> None:
        """Streams end now, and calls that wait are answered; no new ones begin. For a server that is about to
        shut down."""
        self._door.streams.close()
        self._door.waits.close()

    def _problem(self, error: MainspringError) -> Answer:
        problem = problem_of(error)
        headers = [_PROBLEM]
        if problem.retry_after:
            headers.append((b"retry-after", b"%d" % problem.retry_after))
        if isinstance(error, Unauthenticated):
            headers.append((b"www-authenticate", b'Bearer realm="mainspring"'))
        if isinstance(error, UnsupportedMediaType):
            headers += [(b"accept", b"application/json"), (b"accept-encoding", b"identity")]
        if isinstance(error, MethodNotAllowed):
            headers.append((b"allow", error.allowed.encode()))
        if problem.status >= 500:
            _log.warning("request failed", extra={"code": problem.code, "detail": problem.detail})
        return Answer(problem.status, _encode(problem), headers)

    def _fault(self, error: Exception, scope: Scope) -> Answer:
        """A bug of ours. The caller gets a name for the occurrence, the log gets the rest."""
        instance = f"urn:uuid:{self._door.new_id()}"
        _log.error(
            "request failed", exc_info=error, extra={"instance": instance, "path": scope["path"][:200]}
        )
        problem: Problem = problem_of(MainspringError("the server's log knows more"))
        problem.instance = instance
        return Answer(problem.status, _encode(problem), [_PROBLEM])

    async def _describe(self, door: Door, call: Call) -> Answer:
        if self._description is None:
            self._description = document(ROUTES)
        return Answer(200, self._description, [(b"content-type", b"application/json")])


def _headers(scope: Scope) -> Mapping[bytes, bytes]:
    """Header fields by name; several of one name are a list. Raises `InvalidInput` for two Hosts."""
    fields: list[tuple[bytes, bytes]] = scope["headers"]
    headers = dict(fields)
    if len(headers) == len(fields):
        return headers
    headers = {}
    for name, value in fields:
        if name == b"host" and name in headers:
            raise InvalidInput("Host", "given twice", "one Host header field")
        headers[name] = b", ".join((headers[name], value)) if name in headers else value
    return headers


async def _not_http(scope: Scope, receive: Receive, send: Send) -> None:
    """A server's start and end need nothing of us; web sockets are not spoken here."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    while scope["type"] == "lifespan":
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
