"""A schedule as its owner writes it and as everybody reads it."""

import json

import msgspec
import pytest

from mainspring.core.model import SECOND_US, RetryPolicy, decode_policy
from mainspring.core.schedules import Schedule, begin
from mainspring.core.timing import Timing
from mainspring.errors import InvalidInput, TooLarge
from mainspring.ports import FirePage, FireRecord, ScheduleRecord
from mainspring.scheduler import SchedulePatch
from mainspring.wire import schedule_views as views
from mainspring.wire.bounds import Bounds
from mainspring.wire.schedules import (
    PREVIEW,
    SCHEDULE,
    SCHEDULE_PATCH,
    new_schedule,
    schedule_changes,
    schedule_id,
    schedule_rules,
)

HOUR_US = 3600 * SECOND_US
NOON_US = 1_924_992_000 * SECOND_US  # 2031-01-01T00:00:00Z is 1924992000


def read(**fields):
    return SCHEDULE.read(json.dumps({"task": {"kind": "echo"}, **fields}).encode())


def schedule(**fields):
    return new_schedule(read(**fields))


def changes(**fields):
    return schedule_changes(SCHEDULE_PATCH.read(json.dumps(fields).encode()))


def refused(make, **fields):
    with pytest.raises(InvalidInput) as caught:
        make(**fields)
    return caught.value


# --- what comes in ----------------------------------------------------------------------------------


def test_defaults():
    made = schedule(cron="0 3 * * *")
    assert made.rules == Schedule(Timing(cron="0 3 * * *"))
    assert tuple(made.template.lane) == ("default", "echo", "default", 5, "")
    assert (made.template.payload, made.template.policy, made.template.labels) == (b"null", None, None)
    assert schedule_id(read(cron="@daily")) is None


def test_everything_at_once():
    made = schedule(
        every="15m", anchor="2031-01-01T00:05:00Z", zone="Europe/Berlin", dst="both",
        start="2031-01-01T01:00:00+01:00", end="2032-01-01T00:00:00Z", misfire="fire_all(10)",
        misfire_grace=90, overlap="queue", jitter="1m30s", paused=True,
        task={
            "command": "backup.sh", "queue": "nightly", "priority": "high", "tenant": "ada@x", "key": "db/1",
            "name": "nightly backup", "max_retries": 1, "retry": {"delay": "10s"}, "max_losses": 2,
            "timeout": "1h", "soft_timeout": "50m", "labels": {"team": "ops"},
        },
    )  # fmt: skip
    assert made.rules == Schedule(
        Timing(
            every_us=900 * SECOND_US, anchor_us=NOON_US + 300 * SECOND_US, zone="Europe/Berlin", dst="both",
            start_us=NOON_US, end_us=NOON_US + 365 * 24 * HOUR_US,
        ),
        misfire="fire_all", misfire_limit=10, misfire_grace_us=90 * SECOND_US, overlap="queue",
        jitter_us=90 * SECOND_US, paused=True,
    )  # fmt: skip
    template = made.template
    assert tuple(template.lane) == ("nightly", "command", "ada@x", 8, "db/1")
    assert (template.name, template.timeout_us) == ("nightly backup", HOUR_US)
    assert (json.loads(template.payload), json.loads(template.labels)) == (
        {"command": "backup.sh"},
        {"team": "ops"},
    )
    policy = decode_policy(template.policy)
    assert (policy.max_retries, policy.retry.delay_s, policy.max_losses, policy.soft_timeout_s) == (
        1, 10.0, 2, 3000.0,
    )  # fmt: skip


def test_null_is_absent():
    nothing = dict.fromkeys(("id", "name", "every", "at", "anchor", "zone", "dst", "start", "end", "misfire"))
    nothing |= dict.fromkeys(("misfire_grace", "overlap", "jitter", "paused"))
    assert schedule(cron="@daily", **nothing) == schedule(cron="@daily")


def test_payloads_come_back_digit_for_digit():
    body = b'{"cron": "@daily", "task": {"payload": {"n": 9007199254740993, "x": 1.0e5}}}'
    assert new_schedule(SCHEDULE.read(body)).template.payload == b'{"n": 9007199254740993, "x": 1.0e5}'


@pytest.mark.parametrize("given", [{"id": "nightly.v2"}, {"name": "nightly.v2"}])
def test_an_id_of_ones_own(given):
    assert schedule_id(read(cron="@daily", **given)) == "nightly.v2"
    assert schedule_id(read(cron="@daily", id="nightly.v2", name="nightly.v2")) == "nightly.v2"


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("id", {"id": ""}),
        ("id", {"id": "a/b"}),
        ("id", {"id": ".."}),
        ("id", {"id": "a b"}),
        ("id", {"id": "x" * 201}),
        ("id", {"id": "nächtlich"}),
        ("id", {"id": "preview"}),
        ("name", {"name": "a\n"}),
        ("name", {"id": "a", "name": "b"}),
    ],
)
def test_ids_refused(field, fields):
    assert refused(lambda **given: schedule_id(read(cron="@daily", **given)), **fields).field == field


@pytest.mark.parametrize(
    ("field", "problem", "fields"),
    [
        ("cron", "no cron, every or at", {}),
        ("every", "exclude each other", {"cron": "@daily", "every": "5m"}),
        ("at", "exclude each other", {"every": 5, "at": "2031-01-01T00:00:00Z"}),
        ("cron", "characters", {"cron": "0 3 * * *" + " " * 300}),
        ("cron", "", {"cron": "61 * * * *"}),
        ("cron", "", {"cron": "@reboot"}),
        ("cron", "never", {"cron": "0 0 30 2 *"}),
        ("cron", "expected str | null, got int", {"cron": 5}),
        ("every", "out of range", {"every": 0}),
        ("every", "not a duration", {"every": "soon"}),
        ("every", "not a duration", {"every": "-5s"}),
        ("at", "without offset", {"at": "2031-01-01T00:00:00"}),
        ("at", "out of range", {"at": "9999-01-01T00:00:00Z"}),
        ("zone", "no such time zone", {"cron": "@daily", "zone": "Europe/Atlantis"}),
        ("zone", "no such time zone", {"cron": "@daily", "zone": "../etc/passwd"}),
        ("dst", "no such rule", {"cron": "@daily", "dst": "quartz"}),
        ("end", "after start", {"every": 5, "start": "2031-01-01T00:00:00Z", "end": "2030-01-01T00:00:00Z"}),
        ("anchor", "only an interval", {"cron": "@daily", "anchor": "2031-01-01T00:00:00Z"}),
        ("misfire", "no such policy", {"cron": "@daily", "misfire": "fire_twice"}),
        ("misfire", "no such policy", {"cron": "@daily", "misfire": "skip(3)"}),
        ("misfire", "out of range", {"cron": "@daily", "misfire": "fire_all(0)"}),
        ("misfire", "out of range", {"cron": "@daily", "misfire": "fire_all(1001)"}),
        ("misfire_grace", "out of range", {"cron": "@daily", "misfire_grace": "367d"}),
        ("overlap", "no such policy", {"cron": "@daily", "overlap": "maybe"}),
        ("jitter", "out of range", {"cron": "@daily", "jitter": "25h"}),
        ("paused", "expected bool | null, got str", {"cron": "@daily", "paused": "yes"}),
        ("crno", "did you mean cron?", {"crno": "@daily"}),
        ("labels", "unknown field", {"cron": "@daily", "labels": {"a": "b"}}),
        ("task", "expected object, got str", {"cron": "@daily", "task": "backup.sh"}),
        ("task.priority", "not a priority", {"cron": "@daily", "task": {"priority": 11}}),
        ("task.payload", "has", {"cron": "@daily", "task": {"payload": "x" * 2_000_000}}),
        ("task.kindd", "did you mean kind?", {"cron": "@daily", "task": {"kindd": "x"}}),
        ("task.run_at", "not part of", {"cron": "@daily", "task": {"run_at": "2031-01-01T00:00:00Z"}}),
        ("task.delay", "not part of", {"cron": "@daily", "task": {"delay": 5}}),
        ("task.deadline", "not part of", {"cron": "@daily", "task": {"deadline": "2031-01-01T00:00:00Z"}}),
        ("task.depends_on", "not part of", {"cron": "@daily", "task": {"depends_on": []}}),
        ("task.on_parent_failure", "not part of", {"cron": "@daily", "task": {"on_parent_failure": "run"}}),
        ("task.unique", "not part of", {"cron": "@daily", "task": {"unique": True}}),
        ("task.id", "not part of", {"cron": "@daily", "task": {"id": "x"}}),
        ("task.idempotency_key", "unknown field", {"cron": "@daily", "task": {"idempotency_key": "x"}}),
    ],
)  # fmt: skip
def test_refused(field, problem, fields):
    error = refused(schedule, **fields)
    assert error.field == field
    assert problem in error.problem


def test_a_schedule_needs_a_task():
    with pytest.raises(InvalidInput, match="task: missing"):
        SCHEDULE.read(b'{"cron": "@daily"}')
    assert schedule_rules(PREVIEW.read(b'{"cron": "@daily"}')) == schedule(cron="@daily").rules


def test_bounds():
    with pytest.raises(TooLarge):
        new_schedule(read(cron="@daily", task={"payload": "xxxx"}), Bounds(payload_bytes=5))


# --- changes ----------------------------------------------------------------------------------------


def test_only_what_is_named_changes():
    assert changes(every="5m", task={"queue": "q"}) == {"every_us": 300 * SECOND_US, "queue": "q"}
    assert changes(misfire="fire_all(3)") == {"misfire": "fire_all", "misfire_limit": 3}
    assert changes(task={"command": "ls"}) == {"kind": "command", "payload": b'{"command":"ls"}'}


def test_null_sets_back_to_the_default():
    rules = dict.fromkeys(("anchor", "zone", "dst", "start", "end", "misfire", "misfire_grace", "overlap"))
    rules |= dict.fromkeys(("jitter", "paused", "cron", "every", "at"))
    assert changes(**rules) == {
        "anchor_us": None, "zone": "UTC", "dst": "debian", "start_us": None, "end_us": None,
        "misfire": "fire_once", "misfire_limit": 100, "misfire_grace_us": 30 * SECOND_US, "overlap": "allow",
        "jitter_us": 0, "paused": False, "cron": None, "every_us": None, "at_us": None,
    }  # fmt: skip
    task = dict.fromkeys(("queue", "tenant", "priority", "key", "name", "labels", "timeout", "max_retries"))
    task |= dict.fromkeys(("retry", "max_losses", "soft_timeout", "payload"))
    assert changes(task=task) == {
        "queue": "default", "tenant": "default", "priority": 5, "key": "", "name": None, "labels": None,
        "timeout_us": None, "max_retries": 3, "retry": RetryPolicy(), "max_losses": 3,
        "soft_timeout_s": None, "payload": b"null",
    }  # fmt: skip


def test_every_change_is_one_that_the_scheduler_knows():
    task = dict.fromkeys(("queue", "tenant", "priority", "key", "name", "labels", "timeout"))
    task |= dict.fromkeys(("max_retries", "retry", "max_losses", "soft_timeout"))
    every = changes(
        cron="@daily", every=5, at="2031-01-01T00:00:00Z", anchor=None, zone=None, dst=None, start=None,
        end=None, misfire=None, misfire_grace=None, overlap=None, jitter=None, paused=None,
        task={"kind": "echo", "payload": 1, **task},
    )  # fmt: skip
    assert set(every) == set(SchedulePatch.__struct_fields__)
    assert SchedulePatch(**every).cron == "@daily"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "body"),
        ({"task": {}}, "body"),
        ({"id": "other"}, "id"),
        ({"every": "soon"}, "every"),
        ({"misfire": "fire_all(0)"}, "misfire"),
        ({"task": {"run_at": None}}, "task.run_at"),
        ({"task": {"priority": 11}}, "task.priority"),
        ({"task": {"kind": "a b"}}, "task.kind"),
        ({"task": {"kind": None}}, "task.kind"),
        ({"task": {"name": "\n"}}, "task.name"),
        ({"task": {"command": "ls", "kind": "echo"}}, "task.command"),
    ],
)
def test_changes_refused(fields, field):
    assert refused(changes, **fields).field == field


# --- what goes out ----------------------------------------------------------------------------------


def record(new, **more):
    standing = begin(new.rules, NOON_US)
    return ScheduleRecord("nightly", new.rules, new.template, 7, standing, **more)


def meaning(new):
    """Policies are equal in what they say; defaults may be written out or not."""
    return (
        new.rules,
        decode_policy(new.template.policy),
        msgspec.structs.replace(new.template, policy=None),
    )


def shown(value):
    return json.loads(views.encode(value))


@pytest.mark.parametrize(
    "fields",
    [
        {"cron": "0 3 * * *", "zone": "Europe/Berlin", "overlap": "skip"},
        {"every": "90s", "anchor": "2031-01-01T00:00:10Z", "jitter": "1500ms", "misfire": "fire_all(7)"},
        {"at": "2031-05-01T12:00:00.25Z", "start": "2031-01-01T00:00:00Z", "paused": True},
        {"cron": "@daily", "task": {"command": ["ls", "-l"], "retry": {"delays": [1, "2m"]}, "timeout": "1h",
                                    "soft_timeout": 30, "labels": {"a": "b"}, "key": "k", "name": "n"}},
    ],
)  # fmt: skip
def test_what_is_read_can_be_written(fields):
    """But for what has become of the schedule since."""
    made = schedule(**fields)
    document = shown(views.schedule_view(record(made)))
    again = {name: document[name] for name in views.WRITABLE}
    assert meaning(new_schedule(SCHEDULE.read(json.dumps(again, separators=(",", ":")).encode()))) == meaning(
        made
    )
    assert schedule_id(SCHEDULE.read(json.dumps(again).encode())) == "nightly"


def test_the_record():
    made = schedule(cron="0 3 * * *", misfire="fire_all")
    view = shown(
        views.schedule_view(
            record(made, next_us=NOON_US, created_at_us=NOON_US - HOUR_US, last_fire_us=NOON_US - HOUR_US)
        )
    )
    assert (view["next_fire_at"], view["last_fire_at"]) == ("2031-01-01T00:00:00Z", "2030-12-31T23:00:00Z")
    assert (view["misfire"], view["version"], view["updated_at"]) == ("fire_all(100)", 7, None)
    assert (view["skip_until"], view["quarantine"]) == (None, None)


@pytest.mark.parametrize(("written", "seen"), [(b"{", "{"), (b"", ""), (b'{"a": [1]}', {"a": [1]})])
def test_a_payload_that_sql_wrote_and_that_is_no_json_is_shown_as_text(written, seen):
    """One such row, put as it is into a list, would make all of the list unreadable."""
    made = schedule(cron="@daily")
    broken = record(
        msgspec.structs.replace(made, template=msgspec.structs.replace(made.template, payload=written))
    )
    assert shown(views.schedule_view(broken))["task"]["payload"] == seen


def test_a_skip_is_shown_while_it_has_something_to_skip():
    made = schedule(cron="0 * * * *")
    skipping = record(made, next_us=NOON_US)
    for through_us, seen in ((NOON_US, "2031-01-01T00:00:00Z"), (NOON_US - 1, None)):
        standing = begin(made.rules, NOON_US - HOUR_US)
        skipping.standing = msgspec.structs.replace(standing, skip_through_us=through_us)
        assert shown(views.schedule_view(skipping))["skip_until"] == seen


def test_fires_and_fires_to_come():
    page = FirePage([FireRecord(NOON_US, NOON_US - HOUR_US, NOON_US, 2, reason="missed")])
    assert shown(views.fires_view(page, "token")) == {
        "fires": [
            {
                "fire_at": "2030-12-31T23:00:00Z", "last_fire_at": "2031-01-01T00:00:00Z", "count": 2,
                "task": None, "reason": "missed", "decided_at": "2031-01-01T00:00:00Z",
            }
        ],
        "next_page_token": "token",
    }  # fmt: skip
    spread = record(schedule(cron="0 * * * *", jitter="10m"))
    (one,) = shown(views.next_view(spread, [NOON_US]))["next"]
    assert one["fire_at"] == "2031-01-01T00:00:00Z"
    assert "2031-01-01T00:00:00Z" <= one["run_at"] < "2031-01-01T00:10:01Z"
