"""Whether a device leaves transmit checksums to the hardware below it, read and changed.

Works in the network namespace of the calling thread.
Source: linux/ethtool.h (ETHTOOL_GTXCSUM, ETHTOOL_STXCSUM), linux/sockios.h; what ``ethtool -K DEV
tx off`` does.
"""

import array
import fcntl
import socket
import struct

from korat.core.errors import Unavailable

_SIOCETHTOOL = 0x8946
_GET, _SET = 0x16, 0x17
#: An interface request: a name, and where the command is.
_REQUEST = struct.Struct("16sP")


def transmit_checksum(device: str) -> bool:
    """Whether packets leave the device with checksums that the hardware is to fill in.

    Raises:
        Unavailable: there is no such device.
    """
    return bool(_ask(device, _GET, 0))


def set_transmit_checksum(device: str, *, on: bool) -> None:
    """Let the hardware fill checksums in, or the kernel.

    Raises:
        Unavailable: there is no such device, or it cannot.
    """
    _ask(device, _SET, int(on))


def _ask(device: str, command: int, value: int) -> int:
    words = array.array("I", (command, value))
    request = _REQUEST.pack(device.encode(), words.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            fcntl.ioctl(sock, _SIOCETHTOOL, request)
        except OSError as error:
            raise Unavailable(f"checksum offload of {device}: {error.strerror}") from error
    return words[1]
