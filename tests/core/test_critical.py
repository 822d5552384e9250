"""The critical path and slack, against every path of the graph taken one by one."""

from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.critical import UNKNOWN_US, Duration, Run, durations, plan
from mainspring.core.model import State

S = 1_000_000


@st.composite
def graphs(draw):
    count = draw(st.integers(0, 9))
    parents = [sorted(draw(st.sets(st.integers(0, n - 1), max_size=3))) if n else [] for n in range(count)]
    return parents, draw(st.lists(st.integers(0, 5), min_size=count, max_size=count))


def paths(parents):
    """Every chain from a task without parents to one without children."""
    inner = {parent for above in parents for parent in above}

    def back(place):
        if not parents[place]:
            return [[place]]
        return [[*chain, place] for parent in parents[place] for chain in back(parent)]

    return [chain for place in range(len(parents)) if place not in inner for chain in back(place)]


@given(graphs())
def test_the_longest_of_all_paths(graph):
    parents, times = graph
    found = plan(parents, times)
    everyone = paths(parents)
    lengths = [sum(times[place] for place in chain) for chain in everyone]
    assert found.length_us == max(lengths, default=0)
    if parents:
        assert list(found.path) in everyone
        assert sum(times[place] for place in found.path) == found.length_us


@given(graphs())
def test_slack_is_what_the_longest_path_through_a_task_leaves(graph):
    parents, times = graph
    found = plan(parents, times)
    for place in range(len(parents)):
        through = max(sum(times[n] for n in chain) for chain in paths(parents) if place in chain)
        assert found.slacks_us[place] == found.length_us - through


@given(graphs(), st.data())
def test_slack_may_be_used_up_and_no_more(graph, data):
    parents, times = graph
    if not parents:
        return
    found = plan(parents, times)
    place = data.draw(st.integers(0, len(parents) - 1))
    for more, later in ((0, 0), (1, 1)):
        slower = [*times]
        slower[place] += found.slacks_us[place] + more
        assert plan(parents, slower).length_us == found.length_us + later


@given(graphs())
def test_levels_and_starts(graph):
    parents, times = graph
    found = plan(parents, times)
    for place, above in enumerate(parents):
        assert found.levels[place] == max((found.levels[parent] + 1 for parent in above), default=0)
        ends = [found.starts_us[parent] + times[parent] for parent in above]
        assert found.starts_us[place] == max(ends, default=0)


def test_no_tasks_no_path():
    assert plan([], []) == (0, [], [], [], [])


def test_of_equal_paths_the_first():
    assert list(plan([[], [], [0, 1], [0, 1]], [1, 1, 1, 1]).path) == [0, 2]


def test_ten_thousand_in_a_row():
    """S0-68: as deep as a document may be."""
    found = plan([[n - 1] if n else [] for n in range(10_000)], [1] * 10_000)
    assert (found.length_us, len(found.path), set(found.slacks_us)) == (10_000, 10_000, {0})


# --- how long tasks take ------------------------------------------------------------------------------


def run(state, started=None, finished=None, kind="k"):
    return Run(kind, state, started and started * S, finished and finished * S)


def test_what_ended_took_as_long_as_it_took():
    runs = [run(State.SUCCEEDED, 1, 4), run(State.FAILED, 1, 2), run(State.CANCELLED, None, 9)]
    assert durations(runs, 99 * S) == [(3 * S, 0, False), (S, 0, False), (0, 0, False)]


def test_what_is_to_come_takes_as_long_as_its_kind():
    runs = [
        run(State.SUCCEEDED, 1, 3),
        run(State.SUCCEEDED, 1, 5),
        run(State.SUCCEEDED, 1, 31, kind="slow"),
        run(State.FAILED, 1, 100),
        run(State.READY),
        run(State.BLOCKED, kind="slow"),
        run(State.BLOCKED, kind="new"),
    ]
    estimates = [Duration(3 * S, 3 * S, True), Duration(30 * S, 30 * S, True), Duration(12 * S, 12 * S, True)]
    assert durations(runs, 99 * S)[4:] == estimates


def test_nothing_is_known_before_the_first_end():
    assert durations([run(State.READY)], 0) == [Duration(UNKNOWN_US, UNKNOWN_US, True)]


def test_what_runs_takes_no_less_than_it_did():
    known = run(State.SUCCEEDED, 1, 11)
    early, late = durations([known, run(State.RUNNING, 20), run(State.RUNNING, 2)], 24 * S)[1:]
    assert early == Duration(10 * S, 6 * S, True)
    assert late == Duration(22 * S, 0, True)


def test_a_task_that_waits_for_its_retry_is_still_to_run():
    assert durations([run(State.SCHEDULED, 1)], 50 * S) == [Duration(UNKNOWN_US, UNKNOWN_US, True)]
