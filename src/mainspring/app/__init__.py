"""What users import: an application, which has tasks, and is a client of the scheduler that its URL names.

Mainspring(url) ─┬─ sqlite:, postgresql:, memory:   embedding   a scheduler in this process
                 └─ http://HOST:PORT                sdk.http    a server
     │
     └─ worker, run_worker                          working     runs the tasks in this process
"""

import functools
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from mainspring.config import Settings, load
from mainspring.core.addresses import POSTGRES, SERVERS, scheme_of, shown
from mainspring.core.durations import parse_duration_s
from mainspring.errors import InvalidInput
from mainspring.ports import Backend, Clock
from mainspring.sdk.client import Client
from mainspring.sdk.functions import TaskFunction
from mainspring.sdk.transactions import OF_SQLITE, library_of
from mainspring.stores import SCHEMES

if TYPE_CHECKING:
    from mainspring.app.working import AppWorker

__all__ = ["Mainspring", "TaskFunction"]

ACCEPTED = (
    "http://HOST:PORT, sqlite:///FILE, postgresql://USER:PASSWORD@HOST:PORT/DATABASE, "
    "redis://USER:PASSWORD@HOST:PORT/NUMBER, memory:"
)


class Mainspring(Client):
    """An application: its tasks, and what submits them.

    app = Mainspring("sqlite:///m.db")

    @app.task(timeout=30)
    async def resize(path: str, width: int = 800) -> str: ...

    handle = resize.submit("a.png", width=300)
    handle.result(timeout=60)

    `url` is a server (`http://`), or a store with which a scheduler is embedded in this process
    (`sqlite:///FILE`, `postgresql://...`, `memory:`). Without one, `MAINSPRING_API_URL`, `MAINSPRING_STORE`
    or `DATABASE_URL` says where to go, if a task is ever submitted. `token` (or `MAINSPRING_TOKEN`) is shown
    to a server; a call to a server that does not answer is repeated for up to `timeout` seconds.
    """

    def __init__(
        self, url: str | None = None, *, token: str | None = None, timeout: float | str = 15.0
    ) -> None:
        """Raises `InvalidInput` for an address that is none. Opens nothing yet."""
        if url is not None and scheme_of(url) not in (*SERVERS, *SCHEMES):
            raise InvalidInput("url", f"not an address: {shown(url)!r}", ACCEPTED)
        self.url = url
        patience_s = parse_duration_s(timeout, "timeout")
        super().__init__(functools.partial(_connect, url, token, patience_s))

    def check_connection(self, connection: Any) -> None:
        """Raises `InvalidInput` for a connection that cannot lead to the store that the URL names. Behind a
        server there may be any."""
        library, scheme = library_of(connection), scheme_of(self.url or "")
        if scheme in SERVERS or not scheme or library == "sqlalchemy":
            return
        if scheme not in ("sqlite", *POSTGRES):
            raise InvalidInput(
                "connection",
                f"a store of {scheme}: takes no part in transactions",
                "an application on sqlite: or postgresql:",
            )
        if (scheme == "sqlite") != (library in OF_SQLITE):
            raise InvalidInput(
                "connection", f"of {library}, but the store is {scheme}:", "one of the store's"
            )
        if library == "sqlite3" and self.life.is_open:
            # They do not see each other's locks, and closing one file drops those of the other.
            raise InvalidInput(
                "connection",
                "of sqlite3, in a process that has the file open by another SQLite library",
                "a connection of apsw, or another process",
            )

    def worker(
        self, *, concurrency: int = 10, queues: Iterable[str] = (), grace: float | str = 30.0
    ) -> "AppWorker":
        """A worker in this process that runs this application's tasks, while it is entered. It knows the
        kinds `echo` and `sleep`, too. `queues` are those to work for; none named means all."""
        from mainspring.app.working import AppWorker, Work

        grace_s = parse_duration_s(grace, "grace")
        return AppWorker(self, Work(concurrency=concurrency, queues=tuple(queues), grace_s=grace_s))

    def run_worker(
        self, *, concurrency: int = 10, queues: Iterable[str] = (), grace: float | str = 30.0
    ) -> None:
        """As `worker`, until SIGTERM or SIGINT: running tasks may finish within the grace. A second signal
        stops at once. Only in the main thread are there signals; elsewhere, it ends by `close`."""
        from mainspring.app.working import work_until_told

        work_until_told(self.worker(concurrency=concurrency, queues=queues, grace=grace))


def _connect(
    url: str | None, token: str | None, patience_s: float, clock: Clock
) -> AbstractAsyncContextManager[Backend]:
    settings = _settings(url, token)
    if settings.store:
        from mainspring.app.embedding import embedded

        return embedded(settings)
    from mainspring.sdk.http import HttpBackend

    return HttpBackend(settings.api_url, settings.token, clock, patience_s)


def _settings(url: str | None, token: str | None) -> Settings:
    """The environment's settings with the application's address: a server's, or else a store's."""
    settings = load({"token": token})
    if url is not None:
        settings = replace(settings, origins={**settings.origins, "store": "url"})
    elif settings.origin("api_url") != "default":
        url = settings.api_url
    elif settings.origin("store") != "default":
        url = settings.store
    else:
        raise InvalidInput(
            "url",
            "this application has none to submit to",
            "Mainspring(URL), or MAINSPRING_API_URL or MAINSPRING_STORE in the environment",
        )
    is_server = scheme_of(url) in SERVERS
    return replace(settings, api_url=url if is_server else "", store="" if is_server else url)
