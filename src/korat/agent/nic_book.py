"""What of the NIC is given out, on disk: who has which address, and when each was given back.

One folder for all networks of the node, since they share the NIC: host-local's file per address,
with the network as its third line, and ``released.json`` by the wall clock, which alone outlasts a
reboot. Not for which address is next; ``korat.core.ipam.nic`` says that.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager

import msgspec
import structlog

from korat.agent.address_folder import AddressFolder, address_of
from korat.core.ipam.hostlocal import Owner
from korat.core.ipam.nic import Assignment, Attachment
from korat.core.net.address import Addr

log = structlog.get_logger(__name__)

DATA_DIR = "/var/lib/korat/azure-ipam"

_FOLDER = "nic"
_RELEASED = "released.json"

_TIMES = msgspec.json.Decoder(dict[str, float])


class NicBook:
    """The addresses of this node's NIC; all but ``locked`` is for who holds the lock."""

    def __init__(self, data_dir: str = DATA_DIR) -> None:
        """Writes nothing yet.

        Raises:
            Invalid: the folder is not an absolute path.
        """
        self._folder = AddressFolder(data_dir, _FOLDER, durable=True)

    def locked(self) -> AbstractContextManager[None]:
        """Wait for the others, and keep them waiting.

        Raises:
            Unavailable: the folder cannot be used.
        """
        return self._folder.locked()

    def held(self) -> dict[Addr, Attachment]:
        """Who has what; a file that says less than it should stands for a holder nobody knows."""
        held = {}
        for name in self._folder.names():
            addr = address_of(name)
            if addr is not None:
                match self._folder.lines(name):
                    case [container_id, ifname, network]:
                        held[addr] = Attachment(network, container_id, ifname)
                    case _:
                        held[addr] = Attachment("", "", "")
        return held

    def of(self, network: str, owner: Owner) -> tuple[Addr, ...]:
        """An interface's addresses in a network."""
        holders = self.held().items()
        return tuple(
            sorted(a for a, who in holders if who.owner == owner and who.network in (network, ""))
        )

    def released(self) -> dict[Addr, float] | None:
        """When each address was given back; None when that cannot be read any more."""
        try:
            text = (self._folder.path / _RELEASED).read_bytes()
        except FileNotFoundError:
            return {}
        try:
            return {Addr.parse(addr): at_s for addr, at_s in _TIMES.decode(text).items()}
        except (msgspec.DecodeError, ValueError):
            log.warning("the times of release are lost; each address rests anew", file=_RELEASED)
            return None

    def write_released(
        self, before: Mapping[Addr, float] | None, times: Mapping[Addr, float]
    ) -> None:
        """Write when each address was given back, where that differs from what was read."""
        if times != before:
            text = {str(addr): at_s for addr, at_s in times.items()}
            self._folder.put(_RELEASED, msgspec.json.encode(text, order="sorted").decode())

    def carry_out(self, held: Mapping[Addr, Attachment], who: Attachment, done: Assignment) -> None:
        """Write an assignment so that a crash loses nothing: IPv4 last of it, then what goes."""
        text = f"{who.container_id}\r\n{who.ifname}\r\n{who.network}"
        for addr in reversed(done.given):
            if held.get(addr) != who:
                self._folder.put(str(addr), text)
        self.remove(done.freed)

    def remove(self, addrs: tuple[Addr, ...]) -> None:
        """Nobody has these any more."""
        for addr in addrs:
            self._folder.remove(str(addr))


def book_of(ipam: Mapping[str, object]) -> NicBook:
    """The book that a configuration's ``ipam`` part names.

    Raises:
        Invalid: its ``dataDir`` is not an absolute path.
    """
    return NicBook(str(ipam.get("dataDir") or DATA_DIR))
