"""Logs and metrics, by themselves."""

import io
import json
import logging

import pytest

from mainspring.telemetry import LABEL_SETS, OTHER, Metrics, configure_logging


@pytest.fixture
def restored():
    """The loggers as they were."""
    loggers = [logging.getLogger(name) for name in ("mainspring", "uvicorn")]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    yield
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def logged(**options) -> str:
    stream = io.StringIO()
    configure_logging("info", stream, **options)
    log = logging.getLogger("mainspring.scheduler")
    log.debug("quiet")
    log.info("task %s", "settled", extra={"task": "01a1", "took": 0.5, "odd": {1}})
    try:
        raise ValueError("no")
    except ValueError:
        log.exception("broken")
    return stream.getvalue()


def test_json_when_nobody_watches(restored):
    """S3-38, S4-38: one object a line, with context."""
    first, second = map(json.loads, logged().splitlines())
    assert (first["level"], first["logger"], first["event"]) == (
        "info",
        "mainspring.scheduler",
        "task settled",
    )
    assert (first["task"], first["took"], first["odd"]) == ("01a1", 0.5, "{1}")
    assert first["time"].endswith("Z")
    assert second["exception"].endswith("ValueError: no")


def test_plain_lines_for_people(restored):
    text = logged(as_json=False)
    assert "INFO    scheduler: task settled task=01a1 took=0.5" in text
    assert text.splitlines()[-1] == "ValueError: no"
    assert "quiet" not in text


def test_levels(restored):
    """S1-80: LOG_LEVEL=debug shows more; a level that does not exist is refused."""
    stream = io.StringIO()
    configure_logging("debug", stream)
    logging.getLogger("mainspring.x").debug("seen")
    assert "seen" in stream.getvalue()
    with pytest.raises(ValueError, match="LOUD"):
        configure_logging("loud", stream)


def test_misspelt_names_are_found():
    metrics = Metrics()
    with pytest.raises(KeyError):
        metrics.count("tasks_submited")
    with pytest.raises(KeyError):
        metrics.observe("task_seconds", 1.0)


def test_labels_are_bounded():
    metrics = Metrics()
    for n in range(LABEL_SETS + 50):
        metrics.count("tasks_submitted", f"outcome {n}")
        metrics.observe("store_call_seconds", 0.01, f"verb {n}")
    text, _ = metrics.expose("")
    assert f'tasks_submitted_total{{outcome="{OTHER}"}} 50.0' in text.decode()
    assert text.decode().count("mainspring_store_call_seconds_count{") == LABEL_SETS + 1


def test_odd_labels_are_escaped():
    """Protocol check F-61."""
    metrics = Metrics()
    metrics.count("tasks_submitted", 'a"b\\c\nd')
    text, _ = metrics.expose("")
    assert r'outcome="a\"b\\c\nd"' in text.decode()
