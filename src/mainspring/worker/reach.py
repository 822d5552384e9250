"""Which addresses an `http` task may connect to: public ones, and what its worker's operator adds.

Public is what the registries of special-purpose addresses (RFC 6890 and after) leave over. IPv6 is judged
the other way round: only global unicast (2000::/3) is public, so that a format of tomorrow is refused today.
Where IPv6 wraps an IPv4 address that the network unwraps again (IPv4-mapped, NAT64), the inner one counts.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from mainspring.errors import InvalidInput

ACCEPTED = "networks (10.0.0.0/8), addresses (127.0.0.1, ::1) and host names (intranet.example, *.internal)"

_SPECIAL = [
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "168.63.129.16/32",  # public by its number, but answers inside of Azure's machines only
        "169.254.0.0/16",  # link-local, where clouds keep their machines' credentials
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",  # documentation, as two others below
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "2001::/23",  # Teredo (which wraps IPv4), ORCHID and other assignments of protocols
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which wraps IPv4
        "3fff::/20",  # documentation
    )
]
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_HOST = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?")


class Reach:
    """`private` are networks, addresses and host names to allow besides the public addresses.

    Raises `InvalidInput` naming `field` for one that is none of these.
    """

    def __init__(self, private: Iterable[str] = (), field: str = "http_private") -> None:
        self._networks = []
        self._hosts: set[str] = set()
        self._domains: tuple[str, ...] = ()
        for text in private:
            name = text.strip().lower()
            try:
                self._networks.append(ip_network(name, strict=False))
            except ValueError:
                # Digits and dots alone are a network with a slip in it, never a name.
                if not _HOST.fullmatch(name) or not re.search("[a-z]", name):
                    raise InvalidInput(field, f"not an address or a host: {text!r}", ACCEPTED) from None
                if name.startswith("*."):
                    self._domains += (name[1:],)
                else:
                    self._hosts.add(name)

    def allows(self, host: str, address: str) -> bool:
        """Whether a task that asked for `host` may connect to `address`, one that the name resolved to."""
        name = host.lower().rstrip(".")
        if name in self._hosts or name.endswith(self._domains):
            return True
        ip = ip_address(address)
        spellings = (ip, _unwrapped(ip))
        return is_public(ip) or any(one in network for network in self._networks for one in spellings)


def is_public(ip: IPv4Address | IPv6Address) -> bool:
    ip = _unwrapped(ip)
    if isinstance(ip, IPv6Address) and ip not in _GLOBAL_UNICAST:
        return False
    return not any(ip in network for network in _SPECIAL)


def _unwrapped(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            return ip.ipv4_mapped
        if ip in _NAT64:
            return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip
