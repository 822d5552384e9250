"""`-A module:app`: an application's own address counts, where nobody names another."""

from mainspring import Mainspring
from tests.e2e.processes import running, until

APP = """
from mainspring import Mainspring

print("this module talks while it is imported")
app = Mainspring({url!r})

@app.task
def double(number: int) -> int:
    return 2 * number
"""
ANYWHERE = ("--listen", "127.0.0.1:0")


def test_a_worker_works_for_its_applications_server(tmp_path):
    with running(tmp_path, "server", "server", *ANYWHERE, "--store", "memory:") as server:
        url = server.url()
        (tmp_path / "jobs.py").write_text(APP.format(url=url))
        with running(tmp_path, "worker", "worker", "-A", "jobs:app") as worker, Mainspring(url) as app:
            assert app.submit("double", {"number": 21}).result(timeout=60) == 42
            assert f"works for {url}\n" in worker.printed()


def test_the_settings_count_more_than_the_application(tmp_path):
    with running(tmp_path, "server", "server", *ANYWHERE, "--store", "memory:") as server:
        url = server.url()
        (tmp_path / "jobs.py").write_text(APP.format(url="http://127.0.0.1:9"))
        for arguments, env in ((("--api-url", url), {}), ((), {"MAINSPRING_API_URL": url})):
            with running(tmp_path, "worker", "worker", "-A", "jobs:app", *arguments, env=env) as worker:
                until(lambda worker=worker: f"works for {url}" in worker.printed())


def test_an_application_that_cannot_be_loaded_is_the_runners_to_tell(tmp_path):
    (tmp_path / "jobs.py").write_text("raise ValueError('not today')")
    with running(tmp_path, "worker", "worker", "-A", "jobs:app") as worker:
        assert worker.popen.wait(180) != 0
        assert "not today" in worker.printed()


def test_standalone_opens_its_applications_store(tmp_path):
    (tmp_path / "jobs.py").write_text(APP.format(url="sqlite:///own.db"))
    with (
        running(tmp_path, "one", "standalone", "-A", "jobs:app", *ANYWHERE) as standalone,
        Mainspring(f"sqlite:///{tmp_path}/own.db") as app,
    ):
        standalone.url()
        assert app.submit("double", {"number": 21}).result(timeout=60) == 42
    with running(tmp_path, "two", "standalone", "-A", "jobs:app", "--db", "named.db", *ANYWHERE) as other:
        other.url()
    assert {path.name for path in tmp_path.glob("*.db")} == {"own.db", "named.db"}
