"""Calico's number-or-string values: ports, protocols and AS numbers, in their one canonical form.

Source: api/pkg/lib/numorstring. A port is a number, a range ``"min:max"`` or a name; a protocol is
one of six names or a number; an AS number may be written in two halves, ``"1.10"``.
"""

import re

from korat.core.model.policy import Port

#: The protocols that have names, as Calico writes them.
PROTOCOLS = ("TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite")

PORT_LAST = 65535

_BY_LOWER = {name.lower(): name for name in PROTOCOLS}
_WITH_PORTS = frozenset({"TCP", "UDP", "SCTP", 6, 17, 132})
_RANGE = re.compile(r"(\d+):(\d+)", re.ASCII)
_DIGITS = re.compile(r"\d+", re.ASCII)
_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_HALVES = re.compile(r"(\d+)\.(\d+)", re.ASCII)
_PROTOCOL_LAST = 255
_AS_LAST = 0xFFFFFFFF
_AS_HALF_LAST = 0xFFFF


def port(value: Port) -> Port:
    """The canonical form: ``80`` for 80, ``"80"`` and ``"80:80"``; ``"80:90"``; ``"http"``.

    Zero is let through, as in Calico's parser; a rule's validation refuses it.

    Raises:
        ValueError: it is none of the three; says why.
    """
    if isinstance(value, int):
        return _in_range(value, value)
    if _DIGITS.fullmatch(value):
        return _in_range(int(value), value)
    span = _RANGE.fullmatch(value)
    if span:
        first, last = (_in_range(int(half), value) for half in span.groups())
        if first > last:
            raise ValueError(f"the range {value} ends before it begins")
        return first if first == last else f"{first}:{last}"
    if not _NAME.fullmatch(value):
        raise ValueError("a port is a number, a range min:max, or a name of [a-zA-Z0-9_.-]")
    return value


def is_named(value: Port) -> bool:
    """Whether a canonical port is a name."""
    return isinstance(value, str) and ":" not in value


def protocol(value: int | str) -> int | str:
    """The canonical form: names in Calico's own case, digits as a number.

    What is neither is left as it is; validation refuses it.
    """
    if isinstance(value, int):
        return value
    if _DIGITS.fullmatch(value) and int(value) <= _PROTOCOL_LAST:
        return int(value)
    return _BY_LOWER.get(value.lower(), value)


def is_protocol(value: int | str) -> bool:
    """Whether a canonical protocol may stand in a rule."""
    return 1 <= value <= _PROTOCOL_LAST if isinstance(value, int) else value in PROTOCOLS


def has_ports(value: int | str) -> bool:
    """Whether a canonical protocol has ports that Calico can match."""
    return value in _WITH_PORTS


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


def _in_range(number: int, value: Port) -> int:
    if not 0 <= number <= PORT_LAST:
        raise ValueError(f"{value} is not within 0 and {PORT_LAST}")
    return number
