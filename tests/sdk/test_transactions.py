"""Tasks submitted and completed on the user's own connection, of every library that is promised."""

import sqlite3
import threading
from contextlib import asynccontextmanager, closing, contextmanager

import apsw
import asyncpg
import psycopg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from mainspring import Context, Mainspring
from mainspring.core.model import Lane, Lease
from mainspring.errors import InvalidInput, LeaseLost, NotFound, TaskCancelled, TaskFailed, TooLarge
from mainspring.sdk import Cancellation
from tests.stores import addresses


class Shop:
    """An application whose handlers keep their books in the scheduler's own database."""

    def __init__(self, url):
        self.url = url
        self.app = Mainspring(url)

        @self.app.task
        def double(number: int) -> int:
            return 2 * number

        self.double = double


@pytest.fixture
def postgres(tmp_path):
    with addresses.address("postgres", tmp_path) as url:
        yield url


@pytest.fixture
def sqlite(tmp_path):
    with addresses.address("sqlite", tmp_path) as url:
        yield url


def path_of(url):
    return url.removeprefix("sqlite:///")


def with_library(url, library):
    return url.replace("postgresql://", f"postgresql+{library}://", 1)


# --- connections that block -------------------------------------------------------------------------
# Each as a context that gives the connection, and the two words that end its transaction.


@contextmanager
def of_apsw(url):
    with closing(apsw.Connection(path_of(url))) as connection:
        connection.set_busy_timeout(20_000)
        connection.execute("BEGIN IMMEDIATE")
        yield connection, lambda: connection.execute("COMMIT"), lambda: connection.execute("ROLLBACK")


@contextmanager
def of_psycopg(url):
    with psycopg.connect(url) as connection:
        yield connection, connection.commit, connection.rollback


@contextmanager
def of_psycopg_cursor(url):
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        yield cursor, connection.commit, connection.rollback


@contextmanager
def of_sqlalchemy(url):
    engine = sqlalchemy.create_engine(with_library(url, "psycopg"))
    try:
        with engine.connect() as connection:
            yield connection, connection.commit, connection.rollback
    finally:
        engine.dispose()


@contextmanager
def of_session(url):
    engine = sqlalchemy.create_engine(with_library(url, "psycopg"))
    try:
        with Session(engine) as session:
            yield session, session.commit, session.rollback
    finally:
        engine.dispose()


BLOCKING = {
    "apsw": of_apsw,
    "psycopg": of_psycopg,
    "psycopg cursor": of_psycopg_cursor,
    "sqlalchemy": of_sqlalchemy,
    "sqlalchemy session": of_session,
}


@pytest.fixture(params=BLOCKING)
def blocking(request):
    """How to connect, and where to."""
    url = request.getfixturevalue("sqlite" if request.param == "apsw" else "postgres")
    with Mainspring(url):
        yield url, BLOCKING[request.param]


def test_what_commits_runs_and_what_rolls_back_was_never_submitted(blocking):
    url, connect = blocking
    shop = Shop(url)
    with shop.app, shop.app.worker():
        with connect(url) as (connection, commit, _):
            kept = shop.double.submit_in(connection, 21)
            by_kind = shop.app.submit_in(connection, "double", {"args": [1], "kwargs": {}}, priority=9)
            with pytest.raises(NotFound):
                kept.status()
            commit()
        assert kept.result(timeout=60) == 42
        assert by_kind.result(timeout=60) == 2
        with connect(url) as (connection, _, rollback):
            dropped = shop.double.submit_in(connection, 1)
            rollback()
        with pytest.raises(NotFound):
            dropped.status()


def test_effects_and_completion_are_one(blocking):
    url, connect = blocking
    shop = Shop(url)
    results = []

    @shop.app.task(max_retries=1)
    def charge(ctx: Context, order: int) -> str:
        with connect(url) as (connection, commit, rollback):
            follower = shop.double.submit_in(connection, order)
            ctx.complete_in(connection, {"attempt": ctx.attempt})
            if ctx.attempt == 1:
                rollback()
                raise ConnectionError("in the middle")
            commit()
            results.append(follower)
        return "this is looked at by nobody"

    charge = charge.with_options(retry={"delay": 0})
    with shop.app, shop.app.worker():
        assert charge.submit(21).result(timeout=60) == {"attempt": 2}
        (follower,) = results
        assert follower.result(timeout=60) == 42


def test_a_run_that_is_too_late_cannot_commit(blocking):
    url, connect = blocking
    shop = Shop(url)
    started, gone, ended, told = threading.Event(), threading.Event(), threading.Event(), []

    @shop.app.task
    def charge(ctx: Context) -> None:
        started.set()
        gone.wait(60)
        with connect(url) as (connection, commit, _):
            try:
                shop.double.submit_in(connection, 1)
                ctx.complete_in(connection)
                commit()
            except Exception as error:
                told.append(error)
            finally:
                ended.set()

    with shop.app:
        with shop.app.worker():
            handle = charge.submit()
            assert started.wait(60)
            handle.cancel(kill=True)
            gone.set()
            assert ended.wait(60)
        (error,) = told
        assert isinstance(error, LeaseLost)
        with pytest.raises(TaskCancelled):
            handle.result()


# --- connections that are awaited -------------------------------------------------------------------


@asynccontextmanager
async def of_asyncpg(url):
    connection = await asyncpg.connect(url)
    try:
        transaction = connection.transaction()
        await transaction.start()
        yield connection, transaction.commit, transaction.rollback
    finally:
        await connection.close()


@asynccontextmanager
async def of_asyncpg_pool(url):
    async with asyncpg.create_pool(url, min_size=1) as pool, pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        yield connection, transaction.commit, transaction.rollback


@asynccontextmanager
async def of_async_psycopg(url):
    async with await psycopg.AsyncConnection.connect(url) as connection:
        yield connection, connection.commit, connection.rollback


@asynccontextmanager
async def of_async_sqlalchemy(url):
    engine = create_async_engine(with_library(url, "asyncpg"))
    try:
        async with engine.connect() as connection:
            yield connection, connection.commit, connection.rollback
    finally:
        await engine.dispose()


@asynccontextmanager
async def of_async_session(url):
    engine = create_async_engine(with_library(url, "asyncpg"))
    try:
        async with AsyncSession(engine) as session:
            yield session, session.commit, session.rollback
    finally:
        await engine.dispose()


AWAITED = [of_asyncpg, of_asyncpg_pool, of_async_psycopg, of_async_sqlalchemy, of_async_session]


@pytest.mark.parametrize("connect", AWAITED)
async def test_the_same_awaited(postgres, connect):
    shop = Shop(postgres)

    @shop.app.task
    async def charge(ctx: Context, order: int) -> None:
        async with connect(postgres) as (connection, commit, rollback):
            if ctx.attempt == 1:
                await shop.app.submit_in.aio(connection, "double", [0])
                await ctx.complete_in.aio(connection)
                await rollback()
                raise ConnectionError("in the middle")
            follower = await shop.double.submit_in.aio(connection, order)
            await ctx.complete_in.aio(connection, [follower.id])
            await commit()

    async with shop.app, shop.app.worker():
        handle = await charge.with_options(retry={"delay": 0}).submit.aio(21)
        (follower,) = await handle.result.aio(timeout=60)
        assert await shop.double.handle(follower).result.aio(timeout=60) == 42


@pytest.mark.parametrize("connect", AWAITED)
async def test_a_run_that_has_ended_is_lost_to_every_library(postgres, connect):
    async with Mainspring(postgres), connect(postgres) as (connection, _, rollback):
        with pytest.raises(LeaseLost, match="is not held under token 7"):
            await context().complete_in.aio(connection)
        await rollback()


# --- what is refused --------------------------------------------------------------------------------


def context():
    """The context of a run that nobody knows of."""
    lease = Lease("01a1ff3a-d708-71e7-863d-d1143a62159c", 7, 1, Lane("q", "k", "t", 5), b"1", 1)
    return Context(lease, Cancellation(), recorder=None)


@pytest.fixture
def file(tmp_path):
    """A store in a file that no process has open."""
    with Mainspring(f"sqlite:///{tmp_path / 'm.db'}") as app:
        app.submit("echo")
    return tmp_path / "m.db"


def test_options_are_those_of_a_submit(file):
    shop = Shop(f"sqlite:///{file}")
    with closing(sqlite3.connect(file)) as connection:
        first = shop.double.with_options(delay="1h", labels={"a": "b"}, unique=True).submit_in(connection, 1)
        child = shop.double.with_options(depends_on=[first], key="k", timeout=3).submit_in(connection, 2)
        again = shop.double.with_options(unique=True).submit_in(connection, 1)
        connection.commit()
    with shop.app:
        record = first.refresh()
        assert (record.state, record.labels) == ("scheduled", {"a": "b"})
        record = child.refresh()
        assert (record.state, record.depends_on, record.key) == ("blocked", (first.id,), "k")
        with pytest.raises(TaskCancelled, match=f"Duplicate: task {first.id} stands for it"):
            again.result(timeout=60)


def test_bad_input_is_refused_before_anything_is_written(file):
    shop = Shop(f"sqlite:///{file}")
    with closing(sqlite3.connect(file)) as connection:
        for refused, field in (
            (lambda: shop.app.submit_in(connection, "k", priority=11), "priority"),
            (lambda: shop.app.submit_in(connection, "k", idempotency_key="k"), "idempotency_key"),
            (lambda: shop.app.submit_in(connection, "k", depends_on=[shop.double.bind(1)]), "depends_on[0]"),
            (lambda: shop.app.submit_in(connection, "k", object()), "payload"),
            (lambda: context().complete_in(connection, object()), "result"),
        ):
            with pytest.raises(InvalidInput) as error:
                refused()
            assert error.value.field == field
        with pytest.raises(TooLarge):
            context().complete_in(connection, "x" * 1_048_576)
        with pytest.raises(TypeError):
            shop.double.submit_in(connection)
        assert not connection.in_transaction


def test_a_connection_of_no_use_is_refused(tmp_path, file):
    http = Shop("http://127.0.0.1:1")
    with closing(sqlite3.connect(file)) as connection, closing(sqlite3.connect(tmp_path / "other")) as other:
        http.double.submit_in(connection, 1)  # whatever the server's store may be
        for refused, problem in (
            (lambda: Shop("memory:").double.submit_in(connection, 1), "a store of memory: takes no part"),
            (lambda: Shop("postgresql://h/d").double.submit_in(connection, 1), "the store is postgresql:"),
            (lambda: http.double.submit_in(object(), 1), "not a connection that is known: object"),
            (lambda: http.double.submit_in(other, 1), "a database without Mainspring's tables"),
            (lambda: context().complete_in(other), "a database without Mainspring's tables"),
        ):
            with pytest.raises(InvalidInput, match=problem):
                refused()
        other.isolation_level = None
        with pytest.raises(InvalidInput, match="is in no transaction"):
            context().complete_in(other)


def test_two_libraries_on_one_file_in_one_process_are_refused(file):
    shop = Shop(f"sqlite:///{file}")
    connection = sqlite3.connect(":memory:")
    with shop.app, closing(connection), pytest.raises(InvalidInput, match="by another SQLite library"):
        shop.double.submit_in(connection, 1)


async def test_an_awaited_connection_is_to_be_awaited(postgres):
    shop = Shop(postgres)
    async with shop.app, of_asyncpg(postgres) as (connection, _, rollback):
        with pytest.raises(InvalidInput, match="has to be awaited"):
            shop.double.submit_in(connection, 1)
        await rollback()
        with pytest.raises(InvalidInput, match="is in no transaction"):
            await context().complete_in.aio(connection)


async def test_a_database_without_the_tables_says_so(postgres):
    async with of_asyncpg(postgres) as (connection, _, rollback):
        with pytest.raises(InvalidInput, match="a database without Mainspring's tables"):
            await Shop(postgres).double.submit_in.aio(connection, 1)
        await rollback()


def test_a_dead_letter_raises_why(file):
    """Written by plain SQL: the SDK would have refused it."""
    with closing(sqlite3.connect(file)) as connection:
        (task,) = connection.execute(
            """INSERT INTO submissions (task) VALUES ('{"kind": "double", "timeout": "soon"}') RETURNING id"""
        ).fetchone()
        connection.commit()
    shop = Shop(f"sqlite:///{file}")
    with shop.app, pytest.raises(TaskFailed, match="InvalidInput: timeout: "):
        shop.double.handle(task).result(timeout=60)
