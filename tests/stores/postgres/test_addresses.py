"""Addresses of databases, in all their spellings."""

import pytest

from mainspring.clock import SystemClock
from mainspring.errors import InvalidInput
from mainspring.stores import open_store
from mainspring.stores.postgres.address import CONNECT_LIMIT_S, parse_address

SETTINGS = {"application_name": "mainspring"}


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg"])
def test_the_parts_of_a_url(scheme):
    """S1-20: the address of the contract's first source, under every usual scheme."""
    address = parse_address(f"{scheme}://alice:s3cret@localhost:5433/scheduler?sslmode=disable")
    assert address.hosts == (("localhost", 5433),)
    assert address.arguments == {
        "user": "alice",
        "password": "s3cret",
        "database": "scheduler",
        "dsn": "postgresql://?sslmode=disable",
        "server_settings": SETTINGS,
    }
    assert address.connect_s == CONNECT_LIMIT_S
    assert "s3cret" not in address.shown


@pytest.mark.parametrize(
    ("text", "hosts", "arguments"),
    [
        ("postgresql://", (), {}),
        ("postgresql:///db", (), {"database": "db"}),
        ("postgres://u@/db?host=/var/run/pg", (("/var/run/pg", None),), {"user": "u", "database": "db"}),
        ("postgres://%2Fvar%2Frun/db", (("/var/run", None),), {"database": "db"}),
        ("postgres://[::1]:5433/db", (("::1", 5433),), {"database": "db"}),
        ("postgres://[::1]", (("::1", None),), {}),
        ("postgres://h/?dbname=a%20b&user=x%40y", (("h", None),), {"database": "a b", "user": "x@y"}),
        ("postgres://u%3Av:p%40%2F%3F%25@h/d%2Fb", (("h", None),),
         {"user": "u:v", "password": "p@/?%", "database": "d/b"}),
        ("postgres://one:1,two,[::1]:3/db", (("one", 1), ("two", None), ("::1", 3)),
         {"database": "db", "target_session_attrs": "read-write"}),
        ("postgres://one,two?target_session_attrs=primary&port=7", (("one", 7), ("two", 7)),
         {"target_session_attrs": "primary"}),
        ("host=one,two port=1,2", (("one", 1), ("two", 2)), {"target_session_attrs": "read-write"}),
        ("host=h port=5433 dbname='a b' user = u password='it\\'s'", (("h", 5433),),
         {"database": "a b", "user": "u", "password": "it's"}),
        ("dbname=db password=p\\ q passfile=/p service=s", (),
         {"database": "db", "password": "p q", "passfile": "/p", "service": "s"}),
        ("postgres://h?user=&database=db", (("h", None),), {"database": "db"}),
        ("postgres://h?channel_binding=prefer&gssencmode=disable&client_encoding=UTF8", (("h", None),), {}),
    ],
)  # fmt: skip
def test_other_spellings(text, hosts, arguments):
    address = parse_address(text)
    assert address.hosts == hosts
    assert address.arguments == {**arguments, "server_settings": SETTINGS}


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])
def test_all_modes_of_tls(mode):
    files = "sslrootcert=/a%20b/ca.pem&sslcert=/c&sslkey=/k"
    address = parse_address(f"postgres://h/db?sslmode={mode}&{files}")
    assert address.arguments["dsn"] == (
        f"postgresql://?sslmode={mode}&sslcert=%2Fc&sslkey=%2Fk&sslrootcert=%2Fa+b%2Fca.pem"
    )


@pytest.mark.parametrize(
    ("written", "mode"), [("require", "require"), ("true", "require"), ("false", "disable")]
)
def test_tls_as_sqlalchemy_writes_it(written, mode):
    assert (
        parse_address(f"postgresql+asyncpg://h/db?ssl={written}").arguments["dsn"].endswith(f"sslmode={mode}")
    )


def test_what_goes_to_the_server():
    address = parse_address("postgres://h?application_name=app&options=-c%20work_mem%3D8MB")
    assert address.arguments["server_settings"] == {"application_name": "app", "options": "-c work_mem=8MB"}


@pytest.mark.parametrize(("text", "limit_s"), [("7", 7.0), ("1", 2.0), ("0", CONNECT_LIMIT_S)])
def test_how_long_connecting_may_take(text, limit_s):
    assert parse_address(f"postgres://h?connect_timeout={text}").connect_s == limit_s


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("postgres://h/db?colour=red", "no parameter 'colour'"),
        ("postgres://h/db?sslmode=on", "sslmode cannot be 'on'"),
        ("postgres://h/db?sslmode", "'sslmode' in 'postgres://h/db?sslmode' has no value"),
        ("postgres://h/db?target_session_attrs=standby", "target_session_attrs cannot be 'standby'"),
        ("postgres://h/db?channel_binding=require", "channel_binding cannot be 'require'"),
        ("postgres://h/db?connect_timeout=2s", "connect_timeout cannot be '2s'"),
        ("postgres://h:port/db", "not a host: 'h:port'"),
        ("postgres://h:70000/db", "not a port: '70000'"),
        ("postgres://h:0/db", "not a port: '0'"),
        ("postgres://[::1/db", "not a host"),
        ("postgres://one,two,three?port=1,2", "2 ports for 3 hosts"),
        ("postgres:h", "not an address"),
        ("host=h nonsense", "not an address"),
        ("host=h password='s3cret", "not an address"),
        ("postgres://u:s3cret@h:x/db", "not a host: 'h:x'"),
    ],
)
def test_what_is_misspelt_is_told_with_what_is_accepted(text, told):
    with pytest.raises(InvalidInput) as caught:
        open_store(text, SystemClock())
    assert caught.value.field == "store"
    assert told in caught.value.problem
    assert caught.value.accepted
    assert "s3cret" not in str(caught.value)


def test_nothing_is_reached_before_it_is_opened():
    store = open_store("postgresql://u:p@nowhere.invalid/db", SystemClock())
    assert store.features.name == "postgres"
