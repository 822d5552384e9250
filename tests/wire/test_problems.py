"""Problem documents: written by one side, understood by the other."""

import json

import msgspec
import pytest

from mainspring import errors
from mainspring.errors import InvalidInput, MainspringError
from mainspring.ports import Refused
from mainspring.wire.problems import PROBLEMS, IdTaken, error_of, problem_of, refusal


def tree(kind=MainspringError):
    return [kind, *(leaf for child in kind.__subclasses__() for leaf in tree(child))]


@pytest.mark.parametrize("kind", [kind for kind in tree() if kind.__module__ == "mainspring.errors"])
def test_every_error_has_a_status_and_comes_back(kind):
    error = kind("field", "problem", "accepted") if issubclass(kind, InvalidInput) else kind("detail")
    problem = problem_of(error)
    assert problem.status == PROBLEMS[problem.code].status
    back = error_of(msgspec.json.encode(problem), problem.status)
    if kind.code in PROBLEMS:
        assert type(back) is kind
        assert str(back) == str(error)
    if isinstance(error, InvalidInput):
        assert (back.field, back.problem, back.accepted) == ("field", "problem", "accepted")


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"<html>", 502, errors.StoreUnavailable),
        (b"", 404, errors.NotFound),
        (b"[]", 401, errors.Unauthenticated),
        (b'{"code": 7, "detail": ["x"], "status": "y"}', 409, errors.Conflict),
        (b'{"code": "a_code_of_tomorrow", "detail": "d"}', 412, errors.VersionMismatch),
        (b'{"code": "backlog_full", "retry_after": "soon"}', 429, errors.BacklogFull),
    ],
)
def test_strange_documents_are_understood_as_far_as_possible(body, status, kind):
    """Protocol check A-10: unknown members, and known ones of a wrong type, are ignored."""
    error = error_of(body, status)
    assert type(error) is kind
    if isinstance(error, errors.Refused):
        assert error.retry_after_s == 1


def test_retry_after_comes_back():
    document = msgspec.json.encode(problem_of(errors.BacklogFull("full", 7)))
    assert error_of(document, 429).retry_after_s == 7


def test_extension_names_are_names():
    """Protocol checks A-2 and A-11."""
    problem = json.loads(msgspec.json.encode(problem_of(InvalidInput("f", "p", "a"))))
    assert set(problem) == {"type", "title", "status", "detail", "code", "field", "accepted"}
    assert isinstance(problem["status"], int)


def test_refusals_name_the_callers_task():
    unknown = refusal(Refused("unknown_parent", "d", 0), 4)
    assert isinstance(unknown, InvalidInput)
    assert unknown.field == "tasks[4].depends_on"
    assert isinstance(refusal(Refused("id_taken", "d", 0)), IdTaken)
    assert isinstance(refusal(Refused("backlog_full", "d", 0)), errors.BacklogFull)
    assert isinstance(refusal(Refused("idempotency_key_reused", "d")), errors.KeyReused)
    assert isinstance(refusal(Refused("a_code_of_tomorrow", "d")), errors.Conflict)
