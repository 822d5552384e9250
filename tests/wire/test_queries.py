"""Filters and page tokens."""

import pytest

from mainspring.core.model import State
from mainspring.errors import InvalidInput
from mainspring.ports import Query
from mainspring.wire.queries import page_token, read_filter, read_query


def test_parameters():
    query = read_query(
        {"state": "pending,failed", "queue": "q", "kind": "k", "tenant": "t", "label": "a=b=c"}
    )
    assert query.states == {State.BLOCKED, State.SCHEDULED, State.READY, State.FAILED}
    assert (query.queue, query.kind, query.tenant, query.label) == ("q", "k", "t", ("a", "b=c"))
    assert (query.limit, query.cursor) == (100, None)
    assert read_query({}) == Query()


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"state": "nope"}, "state"),
        ({"state": ""}, "state"),
        ({"queue": "a b"}, "queue"),
        ({"label": "a"}, "label"),
        ({"page_size": "0"}, "page_size"),
        ({"page_size": "1001"}, "page_size"),
        ({"page_size": "ten"}, "page_size"),
        ({"page_size": "٣"}, "page_size"),
        ({"page_token": "x"}, "page_token"),
        ({"page_token": "é"}, "page_token"),
        ({"page_token": ""}, "page_token"),
    ],
)
def test_parameters_refused(parameters, name):
    with pytest.raises(InvalidInput) as caught:
        read_query(parameters)
    assert caught.value.field == name


def test_page_tokens_belong_to_their_filter():
    token = page_token(read_query({"queue": "q"}), "cursor/é")
    assert read_query({"queue": "q", "page_token": token, "page_size": "7"}).cursor == "cursor/é"
    damaged = token[:-3] + ("AAA" if token[-3:] != "AAA" else "BBB")
    for parameters in ({"queue": "other", "page_token": token}, {"queue": "q", "page_token": damaged}):
        with pytest.raises(InvalidInput, match="not a token of this list"):
            read_query(parameters)


def test_filters():
    assert read_filter(b'{"state": ["dead", "cancelled"], "queue": "q"}') == Query(
        frozenset({State.FAILED, State.CANCELLED}), "q"
    )
    assert read_filter(b'{"all": true}') == Query()


@pytest.mark.parametrize("body", [b"", b"{}", b'{"all": false}', b'{"state": []}'])
def test_empty_filters_are_refused(body):
    """Peer behaviour 132: an empty filter is refused unless "all" is said."""
    with pytest.raises(InvalidInput, match="empty filter"):
        read_filter(body)
