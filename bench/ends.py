"""The two ends of a load, wherever they are: pods of one node, or of two nodes of a lab, or VMs.

For: what ``flow`` and ``connection`` have to know of a way that they drive. Not for making it,
which is ``lane``'s and ``lab``'s.
"""

from dataclasses import dataclass

from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket

from korat.core.net.address import Addr
from korat.drivers.kernel import namespace

#: What the namespaces of both ends are set to before the first socket. Ports come back at once, so
#: that a round can be long; connections of the round before go.
SETTINGS = {
    "net/ipv4/ip_local_port_range": "1024 65535",
    "net/ipv4/tcp_max_tw_buckets": 0,
    # Whatever this machine prefers may pace itself by timers.
    "net/ipv4/tcp_congestion_control": "reno",
    # A long flow that rests while the others have their turn goes on as fast as before.
    "net/ipv4/tcp_slow_start_after_idle": 0,
    # A rest is not a loss.
    "net/ipv4/tcp_early_retrans": 0,
}


@dataclass(frozen=True, slots=True)
class End:
    """One end: its network namespace, and its address there."""

    netns: str
    addr: Addr


@dataclass(frozen=True, slots=True)
class Ends:
    """A client, a server, and the namespaces on the way that track connections."""

    client: End
    server: End
    trackers: tuple[str, ...]

    def forget_connections(self) -> None:
        """Empty the connection tracking on the way."""
        for name in self.trackers:
            namespace.run_in(name, _flush)


def _flush() -> None:
    with NFCTSocket() as table:
        table.flush()
