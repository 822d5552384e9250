"""Addresses of servers, in all their spellings."""

import pytest

from mainspring.errors import InvalidInput
from mainspring.stores.redis.address import CONNECT_LIMIT_S, parse_address


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_the_parts_of_a_url(scheme):
    address = parse_address(f"{scheme}://alice:s3cr%40et@cache:6380/3?namespace=shop")
    assert (address.kind, address.hosts, address.tls) == ("server", (("cache", 6380),), False)
    assert address.arguments == {"username": "alice", "password": "s3cr@et", "db": 3}
    assert (address.namespace, address.connect_s) == ("shop", CONNECT_LIMIT_S)
    assert "s3cr" not in address.shown


@pytest.mark.parametrize(
    ("text", "kind", "hosts", "arguments"),
    [
        ("redis://", "server", (("localhost", 6379),), {"db": 0}),
        ("redis://localhost", "server", (("localhost", 6379),), {"db": 0}),
        ("redis://localhost/", "server", (("localhost", 6379),), {"db": 0}),
        ("redis://:secret@h/2", "server", (("h", 6379),), {"password": "secret", "db": 2}),
        ("redis://h?db=4&password=p%2Fq", "server", (("h", 6379),), {"password": "p/q", "db": 4}),
        ("redis://[::1]:7/0", "server", (("::1", 7),), {"db": 0}),
        ("unix:///run/redis.sock", "server", (("/run/redis.sock", 0),), {"db": 0}),
        ("redis+socket:///run/redis.sock?db=5", "server", (("/run/redis.sock", 0),), {"db": 5}),
        ("unix://u:p@/run/redis.sock", "server", (("/run/redis.sock", 0),),
         {"username": "u", "password": "p", "db": 0}),
        ("redis+sentinel://one,two:5/tasks", "sentinel", (("one", 26379), ("two", 5)), {"db": 0}),
        ("valkey+sentinel://one/tasks/3", "sentinel", (("one", 26379),), {"db": 3}),
        ("redis+cluster://one:7000,two", "cluster", (("one", 7000), ("two", 6379)), {}),
        ("redis://h/4?db=4", "server", (("h", 6379),), {"db": 4}),
        ("redis+cluster://one/0", "cluster", (("one", 6379),), {}),
    ],
)  # fmt: skip
def test_other_spellings(text, kind, hosts, arguments):
    """S3-10: a server on this machine, at the usual port, needs no more than its scheme."""
    address = parse_address(text)
    assert (address.kind, address.hosts, dict(address.arguments)) == (kind, hosts, arguments)
    assert address.namespace == "mainspring"


@pytest.mark.parametrize("scheme", ["rediss", "valkeys", "rediss+sentinel", "valkeys+cluster"])
def test_what_is_said_of_tls(scheme):
    place = "h/tasks" if "sentinel" in scheme else "h"
    address = parse_address(f"{scheme}://{place}?ssl_ca_certs=/ca.pem&ssl_certfile=/c&ssl_keyfile=/k")
    assert address.tls
    said = {name: value for name, value in address.arguments.items() if name.startswith("ssl")}
    assert said == {"ssl_ca_certs": "/ca.pem", "ssl_certfile": "/c", "ssl_keyfile": "/k"}


def test_who_checks_no_certificate_checks_no_name():
    assert parse_address("rediss://h?ssl_cert_reqs=none").arguments["ssl_check_hostname"] is False


def test_sentinels_have_passwords_of_their_own():
    address = parse_address("redis+sentinel://u:p@one/tasks?sentinel_username=v&sentinel_password=q")
    assert address.arguments == {"username": "u", "password": "p", "db": 0}
    assert address.sentinels == {"username": "v", "password": "q"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http://localhost", "not an address"),
        ("redis:localhost", "not an address"),
        ("redis://one,two", "several servers"),
        ("redis://h/one", "not the number"),
        ("redis://h/0/1", "not the number"),
        ("redis://h:port", "not a host"),
        ("redis://h:99999", "not a port: '99999'; accepted: 1 to 65535"),
        ("redis://h:0", "not a port"),
        ("redis+sentinel://one,two:70000/tasks", "not a port"),
        ("redis://h/1?db=3", "two databases"),
        ("redis://h?colour=blue", "unknown option 'colour'"),
        ("redis://h?db", "no value"),
        ("redis://h?ssl_ca_certs=/ca.pem", "under TLS"),
        ("rediss://h?ssl_cert_reqs=maybe", "ssl_cert_reqs"),
        ("redis://h?namespace=a%20b", "not a namespace"),
        ("redis://h?namespace={a}", "not a namespace"),
        ("redis://h?connect_timeout=soon", "not a time"),
        ("redis://h?connect_timeout=0", "not a time"),
        ("redis://h?sentinel_password=p", "for sentinels"),
        ("redis+sentinel://one", "no service"),
        ("redis+sentinel://one/a/b/c", "no service"),
        ("redis+cluster://one/1", "no numbered databases"),
        ("unix://", "no socket"),
        ("unix://host/run/redis.sock", "no socket"),
    ],
)
def test_what_is_no_address(text, said):
    with pytest.raises(InvalidInput, match=said):
        parse_address(text)


def test_no_password_is_told():
    with pytest.raises(InvalidInput) as raised:
        parse_address("redis://alice:s3cret@one,two/0")
    assert "s3cret" not in str(raised.value)
