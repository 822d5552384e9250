"""What two JSON parsers could read differently is refused at the door (RFC 8259; protocol check D-49)."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.errors import InvalidInput, TooLarge
from mainspring.wire.batches import BATCH
from mainspring.wire.strict import parse_json
from mainspring.wire.tasks import TASK


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"a": 1} x', "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 01}', "not JSON"),
        (b'{"a": "\x01"}', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1e400}', "out of range"),
        (b'{"a": -1e400}', "out of range"),
        (b'{"a": ' + b"9" * 309 + b"}", "309 digits"),
        (b'{"a": 1, "a": 1}', "twice"),
        (b'{"x": [{"b": 1, "\\u0062": 2}]}', "twice"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        (b'{"a": "\\ud800"}', "lone surrogate"),
        (b'{"\\udc00": 1}', "lone surrogate"),
        (b'{"a": "\\udc00\\ud800"}', "lone surrogate"),
        (b"[" * 65 + b"]" * 65, "deeper than 64"),
        (b"[" * 100_000, "deeper than 64"),
        (b'{"a":' * 100_000, "deeper than 64"),
        (b"]" * 100_000, "not JSON"),
        (b"[" + b"[]," * 100 + b"[]", "not JSON"),
    ],
)
def test_refused(text, problem):
    with pytest.raises(InvalidInput, match=problem):
        parse_json(text)


def test_millions_of_values_are_refused_before_they_are_made():
    with pytest.raises(TooLarge, match="too many values"):
        parse_json(b"[" + b"[]," * 1_000_000 + b"[]]")


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 64 + b"]" * 64,
        b"[" + b"[{}]," * 5000 + b"0]",
        b'{"a": "\\ud83d\\ude00 \\\\ud800"}',
        b'{"a": "[[[[[[' + b"[" * 100 + b'"}',
        b'{"a": "\\"[[[' + b"{" * 100 + b'"}',
        b"1e308",
        b"9" * 308,
        b'{"a": {"a": 1}, "b": {"a": 1}}',
    ],
)
def test_accepted(text):
    assert parse_json(text) == json.loads(text)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=30,
)


@given(values)
def test_everything_that_json_can_say_is_read(value):
    assert parse_json(json.dumps(value).encode()) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(junk):
    try:
        parse_json(junk)
    except InvalidInput:
        return
    json.loads(junk)


@pytest.mark.parametrize("depth", [64, 65])
def test_depth_counts_from_the_payload(depth):
    """A payload is as deep in a batch as alone."""
    payload = b"[" * depth + b"]" * depth
    bodies = [(TASK, b'{"payload": %b}' % payload), (BATCH, b'{"tasks": [{"payload": %b}]}' % payload)]
    for shape, body in bodies:
        if depth == 64:
            shape.read(body)
        else:
            with pytest.raises(InvalidInput, match="nested deeper"):
                shape.read(body)


@pytest.mark.parametrize(
    ("body", "field", "hint"),
    [
        (b'{"priorty": 1}', "priorty", "did you mean priority"),
        (b'{"xyzzy": 1}', "xyzzy", "unknown field"),
        (b'{"retry": {"strategi": "fixed"}}', "retry.strategi", "did you mean strategy"),
        (b'{"unique": {"feilds": []}}', "unique.feilds", "did you mean fields"),
        (b'{"priority": 1.5}', "priority", "expected int"),
        (b'{"max_retries": "3"}', "max_retries", "expected int"),
        (b'{"max_retries": true}', "max_retries", "expected int"),
        (b'{"depends_on": ["a", 1]}', "depends_on[1]", "expected str"),
        (b"[]", "body", "expected object"),
        (b"3", "body", "expected object"),
    ],
)
def test_wrong_fields_are_named(body, field, hint):
    """Peer behaviour 5: unknown options are refused with a hint at the right name, not ignored."""
    with pytest.raises(InvalidInput, match=hint) as caught:
        TASK.read(body)
    assert caught.value.field == field


def test_wrong_fields_of_a_batch_are_named_with_their_place():
    with pytest.raises(InvalidInput, match="did you mean queue") as caught:
        BATCH.read(b'{"tasks": [{}, {"queu": "x"}]}')
    assert caught.value.field == "tasks[1].queu"
    assert "priority" in caught.value.accepted
    with pytest.raises(InvalidInput, match="missing") as caught:
        BATCH.read(b"{}")
    assert caught.value.field == "tasks"


@pytest.mark.parametrize(
    "text", [b"123456789012345678901234567890", b"1.0e5", b'"\\u0041"', b'{"b": 1, "a": 2}']
)
def test_payloads_stay_as_they_came(text):
    """Peer behaviour 7: integers beyond 2**53 come back digit for digit."""
    payload = TASK.read(b'{"payload": %b}' % text).payload
    assert isinstance(payload, msgspec.Raw)
    assert bytes(payload) == text
