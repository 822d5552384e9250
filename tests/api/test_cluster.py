"""Health, metrics, who leads (protocol checks F and H)."""

import asyncio
import re
from datetime import datetime

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from mainspring.api.cluster import QUEUES_SHOWN
from mainspring.errors import StoreUnavailable

LIVE = ("/livez", "/healthz", "/health/live")
READY = ("/readyz", "/startupz", "/health/ready")


async def test_health_has_the_sources_five_fields(node):
    """S0-24, S2-14, S4-20 by contract 1.6-J."""
    async with node() as n:
        await n.submit()
        await n.submit(delay=60)
        answer = await n.http.get("/health")
    health = answer.json()
    assert answer.status_code == 200
    assert (health["node_id"], health["is_leader"], health["leader_id"]) == ("node-1", False, None)
    assert health["queue_size"] == 1
    assert datetime.fromisoformat(health["timestamp"]).tzinfo is not None
    assert {"status", "version", "role"} <= set(health)
    assert health["checks"] == {"store": "pass", "queue": "pass", "election": "warn"}


async def test_probes_pass(node):
    """S3-37."""
    async with node() as n:
        answers = [await n.http.get(path) for path in LIVE + READY]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}


@pytest.mark.parametrize("fault", ["raises", "hangs"])
async def test_only_readiness_depends_on_the_store(node, fault, monkeypatch):
    """Protocol check H-81: liveness stays 200 and asks nobody; readiness says no in time, and recovers."""
    monkeypatch.setattr("mainspring.api.cluster.PROBE_S", 0.01 if fault == "hangs" else 30.0)
    async with node() as n:
        asked, release, works = [], asyncio.Event(), n.scheduler.stats

        async def broken():
            asked.append(fault)
            if fault == "hangs":
                await release.wait()
            raise StoreUnavailable("gone")

        n.scheduler.stats = broken
        live = [(await n.http.get(path)).status_code for path in LIVE]
        assert (live, asked) == ([200, 200, 200], [])
        ready = [await n.http.get(path) for path in READY]
        health = await n.http.get("/health")
        metrics = await n.http.get("/metrics")
        if fault == "hangs":
            assert asked == ["hangs"]  # one question is out; nobody asks a second one meanwhile
        release.set()
        n.scheduler.stats = works
        monkeypatch.setattr("mainspring.api.cluster.PROBE_S", 30.0)
        while n.app._door.pulse._asking and not n.app._door.pulse._asking.done():
            await asyncio.sleep(0)
        assert (await n.http.get("/readyz")).status_code == 200
    assert [answer.status_code for answer in ready] == [503, 503, 503]
    assert {answer.headers["retry-after"] for answer in ready} == {"1"}
    assert (health.status_code, health.json()["queue_size"]) == (503, None)
    assert health.json()["checks"]["store"].startswith("fail")
    assert "mainspring_store_up 0.0" in metrics.text


async def test_cluster_info(node):
    """S0-22."""
    async with node() as n:
        info = (await n.http.get("/api/v1/cluster/info")).json()
        assert info["store"] == n.scheduler.store.features.name
    assert (info["node_id"], info["leader_id"], info["term"]) == ("node-1", None, 0)


# --- metrics ----------------------------------------------------------------------------------------


async def scrape(n, accept=""):
    answer = await n.http.get("/metrics", headers={"Accept": accept} if accept else {})
    assert answer.status_code == 200
    return answer


def samples(text):
    return {(s.name, *s.labels.values()): s.value for family in parse_text(text) for s in family.samples}


async def test_metrics_count_what_happened(node):
    """S0-07, S0-25, S4-37; protocol check F-67: an independent parser reads it, and the sums agree."""
    async with node() as n:
        for _ in range(3):
            await n.submit(queue="q")
        first, second = await n.claim(slots=2)
        await n.settle(first, "succeeded")
        await n.settle(second, "failed", error={"type": "E", "message": "m"}, retryable=False)
        await n.http.get("/nope")
        await n.http.put("/api/v1/workers/w", json={"incarnation": "i", "kinds": ["echo"], "slots": 4})
        found = samples((await scrape(n)).text)
        stats = (await n.http.get("/api/v1/cluster/stats")).json()["tasks"]
    assert found["mainspring_tasks_submitted_total", "accepted"] == 3
    assert found["mainspring_tasks_claimed_total",] == 2
    assert found["mainspring_tasks_settled_total", "succeeded"] == 1
    assert found["mainspring_queue_depth", "q", "ready"] == 1
    assert found["mainspring_workers",] == 1
    assert found["mainspring_worker_slots",] == 4
    assert found["mainspring_store_up",] == 1
    assert {state: found["mainspring_tasks", state] for state in stats} == stats
    assert found["mainspring_http_request_seconds_count", "POST", "/api/v1/tasks", "201"] == 3
    assert found["mainspring_http_request_seconds_count", "GET", "(unknown)", "404"] == 1


async def test_the_text_is_as_prometheus_wants_it(node):
    """Protocol checks F-56, F-57, F-58, F-59, F-60, F-62, F-63 and F-64."""
    async with node() as n:
        await n.submit()
        (lease,) = await n.claim()
        await n.settle(lease, "succeeded")
        answer = await scrape(n)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.text.endswith("\n")
    assert "\r" not in answer.text
    seen = []
    for line in answer.text.splitlines():
        name = re.match(r"(?:# (?:HELP|TYPE) )?([a-zA-Z_:][a-zA-Z0-9_:]*)", line)[1]
        name = re.sub(r"_(bucket|count|sum)$", "", name)
        if name not in seen[-1:]:
            seen.append(name)
    assert len(seen) == len(set(seen)), "all lines of one metric stand together"
    heads = [line.split(" ")[1:3] for line in answer.text.splitlines() if line.startswith("#")]
    names = [name for _, name in heads[::2]]
    assert heads == [[kind, name] for name in names for kind in ("HELP", "TYPE")]
    assert len(names) == len(set(names)) == len(seen)
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    keys = [line.rpartition(" ")[0] for line in lines]
    assert len(keys) == len(set(keys))
    labels = set(re.findall(r'[{,]([^=,{]+)="', "\n".join(keys)))
    assert all(re.fullmatch(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*", label) for label in labels)
    assert all(float(line.rpartition(" ")[2]) >= 0 for line in lines)
    for family in parse_text(answer.text):
        assert family.documentation
        if family.type == "counter":
            assert all(s.name.endswith("_total") for s in family.samples)
        if family.type == "histogram":
            check_histogram(family)


def check_histogram(family):
    series = {}
    for s in family.samples:
        labels = tuple(sorted((k, v) for k, v in s.labels.items() if k != "le"))
        series.setdefault(labels, []).append(s)
    for found in series.values():
        buckets = [s.value for s in found if s.name.endswith("_bucket")]
        (count,) = [s.value for s in found if s.name.endswith("_count")]
        assert buckets == sorted(buckets)
        assert buckets[-1] == count
        assert [s for s in found if s.name.endswith("_sum")]


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text; version=1.0.0",
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3",
        "text/plain;q=0.5, Application/OpenMetrics-Text;version=tomorrow",
    ],
)
async def test_openmetrics_when_asked_for(node, accept):
    """Protocol check F-66."""
    async with node() as n:
        await n.submit()
        answer = await scrape(n, accept)
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert answer.text.endswith("# EOF\n")
    families = list(parse_openmetrics(answer.text))
    assert not [family.name for family in families if family.name.endswith("_total")]
    for family in families:
        if family.type == "counter":
            assert {s.name for s in family.samples} <= {f"{family.name}_total"}


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain;version=abc;escaping=?", "image/png, ;;=,"])
async def test_text_for_everybody_else(node, accept):
    """Protocol check F-56, whatever the Accept field holds."""
    async with node() as n:
        answer = await scrape(n, accept)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_ten_thousand_queues_make_few_series(node):
    """Protocol check F-65: the deepest queues by name, the rest as one."""
    async with node() as n:
        tasks = [{"queue": f"q{i}", "kind": f"k{i}"} for i in range(700)]
        await n.http.post(
            "/api/v1/tasks/batch", json={"tasks": [*tasks, {"queue": "deep"}, {"queue": "deep"}]}
        )
        for i in range(300):
            await n.http.get(f"/api/v1/queues/q{i}")
        found = samples((await scrape(n)).text)
    depths = {key: value for key, value in found.items() if key[0] == "mainspring_queue_depth"}
    assert len(depths) == QUEUES_SHOWN + 1
    assert depths["mainspring_queue_depth", "deep", "ready"] == 2
    assert sum(depths.values()) == 702
    assert len(found) < 1000
