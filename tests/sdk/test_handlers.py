"""Which payload becomes which arguments, and what a task function may be."""

import json
import subprocess
import sys

import pytest

from mainspring import Context, Mainspring
from mainspring.errors import InvalidInput
from mainspring.sdk.handlers import BadPayload, Handler, Registry


class Bearer:
    """Stands for a run: its context is recognised by identity."""

    def __init__(self):
        self.ctx = object()

    def context(self):
        return self.ctx


BEARER = Bearer()
CTX = BEARER.ctx


def nothing():
    return "called"


def one(value):
    return value


def two(a, b=2):
    return a, b


def by_name(*, a, b=2):
    return a, b


def anything(*args, **kwargs):
    return args, kwargs


def context_first(ctx: Context, a, b=2):
    return ctx, a, b


def context_last(a, b=2, *, task: Context):
    return task, a, b


def context_middle(a, ctx, b=2):
    return a, ctx, b


def context_text(a, context: "Context"):
    return a, context


def args_of_its_own(args):
    return args


def positional_only(a, /, b):
    return a, b


@pytest.mark.parametrize(
    ("function", "payload", "result"),
    [
        # as written
        (two, {"args": [1]}, (1, 2)),
        (two, {"args": [1], "kwargs": {"b": 3}}, (1, 3)),
        (two, {"kwargs": {"a": 1}}, (1, 2)),
        (by_name, {"kwargs": {"a": 1}}, (1, 2)),
        (anything, {"args": [1, 2], "kwargs": {"x": 3}}, ((1, 2), {"x": 3})),
        (positional_only, {"args": [1], "kwargs": {"b": 2}}, (1, 2)),
        (nothing, {"args": []}, "called"),
        # the function takes nothing
        (nothing, {"data": "x"}, "called"),
        (nothing, None, "called"),
        (nothing, {}, "called"),
        (nothing, [1, 2], "called"),
        # null
        (anything, None, ((), {})),
        (one, None, None),
        # an object as keywords
        (two, {"a": 1}, (1, 2)),
        (by_name, {"a": 1, "b": 3}, (1, 3)),
        (anything, {"x": 1}, ((), {"x": 1})),
        (args_of_its_own, {"args": [1, 2]}, [1, 2]),
        # the one argument
        (one, [1, 2], [1, 2]),
        (one, {"other": 1}, {"other": 1}),
        (one, {"value": 7}, 7),
        (two, 5, (5, 2)),
        (anything, "text", (("text",), {})),
        # the context is not counted
        (context_first, {"args": [1]}, (CTX, 1, 2)),
        (context_first, {"a": 1, "b": 3}, (CTX, 1, 3)),
        (context_first, 7, (CTX, 7, 2)),
        (context_last, {"args": [1, 3]}, (CTX, 1, 3)),
        (context_middle, {"args": [1, 3]}, (1, CTX, 3)),
        (context_middle, {"a": 1}, (1, CTX, 2)),
        (context_text, [1], ([1], CTX)),
    ],
)
def test_a_payload_becomes_arguments(function, payload, result):
    assert Handler("kind", function).call(json.dumps(payload).encode(), BEARER) == result


@pytest.mark.parametrize(
    ("function", "payload"),
    [
        (two, {"args": [1, 2, 3]}),
        (two, {"args": [1], "kwargs": {"a": 1}}),
        (two, {"kwargs": {"c": 1}}),
        (two, {"args": []}),
        (two, {"args": 1}),
        (two, {"args": [1], "kwargs": [2]}),
        (by_name, 5),
        (by_name, {"b": 1}),
        (nothing, {"args": [1]}),
        (nothing, {"kwargs": {"x": 1}}),
    ],
)
def test_a_payload_that_does_not_fit_says_what_the_handler_takes(function, payload):
    with pytest.raises(BadPayload, match=r"takes \("):
        Handler("kind", function).call(json.dumps(payload).encode(), BEARER)


def test_a_task_function_is_callable_as_before():
    app = Mainspring()

    @app.task
    def add(a: int, b: int = 1) -> int:
        "Adds."
        return a + b

    @app.task(name="slow.add", timeout="1m", queue="slow", priority="high")
    async def add_slowly(a: int) -> int:
        return a

    assert add(1, b=2) == 3
    assert (add.kind, add.__name__, add.__doc__) == ("add", "add", "Adds.")
    assert app.registry.kinds == ("add", "slow.add")
    handler = app.registry.get("slow.add")
    assert (handler.timeout_s, handler.queue, handler.priority, handler.is_coroutine) == (
        60.0,
        "slow",
        8,
        True,
    )


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": " x"}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"priority": 11}, "priority"),
        ({"priority": "urgent"}, "priority"),
        ({"priority": True}, "priority"),
        ({"timeout": "soon"}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"max_retries": -1}, "max_retries"),
        ({"isolation": "container"}, "isolation"),
        ({"isolation": "thread"}, "isolation"),
    ],
)
def test_bad_options_are_refused_where_they_are_written(options, field):
    async def function():
        pass

    with pytest.raises(InvalidInput) as refused:
        Mainspring().task(**options)(function)
    assert refused.value.field == field


def test_a_generator_is_no_task():
    def counting():
        yield 1

    async def counting_slowly():
        yield 1

    for function in (counting, counting_slowly):
        with pytest.raises(InvalidInput, match="generator"):
            Mainspring().task(function)


def test_a_kind_has_one_handler():
    with pytest.raises(InvalidInput, match="already"):
        Registry(Handler("kind", nothing), Handler("kind", one))


def test_the_public_names_are_there_and_load_no_server():
    """A program that defines tasks needs no server libraries, nor those of a client."""
    script = (
        "import sys, mainspring; from mainspring import Mainspring, Context, Retry, current;"
        "Mainspring(); print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert {"apsw", "uvicorn", "starlette", "httpx", "mainspring.worker"}.isdisjoint(run.stdout.split())


def test_an_unknown_public_name_is_an_attribute_error():
    import mainspring

    with pytest.raises(AttributeError, match="nonesuch"):
        mainspring.nonesuch  # noqa: B018
