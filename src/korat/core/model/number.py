"""Calico's number-or-string values: ports, protocols and AS numbers, in their one canonical form.

Source: api/pkg/lib/numorstring. A port is a number, a range ``"min:max"`` or a name; an AS number
may be written in two halves, ``"1.10"``. Numbers of ports and names of protocols are read by
``korat.core.net.port``; here is what an object may hold.
"""

import re

from korat.core.model.policy import Port
from korat.core.net.port import (
    NAMES_WITH_PORTS,
    PROTOCOL_LAST,
    PROTOCOL_NAMES,
    PROTOCOLS_WITH_PORTS,
    PortRange,
)

_NUMERIC = re.compile(r"\d+(:\d+)?", re.ASCII)
_DIGITS = re.compile(r"\d+", re.ASCII)
_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_HALVES = re.compile(r"(\d+)\.(\d+)", re.ASCII)
_AS_LAST = 0xFFFFFFFF
_AS_HALF_LAST = 0xFFFF


def port(value: Port) -> Port:
    """The canonical form: ``80`` for 80, ``"80"`` and ``"80:80"``; ``"80:90"``; ``"http"``.

    Zero is let through, as in Calico's parser; a rule's validation refuses it.

    Raises:
        ValueError: it is none of the three; says why.
    """
    if isinstance(value, int) or _NUMERIC.fullmatch(value):
        span = PortRange.parse(value)
        return span.first if span.first == span.last else str(span)
    if not _NAME.fullmatch(value):
        raise ValueError("a port is a number, a range min:max, or a name of [a-zA-Z0-9_.-]")
    return value


def is_named(value: Port) -> bool:
    """Whether a canonical port is a name."""
    return isinstance(value, str) and ":" not in value


def is_protocol(value: int | str) -> bool:
    """Whether a canonical protocol may stand in a rule."""
    return 1 <= value <= PROTOCOL_LAST if isinstance(value, int) else value in PROTOCOL_NAMES


def has_ports(value: int | str) -> bool:
    """Whether a canonical protocol has ports that Calico can match."""
    return value in NAMES_WITH_PORTS or value in PROTOCOLS_WITH_PORTS


def as_number(value: int | str) -> int:
    """An AS number as one number.

    Raises:
        ValueError: it is not one.
    """
    if isinstance(value, str):
        halves = _HALVES.fullmatch(value)
        if halves:
            high, low = (int(half) for half in halves.groups())
            if max(high, low) > _AS_HALF_LAST:
                raise ValueError("each half of an AS number is at most 65535")
            return high << 16 | low
        if not _DIGITS.fullmatch(value):
            raise ValueError("an AS number is a number, or two halves with a dot")
    number = int(value)
    if not 0 <= number <= _AS_LAST:
        raise ValueError("an AS number is 0 to 4294967295")
    return number
