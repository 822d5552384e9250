"""A test that asks for a `bench` finds its store open, as in the conformance suite; `hand` spoils it."""

import os

import pytest

from tests.conformance.conftest import pytest_pyfunc_call
from tests.corruption.hands import HANDS, WITH_TWINS

__all__ = ["pytest_pyfunc_call"]


@pytest.fixture(params=HANDS)
def kind(request):
    return request.param


@pytest.fixture
def hand(kind, tmp_path):
    made = WITH_TWINS[kind]
    if (reason := made.make_bench.missing()) and os.environ.get("CI"):
        pytest.fail(reason)
    elif reason:
        pytest.skip(reason)
    return made(made.make_bench(tmp_path))


@pytest.fixture
def bench(hand):
    return hand.bench
