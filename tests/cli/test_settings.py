"""Where a setting's value comes from, and which source counts."""

import pytest

from mainspring.clock import VirtualClock
from mainspring.config import load
from mainspring.errors import InvalidInput
from mainspring.node.opening import store_of

URL = "postgres://u:p@localhost:5432/scheduler?sslmode=disable"


def test_database_url_says_where_the_store_is():
    """S1-20, S3-11."""
    settings = load({}, {"DATABASE_URL": URL})
    assert (settings.store_url, settings.store_origin) == (URL, "DATABASE_URL")


@pytest.mark.parametrize(
    ("flags", "environment", "url", "origin"),
    [
        ({"store": "memory:"}, {}, "memory:", "--store"),
        ({"db": "x.db"}, {}, "sqlite:///x.db", "--db"),
        ({}, {"MAINSPRING_STORE": "memory:"}, "memory:", "MAINSPRING_STORE"),
        ({}, {"MAINSPRING_DB": "x.db"}, "sqlite:///x.db", "MAINSPRING_DB"),
    ],
)
def test_mainsprings_own_settings_count_more_than_database_url(flags, environment, url, origin):
    settings = load(flags, {"DATABASE_URL": URL, **environment})
    assert (settings.store_url, settings.store_origin) == (url, origin)


def test_a_file_named_by_a_flag_counts_more_than_a_store_in_the_environment():
    settings = load({"db": "x.db"}, {"MAINSPRING_STORE": "memory:"})
    assert (settings.store_url, settings.store_origin) == ("sqlite:///x.db", "--db")


def test_the_environment_counts_more_than_the_file_of_settings(tmp_path):
    (tmp_path / "settings.toml").write_text('store = "memory:"\npg_max_conns = 7\n')
    settings = load({}, {"DATABASE_URL": URL, "PG_MAX_CONNS": "8"}, tmp_path / "settings.toml")
    assert (settings.store_url, settings.pg_max_conns) == (URL, 8)
    settings = load({}, {}, tmp_path / "settings.toml")
    assert (settings.store_url, settings.pg_max_conns) == ("memory:", 7)


def test_settings_of_the_pool():
    """S1-26, S1-27, S1-28: the sources' own names and values."""
    given = {"PG_MAX_CONNS": "50", "PG_MIN_CONNS": "5", "PG_MAX_CONN_LIFETIME": "30m"}
    options = load({}, given).store_options.postgres
    assert (options.most, options.fewest, options.lifetime_s) == (50, 5, 1800.0)
    own = {f"MAINSPRING_{name}": value for name, value in given.items()}
    assert load({}, own).store_options.postgres == options


@pytest.mark.parametrize(
    ("environment", "field"),
    [
        ({"PG_MIN_CONNS": "11"}, "PG_MIN_CONNS"),
        ({"PG_MAX_CONNS": "3", "MAINSPRING_PG_MIN_CONNS": "4"}, "MAINSPRING_PG_MIN_CONNS"),
        ({"PG_MAX_CONNS": "0"}, "PG_MAX_CONNS"),
        ({"PG_MAX_CONNS": "many"}, "PG_MAX_CONNS"),
        ({"PG_MAX_CONNS": "5", "MAINSPRING_PG_MAX_CONNS": "6"}, "MAINSPRING_PG_MAX_CONNS"),
        ({"PG_MAX_CONN_LIFETIME": "soon"}, "PG_MAX_CONN_LIFETIME"),
        ({"PG_MAX_CONN_LIFETIME": "0"}, "PG_MAX_CONN_LIFETIME"),
        ({"MAINSPRING_PG_STATEMENT_CACHE": "maybe"}, "MAINSPRING_PG_STATEMENT_CACHE"),
    ],
)
def test_a_pool_that_cannot_be(environment, field):
    with pytest.raises(InvalidInput) as caught:
        load({}, environment)
    assert caught.value.field == field
    assert caught.value.accepted


# --- the Redis beside PostgreSQL ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({"MAINSPRING_QUEUE": "redis://r:1/2"}, "redis://r:1/2"),
        ({"REDIS_ADDR": "localhost:6380"}, "redis://localhost:6380"),
        ({"REDIS_ADDRESS": ":6380"}, "redis://localhost:6380"),
        ({"REDIS_URL": "rediss://user:pass@r:1/2"}, "rediss://user:pass@r:1/2"),
        ({"REDIS_URL": "valkeys://r:1/2?ssl_cert_reqs=none"}, "valkeys://r:1/2?ssl_cert_reqs=none"),
        ({"MAINSPRING_QUEUE": "valkey://r"}, "valkey://r"),
        ({"REDIS_ADDR": "r:1", "REDIS_ADDRESS": "r:1", "REDIS_URL": "redis://r:1"}, "redis://r:1"),
        ({"REDIS_ADDR": "r:1", "REDIS_PASSWORD": "p@ss/", "REDIS_DB": "1"}, "redis://:p%40ss%2F@r:1?db=1"),
        ({"REDIS_URL": "redis://me@r:1/3", "REDIS_PASSWORD": "p", "REDIS_DB": "3"}, "redis://me:p@r:1/3"),
        ({"MAINSPRING_QUEUE": "unix:///run/redis", "REDIS_DB": "1"}, "unix:///run/redis?db=1"),
        ({"MAINSPRING_QUEUE": "unix:///run/redis", "REDIS_PASSWORD": "p"}, "unix://:p@/run/redis"),
        ({"MAINSPRING_QUEUE": "redis://r:1", "REDIS_ADDR": "elsewhere:1"}, "redis://r:1"),
        (
            {"REDIS_URL": "redis+sentinel://one:1,two:2/tasks?namespace=shop", "REDIS_DB": "1"},
            "redis+sentinel://one:1,two:2/tasks?namespace=shop&db=1",
        ),
        (
            {"REDIS_URL": "redis+sentinel://one,two/tasks/3", "REDIS_PASSWORD": "p", "REDIS_DB": "3"},
            "redis+sentinel://:p@one,two/tasks/3",
        ),
        (
            {"REDIS_URL": "redis+cluster://me@one:1,two:2", "REDIS_PASSWORD": "p"},
            "redis+cluster://me:p@one:1,two:2",
        ),
        (
            {"REDIS_URL": "redis://r?password=p%40&db=2", "REDIS_PASSWORD": "p@", "REDIS_DB": "2"},
            "redis://r?password=p%40&db=2",
        ),
        ({}, ""),
    ],
)
def test_a_queue_beside_postgresql(environment, url):
    """S0-29, S1-21, S1-51: the sources' own variables, in parts or as one."""
    assert load({"store": URL}, environment).store_options.queue == url


def test_redis_variables_are_not_about_other_stores():
    assert load({"store": "memory:"}, {"REDIS_ADDR": "r:1"}).queue == ""


@pytest.mark.parametrize(
    ("environment", "field"),
    [
        ({"REDIS_ADDR": "r:1", "REDIS_URL": "redis://other:1"}, "REDIS_ADDR"),
        ({"REDIS_ADDR": "r:port"}, "REDIS_ADDR"),
        ({"REDIS_URL": "redis+sentinel://:s3cret@one,two"}, "REDIS_URL"),
        ({"REDIS_URL": "redis+sentinel://one,two/tasks/2", "REDIS_DB": "1"}, "REDIS_DB"),
        ({"REDIS_URL": "redis+cluster://one,two", "REDIS_DB": "1"}, "REDIS_URL"),
        ({"MAINSPRING_QUEUE": "redis://r?namespace={a}"}, "MAINSPRING_QUEUE"),
        ({"MAINSPRING_QUEUE": "amqp://r:1"}, "MAINSPRING_QUEUE"),
        ({"MAINSPRING_QUEUE": "unix://"}, "MAINSPRING_QUEUE"),
        ({"MAINSPRING_QUEUE": "redis://r:1/first"}, "MAINSPRING_QUEUE"),
        ({"REDIS_URL": "redis://r:1?pasword=s3cret"}, "REDIS_URL"),
        ({"REDIS_ADDR": "r:1", "REDIS_DB": "first"}, "REDIS_DB"),
        ({"REDIS_URL": "redis://r:1/2", "REDIS_DB": "1"}, "REDIS_DB"),
        ({"REDIS_URL": "redis://:s3cret@r:1", "REDIS_PASSWORD": "two"}, "REDIS_PASSWORD"),
    ],
)
def test_a_queue_that_cannot_be_is_told_by_its_name(environment, field):
    with pytest.raises(InvalidInput) as error:
        store_of(load({"store": URL}, environment), VirtualClock(seed=7))
    assert error.value.field == field
    assert "s3cret" not in str(error.value)


def test_a_queue_beside_another_store_is_refused():
    settings = load({"store": "memory:", "queue": "redis://r:1"}, {})
    with pytest.raises(InvalidInput, match="--queue: is for a store on PostgreSQL"):
        store_of(settings, VirtualClock(seed=7))
