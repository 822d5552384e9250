"""A test that asks for a `bench` finds its store open, as in the conformance suite."""

from tests.conformance.conftest import pytest_pyfunc_call

__all__ = ["pytest_pyfunc_call"]
