"""Who may come in.

On a loopback address everybody on the machine is trusted, but a web page in a browser is not the user: a
foreign `Host` (DNS rebinding) or `Origin` (a request forged by another site) is refused. Anywhere else
a bearer token is asked for.
"""

import hmac
import ipaddress
import re
from collections.abc import Mapping

from mainspring.errors import Forbidden, InvalidInput, Unauthenticated

ANONYMOUS = "anonymous"
TOKEN_HOLDER = "token"
_HOSTS_KEPT = 256
_HOST = re.compile(rb"([A-Za-z0-9!$%&'()*+,.;=_~-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")


class Guard:
    """Checks one request's header fields."""

    def __init__(self, token: str, loopback: bool, hosts: frozenset[str], origins: frozenset[str]) -> None:
        self._token = token.encode()
        self._loopback = loopback
        self._hosts = hosts
        self._origins = origins
        self._known: set[bytes] = set()

    def check_origin(self, headers: Mapping[bytes, bytes], http_version: str) -> None:
        """Raises `Forbidden` for a foreign Host or Origin, `InvalidInput` where no Host is named."""
        host = headers.get(b"host")
        if host is None:
            if http_version != "1.0":
                raise InvalidInput("Host", "missing", "a Host header field")
        elif host not in self._known:
            self._check_host(host)
        origin = headers.get(b"origin")
        if origin is not None and self._loopback:
            self._check_same(origin.decode("latin-1"), host or b"")

    def _check_host(self, host: bytes) -> None:
        if not _HOST.fullmatch(host):
            raise InvalidInput("Host", f"not a host: {host[:100].decode('latin-1')!r}", "HOST or HOST:PORT")
        name = host_name(host.decode("latin-1"))
        if self._loopback and not is_loopback(name) and name not in self._hosts:
            raise Forbidden(f"the Host {name[:100]!r} is not this machine")
        if len(self._known) < _HOSTS_KEPT:
            self._known.add(host)

    def _check_same(self, origin: str, host: bytes) -> None:
        authority = origin.partition("://")[2]
        if origin not in self._origins and authority.lower() != host.decode("latin-1").lower():
            raise Forbidden(f"requests from web pages of {origin[:100]!r} are not accepted")

    def caller(self, headers: Mapping[bytes, bytes]) -> str:
        """Who this is. Raises `Unauthenticated`."""
        if not self._token:
            return ANONYMOUS
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(token.strip(), self._token):
            raise Unauthenticated("this server wants Authorization: Bearer TOKEN")
        return TOKEN_HOLDER


def host_name(authority: str) -> str:
    """`[::1]:8080` and `localhost:8080` without their ports."""
    name, colon, port = authority.rpartition(":")
    return (
        name if colon and port.isdigit() and (name.endswith("]") or ":" not in name) else authority
    ).lower()


def is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
