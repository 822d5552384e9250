"""The place that an error is grouped by: the user's own code, not the library that noticed."""

import json
import sysconfig
import traceback
from traceback import FrameSummary

import pytest

import mainspring
from mainspring.core.fingerprint import fingerprint
from mainspring.core.model import Lane, Lease
from mainspring.worker.outcomes import DetailedError, encode_error, raised
from mainspring.worker.places import place_of

STDLIB, INSTALLED = sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")
OURS = mainspring.__path__[0]


def frames(*files: str) -> list[FrameSummary]:
    return [FrameSummary(file, number, f"f{number}") for number, file in enumerate(files, 1)]


def test_the_innermost_frame_of_user_code():
    assert place_of(frames("/srv/app/jobs.py", "/srv/app/bank.py")) == "bank.py:f2:2"
    assert place_of(frames("/srv/jobs.py", f"{STDLIB}/json/decoder.py")) == "jobs.py:f1:1"
    assert (
        place_of(frames("/srv/jobs.py", f"{INSTALLED}/httpx/_client.py", f"{STDLIB}/ssl.py"))
        == "jobs.py:f1:1"
    )
    assert place_of(frames("/srv/jobs.py", "<frozen importlib._bootstrap>")) == "jobs.py:f1:1"
    assert place_of(frames(f"{OURS}/worker/execution.py", "/srv/jobs.py")) == "jobs.py:f2:2"


def test_without_user_code():
    """Handlers that were installed as a package, and our own."""
    assert (
        place_of(frames(f"{OURS}/worker/x.py", f"{INSTALLED}/jobs/pay.py", f"{STDLIB}/ssl.py"))
        == "pay.py:f2:2"
    )
    assert place_of(frames(f"{OURS}/worker/kinds.py", f"{STDLIB}/ssl.py")) == "ssl.py:f2:2"
    assert place_of([]) == ""


def broken(text: str) -> object:
    return json.loads(text)


def failure(text: str) -> bytes:
    with pytest.raises(ValueError, match=r"JSON|Expecting") as raised_by:
        broken(text)
    assert traceback.extract_tb(raised_by.tb)[-1].filename.startswith(STDLIB)
    return encode_error(raised_by.value)


def test_failures_of_one_function_are_alike():
    """The messages name another text, column and character each time."""
    first, second = failure("{"), failure('{"order": 4711, ')
    assert json.loads(first)["place"].startswith("test_places.py:broken:")
    assert json.loads(first)["message"] != json.loads(second)["message"]
    assert fingerprint("k", first) == fingerprint("k", second)


class Refusal(DetailedError):
    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.place = f"code {code}"


def test_a_built_in_kind_says_its_place_itself():
    lease = Lease("t", 1, 1, Lane("q", "k", "t", 5), b"{}", 1)
    one, two = (raised(lease, Refusal(code), 0).error for code in (1, 2))
    assert json.loads(one) == {"type": "Refusal", "message": "code 1", "place": "code 1"}
    assert fingerprint("k", one) != fingerprint("k", two)
