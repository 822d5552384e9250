"""Dead letters on the wire: groups named by hexadecimal digits, rates as people write them."""

import json

import pytest

from mainspring.core.model import State
from mainspring.errors import InvalidInput
from mainspring.ports import DeadGroup
from mainspring.wire.dead import group_view, interval_us, read_filter, read_replay
from mainspring.wire.queries import page_token, read_query

GROUP = "7dbd276821f6af5b"


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("10/s", 100_000.0),
        ("100/m", 600_000.0),
        ("1/h", 3_600e6),
        ("1/d", 86_400e6),
        ("5/30s", 6e6),
        ("3/1m30s", 30e6),
        ("1000000/s", 1.0),
        ("2/s", 500_000.0),
        ("10/ s", 100_000.0),
        ("10/2", 200_000.0),
    ],
)
def test_rates(text, interval):
    assert interval_us(text) == interval


@pytest.mark.parametrize(
    "text",
    ["", "10", "/s", "10/", "ten/s", "10/fortnight", "-1/s", "0/s", "1.5/s", "10/0s", "1000001/s", "1/2d",
     "10/s/s", "1e3/s", "10\n/s", "١/s", "9" * 30 + "/s", "1/" + "9" * 30],
)  # fmt: skip
def test_what_is_no_rate(text):
    """Named, with what is accepted."""
    with pytest.raises(InvalidInput) as refused:
        read_replay(b'{"all": true, "rate": ' + json.dumps(text).encode() + b"}")
    assert refused.value.field == "rate"
    assert "10/s" in refused.value.accepted


def test_a_group_is_a_filter():
    query = read_filter(b'{"fingerprint": "%s"}' % GROUP.encode())
    assert (query.states, query.fingerprint) == (frozenset({State.FAILED}), int(GROUP, 16))
    query, interval = read_replay(b'{"fingerprint": "%s", "kind": "x", "rate": "10/s"}' % GROUP.encode())
    assert (query.kind, query.fingerprint, interval) == ("x", int(GROUP, 16), 100_000.0)
    assert read_replay(b'{"all": true}')[1] == 0.0


@pytest.mark.parametrize(
    "text",
    ["", "7dbd", GROUP.upper(), "g" * 16, "0" * 16, "f" * 16, "0x" + "1" * 14, " " + "1" * 15, "1" * 17],
)
def test_what_is_no_group(text):
    with pytest.raises(InvalidInput, match="16 hexadecimal digits"):
        read_filter(b'{"fingerprint": "%s"}' % text.encode())
    with pytest.raises(InvalidInput, match="16 hexadecimal digits"):
        read_query({"fingerprint": text})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{}", "body"),
        (b'{"rate": "10/s"}', "body"),
        (b'{"state": "ready"}', "state"),
        (b'{"all": true, "state": ["failed", "ready"]}', "state"),
        (b'{"fingerprints": "x"}', "fingerprints"),
        (b'{"fingerprint": 7}', "fingerprint"),
        (b'{"all": true, "rate": 10}', "rate"),
    ],
)
def test_bad_filters(body, field):
    """A forgotten filter is not everything, and a rate is no filter."""
    with pytest.raises(InvalidInput) as refused:
        read_replay(body)
    assert refused.value.field == field


def test_a_purge_knows_no_rate():
    with pytest.raises(InvalidInput, match="rate"):
        read_filter(b'{"all": true, "rate": "10/s"}')


def test_a_page_token_belongs_to_its_group():
    token = page_token(read_query({"fingerprint": GROUP}), "17")
    assert read_query({"fingerprint": GROUP, "page_token": token}).cursor == "17"
    with pytest.raises(InvalidInput, match="page_token"):
        read_query({"fingerprint": "1" * 16, "page_token": token})


def test_a_group_shows_what_its_error_says():
    error = b'{"type":"ValueError","message":"%s","place":"bank.py:pay:44"}' % (b"x" * 500)
    view = group_view(DeadGroup(0x1234, "charge", 7, 1_000_000, 2_000_000, "t1", error))
    assert (view.fingerprint, view.error_type, view.place) == (
        "0000000000001234",
        "ValueError",
        "bank.py:pay:44",
    )
    assert (view.count, view.sample, len(view.message)) == (7, "t1", 300)
    unknown = group_view(DeadGroup(1, "charge", 1, 0, 0, "t1", None))
    assert (unknown.error_type, unknown.place, unknown.message) == ("", "", "")
