"""The korat-azure-ipam plugin, in process: the secondary addresses of this VM's NIC.

What is given out is on disk, one folder for all networks of the node, since they share the NIC; a
killed agent and a node that starts again go on with it. ``released.json`` beside it says when each
address was given back, by the wall clock, which alone outlasts a reboot. Which address is next, and
what Azure's rules are, ``korat.core.ipam.nic`` says.
"""

import time
from collections.abc import Callable, Mapping

import msgspec
import structlog

from korat.agent.address_folder import AddressFolder, address_of
from korat.agent.address_source import AddressRequest
from korat.core.errors import Invalid, Problem, Unavailable
from korat.core.ipam.hostlocal import Owner
from korat.core.ipam.nic import (
    COOL_DOWN_S,
    Assignment,
    Attachment,
    Demand,
    Nic,
    Rest,
    assign,
    vanished,
)
from korat.core.ipam.nic_document import mac_of
from korat.core.net.address import Addr, Family
from korat.drivers.azure.metadata import NicAddresses, Reading, places
from korat.drivers.kernel.address import addresses_by_mac

log = structlog.get_logger(__name__)

DATA_DIR = "/var/lib/korat/azure-ipam"

_FOLDER = "nic"
_RELEASED = "released.json"
_COOL_DOWN = "coolDownSeconds"
_COOL_DOWN_S_MAX = 3600

_TIMES = msgspec.json.Decoder(dict[str, float])


def azure_ipam(environ: Mapping[str, str]) -> "AzureIpam":
    """The plugin of this node; nothing is asked before an address is.

    Raises:
        Invalid: the environment says wrongly where Azure answers.
    """
    return AzureIpam(NicAddresses(places(environ), _links).read)


def _links() -> dict[str, frozenset[Addr]]:
    return {mac_of(mac): addrs for mac, addrs in addresses_by_mac().items()}


class AzureIpam:
    """Addresses of the NIC for the workloads of one node."""

    def __init__(self, read: Callable[[], Reading], clock: Callable[[], float] = time.time) -> None:
        """``read`` gives the NIC, never older than it must be; ``clock`` is the wall's."""
        self._read, self._clock = read, clock
        self._named: dict[Addr, tuple[Attachment, str]] = {}

    def assign(self, request: AddressRequest) -> tuple[Addr, ...]:
        """Addresses for one interface; the same again when it asks again.

        Raises:
            Invalid: the configuration or a requested address is wrong.
            Unavailable: no address is free, or the NIC is not known.
            Conflict: a requested address is another's.
        """
        cool_down_s = _cool_down_s(request.ipam)
        folder = _folder(request.ipam)
        reading = self._read()
        demand = _demand(request)
        with folder.locked():
            held = _held(folder)
            self._name(reading.nic, held)
            now_s = self._clock()
            written = _released(folder)
            rest = _rest(written, reading.nic, cool_down_s, now_s)
            try:
                done = assign(reading.nic, held, rest, demand, now_s)
            except Unavailable as error:
                _write_released(folder, written, rest.released_s)
                raise _with_age(error, reading) from error
            times = {**_still_needed(rest, reading.nic, now_s), **dict.fromkeys(done.freed, now_s)}
            _write_released(folder, written, times)
            _write(folder, held, demand.who, done)
        return done.given

    def release(self, network: str, ipam: Mapping[str, object], owner: Owner) -> tuple[Addr, ...]:
        """Free an interface's addresses and return them; needs nothing of Azure."""
        folder = _folder(ipam)
        with folder.locked():
            addrs = _of(_held(folder), network, owner)
            written, now_s = _released(folder), self._clock()
            # Where the times are lost, the next assignment lets all of them rest.
            if addrs and written is not None:
                times = Rest(written).settled(now_s).released_s
                # First the time: a crash between the two leaves the address with its owner.
                _write_released(folder, written, {**times, **dict.fromkeys(addrs, now_s)})
            for addr in addrs:
                folder.remove(str(addr))
            return addrs

    def of(self, network: str, ipam: Mapping[str, object], owner: Owner) -> tuple[Addr, ...]:
        """An interface's addresses."""
        folder = _folder(ipam)
        with folder.locked():
            return _of(_held(folder), network, owner)

    def owners(self, network: str, ipam: Mapping[str, object]) -> frozenset[Owner]:
        """Everybody who has an address of the network, and whoever a damaged file stands for."""
        folder = _folder(ipam)
        with folder.locked():
            holders = _held(folder).values()
        return frozenset(each.owner for each in holders if each.network in (network, ""))

    def check(self, ipam: Mapping[str, object]) -> None:
        """Raise what an ``assign`` would for the configuration's, the node's or the NIC's sake.

        That all addresses are in use is not among it: a runtime whose network is not ready makes
        Kubernetes take the node's pods away.

        Raises:
            Invalid: the configuration is wrong.
            Unavailable: the NIC is not known, or has no address for pods at all.
        """
        _cool_down_s(ipam)
        folder = _folder(ipam)
        nic = self._read().nic
        with folder.locked():
            self._name(nic, _held(folder))
        if not any(addr.family is Family.V4 for addr in nic.for_pods):
            raise Unavailable(
                f"the NIC {nic.mac} has no secondary IPv4 address for pods",
                "give it IP configurations besides its primary one",
            )

    def _name(self, nic: Nic, held: Mapping[Addr, Attachment]) -> None:
        """Say once of each address that somebody holds what is wrong with it, and when it ends."""
        faults = {addr: (held[addr], why) for addr, why in vanished(nic, held).items()}
        for addr, (who, why) in faults.items():
            if self._named.get(addr) != (who, why):
                log.warning(
                    "a workload's address is not the NIC's for pods; Azure drops its packets",
                    address=str(addr),
                    reason=f"it {why}",
                    container=who.container_id,
                    nic=nic.mac,
                )
        for addr in self._named.keys() - faults.keys():
            log.info("an address is no problem any more", address=str(addr))
        self._named = faults


def _demand(request: AddressRequest) -> Demand:
    heir_of = request.heir_of
    return Demand(
        Attachment(request.network, *request.owner),
        request.requested,
        None if heir_of is None else Attachment(request.network, *heir_of),
    )


def _cool_down_s(ipam: Mapping[str, object]) -> float:
    value = ipam.get(_COOL_DOWN, COOL_DOWN_S)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Invalid([Problem("", f"ipam.{_COOL_DOWN}", value, "is not a number of seconds")])
    if not 0 <= value <= _COOL_DOWN_S_MAX:
        rule = f"must be from 0 to {_COOL_DOWN_S_MAX}"
        raise Invalid([Problem("", f"ipam.{_COOL_DOWN}", value, rule)])
    return float(value)


def _folder(ipam: Mapping[str, object]) -> AddressFolder:
    return AddressFolder(str(ipam.get("dataDir") or DATA_DIR), _FOLDER, durable=True)


def _held(folder: AddressFolder) -> dict[Addr, Attachment]:
    """Who has what; a file that says less than it should stands for a holder nobody knows."""
    held = {}
    for name in folder.names():
        addr = address_of(name)
        if addr is not None:
            match folder.lines(name):
                case [container_id, ifname, network]:
                    held[addr] = Attachment(network, container_id, ifname)
                case _:
                    held[addr] = Attachment("", "", "")
    return held


def _of(held: Mapping[Addr, Attachment], network: str, owner: Owner) -> tuple[Addr, ...]:
    mine = (a for a, who in held.items() if who.owner == owner and who.network in (network, ""))
    return tuple(sorted(mine))


def _released(folder: AddressFolder) -> dict[Addr, float] | None:
    """When each address was given back; None when that cannot be read any more."""
    try:
        text = (folder.path / _RELEASED).read_bytes()
    except FileNotFoundError:
        return {}
    try:
        return {Addr.parse(addr): at_s for addr, at_s in _TIMES.decode(text).items()}
    except (msgspec.DecodeError, ValueError):
        log.warning("the times of release are lost; each address rests anew", file=_RELEASED)
        return None


def _rest(written: Mapping[Addr, float] | None, nic: Nic, cool_down_s: float, now_s: float) -> Rest:
    """What rests now; without the times all might have been given back a moment ago."""
    times = dict.fromkeys(nic.for_pods, now_s) if written is None else written
    return Rest(times, cool_down_s).settled(now_s)


def _still_needed(rest: Rest, nic: Nic, now_s: float) -> dict[Addr, float]:
    """The times without those of addresses that have left the NIC and rested since."""
    return {
        addr: at_s
        for addr, at_s in rest.released_s.items()
        if addr in nic.for_pods or rest.until_s(addr) > now_s
    }


def _write_released(
    folder: AddressFolder, before: Mapping[Addr, float] | None, times: Mapping[Addr, float]
) -> None:
    if times != before:
        text = {str(addr): at_s for addr, at_s in times.items()}
        folder.put(_RELEASED, msgspec.json.encode(text, order="sorted").decode())


def _write(
    folder: AddressFolder, held: Mapping[Addr, Attachment], who: Attachment, done: Assignment
) -> None:
    """Carry it out so that a crash loses nothing: IPv4 last of what is given, then what goes."""
    text = f"{who.container_id}\r\n{who.ifname}\r\n{who.network}"
    for addr in reversed(done.given):
        if held.get(addr) != who:
            folder.put(str(addr), text)
    for addr in done.freed:
        folder.remove(str(addr))


def _with_age(error: Unavailable, reading: Reading) -> Unavailable:
    """The same refusal, and how old its ground is when Azure does not answer."""
    if not reading.stale:
        return error
    age = f"as it was known {reading.age_s:.0f} s ago ({reading.stale})"
    return Unavailable(f"{error.what}, {age}", error.remedy)
