"""Typed jobs through their dialect, from submit to result, in one process and with a worker of its own."""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.processes import running, until

ANYWHERE = ("--listen", "127.0.0.1:0")
ALLOWED = ("--allow-http", "--http-private", "127.0.0.1", "--file-root", "files", "--allow-commands")


class Site:
    """A web site of the standard library. `/slow` does not answer its first caller."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str | None]] = []
        self.first_is_over = threading.Event()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                site.seen.append((self.command, self.path, self.headers["Idempotency-Key"]))
                calls = sum(path == self.path for _, path, _ in site.seen)
                if self.path == "/slow" and calls == 1:
                    site.first_is_over.wait()
                    return
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(503 if self.path == "/busy" and calls == 1 else 200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @contextlib.contextmanager
    def serving(self) -> Iterator["Site"]:
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self.first_is_over.set()
            self.server.shutdown()
            thread.join()
            self.server.server_close()


class Jobs:
    """The four calls of the dialect, as far as a client needs them."""

    def __init__(self, url: str, client: httpx.Client) -> None:
        self.url = url
        self._client = client

    def submit(self, type: str, payload: object, **fields: object) -> str:
        body = {"type": type, "payload": payload, **fields}
        answer = self._client.post(f"{self.url}/jobs", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def get(self, job: str) -> dict[str, Any]:
        return self._client.get(f"{self.url}/jobs/{job}").json()

    def ended(self, job: str) -> dict[str, Any]:
        return until(lambda: (found := self.get(job))["completed_at"] and found)


@contextlib.contextmanager
def standalone(home: Path) -> Iterator[Jobs]:
    arguments = ("standalone", *ANYWHERE, "--db", "scheduler.db", *ALLOWED)
    with running(home, "standalone", *arguments) as process, httpx.Client() as client:
        yield Jobs(process.url(), client)


@contextlib.contextmanager
def server_and_worker(home: Path) -> Iterator[Jobs]:
    with (
        running(home, "server", "server", *ANYWHERE, "--db", "scheduler.db") as process,
        running(home, "worker", "worker", "--api-url", process.url(), *ALLOWED),
        httpx.Client() as client,
    ):
        yield Jobs(process.url(), client)


@pytest.fixture(params=[standalone, server_and_worker])
def jobs(request, tmp_path):
    (tmp_path / "files").mkdir()
    with request.param(tmp_path) as jobs:
        yield jobs


@pytest.fixture
def site():
    with Site().serving() as site:
        yield site


def test_every_type_of_job(jobs, site, tmp_path):
    """S4-02, S4-11, S4-13, S4-16, S4-17, S4-21: HTTP, Sleep and File (and Command), each with its payload."""
    http_job = jobs.submit("HTTP", {"url": f"{site.url}/echo", "method": "POST", "body": {"n": 1}})
    ids = {
        "sleep": jobs.submit("Sleep", {"duration": 0.01}, priority=7),
        "http": http_job,
        "file": jobs.submit("File", {"operation": "write", "path": "out/a.txt", "content": "made\n"}),
        "command": jobs.submit("command", {"command": "echo $((6 * 7))"}),
    }
    ended = {name: jobs.ended(job) for name, job in ids.items()}
    assert {job["status"] for job in ended.values()} == {"succeeded"}, ended
    results = {name: job["result"] for name, job in ended.items()}
    assert results["sleep"] == {"slept_s": 0.01}
    assert (results["http"]["status"], results["http"]["body"]) == (200, '{"n":1}')
    assert site.seen == [("POST", "/echo", f'"{http_job}"')]
    assert results["file"] == {"path": "out/a.txt", "size": 5}
    assert (tmp_path / "files/out/a.txt").read_text() == "made\n"
    assert results["command"]["stdout"] == "42\n"


def test_failed_jobs_are_tried_again_after_their_timeout(jobs, site):
    """S4-03, S4-04, S4-30, S4-31: one that times out, and one that is told to come later."""
    payload = {"method": "POST", "body": "x"}
    slow = jobs.submit("http", {"url": f"{site.url}/slow", **payload}, timeout=3)
    busy = jobs.submit("http", {"url": f"{site.url}/busy", **payload}, timeout=60)
    ended = [jobs.ended(job) for job in (slow, busy)]
    assert [(job["status"], job["attempts"], job["retries"]) for job in ended] == [("succeeded", 2, 1)] * 2
    keys = {path: {key for _, seen, key in site.seen if seen == path} for path in ("/slow", "/busy")}
    assert keys == {"/slow": {f'"{slow}"'}, "/busy": {f'"{busy}"'}}


def test_jobs_that_can_never_succeed_fail_at_once(jobs, site, tmp_path):
    """S4-02: bad payloads, refused addresses and paths are final, and say what is wrong."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "files/link").symlink_to(tmp_path / "secret")
    cases = [
        ("http", {"uri": site.url}, "BadPayload", "payload.uri: unknown field; did you mean url?"),
        ("http", {"url": "http://127.0.0.2/"}, "AddressRefused", "127.0.0.2 has no public address"),
        ("http", {"url": f"{site.url}/", "method": "GET"}, "UnexpectedStatus", "status 501"),
        ("file", {"operation": "read", "path": "../secret"}, "BadPayload", "payload.path: leads out"),
        ("file", {"operation": "read", "path": "link"}, "FileFailed", "path: 'link' is a link"),
        ("file", {"operation": "eat", "path": "x"}, "BadPayload", "payload.operation: not known: 'eat'"),
        ("sleep", {"seconds": 5}, "BadPayload", "payload.seconds: unknown field"),
        ("command", {"comand": "ls"}, "BadPayload", "payload.comand: unknown field; did you mean command?"),
    ]
    ids = [
        jobs.submit(type, payload, max_retries=5 if type != "http" else 0) for type, payload, _, _ in cases
    ]
    for job, (_, _, error, says) in zip(map(jobs.ended, ids), cases, strict=True):
        assert (job["status"], job["attempts"], job["error"]["type"]) == ("failed", 1, error), job
        assert job["error"]["message"].startswith(says)


def test_a_worker_takes_only_the_types_it_was_given(tmp_path):
    """Nothing is on unless it is asked for; each switch stands for itself."""
    (tmp_path / "files").mkdir()
    with (
        running(tmp_path, "server", "server", *ANYWHERE, "--store", "memory:") as process,
        running(tmp_path, "worker", "worker", "--api-url", process.url(), "--file-root", "files"),
        httpx.Client() as client,
    ):
        jobs = Jobs(process.url(), client)
        left = [jobs.submit(type, {}) for type in ("http", "command")]
        taken = jobs.submit("file", {"operation": "list"})
        assert jobs.ended(taken)["result"]["entries"] == []
        assert [jobs.get(job)["status"] for job in left] == ["ready", "ready"]


@pytest.mark.parametrize("role", ["standalone", "worker"])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--file-root", "none"), "--file-root: not a directory: "),
        (("--http-private", "10.0.0.0/33"), "--http-private: not an address or a host: '10.0.0.0/33'"),
    ],
)
def test_what_cannot_be_allowed_is_said_at_the_start(tmp_path, role, arguments, says):
    listen = ANYWHERE if role == "standalone" else ()
    with running(tmp_path, role, role, *listen, *arguments) as process:
        assert process.popen.wait() == 2
        assert process.printed().startswith(f"mainspring: {says}")
        assert "Traceback" not in process.printed()
