"""Every planted bug is caught. If one is not, the silence of the checks means nothing there."""

import pytest

from mainspring.testing.planted import BUGS
from mainspring.testing.simulation import hunt


def test_the_list_is_long_and_has_no_twins():
    names = [bug.name for bug in BUGS]
    assert len(names) >= 20
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("number", range(len(BUGS)), ids=[bug.name.replace(" ", "-") for bug in BUGS])
def test_bug_is_caught(number):
    seed, broken = hunt(number)
    assert seed is not None
    assert broken


def test_a_bug_is_taken_out_again():
    for bug in BUGS:
        originals = [getattr(patch.owner, patch.name) for patch in bug.patches]
        with bug.planted():
            changed = [getattr(patch.owner, patch.name) for patch in bug.patches]
        assert all(new is not old for new, old in zip(changed, originals, strict=True))
        assert [getattr(patch.owner, patch.name) for patch in bug.patches] == originals
