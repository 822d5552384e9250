"""What makes two failures alike: kind, type and place; never the message, never the line."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.fingerprint import Failing, failing, fingerprint
from mainspring.core.lifecycle import Cause, Outcome, Report, settle
from mainspring.core.model import Lane, Lease, Policy, encode_policy

LANE = Lane("default", "charge", "default", 5)


def error(**members: object) -> bytes:
    return msgspec.json.encode({"type": "ValueError", "message": "no", "place": "a.py:pay:12", **members})


def test_it_is_the_same_for_ever():
    """Stored numbers must be found again by a later version."""
    assert fingerprint("charge", error()) == 0x7DBD276821F6AF5B
    assert fingerprint("charge", None) == 0x1040E51D5D907460


def test_messages_do_not_part_groups():
    messages = ("no customer 4711", "no customer 4712", "0190f0c4-7a5e-7000-8000-000000000812", "")
    assert len({fingerprint("charge", error(message=message)) for message in messages}) == 1


def test_an_edit_further_up_does_not_part_groups():
    assert fingerprint("charge", error(place="a.py:pay:12")) == fingerprint(
        "charge", error(place="a.py:pay:99")
    )


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("refund", {}),
        ("charge", {"type": "KeyError"}),
        ("charge", {"place": "a.py:book:12"}),
        ("charge", {"place": "b.py:pay:12"}),
        ("charge", {"place": ""}),
    ],
)
def test_what_parts_groups(kind, members):
    assert fingerprint(kind, error(**members)) != fingerprint("charge", error())


def test_names_that_run_together_are_told_apart():
    assert fingerprint("ab", error(type="c")) != fingerprint("a", error(type="bc"))


TRACEBACK = """Traceback (most recent call last):
  File "/srv/app/jobs.py", line 3, in charge
    pay(order)
  File "C:\\\\app\\\\bank.py", line 44, in pay
    raise ValueError(order)
ValueError: 7
"""


def test_a_place_is_read_from_a_traceback_if_none_is_given():
    """Workers in other languages, and older ones, send what they have."""
    assert failing(error(place="", traceback=TRACEBACK)).place == "bank.py:pay:44"
    assert failing(error(traceback=TRACEBACK)).place == "a.py:pay:12"
    assert failing(error(place="", traceback="at Object.<anonymous> (/srv/app.js:1:7)")).place == ""


@pytest.mark.parametrize("part", ["/", "a", ' File "', 'File "a", line 1, in '])
def test_a_text_made_to_be_slow_is_read_in_no_time(part):
    """It is read where claims are answered: with every slash a new beginning this would take hours."""
    text = 'File "' + part * (1_000_000 // len(part))
    assert fingerprint("charge", error(place="", traceback=text)) > 0


@pytest.mark.parametrize("strange", [b"null", b"7", b'"text"', b"[]", b'{"type":7}', b"{", b"\xff", b""])
def test_errors_of_another_shape_are_a_group_of_their_own(strange):
    assert failing(strange) == Failing()
    assert fingerprint("charge", strange) == fingerprint("charge", None)


@given(st.text(), st.text(), st.text())
def test_every_fingerprint_fits_a_signed_column(kind, type_, place):
    body = msgspec.json.encode({"type": type_, "place": place})
    assert 0 < fingerprint(kind, body) < 1 << 63


def lease(**fields: object) -> Lease:
    return Lease(
        "t", 1, 1, LANE, b"{}", 1, policy=encode_policy(Policy(max_retries=0, max_losses=1)), **fields
    )


@pytest.mark.parametrize(
    ("outcome", "cause", "marked"),
    [
        (Outcome.FAILED, Cause.FAIL, True),
        (Outcome.LOST, Cause.POISON, True),
        (Outcome.SUCCEEDED, Cause.SUCCEED, False),
        (Outcome.RELEASED, Cause.RELEASE, False),
        (Outcome.CANCELLED, Cause.CANCEL, False),
    ],
)
def test_only_what_ends_failed_is_marked(outcome, cause, marked):
    change, if_cancelled = settle(Report("t", 1, outcome, error=error()), lease(), 0.5)
    assert change.cause is cause
    assert change.fingerprint == (fingerprint("charge", error()) if marked else None)
    assert if_cancelled.fingerprint is None


def test_a_failure_that_is_retried_is_not_marked():
    retried = msgspec.structs.replace(lease(), policy=None)
    change, _ = settle(Report("t", 1, Outcome.FAILED, error=error()), retried, 0.5)
    assert (change.cause, change.fingerprint) == (Cause.RETRY, None)
