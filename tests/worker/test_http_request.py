"""What an `http` task may ask for, field by field, and what a redirect makes of it."""

import msgspec
import pytest

from mainspring.errors import InvalidInput
from mainspring.worker.http_request import Request, parse

URL = "http://example.com/"


def ordered(**fields):
    return parse(msgspec.json.encode({"url": URL, **fields}))


def test_what_is_asked_for_when_nobody_says():
    order = ordered()
    assert (order.request.method, order.request.headers, order.request.body) == ("GET", {}, None)
    assert order.expected == frozenset(range(200, 300))
    assert (order.timeout_s, order.max_bytes, order.redirects) == (30, 65536, 5)


@pytest.mark.parametrize(
    ("given", "body", "content_type"),
    [
        (b'"caf\xc3\xa9"', "café".encode(), "text/plain; charset=utf-8"),
        (b'{"n": 12345678901234567890.10}', b'{"n": 12345678901234567890.10}', "application/json"),
        (b"[]", b"[]", "application/json"),
        (b"0", b"0", "application/json"),
        (b"null", b"", None),
    ],
)
def test_a_body_is_text_or_json_digit_for_digit(given, body, content_type):
    order = parse(b'{"url": "http://example.com/", "method": "post", "body": %s}' % given)
    assert (order.request.body, order.request.headers.get("content-type")) == (body, content_type)


def test_a_content_type_of_the_tasks_own_stays():
    order = ordered(method="PUT", body={}, headers={"Content-Type": "application/vnd.api+json"})
    assert order.request.headers == {"content-type": "application/vnd.api+json"}


@pytest.mark.parametrize(
    ("given", "yes", "no"),
    [
        (200, [200], [199, 201]),
        ("404", [404], [200]),
        ("2xx", [200, 299], [300]),
        ("3XX", [302], [200]),
        ([200, "202", "4xx"], [200, 202, 404, 499], [201, 500]),
    ],
)
def test_expected_statuses(given, yes, no):
    expected = ordered(expect_status=given).expected
    assert expected.issuperset(yes)
    assert expected.isdisjoint(no)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"url": "example.com"}, "url"),
        ({"url": ""}, "url"),
        ({"url": "ftp://example.com/"}, "url"),
        ({"url": "file:///etc/passwd"}, "url"),
        ({"url": "gopher://example.com/"}, "url"),
        ({"url": "http://user:secret@example.com/"}, "url"),
        ({"url": "http://user@example.com/"}, "url"),
        ({"url": "http://example.com\\@127.0.0.1/"}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": "http:///path"}, "url"),
        ({"url": "http://a b/"}, "url"),
        ({"url": "http://a%2eb/"}, "url"),
        ({"url": "http://[fe80::1%25lo]/"}, "url"),
        ({"url": "http://[::1/"}, "url"),
        ({"url": "http://example.com:0/"}, "url"),
        ({"url": "http://example.com:99999/"}, "url"),
        ({"url": "http://example.com:-1/"}, "url"),
        ({"url": "http://example.com/\r\nX: y"}, "url"),
        ({"url": "http://example.com/" + "x" * 9000}, "url"),
        ({"url": 5}, "url"),
        ({"method": ""}, "method"),
        ({"method": "GET / HTTP/1.1\r\n"}, "method"),
        ({"method": "CONNECT"}, "method"),
        ({"method": "trace"}, "method"),
        ({"headers": {"X": "a\r\nY: b"}}, "headers.X"),
        ({"headers": {"X": "a\n"}}, "headers.X"),
        ({"headers": {"X": "a\0"}}, "headers.X"),
        ({"headers": {"X": "é"}}, "headers.X"),
        ({"headers": {"X: y\r\nZ": "a"}}, "headers"),
        ({"headers": {"": "a"}}, "headers"),
        ({"headers": {"X ": "a"}}, "headers"),
        ({"headers": {"Host": "other"}}, "headers.Host"),
        ({"headers": {"content-length": "5"}}, "headers.content-length"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "headers.Transfer-Encoding"),
        ({"headers": {"Connection": "X"}}, "headers.Connection"),
        ({"headers": {"Expect": "100-continue"}}, "headers.Expect"),
        ({"headers": {"A": "1", "a": "2"}}, "headers.a"),
        ({"headers": {f"X-{n}": "" for n in range(101)}}, "headers"),
        ({"headers": ["A"]}, "headers"),
        ({"headers": {"A": 1}}, "headers"),
        ({"expect_status": "ok"}, "expect_status"),
        ({"expect_status": "6xx"}, "expect_status"),
        ({"expect_status": 99}, "expect_status"),
        ({"expect_status": 1000}, "expect_status"),
        ({"expect_status": -200}, "expect_status"),
        ({"expect_status": []}, "expect_status"),
        ({"expect_status": "٢٠٠"}, "expect_status"),
        ({"expect_status": True}, "expect_status"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": "soon"}, "timeout"),
        ({"max_bytes": -1}, "max_bytes"),
        ({"max_bytes": 10**9}, "max_bytes"),
        ({"redirects": 21}, "redirects"),
        ({"redirects": "many"}, "redirects"),
        ({"uri": URL}, "uri"),
    ],
)
def test_bad_fields_are_named(fields, field):
    with pytest.raises(InvalidInput) as error:
        ordered(**fields)
    assert error.value.field.partition("[")[0] == field
    assert error.value.problem


@pytest.mark.parametrize("payload", [b"null", b"[]", b'"http://example.com/"', b"{}"])
def test_what_is_no_request_at_all(payload):
    with pytest.raises(InvalidInput):
        parse(payload)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://example.com:80/", "example.com"),
        ("https://example.com:443/", "example.com"),
        ("https://example.com:80/", "example.com:80"),
        ("http://[2001:db8::1]:8080/", "[2001:db8::1]:8080"),
        ("http://[::1]/", "[::1]"),
        ("http://BÜCHER.example/", "xn--bcher-kva.example"),
    ],
)
def test_the_host_header(url, host):
    assert ordered(url=url).request.host == host


# --- redirects --------------------------------------------------------------------------------------

SECRETS = {"Authorization": "Bearer x", "Cookie": "a=b", "Proxy-Authorization": "y", "X-Other": "z"}


def posting(url: str = "https://example.com/a/b") -> Request:
    return ordered(url=url, method="POST", body={"n": 1}, headers=SECRETS).request


@pytest.mark.parametrize(
    ("method", "status", "becomes", "body"),
    [
        ("POST", 301, "GET", False),
        ("POST", 302, "GET", False),
        ("POST", 303, "GET", False),
        ("POST", 307, "POST", True),
        ("POST", 308, "POST", True),
        ("PUT", 301, "PUT", True),
        ("PUT", 303, "GET", False),
        ("HEAD", 303, "HEAD", True),
    ],
)
def test_methods_and_bodies_go_on_as_in_browsers(method, status, becomes, body):
    request = posting()._replace(method=method).redirected(status, "/c")
    assert (request.method, request.body is not None, "content-type" in request.headers) == (
        becomes,
        body,
        body,
    )


@pytest.mark.parametrize(
    ("location", "url", "kept"),
    [
        ("c", "https://example.com/a/c", True),
        ("/c?d=e#f", "https://example.com/c?d=e#f", True),
        ("https://example.com:443/", "https://example.com/", True),
        ("//other.example/", "https://other.example/", False),
        ("http://example.com/", "http://example.com/", False),
        ("https://example.com:8443/", "https://example.com:8443/", False),
        ("https://sub.example.com/", "https://sub.example.com/", False),
    ],
)
def test_credentials_stay_with_the_origin_they_were_given_for(location, url, kept):
    request = posting().redirected(307, location)
    assert str(request.url).replace(":443", "") == url
    secrets = {"authorization", "cookie", "proxy-authorization"}
    assert secrets & request.headers.keys() == (secrets if kept else set())
    assert request.headers["x-other"] == "z"


def test_credentials_once_left_out_do_not_come_back():
    back = posting().redirected(307, "https://other.example/").redirected(307, "https://example.com/a/b")
    assert "authorization" not in back.headers


@pytest.mark.parametrize(
    "location", ["ftp://example.com/", "file:///etc/passwd", "http://u:p@example.com/", "http://["]
)
def test_a_redirect_to_no_web_address_is_refused(location):
    with pytest.raises(InvalidInput, match=r"^location: "):
        posting().redirected(302, location)
