"""Errors on the wire: problem documents (RFC 9457), written by servers and read back by clients.

One table says what HTTP status each error code has. A client that reads a document it does not fully
know still raises the nearest error of the tree: unknown members are ignored, wrong ones too.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

from mainspring import errors
from mainspring.errors import InvalidInput, MainspringError
from mainspring.ports import Refused

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "/problems/"


class Kind(NamedTuple):
    """One type of problem: the same status and title wherever it occurs."""

    status: HTTPStatus
    title: str
    meaning: str


PROBLEMS: Mapping[str, Kind] = {
    "invalid_input": Kind(
        HTTPStatus.BAD_REQUEST,
        "The request is not acceptable",
        "A value is missing, unknown, of the wrong type or out of range. `field` is its path, `accepted` "
        "what would have been right. Nothing was stored.",
    ),
    "too_large": Kind(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "The request is too large",
        "The body, the payload or the number of lines is over its limit. Nothing was stored.",
    ),
    "unauthenticated": Kind(
        HTTPStatus.UNAUTHORIZED,
        "Who are you?",
        "The server wants `Authorization: Bearer TOKEN`, and got none or another one.",
    ),
    "forbidden": Kind(
        HTTPStatus.FORBIDDEN,
        "Not allowed",
        "The caller may not do this; or, on a loopback address, the Host or Origin is a foreign one.",
    ),
    "not_found": Kind(HTTPStatus.NOT_FOUND, "Not found", "There is nothing of this name or id."),
    "gone": Kind(
        HTTPStatus.GONE,
        "No longer there",
        "The tasks that were made under this idempotency key have been deleted; no new ones were made.",
    ),
    "method_not_allowed": Kind(
        HTTPStatus.METHOD_NOT_ALLOWED,
        "Method not allowed",
        "The path exists; the `Allow` header says what may be done with it.",
    ),
    "conflict": Kind(
        HTTPStatus.CONFLICT, "Conflict", "The request does not fit the present state; nothing was changed."
    ),
    "wrong_state": Kind(
        HTTPStatus.CONFLICT,
        "In the wrong state",
        "The record's state does not allow this: for example, only a failed or cancelled task can be "
        "retried, and only a schedule that has a next fire can skip it.",
    ),
    "lease_lost": Kind(
        HTTPStatus.CONFLICT,
        "The lease is lost",
        "The task's lease has lapsed or was taken away. The worker must stop; nothing was changed.",
    ),
    "id_taken": Kind(
        HTTPStatus.CONFLICT, "The id is taken", "A record with this id exists already; it was not changed."
    ),
    "version_mismatch": Kind(
        HTTPStatus.PRECONDITION_FAILED,
        "Somebody else was faster",
        "The record has changed since the version that If-Match names. Read it again.",
    ),
    "head_too_large": Kind(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "The head of the request is too large",
        "The request line and the header fields together are over their limit.",
    ),
    "unsupported_media_type": Kind(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "Not JSON",
        "Bodies are `Content-Type: application/json`, uncompressed.",
    ),
    "idempotency_key_reused": Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The idempotency key is taken",
        "This Idempotency-Key was used before, for another request body. Nothing was stored.",
    ),
    "backlog_full": Kind(
        HTTPStatus.TOO_MANY_REQUESTS,
        "The queue is full",
        "The queue's `max_waiting` is reached. Try again after `Retry-After` seconds.",
    ),
    "overloaded": Kind(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Too much in flight",
        "This node has as much work in memory as it may. Try again after `Retry-After` seconds.",
    ),
    "store_unavailable": Kind(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The store does not answer",
        "Whether the request took effect may be unknown. Repeating it is safe with an Idempotency-Key.",
    ),
    "store_full": Kind(
        HTTPStatus.INSUFFICIENT_STORAGE, "No space left", "The store's disk is full. Nothing was stored."
    ),
    "internal_error": Kind(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "A fault of the server",
        "This should not happen. The server's log has the details, under the same `instance`.",
    ),
}

# Codes that have no page of their own are shown as their nearest kin.
_KIN = {
    "refused": "overloaded",
    "not_allowed": "forbidden",
    "store_error": "store_unavailable",
    "store_corrupt": "internal_error",
    "store_too_new": "internal_error",
    "store_too_old": "internal_error",
    "store_unfinished": "internal_error",
    "unknown_parent": "invalid_input",
}
RETRY_AFTER_S = 1


class Problem(msgspec.Struct, omit_defaults=True):
    """A problem document. `code` is stable; `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str = ""
    code: str = ""
    field: str = ""
    accepted: str = ""
    retry_after: int = 0
    instance: str = ""


def problem_of(error: MainspringError) -> Problem:
    """The document for an error of the tree."""
    code = error.code if error.code in PROBLEMS else _KIN.get(error.code, "internal_error")
    kind = PROBLEMS[code]
    problem = Problem(TYPE_PREFIX + code, kind.title, int(kind.status), error.detail, code)
    if isinstance(error, InvalidInput):
        problem.field, problem.accepted = error.field, error.accepted
    if kind.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        problem.retry_after = max(1, int(getattr(error, "retry_after_s", RETRY_AFTER_S)))
    return problem


def _leaves(kind: type[MainspringError]) -> dict[str, type[MainspringError]]:
    found = {kind.code: kind}
    for child in kind.__subclasses__():
        found.update(_leaves(child))
    return found


class IdTaken(errors.Conflict):
    """A record with the id that the caller chose exists already."""

    code = "id_taken"


def error_of(body: bytes, status: int) -> MainspringError:
    """What a client raises for an answer that is no success, whoever sent it."""
    members = _members(body)
    code, detail = _text(members, "code"), _text(members, "detail") or f"the server answered {status}"
    kind = _leaves(MainspringError).get(code) or _KIN_BY_STATUS.get(status)
    if kind is None:
        kind = errors.StoreUnavailable if status >= 500 else errors.Conflict
    if issubclass(kind, InvalidInput):
        field, accepted = _text(members, "field"), _text(members, "accepted")
        problem = detail.removeprefix(f"{field}: ").removesuffix(f"; accepted: {accepted}")
        return kind(field, problem, accepted)
    if issubclass(kind, errors.Refused):
        after = members.get("retry_after")
        return kind(detail, after if isinstance(after, int) and 0 < after < 86_400 else RETRY_AFTER_S)
    return kind(detail)


_KIN_BY_STATUS: dict[int, type[MainspringError]] = {
    400: InvalidInput,
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    412: errors.VersionMismatch,
    413: errors.TooLarge,
    422: errors.KeyReused,
    429: errors.BacklogFull,
    503: errors.Overloaded,
}


def _members(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(members: dict[str, Any], name: str) -> str:
    value = members.get(name)
    return value if isinstance(value, str) else ""


def refusal(refused: Refused, place: int | None = None) -> MainspringError:
    """The error for a submit that the store refused; `place` is the caller's number for the task."""
    prefix = "" if place is None else f"tasks[{place}]."
    if refused.code == "unknown_parent":
        return InvalidInput(f"{prefix}depends_on", refused.detail, "tasks that exist, or siblings by ref")
    if refused.code == "id_taken":
        return IdTaken(refused.detail)
    kind = _leaves(MainspringError).get(refused.code, errors.Conflict)
    if issubclass(kind, InvalidInput):
        return kind(prefix.rstrip(".") or "body", refused.detail)
    return kind(refused.detail)
