"""What an address names, and that nobody sees its password."""

import pytest

from mainspring.core.addresses import scheme_of, shown


@pytest.mark.parametrize(
    ("address", "scheme"),
    [
        ("sqlite:///m.db", "sqlite"),
        ("memory:", "memory"),
        ("POSTGRES://host", "postgres"),
        ("postgresql+asyncpg://host", "postgresql+asyncpg"),
        ("host=localhost dbname=tasks", "postgresql"),
        (" host = localhost", "postgresql"),
        ("http://host:80", "http"),
        ("m.db", ""),
        ("", ""),
    ],
)
def test_what_an_address_names(address, scheme):
    assert scheme_of(address) == scheme


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("postgres://u:s3cret@h:5432/db?sslmode=disable", "postgres://u:***@h:5432/db?sslmode=disable"),
        ("postgres://u:s3cret:x@h", "postgres://u:***@h"),
        ("postgres://u:s3c@ret/x@h/db", "postgres://u:***@h/db"),
        ("redis://:s3cret@h/0", "redis://:***@h/0"),
        ("postgres://u@h/db?password=s3cret&user=x", "postgres://u@h/db?password=***&user=x"),
        ("postgres://h/db?sslkey=k&sslpassword=s3cret", "postgres://h/db?sslkey=k&sslpassword=***"),
        ("host=h password=s3cret user=u", "host=h password=*** user=u"),
        (r"host=h password='s3\'c ret' user=u", "host=h password=*** user=u"),
        ("host=h password = 's3cret", "host=h password = ***"),
        ("postgres://u@h:5432/db", "postgres://u@h:5432/db"),
        ("http://h:8080/", "http://h:8080/"),
        ("u:s3cret@h/db", "u:***@h/db"),
        ("unix:///run/r@1:2@3.sock", "unix:///run/r@1:2@3.sock"),
        ("unix://:s3cret@/run/redis", "unix://:***@/run/redis"),
    ],
)
def test_a_password_is_not_shown(address, told):
    assert shown(address) == told
