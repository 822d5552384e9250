"""Whatever a function is called with, its handler is called with the same."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring import Context
from mainspring.sdk.handlers import Handler

VALUES = st.none() | st.integers(-9, 9) | st.dictionaries(st.sampled_from(["args", "kwargs", "a"]), st.none())
NAMED = st.dictionaries(st.sampled_from(["a", "b", "c", "args", "kwargs"]), VALUES, max_size=3)


class NoRun:
    """Nobody's run: its context is only passed on."""

    def context(self):
        return "the context"


def nothing():
    return ()


def one(a):
    return (a,)


def some(a, b=5, *, c=None):
    return a, b, c


def placed(a, /, b=5, *args):
    return a, b, args


def any_names(a=1, **kwargs):
    return a, kwargs


def called_args(args=1, kwargs=2):
    return args, kwargs


def with_context(a, ctx: Context, b=2):
    return a, ctx, b


def context_first(ctx: Context, *args, c=3):
    return ctx, args, c


FUNCTIONS = [nothing, one, some, placed, any_names, called_args, with_context, context_first]


@pytest.mark.parametrize("function", FUNCTIONS)
@given(args=st.lists(VALUES, max_size=4), kwargs=NAMED)
def test_a_call_arrives_as_it_was_made(function, args, kwargs):
    handler = Handler("kind", function)
    try:
        payload = handler.payload(tuple(args), kwargs)
    except TypeError:
        with pytest.raises(TypeError):
            _called(function, args, kwargs)
        return
    arrived = handler.call(json.dumps(payload).encode(), NoRun())
    assert json.dumps(arrived) == json.dumps(_called(function, args, kwargs))


def _called(function, args, kwargs):
    """The call itself; a context goes where its parameter is."""
    if function is with_context:
        if "ctx" in kwargs:
            raise TypeError("the context is not the submitter's to give")
        return (
            with_context(*args[:1], "the context", *args[1:], **kwargs)
            if args
            else with_context(ctx="the context", **kwargs)
        )
    return (
        function("the context", *args, **kwargs) if function is context_first else function(*args, **kwargs)
    )


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "payload"),
    [
        (nothing, (), {}, None),
        (some, (1,), {"c": 2}, {"a": 1, "c": 2}),
        (placed, (1, 2, 3), {}, {"args": [1, 2, 3], "kwargs": {}}),
        (with_context, (1, 3), {}, {"a": 1, "b": 3}),
        (any_names, (), {"args": 1}, {"args": [], "kwargs": {"args": 1}}),
    ],
)
def test_payloads_are_written_for_people_too(function, args, kwargs, payload):
    assert Handler("kind", function).payload(args, kwargs) == payload


def test_names_that_cannot_be_told_from_a_calls_are_refused():
    def confusing(a, /, kwargs=None): ...

    with pytest.raises(TypeError, match="cannot be told"):
        Handler("kind", confusing).payload((1,), {})
