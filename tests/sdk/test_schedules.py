"""Functions that are called again and again."""

from datetime import UTC, datetime, timedelta

import pytest

from mainspring import Mainspring, When, testing
from mainspring.errors import InvalidInput, NotFound
from tests.sdk.jobs import Jobs
from tests.sdk.test_http import bench

YEARLY = When(cron="0 3 1 1 *", zone="Europe/Berlin")


def test_a_schedule_is_made_looked_at_changed_and_forgotten(jobs):
    handle = jobs.add.with_options(queue="slow", labels={"a": "b"}).schedule("yearly", YEARLY, 1, right=2)
    info = handle.refresh()
    assert (info.id, info.cron, info.zone, info.paused) == ("yearly", "0 3 1 1 *", "Europe/Berlin", False)
    local = info.next_fire_at.astimezone(UTC)
    assert (local.month, local.day, local.hour) == (1, 1, 2)
    handle.pause()
    assert handle.refresh().next_fire_at is None
    handle.resume()
    assert handle.refresh().next_fire_at == info.next_fire_at

    same = jobs.add.schedule("yearly", When(every="1h"), 5)
    assert (same.refresh().cron, same.refresh().every) == (None, 3600)
    assert jobs.app.schedule_handle("yearly").refresh().every == 3600
    assert handle.delete() is True
    assert handle.delete() is False
    with pytest.raises(NotFound):
        handle.refresh()
    with pytest.raises(NotFound):
        handle.pause()


def test_saying_the_same_again_changes_nothing(jobs):
    handle = jobs.add.schedule("yearly", YEARLY, 1)
    version = handle.refresh().version
    jobs.add.schedule("yearly", YEARLY, 1)
    assert handle.refresh().version == version
    jobs.add.schedule("yearly", YEARLY, 2)
    assert handle.refresh().version > version


def test_a_schedule_is_triggered_by_hand(busy):
    handle = busy.add.schedule("yearly", YEARLY, 1, right=2)
    task = handle.trigger()
    assert task.result(timeout=60) == 3
    record = task.refresh()
    assert record.payload == {"left": 1, "right": 2}


def test_kinds_without_a_function_have_schedules_too(busy):
    handle = busy.app.schedule("echoes", YEARLY, busy.app.bind("echo", [1, 2]))
    assert handle.trigger().result(timeout=60) == [1, 2]


async def test_the_same_awaited(jobs):
    handle = await jobs.add.schedule.aio("yearly", YEARLY, 1)
    assert (await handle.refresh.aio()).id == "yearly"


def test_bad_schedules_are_named(jobs):
    for rules, complaint in (
        ({"cron": "61 * * * *"}, "cron"),
        ({}, "cron"),
        ({"cron": "@daily", "every": 5}, "cron"),
        ({"every": timedelta(0)}, "every"),
        ({"at": datetime(2031, 1, 1)}, "at: a time without offset"),
        ({"cron": "@daily", "overlap": "panic"}, "overlap"),
        ({"cron": "@daily", "zone": "Mars/Base"}, "zone"),
        ({"crom": "@daily"}, "crom: unknown field; did you mean cron"),
    ):
        with pytest.raises(InvalidInput, match=complaint):
            When(**rules)
    with pytest.raises(InvalidInput, match="id: not a schedule's id"):
        jobs.add.schedule("two words", YEARLY, 1)
    with pytest.raises(InvalidInput, match="never fire"):
        jobs.add.schedule("never", When(cron="0 0 30 2 *"), 1)
    with pytest.raises(TypeError, match="missing"):
        jobs.add.schedule("yearly", YEARLY)
    for options in (
        {"delay": 5},
        {"depends_on": [jobs.add.submit(1)]},
        {"unique": True},
        {"idempotency_key": "k"},
    ):
        (name,) = options
        with pytest.raises(InvalidInput, match=f"^task.{name}: not part of a schedule's task"):
            jobs.add.with_options(**options).schedule("yearly", YEARLY, 1)


async def test_a_trigger_without_an_answer_is_repeated_and_makes_one_task():
    """Under a key of its own: two triggers make two."""
    async with bench() as b:
        handle = await b.jobs.add.schedule.aio("yearly", YEARLY, 1)
        for count in (1, 2):
            b.between.fates = [("lose", b"")] * 2
            await handle.trigger.aio()
            assert b.between.fates == []
            assert await b.stored() == count
        b.between.fates = [("lose", b"")] * 2
        assert await (await b.jobs.add.schedule.aio("yearly", YEARLY, 2)).delete.aio() is True


# --- in users' tests --------------------------------------------------------------------------------


def test_a_schedule_fires_in_virtual_time():
    app = Mainspring()
    fired: list[tuple[str, datetime]] = []

    @app.task
    def report(name: str) -> None:
        fired.append((name, cluster.now))

    with testing.cluster(app, servers=2) as cluster:
        handle = report.schedule("nightly", When(cron="0 3 * * *", zone="Europe/Berlin"), "sales")
        cluster.advance("7d")
        assert len(fired) == 7
        handle.pause()
        cluster.advance("7d")
        handle.delete()
    assert {name for name, _ in fired} == {"sales"}
    for _, at in fired:
        late = at - at.replace(hour=2, minute=0, second=0, microsecond=0)  # 3 in Berlin, in November
        assert timedelta(0) <= late < timedelta(seconds=3)


def test_inline_a_schedule_is_kept_and_triggered():
    jobs = Jobs()
    with testing.inline(jobs.app):
        handle = jobs.add.schedule("yearly", YEARLY, 1)
        assert handle.refresh().cron == "0 3 1 1 *"
        assert handle.trigger().result() == 11
        with pytest.raises(InvalidInput, match="id"):
            jobs.add.schedule("two words", YEARLY, 1)
        assert handle.delete()
