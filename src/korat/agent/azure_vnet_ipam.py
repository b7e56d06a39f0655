"""Addresses from Azure's plugin ``azure-vnet-ipam``, asked as Calico's plugin does it.

That plugin wants to be told on DEL what it gave on ADD, so this is kept in Calico's own files: one
for the network with its subnets, one for each interface with its addresses. Where Calico keeps the
first address alone, all are kept.
Source: Calico cni-plugin/internal/pkg/azure.
"""

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog
from typing_extensions import override

from korat.agent import delegate
from korat.agent.address_source import AddressRequest
from korat.core.errors import Invalid, KoratError, Problem, Unavailable
from korat.core.ipam.hostlocal import Owner
from korat.core.net.address import Addr, Prefix

log = structlog.get_logger(__name__)

_NETWORK_FILE = "network.json"

_Kept = TypeVar("_Kept", bound=msgspec.Struct)


class Network(msgspec.Struct, frozen=True, rename="pascal"):
    """What is known of a network; the first of its subnets is the one to ask for."""

    name: str
    subnets: tuple[str, ...] = ()


class Endpoint(msgspec.Struct, frozen=True, rename="pascal"):
    """What one interface was given; addresses with the length of their subnet's prefix."""

    network: str
    container_id: str = msgspec.field(name="ContainerID")
    interface: str
    addresses: tuple[str, ...] = ()

    @property
    def owner(self) -> Owner:
        """Whose it is."""
        return Owner(self.container_id, self.interface)


@dataclass(frozen=True, slots=True)
class _Given:
    """An address and the subnet that it is of."""

    address: Addr
    subnet: Prefix

    @override
    def __str__(self) -> str:
        return f"{self.address}/{self.subnet.length}"


class AzureVnetIpam:
    """Implements ``AddressSource`` for the workloads of one node."""

    def __init__(self, state_dir: Path) -> None:
        self._files = _Files(state_dir)
        # Two interfaces of one network may be given addresses at a time, and both say its subnet.
        self._writing = threading.Lock()

    def assign(self, request: AddressRequest) -> tuple[Addr, ...]:
        """Addresses for one interface; the same again when it asks again.

        Raises:
            Invalid: CNI_PATH or a file of the state is wrong.
            NotFound: the plugin is not installed.
            Unavailable: the plugin has none, or the files cannot be written.
        """
        there = self._files.endpoint(request.network, request.owner)
        if there is not None and there.addresses:
            return _bare(there.addresses)
        network = self._files.network(request.network)
        first = {"subnet": network.subnets[0]} if network.subnets else {}
        answer = delegate.ask("ADD", request, {**request.ipam, **first})
        given = _given(answer)
        made = Endpoint(request.network, *request.owner, tuple(map(str, given)))
        try:
            self._keep(made, given)
        except KoratError:
            self._give_back(request, made)
            raise
        return _bare(made.addresses)

    def release(self, request: AddressRequest) -> tuple[Addr, ...]:
        """Free an interface's addresses and return them; nothing kept of it means it has none.

        Raises:
            Invalid, NotFound, Unavailable: as for ``assign``.
        """
        found = self._files.endpoint(request.network, request.owner)
        if found is None:
            return ()
        subnets = self._files.network(request.network).subnets
        for text in found.addresses:
            told = {"ipAddress": text.partition("/")[0], "subnet": _subnet_of(text, subnets)}
            delegate.ask("DEL", request, {**request.ipam, **told})
        self._files.remove(found)
        return _bare(found.addresses)

    def of(self, network: str, _ipam: Mapping[str, object], owner: Owner) -> tuple[Addr, ...]:
        """An interface's addresses."""
        found = self._files.endpoint(network, owner)
        return _bare(found.addresses) if found is not None else ()

    def owners(self, network: str, _ipam: Mapping[str, object]) -> frozenset[Owner]:
        """Everybody who has an address of the network on this node."""
        return frozenset(found.owner for found in self._files.endpoints(network))

    def check(self, _ipam: Mapping[str, object]) -> None:
        """Raise if nothing can be kept; whether the plugin has an address only it can say.

        Raises:
            Unavailable: the folder cannot be used.
        """
        self._files.prepare()

    def _keep(self, made: Endpoint, given: Sequence[_Given]) -> None:
        with self._writing:
            known = self._files.network(made.network)
            subnets = dict.fromkeys((*known.subnets, *(str(each.subnet) for each in given)))
            self._files.write_network(Network(made.network, tuple(subnets)))
            self._files.write_endpoint(made)

    def _give_back(self, request: AddressRequest, made: Endpoint) -> None:
        """What cannot be kept, nobody would ever release."""
        for text in made.addresses:
            told = {"ipAddress": text.partition("/")[0], "subnet": _subnet_of(text, ())}
            try:
                delegate.ask("DEL", request, {**request.ipam, **told})
            except KoratError as error:
                log.warning("an address is not given back", address=text, error=str(error))


class _Files:
    """Calico's files; the names in them were checked where the request came in."""

    def __init__(self, root: Path) -> None:
        self._root = root / "networks"

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            Unavailable: it cannot be made.
        """
        with _unavailable(self._root):
            self._root.mkdir(parents=True, exist_ok=True)

    def network(self, name: str) -> Network:
        """What is known of a network; nothing of one that is new."""
        return _read(self._root / name / _NETWORK_FILE, Network) or Network(name)

    def endpoint(self, network: str, owner: Owner) -> Endpoint | None:
        """What an interface was given."""
        return _read(self._place(network, owner), Endpoint)

    def endpoints(self, network: str) -> Iterator[Endpoint]:
        """What all interfaces of a network were given."""
        folder = self._root / network
        names = sorted(folder.iterdir()) if folder.is_dir() else ()
        for path in names:
            if path.name != _NETWORK_FILE and not path.name.startswith("."):
                found = _read(path, Endpoint)
                if found is not None:
                    yield found

    def write_network(self, network: Network) -> None:
        """Keep what is known of a network."""
        _write(self._root / network.name / _NETWORK_FILE, network)

    def write_endpoint(self, endpoint: Endpoint) -> None:
        """Keep what an interface was given."""
        _write(self._place(endpoint.network, endpoint.owner), endpoint)

    def remove(self, endpoint: Endpoint) -> None:
        """Forget an interface."""
        place = self._place(endpoint.network, endpoint.owner)
        with _unavailable(place):
            place.unlink(missing_ok=True)

    def _place(self, network: str, owner: Owner) -> Path:
        return self._root / network / f"{owner.container_id}-{owner.ifname}"


def _read(path: Path, kind: type[_Kept]) -> _Kept | None:
    with _unavailable(path):
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        rule = f"is not what korat or Calico wrote: {error}; remove it when its container is gone"
        raise Invalid([Problem(str(path), "", None, rule)]) from error


def _write(path: Path, value: Network | Endpoint) -> None:
    unfinished = path.with_name(f".{path.name}.new")
    with _unavailable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(msgspec.json.encode(value))
        unfinished.replace(path)


@contextlib.contextmanager
def _unavailable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{path} cannot be used: {error.strerror}") from error


def _given(answer: Mapping[str, Any]) -> list[_Given]:
    """The addresses of a plugin's answer, in its order.

    Raises:
        Unavailable: it has none, or nonsense.
    """
    ips = answer.get("ips")
    try:
        texts = [str(ip["address"]) for ip in ips or ()]
        given = [_Given(Addr.parse_interface(t), Prefix.parse(t)) for t in texts]
    except (TypeError, KeyError, ValueError) as error:
        raise Unavailable(f"the IPAM plugin answers with no addresses: {ips!r}") from error
    if not given:
        raise Unavailable("the IPAM plugin answers with no address")
    return given


def _bare(texts: Iterable[str]) -> tuple[Addr, ...]:
    """Addresses without their prefix lengths."""
    return tuple(map(Addr.parse_interface, texts))


def _subnet_of(text: str, subnets: Iterable[str]) -> str:
    """The subnet of an address: one that is known, or else as its prefix length says."""
    addr = Addr.parse_interface(text)
    known = (each for each in subnets if addr in Prefix.parse(each))
    return next(known, str(Prefix.parse(text)))
