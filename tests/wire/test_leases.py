"""The worker protocol: what the client writes the server reads, and back."""

import json

import pytest

from mainspring.core.lifecycle import Outcome, Report
from mainspring.core.model import Lane, Lease
from mainspring.errors import InvalidInput, TooLarge
from mainspring.ports import Answer, ClaimRequest, Held, Renewal, WorkerInfo
from mainspring.wire import leases
from mainspring.wire.bounds import Bounds

TASK = "01a1fe09-27c2-7000-85f0-280dd56e7f97"


def test_claims_come_back():
    request = ClaimRequest("w1", "i", 3, ("a", "b"), ("q",), 100, 12.5)
    assert leases.read_claim(leases.write_claim(request)) == request


def test_leases_come_back():
    full = Lease(
        TASK, 1795263375298563, 5, Lane("q", "k", "t", 9, "key"), b'{"a": 12345678901234567890}', 2, 1, 1, 1,
        b'{"max_retries":1}', 10, 20, b"[1]", None, b'{"l":"1"}', 7, 99, "w1",
    )  # fmt: skip
    bare = Lease(TASK, 1, 0, Lane("default", "echo", "default", 5), b"null", 1, worker="w1")
    assert leases.read_leases(leases.write_leases([full, bare]), "w1") == [full, bare]


def test_reports_come_back():
    reports = [
        Report(TASK, 1, Outcome.SUCCEEDED, result=b"1.0e5"),
        Report(TASK, 2, Outcome.SUCCEEDED, result=b"null"),
        Report(TASK, 3, Outcome.SUCCEEDED),
        Report(
            TASK,
            4,
            Outcome.FAILED,
            error=b'{"type":"E"}',
            error_type="E",
            retryable=False,
            delay_us=1_500_000,
        ),
        Report(TASK, 5, Outcome.SNOOZED, delay_us=250_000, duration_us=42),
        *(Report(TASK, 6, outcome) for outcome in Outcome),
    ]
    assert leases.read_reports(leases.write_reports(reports)) == reports


def test_renewals_come_back():
    renewal = Renewal("i", 4, [Held(TASK, 1), Held(TASK, 2, False)], 0)
    assert leases.read_renewal(leases.write_renewal(renewal)) == renewal


def test_answers_and_workers_come_back():
    answers = list(Answer)
    assert leases.read_answers(leases.write_answers(answers)) == answers
    info = WorkerInfo("w1", "i", "node-1", ("a",), ("q",), 10, 3, True, "1.0")
    assert leases.read_worker(leases.write_worker(info), "w1") == info


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"kinds": []}, "kinds"),
        ({"kinds": ["a b"]}, "kinds[0]"),
        ({"kinds": ["a"] * 1001}, "kinds"),
        ({"slots": 0}, "slots"),
        ({"slots": 1001}, "slots"),
        ({"wait": -1}, "wait"),
        ({"wait": 61}, "wait"),
        ({"worker": ""}, "worker"),
        ({"claim_seq": -1}, "claim_seq"),
        ({"slot": 1}, "slot"),
    ],
)
def test_claims_refused(fields, field):
    body = {"worker": "w", "incarnation": "i", "claim_seq": 1, "kinds": ["a"], **fields}
    with pytest.raises(InvalidInput) as caught:
        leases.read_claim(json.dumps(body).encode())
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ({"outcome": "done"}, "reports[0].outcome"),
        ({"outcome": "failed", "delay": -1}, "reports[0].delay"),
        ({"outcome": "failed", "token": "1"}, "reports[0].token"),
        ({"outcome": "failed", "token": 1 << 63}, "reports[0].token"),
        ({"outcome": "failed", "token": -1}, "reports[0].token"),
        ({"outcome": "failed", "eror": {}}, "reports[0].eror"),
    ],
)
def test_reports_refused(line, field):
    with pytest.raises(InvalidInput) as caught:
        leases.read_reports(json.dumps({"reports": [{"task": TASK, "token": 1, **line}]}).encode())
    assert caught.value.field == field


def test_too_many_lines():
    body = leases.write_reports([Report(TASK, 1, Outcome.RELEASED)] * 3)
    with pytest.raises(TooLarge, match="3 lines"):
        leases.read_reports(body, Bounds(lines=2))
