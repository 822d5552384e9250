"""A rehearsal of all schedules: the numbers are right, the same every time, and can be expected."""

import json

import pytest

from mainspring.core.model import SECOND_US
from mainspring.core.timing import count_fires
from mainspring.errors import InvalidInput
from mainspring.testing.rehearsal import Assumptions, names, parse_expectation, rehearse
from mainspring.wire.schedules import SCHEDULE, new_schedule
from mainspring.wire.views import encode

DAY_US = 86_400 * SECOND_US
FROM_US = 1_924_992_000 * SECOND_US  # 2031-01-01T00:00:00Z


def schedule(**fields):
    return new_schedule(SCHEDULE.read(json.dumps({"task": {"kind": "echo"}, **fields}).encode()))


def rehearsed(schedules, days=1.0, duration_s=1.0, events=False, **assumptions):
    given = Assumptions(int(duration_s * SECOND_US), **assumptions)
    return rehearse(schedules, FROM_US, FROM_US + int(days * DAY_US), given, with_events=events)


def parts(report):
    return {part.id: part for part in report.schedules}


def test_fires_collisions_and_peak():
    report = rehearsed(
        {
            "hourly": schedule(cron="@hourly"),
            "quarterly": schedule(every="15m"),
            "noon": schedule(cron="0 12 * * *"),
        },
        duration_s=60,
    )
    assert {id: part.fires for id, part in parts(report).items()} == {
        "hourly": 24,
        "quarterly": 96,
        "noon": 1,
    }
    assert (report.fires, report.skips, report.failed, report.unfinished) == (121, 0, 0, 0)
    assert (report.collisions, report.max_collision, report.max_running) == (24, 3, 3)
    assert report.max_running_at.isoformat() == "2031-01-01T12:00:00+00:00"
    assert [collision.schedules for collision in report.worst[:2]] == [
        ("hourly", "noon", "quarterly"), ("hourly", "quarterly"),
    ]  # fmt: skip
    assert (report.max_waiting, report.longest_wait) == (0, 0)


def test_from_belongs_to_the_span_and_to_does_not():
    report = rehearsed({"daily": schedule(cron="@daily")}, days=2, events=True)
    assert [event.fire_at.isoformat() for event in report.events] == [
        "2031-01-01T00:00:00+00:00", "2031-01-02T00:00:00+00:00",
    ]  # fmt: skip


def test_every_fire_of_a_busy_month_is_there():
    """Against a count that knows nothing of schedulers."""
    schedules = {
        "berlin": schedule(cron="*/7 3-9 * * mon-fri", zone="Europe/Berlin"),
        "every": schedule(every="13m", jitter="5m", start="2031-01-10T00:00:01Z"),
        "once": schedule(at="2031-01-20T10:00:00.5Z"),
        "gone": schedule(at="2030-12-31T23:59:59Z"),
        "over": schedule(cron="* * * * *", end="2031-01-01T00:00:00Z"),
        "paused": schedule(cron="* * * * *", paused=True),
    }
    report = rehearsed(schedules, days=31)
    counted = {
        id: count_fires(new.rules.timing, FROM_US - 1, FROM_US + 31 * DAY_US - 1)
        for id, new in schedules.items()
    }
    assert {id: part.fires for id, part in parts(report).items()} == {**counted, "paused": 0}
    assert (counted["once"], counted["gone"], counted["over"]) == (1, 0, 0)
    assert (report.unfinished, report.failed, report.skips, report.longest_wait) == (0, 0, 0, 0)


def test_what_nobody_can_know_is_assumed_by_schedule_and_by_kind():
    schedules = {
        "slow": schedule(every="1m"),
        "quick": schedule(every="1m"),
        "other": schedule(every="1m", task={"kind": "http"}),
    }
    report = rehearsed(
        schedules, days=0.1, duration_s=1, durations_us={"slow": 150 * SECOND_US, "echo": 90 * SECOND_US}
    )
    assert {id: part.max_running for id, part in parts(report).items()} == {"slow": 3, "quick": 2, "other": 1}
    assert report.max_running == 6


@pytest.mark.parametrize(
    ("overlap", "fires", "skipped", "running"),
    [
        ("allow", 60, {}, 3),
        # A task that takes 150 s bars the two fires after its own.
        ("skip", 20, {"overlap": 40}, 1),
        ("cancel", 60, {}, 1),
        ("queue", 60, {}, 1),
    ],
)
def test_overlap(overlap, fires, skipped, running):
    report = rehearsed({"busy": schedule(every="1m", overlap=overlap)}, days=1 / 24, duration_s=150)
    assert (report.fires, report.skipped, report.max_running) == (fires, skipped, running)
    assert (report.longest_wait > 0) == (overlap == "queue")
    assert report.events is None


def test_a_queue_that_is_full_skips():
    report = rehearsed({"busy": schedule(every="1m", overlap="queue")}, days=0.5, duration_s=3600)
    assert report.skips == report.skipped["queue_full"] > 500
    assert report.fires + report.skips == 720


def test_a_task_that_ends_with_the_next_fire_has_ended():
    report = rehearsed({"exact": schedule(every="1m", overlap="skip")}, days=1 / 24, duration_s=60)
    assert (report.fires, report.skips, report.max_running) == (60, 0, 1)


def test_slots_are_waited_for():
    """60 tasks of 5 s at one instant on 4 slots: the last begins after 14 rounds."""
    schedules = {f"s{n:02d}": schedule(cron="0 12 * * *") for n in range(60)}
    report = rehearsed(schedules, duration_s=5, slots=4)
    assert (report.max_running, report.max_waiting, report.longest_wait) == (4, 56, 70)
    assert (report.max_collision, report.unfinished) == (60, 0)


def test_jitter_takes_collisions_apart():
    def most_at_once(jitter):
        schedules = {f"s{n}": schedule(cron="@hourly", jitter=jitter) for n in range(20)}
        report = rehearsed(schedules, duration_s=30)
        return report.collisions, report.max_running

    assert most_at_once(0) == (24, 20)
    collisions, running = most_at_once("50m")
    assert collisions == 0
    assert running < 10


def test_timeouts_are_kept_to_and_retried():
    """Four runs of 10 s instead of one of an hour, then a dead letter."""
    new = schedule(
        cron="0 12 * * *", task={"timeout": 10, "retry": {"strategy": "fixed", "delay": 5, "jitter": 0}}
    )
    report = rehearsed({"slow": new}, duration_s=3600)
    assert (report.fires, report.failed, report.unfinished, report.longest_wait) == (1, 1, 0, 0)
    barred = schedule(every="20s", overlap="skip", task={"timeout": 10, "max_retries": 0})
    assert rehearsed({"a": barred}, days=0.01, duration_s=3600).failed == 43


def test_what_still_runs_at_the_end_is_told():
    report = rehearsed(
        {"long": schedule(cron="0 23 * * *"), "none": schedule(at="2032-01-01T00:00:00Z")}, duration_s=7200
    )
    assert (report.unfinished, parts(report)["none"].fires) == (1, 0)


def test_the_same_question_has_the_same_answer():
    schedules = {
        f"s{n}": schedule(every=f"{n + 7}m", jitter="3m", overlap=("skip", "queue", "cancel", "allow")[n % 4])
        for n in range(12)
    }
    first, second = (rehearsed(schedules, days=2, duration_s=700, slots=5, events=True) for _ in range(2))
    assert encode(first) == encode(second)


@pytest.mark.parametrize(
    ("days", "problem"), [(0, "after from"), (-1, "after from"), (36_500, "fires until then")]
)
def test_spans_refused(days, problem):
    with pytest.raises(InvalidInput, match=problem):
        rehearsed({"a": schedule(every="1m")}, days=days)


def test_nothing_to_do():
    report = rehearsed({})
    assert (report.fires, report.max_running, report.max_running_at, report.schedules) == (0, 0, None, [])


# --- expectations -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report():
    return rehearsed(
        {"a.b": schedule(every="1m", overlap="skip"), "c": schedule(every="1h")}, days=1 / 24, duration_s=150
    )


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("fires==21", None),
        ("fires == 20", "fires == 20: fires is 21"),
        (" skips >= 40 ", None),
        ("skips.overlap<=40", None),
        ("skips.paused!=0", "skips.paused!=0: skips.paused is 0"),
        ("max_running<3", None),
        ("max_running<2", "max_running<2: max_running is 2"),
        ("a.b.fires>19", None),
        ("a.b.skips.overlap==40", None),
        ("c.max_running==1", None),
        ("collisions==1", None),
        ("longest_wait<1m30s", None),
        ("longest_wait>0.5", "longest_wait>0.5: longest_wait is 0"),
        ("unfinished>-1", None),
    ],
)
def test_expectations(report, text, failure):
    expectation = parse_expectation(text)
    expectation.check(names(["a.b", "c"]))
    assert expectation.failure(report.numbers()) == failure


def test_every_number_has_its_name(report):
    assert set(report.numbers()) == names(["a.b", "c"])


@pytest.mark.parametrize(
    "text",
    ["", "max_running", "max_running<", "<5", "max_running=5", "max_running=<5", "max_running<5<6",
     "max_running<x", "max_running<5m", "fires==1e3", "fires == 1 2", "longest_wait<soon", "fires==٣"],
)  # fmt: skip
def test_what_is_no_comparison_is_refused(text):
    with pytest.raises(InvalidInput) as caught:
        parse_expectation(text)
    assert caught.value.field == "assert"


@pytest.mark.parametrize(
    "name", ["fire", "skips.nonsense", "b.fires", "a.b", "c.collisions", "max_running_at"]
)
def test_a_number_that_is_not_there_is_refused(name):
    with pytest.raises(InvalidInput, match="no such number"):
        parse_expectation(f"{name}<5").check(names(["a.b", "c"]))
