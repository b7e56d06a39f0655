"""The machine's own links and addresses, beside what /sys and /proc say of them."""

import contextlib
import ipaddress
from pathlib import Path

from korat.core.net.address import Addr, Family
from korat.drivers.kernel.address import addresses_by_mac

LOOPBACK = "00:00:00:00:00:00"


def macs():
    """Of all links that have one, by name; a link may go while this looks."""
    found = {}
    for link in Path("/sys/class/net").iterdir():
        with contextlib.suppress(OSError):
            mac = (link / "address").read_text().strip()
            found[link.name] = mac if len(mac) == len(LOOPBACK) and mac != LOOPBACK else ""
    return found


def ipv6():
    """The IPv6 addresses of each MAC."""
    named = macs()
    for line in Path("/proc/net/if_inet6").read_text().splitlines():
        number, *_, name = line.split()
        if name in named:
            yield named[name], Addr.parse(str(ipaddress.IPv6Address(int(number, 16))))


def between(expected, look):
    """What was there all the time is found, and nothing that never was."""
    before, found, after = set(expected()), set(look()), set(expected())
    assert before & after <= found <= before | after
    return found


def test_macs_are_those_of_sys():
    assert between(lambda: macs().values(), addresses_by_mac)


def test_ipv6_addresses_are_those_of_proc():
    def found():
        for mac, addrs in addresses_by_mac().items():
            yield from ((mac, addr) for addr in addrs if addr.family is Family.V6)

    between(ipv6, found)


def test_the_loopback_address_is_under_no_mac():
    assert Addr.parse("127.0.0.1") in addresses_by_mac()[""]
