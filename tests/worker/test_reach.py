"""Which addresses tasks may reach, and how an operator adds to them."""

from ipaddress import ip_address

import pytest

from mainspring.errors import InvalidInput
from mainspring.worker.reach import Reach, is_public

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700::1111",
    "2a00:1450:4001:830::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]
OTHERS = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:0:10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_reached(address):
    assert Reach().allows("example.com", address)


@pytest.mark.parametrize("address", OTHERS)
def test_others_are_not_unless_they_are_named(address):
    assert not Reach().allows("example.com", address)
    named = Reach([address.partition("%")[0]])
    assert named.allows("example.com", address)
    assert sum(named.allows("example.com", other) for other in OTHERS) < len(OTHERS)


def test_the_library_agrees_on_what_it_knows():
    """An oracle of its own: whatever the standard library calls not global is not public here."""
    for address in PUBLIC + OTHERS:
        ip = ip_address(address)
        if ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_private:
            assert is_public(ip) <= (getattr(ip, "ipv4_mapped", None) is not None)


def test_a_network_is_allowed_under_every_spelling_of_it():
    reach = Reach(["10.1.0.0/16"])
    allowed = ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3")
    assert all(reach.allows("x.example", address) for address in allowed)
    assert not reach.allows("x.example", "10.2.0.1")


def test_a_host_is_allowed_by_its_name_wherever_it_lives():
    reach = Reach(["Intranet.example", "*.internal"])
    allowed = ("intranet.example", "INTRANET.EXAMPLE.", "a.internal", "b.a.internal")
    assert all(reach.allows(host, "10.0.0.1") for host in allowed)
    refused = ("intranet.example.org", "x.intranet.example", "internal", "notinternal", "a.internal.example")
    assert not any(reach.allows(host, "10.0.0.1") for host in refused)


@pytest.mark.parametrize(
    "text", ["10.0.0.0/33", "10.0.0", "300.1.1.1", "a b", "http://x", "x:80", "*", "*.", "", "x/8"]
)
def test_what_names_nothing_is_refused(text):
    with pytest.raises(InvalidInput, match=r"^--http-private: not an address or a host") as error:
        Reach(["10.0.0.1", text], "--http-private")
    assert "10.0.0.0/8" in error.value.accepted
