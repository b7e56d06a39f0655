"""A CNI request as the plugin hands it over, decoded into checked values.

Not for carrying it out; that is ``korat.agent.workload``.
Source: CNI specification 1.1.0; Calico's network configuration keys (cni-plugin/pkg/types).
"""

from typing import Annotated, Any

import msgspec

from korat.cni.request import PLUGIN
from korat.core.errors import Invalid, Problem
from korat.core.ipam.hostlocal import Owner
from korat.core.model.key import DEFAULT_NAMESPACE
from korat.core.model.kubernetes.workload import interface_name
from korat.core.net.address import Addr

# Both become parts of files' names, so they are checked here too, not only in the plugin.
_Identifier = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$", max_length=128)]
_InterfaceName = Annotated[str, msgspec.Meta(pattern=r"^[^/:%\s]+$", max_length=15)]

_PLAIN_NAME_CHARS = 11


class Attachment(msgspec.Struct, frozen=True):
    """One interface of one container that the runtime knows of."""

    container_id: str = msgspec.field(name="containerID")
    ifname: str


class ContainerSettings(msgspec.Struct, frozen=True):
    """What the pod's own namespace may do."""

    allow_ip_forwarding: bool = False


class RuntimeConfig(msgspec.Struct, frozen=True):
    """What the runtime fills in for capabilities."""

    ips: tuple[str, ...] = ()


class NetworkConfig(msgspec.Struct, frozen=True):
    """The keys of the network configuration that korat honours; others are for other plugins."""

    cni_version: str = msgspec.field(name="cniVersion")
    name: _Identifier
    mtu: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    ipam: dict[str, Any] = {}
    dns: dict[str, Any] = {}
    runtime_config: RuntimeConfig = msgspec.field(name="runtimeConfig", default=RuntimeConfig())
    container_settings: ContainerSettings = ContainerSettings()
    policy_setup_timeout_seconds: Annotated[float, msgspec.Meta(ge=0, le=600)] = 30.0
    prev_result: dict[str, Any] | None = msgspec.field(name="prevResult", default=None)
    valid_attachments: tuple[Attachment, ...] | None = msgspec.field(
        name="cni.dev/valid-attachments", default=None
    )


class Environment(msgspec.Struct, frozen=True):
    """The CNI_* variables; which of them a command needs, the plugin has checked."""

    container_id: _Identifier | None = msgspec.field(name="CNI_CONTAINERID", default=None)
    netns: str = msgspec.field(name="CNI_NETNS", default="")
    ifname: _InterfaceName | None = msgspec.field(name="CNI_IFNAME", default=None)
    args: str = msgspec.field(name="CNI_ARGS", default="")
    path: str = msgspec.field(name="CNI_PATH", default="")


class Request(msgspec.Struct, frozen=True):
    """One command with everything that belongs to it."""

    command: str
    config: NetworkConfig
    env: Environment = Environment()
    program: str = PLUGIN
    #: The configuration with the keys that are for other plugins.
    whole: dict[str, Any] = {}

    @property
    def owner(self) -> Owner:
        """Whose addresses and link these are.

        Raises:
            Invalid: the command is not about one interface.
        """
        if self.env.container_id is None or self.env.ifname is None:
            rule = "needs CNI_CONTAINERID and CNI_IFNAME"
            raise Invalid([Problem("CNI request", "command", self.command, rule)])
        return Owner(self.env.container_id, self.env.ifname)

    @property
    def pod(self) -> tuple[str, str]:
        """Namespace and name of the Kubernetes pod; both empty for other workloads."""
        args = self.args
        name = args.get("K8S_POD_NAME", "")
        return (args.get("K8S_POD_NAMESPACE", DEFAULT_NAMESPACE), name) if name else ("", "")

    @property
    def args(self) -> dict[str, str]:
        """CNI_ARGS, taken apart; what is not ``key=value`` is left out."""
        pairs = (item.partition("=") for item in self.env.args.split(";"))
        return {key.strip(): value.strip() for key, equals, value in pairs if equals}

    def host_name(self, prefix: str) -> str:
        """The name of the host's end of the link, with the prefix that names endpoints."""
        namespace, pod = self.pod
        if pod:
            return interface_name(namespace, pod, prefix)
        return f"{prefix}{self.owner.container_id[:_PLAIN_NAME_CHARS]}"

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """All that the runtime still has, by which a GC finds what it has no more.

        Raises:
            Invalid: it names none at all, not even an empty list.
        """
        named = self.config.valid_attachments
        if named is None:
            rule = "GC needs it"
            raise Invalid([Problem("CNI request", "cni.dev/valid-attachments", None, rule)])
        return named

    @property
    def requested(self) -> tuple[Addr, ...]:
        """Addresses that the caller asks for by name.

        Raises:
            Invalid: with every one that is not an address.
        """
        texts = [self.args["IP"]] if "IP" in self.args else []
        texts += self.config.runtime_config.ips
        problems, addrs = [], []
        for text in texts:
            try:
                addrs.append(Addr.parse_interface(text))
            except ValueError:
                problems.append(Problem("", "ips", text, "is not an IP address"))
        if problems:
            raise Invalid(problems)
        return tuple(addrs)

    @property
    def subject(self) -> str:
        """What the request is about, for locks and logs."""
        return "/".join(self.pod) if self.pod[1] else self.env.container_id or ""


class _Whole(msgspec.Struct):
    """A request's configuration as it came."""

    config: dict[str, Any]


_DECODER = msgspec.json.Decoder(Request)
_WHOLE = msgspec.json.Decoder(_Whole)


def decode(line: bytes) -> Request:
    """Read a request off the wire or out of the queue.

    Raises:
        Invalid: it is not one, with the place of the fault.
    """
    try:
        request = _DECODER.decode(line)
        return msgspec.structs.replace(request, whole=_WHOLE.decode(line).config)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid([Problem("CNI request", "", None, str(error))]) from error
