"""The nftables text of the fabric, and of the internet's edge where Azure translates sources.

One table each, replaced whole in one transaction, so a change is never half there. The fabric keeps
no connections: what it does depends on the packet alone. The edge does keep them, for only answers
to a VM's own packets may come back in.

The names in the text are sets, so that a reader sees the rule once and the network as its data.
Each drop has a rule and a counter of its own, also where a later rule or the kernel would drop the
packet anyway: ``nft list table ip fabric`` then tells why packets are lost. Nothing leaves the
fabric itself but the answers of Azure's own services, so that no ICMP error betrays it.
"""

from collections.abc import Callable, Iterable, Sequence

from korat.core.net.address import Addr, Family, Prefix
from korat.lab.arm.view import NicView
from korat.lab.fabric.model import primary
from korat.lab.fabric.platform import ENDPOINTS, LINK_LOCAL
from korat.lab.fabric.switch import UNICAST_ONLY, Switches

SINK = "sink"
INTERNET_PORT = "internet"
PUBLIC = Prefix.parse("20.0.0.0/16")
"""The public addresses that Azure lends to VMs for what they send to the internet."""

_LAST_TTL = 255


def fabric_text(
    nics: Sequence[NicView], port_name: Callable[[NicView], str], switches: Switches
) -> str:
    """The ruleset of the fabric's namespace."""
    owned = [(port_name(nic), a) for nic in nics for a in nic.addresses if a.family is Family.V4]
    primaries = [(port_name(nic), addr) for nic in nics if (addr := primary(nic))]
    forwarding = [f'"{port_name(nic)}"' for nic in nics if nic.ip_forwarding]
    unicast_only = ", ".join(map(str, UNICAST_ONLY))
    carried = ", ".join(map(str, sorted(switches.carried)))
    endpoints = ", ".join(f"{addr} . {port}" for addr, port in ENDPOINTS)
    return f"""table ip fabric
delete table ip fabric
table ip fabric {{
\tset forwarding {{
\t\ttype ifname
{_elements(forwarding)}\t}}
\tset owned {{
\t\ttype ifname . ipv4_addr
{_elements(_pairs(owned))}\t}}
\tset primary {{
\t\ttype ifname . ipv4_addr
{_elements(_pairs(primaries))}\t}}
\tchain prerouting {{
\t\ttype filter hook prerouting priority raw; policy accept;
\t\tip daddr {{ {unicast_only} }} counter drop comment "no multicast, no broadcast"
\t\tip protocol != {{ {carried} }} counter drop comment "protocol"
\t}}
\tchain forward {{
\t\ttype filter hook forward priority filter; policy drop;
\t\toifname "{SINK}" counter drop comment "no route, or nobody there"
\t\tip daddr {LINK_LOCAL} counter drop comment "link-local"
\t\toifname "{INTERNET_PORT}" iifname . ip saddr @primary counter accept
\t\toifname "{INTERNET_PORT}" counter drop comment "no public address for this source"
\t\tiifname @forwarding goto arrive
\t\tiifname "{INTERNET_PORT}" goto arrive
\t\tiifname . ip saddr @owned goto arrive
\t\tcounter drop comment "source check: IP forwarding is off at the sender"
\t}}
\tchain arrive {{
\t\toifname @forwarding counter accept
\t\toifname . ip daddr @owned counter accept
\t\tcounter drop comment "destination check: IP forwarding is off at the receiver"
\t}}
\tchain input {{
\t\ttype filter hook input priority filter; policy drop;
\t\tiifname . ip saddr @primary ip daddr . tcp dport {{ {endpoints} }} counter accept
\t\tcounter drop comment "not from a NIC's primary address, or nothing is served there"
\t}}
\tchain output {{
\t\ttype filter hook output priority filter; policy drop;
\t\toifname . ip daddr @primary ip saddr . tcp sport {{ {endpoints} }} counter accept
\t}}
}}
"""


def edge_text(nics: Iterable[NicView]) -> str:
    """The ruleset of the internet's namespace: VMs appear there with a public address.

    Translation is stateful as Azure's: nothing comes in that a VM did not ask for.
    """
    lent = [f"{addr} : {public_address(addr)}" for nic in nics if (addr := primary(nic))]
    return f"""table ip edge
delete table ip edge
table ip edge {{
\tmap public {{
\t\ttype ipv4_addr : ipv4_addr
{_elements(lent)}\t}}
\tchain input {{
\t\ttype nat hook input priority 100; policy accept;
\t\tsnat to ip saddr map @public
\t}}
\tchain output {{
\t\ttype filter hook output priority filter; policy accept;
\t\toifname "eth0" ct direction original counter drop comment "nothing unasked for comes in"
\t}}
}}
"""


def public_address(addr: Addr) -> Addr:
    """The public address lent to a VM's address: 20.0.x.y for any a.b.x.y.

    Two VMs may share one, as behind a NAT gateway: connections tell their packets apart.
    """
    return Addr(Family.V4, PUBLIC.base | (addr.value & PUBLIC.host_mask))


def ttl_text() -> str:
    """The ruleset that hides the fabric's own hop: it adds the one that forwarding takes off.

    nftables cannot add to a field, but it can choose one of 254 rules by its value. A TTL of 255
    cannot grow and arrives as 254.
    """
    ttls = range(1, _LAST_TTL)
    chains = "".join(f"\tchain ttl{n} {{ ip ttl set {n + 1}; }}\n" for n in ttls)
    return f"""table ip ttl
delete table ip ttl
table ip ttl {{
{chains}\tchain prerouting {{
\t\ttype filter hook prerouting priority raw; policy accept;
\t\tip ttl vmap {{ {", ".join(f"{n} : goto ttl{n}" for n in ttls)} }}
\t}}
}}
"""


def _pairs(members: Iterable[tuple[str, Addr]]) -> list[str]:
    return [f'"{device}" . {addr}' for device, addr in members]


def _elements(members: Iterable[str]) -> str:
    """The elements line of a set; nftables wants none at all when there are no elements."""
    text = ", ".join(sorted(members))
    return f"\t\telements = {{ {text} }}\n" if text else ""
