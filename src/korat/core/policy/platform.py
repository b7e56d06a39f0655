"""The addresses at which Azure's platform answers every virtual machine, and who of a node asks.

The wireserver hands out the machine's certificates and the settings of its extensions to whoever
can speak to it, and knows no pods: on its ports of that kind workloads are refused unless a setting
allows them. The instance metadata service is open to them, as on AKS, unless a setting refuses it.
What the node itself sends, and so its host-networked pods, is never asked about; nor is the
wireserver's DNS. These settings come before policy, which can refuse more and allow nothing back.

Source: learn.microsoft.com, "What is IP address 168.63.129.16?" and "Azure Instance Metadata
Service".
"""

from dataclasses import dataclass
from typing import NamedTuple

from korat.core.model.felix import FelixSettings
from korat.core.net.address import Addr
from korat.core.net.port import Protocol
from korat.core.policy.outcome import RuleRef


class PlatformService(NamedTuple):
    """TCP ports of an address of the platform, and the setting that says who may ask there."""

    setting: RuleRef
    address: Addr
    ports: tuple[int, ...]

    def is_asked(self, dst: Addr, protocol: int, port: int) -> bool:
        """Whether a packet goes there."""
        return dst == self.address and protocol == Protocol.TCP and port in self.ports


WIRESERVER = PlatformService(RuleRef.wireserver(), Addr.parse("168.63.129.16"), (80, 32526))
INSTANCE_METADATA = PlatformService(
    RuleRef.instance_metadata(), Addr.parse("169.254.169.254"), (80,)
)


@dataclass(frozen=True, slots=True)
class PlatformAccess:
    """What of the platform a node's workloads are refused."""

    refused: tuple[PlatformService, ...] = ()

    @classmethod
    def of(cls, felix: FelixSettings) -> "PlatformAccess":
        """As a node's settings say."""
        allowed = (
            (WIRESERVER, felix.pods_to_wireserver),
            (INSTANCE_METADATA, felix.pods_to_instance_metadata),
        )
        return cls(tuple(service for service, may in allowed if not may))

    def refuses(self, dst: Addr, protocol: int, port: int) -> RuleRef | None:
        """The setting that refuses this to a workload; None where policy is asked.

        ``dst`` and ``port`` are where the packet goes in the end, after DNAT.
        """
        asked = (s.setting for s in self.refused if s.is_asked(dst, protocol, port))
        return next(asked, None)


#: Nothing is refused.
EVERYTHING = PlatformAccess()
