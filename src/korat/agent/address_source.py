"""Where a workload's addresses come from: what CNI asks for, and who answers by ``ipam.type``.

Not for the ways of giving addresses out; those are ``hostlocal``, ``calico_ipam`` and
``azure_vnet_ipam`` and ``azure_ipam``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from korat.core.errors import Unsupported
from korat.core.ipam.hostlocal import Owner
from korat.core.model.pod import Pod
from korat.core.net.address import Addr

HOST_LOCAL, CALICO = "host-local", "calico-ipam"
AZURE, AZURE_VNET = "korat-azure-ipam", "azure-vnet-ipam"


@dataclass(frozen=True, slots=True)
class IpamCall:
    """What a source that asks another program hands on: the configuration as it came, and CNI_*."""

    config: Mapping[str, object] = field(default_factory=dict)
    path: str = ""
    netns: str = ""
    args: str = ""


@dataclass(frozen=True, slots=True)
class AddressRequest:
    """Addresses for one interface: ``ipam`` is the configuration's part, ``pod`` Kubernetes' pod.

    ``requested`` are addresses that the runtime names; ``heir_of`` is an earlier container of the
    same pod, whose addresses may be kept.
    """

    network: str
    ipam: Mapping[str, object]
    owner: Owner
    requested: tuple[Addr, ...] = ()
    heir_of: Owner | None = None
    pod: Pod | None = None
    call: IpamCall = field(default_factory=IpamCall)


class AddressSource(Protocol):
    """One way of giving addresses out."""

    def assign(self, request: AddressRequest) -> tuple[Addr, ...]:
        """Addresses for one interface; the same again when it asks again."""

    def release(self, request: AddressRequest) -> tuple[Addr, ...]:
        """Free an interface's addresses and return them."""

    def of(self, network: str, ipam: Mapping[str, object], owner: Owner) -> tuple[Addr, ...]:
        """An interface's addresses."""

    def owners(self, network: str, ipam: Mapping[str, object]) -> frozenset[Owner]:
        """Everybody on this node who has an address; an empty interface stands for any."""

    def check(self, ipam: Mapping[str, object]) -> None:
        """Raise if no address can be given out now."""


class AddressSources:
    """All that this node has; each request goes to the one that its configuration names."""

    def __init__(self, by_type: Mapping[str, AddressSource]) -> None:
        self._by_type = by_type

    def assign(self, request: AddressRequest) -> tuple[Addr, ...]:
        """Addresses for one interface; the same again when it asks again.

        Raises:
            Unsupported: the configuration names another type.
            KoratError: what the source raises.
        """
        return self._of_type(request.ipam).assign(request)

    def release(self, request: AddressRequest) -> tuple[Addr, ...]:
        """Free an interface's addresses and return them."""
        return self._of_type(request.ipam).release(request)

    def of(self, network: str, ipam: Mapping[str, object], owner: Owner) -> tuple[Addr, ...]:
        """An interface's addresses."""
        return self._of_type(ipam).of(network, ipam, owner)

    def owners(self, network: str, ipam: Mapping[str, object]) -> frozenset[Owner]:
        """Everybody on this node who has an address; an empty interface stands for any."""
        return self._of_type(ipam).owners(network, ipam)

    def check(self, ipam: Mapping[str, object]) -> None:
        """Raise if no address can be given out now."""
        self._of_type(ipam).check(ipam)

    def _of_type(self, ipam: Mapping[str, object]) -> AddressSource:
        kind = str(ipam.get("type", HOST_LOCAL))
        source = self._by_type.get(kind)
        if source is None:
            raise Unsupported(
                f"ipam.type {kind!r} is not supported by this node",
                f"set it to {' or '.join(self._by_type)} in the CNI network configuration",
            )
        return source
