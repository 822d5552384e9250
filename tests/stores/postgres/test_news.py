"""What nodes tell each other, and what becomes of it in those that hear."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring import hints
from mainspring.clock import SystemClock
from mainspring.core.model import Lane, NewTask
from mainspring.core.order import LaneHead
from mainspring.hints import LANES_TOLD, News
from mainspring.verbs import Exchange, Group
from tests.wakeups import Woken

LANE = Lane("default", "echo", "default", 5)
LIMIT_S = 60
NUMBERS = st.integers(0, 2**63 - 1)


def told(places, *, has_ended=False):
    news = News()
    news.add([LaneHead(lane_id, LANE, seq) for lane_id, seq in places], has_ended=has_ended)
    return news


@given(st.dictionaries(NUMBERS, NUMBERS, max_size=LANES_TOLD), st.booleans())
def test_what_is_told_is_read_again(places, has_ended):
    text = told(places.items(), has_ended=has_ended).text()
    assert len(text) < 7_900, "a notification may not be longer"
    news = News.read(text)
    assert (news.places, news.has_ended, news.is_vague) == (places, has_ended, False)


def test_the_oldest_place_of_a_lane_is_told():
    assert told([(1, 7), (1, 5), (1, 6)]).places == {1: 5}


def test_more_lanes_than_fit_are_told_as_something():
    news = told([(number, 1) for number in range(LANES_TOLD + 1)])
    assert news.is_vague
    assert news.is_urgent
    assert News.read(news.text()).is_vague


def test_ends_alone_are_not_urgent():
    news = told([], has_ended=True)
    assert news
    assert not news.is_urgent
    assert not News()


@pytest.mark.parametrize("text", ["x 1:2", "e 1:2,3", "e one:2", "e 1:2:3", "*"])
def test_what_makes_no_sense_is_vague(text):
    """As from a later version: whoever hears it looks for himself."""
    assert News.read(text).is_vague


async def test_a_node_is_told_which_lanes_have_work(new_database, monkeypatch):
    """It can claim at once, without a look at the whole board."""
    for name in ("LOOK_SOON_S", "LOOK_LATE_S", "LOOK_WHILE_HEARING_S"):
        monkeypatch.setattr(hints, name, 60.0)
    async with new_database() as database, database.store() as one, database.store() as two:
        woken = asyncio.Event()
        listener = Woken(woken.set)
        one.listen(listener)

        async def submit() -> None:
            woken.clear()
            task = NewTask(SystemClock().new_id(), LANE, b"1")
            await two.exchange(Exchange(submits=[Group([task])]))
            await woken.wait()

        async with asyncio.timeout(LIMIT_S):
            await woken.wait()  # it listens from now on
            await submit()
            assert not listener.heads, "the lane was not known here"
            (head,) = (await one.board()).heads
            await submit()
        assert listener.heads == [head]
