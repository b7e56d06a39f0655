"""The addresses of this VM's NIC, from the wireserver and from IMDS; the standard library only.

Both are the host's: plain HTTP, no proxy, never forwarded. The wireserver is asked first, since it
says which address is the primary one; IMDS when it is away, or the other way round by a setting.
Neither is asked more than once in 10 s, whatever happens, and not before a ``Retry-After`` is over.
What was heard last stays when both are away, and is said to be old. Not the official SDK, and not
for what ARM knows.
Source: azure-container-networking (ipam/azure.go); Azure's Instance Metadata Service.
"""

import http.client
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import SystemRandom
from urllib.parse import urlsplit

from korat.core.errors import Invalid, KoratError, Problem, Unavailable
from korat.core.ipam.nic import Nic
from korat.core.ipam.nic_document import (
    IMDS,
    WIRESERVER,
    Interface,
    own_nic,
    parse_imds,
    parse_wireserver,
)
from korat.core.net.address import Addr

#: Between two questions, as azure-vnet-ipam keeps it.
INTERVAL_S = 10.0
#: After a failure when nothing is known at all; doubled each time up to the interval.
_RETRY_S = 1.0
_TIMEOUT_S = 10.0
#: A NIC has 256 addresses at most, each less than 100 bytes.
_ANSWER_BYTES_MAX = 1 << 20
_READ_BYTES = 1 << 16
#: What ``Retry-After`` may ask for, and what it stands for when it is missing or senseless.
_PAUSE_S_MAX, _PAUSE_S = 300.0, 5.0
#: Added to a pause at random, so that nodes that were started together do not stay so.
_JITTER = 0.2
_RANDOM = SystemRandom()
_OK, _TOO_MANY = 200, 429

_PATHS = {
    WIRESERVER: "/machine/plugins?comp=nmagent&type=getinterfaceinfov1",
    IMDS: "/metadata/instance/network?api-version=2021-12-13&format=json",
}
_PARSERS: Mapping[str, Callable[[bytes], tuple[Interface, ...]]] = {
    WIRESERVER: parse_wireserver,
    IMDS: parse_imds,
}
_VARIABLES = {
    WIRESERVER: ("KORAT_AZURE_WIRESERVER", "http://168.63.129.16"),
    IMDS: ("KORAT_AZURE_IMDS", "http://169.254.169.254"),
}
_ORDER = "KORAT_AZURE_ADDRESS_SOURCE"

Links = Callable[[], Mapping[str, frozenset[Addr]]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where one of the two answers."""

    name: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The NIC as it was heard of ``age_s`` ago; ``stale`` says why nobody says it anew."""

    nic: Nic
    source: str
    age_s: float
    stale: str = ""


def places(environ: Mapping[str, str]) -> tuple[Place, ...]:
    """Both, in the order in which they are asked.

    Raises:
        Invalid: with every variable that is wrong.
    """
    problems: list[Problem] = []
    first = environ.get(_ORDER) or WIRESERVER
    if first not in _VARIABLES:
        rule = f"must be {' or '.join(_VARIABLES)}, whichever is to be asked first"
        problems.append(Problem("", _ORDER, first, rule))
    found = [_place(name, environ, problems) for name in _VARIABLES]
    if problems:
        raise Invalid(problems)
    return tuple(sorted(found, key=lambda place: place.name != first))


def _place(name: str, environ: Mapping[str, str], problems: list[Problem]) -> Place:
    variable, default = _VARIABLES[name]
    url = environ.get(variable) or default
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or http.client.HTTP_PORT
        plain = parts.scheme == "http" and parts.path in ("", "/")
        plain = plain and not (parts.query or parts.fragment or "@" in parts.netloc)
    except ValueError:
        host, port, plain = "", 0, False
    if not host or not plain:
        rule = "must be http://HOST or http://HOST:PORT, without a path"
        problems.append(Problem("", variable, url, rule))
    return Place(name, host, port)


class NicAddresses:
    """The NIC of this machine, asked for as seldom as Azure wants; any thread may read."""

    def __init__(
        self,
        asked: tuple[Place, ...],
        links: Links,
        clock: Callable[[], float] = time.monotonic,
        dice: Callable[[], float] = _RANDOM.random,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        """``links`` are the machine's own, ``clock`` is in seconds, ``dice`` from 0 to 1."""
        self._places, self._links = asked, links
        self._clock, self._dice, self._timeout_s = clock, dice, timeout_s
        self._lock = threading.Lock()
        self._known: tuple[Nic, str, float] | None = None
        self._fault = ""
        self._next_s = float("-inf")
        self._pause_s = _RETRY_S
        self._barred_s: dict[str, float] = {}

    def read(self) -> Reading:
        """The NIC as Azure had it within the last 10 s, or as it was known last.

        Raises:
            Unavailable: nothing was ever known, and neither answers.
        """
        with self._lock:
            if self._clock() >= self._next_s:
                self._ask()
            if self._known is None:
                raise Unavailable(
                    f"the addresses of this VM's NIC are not known: {self._fault}",
                    "korat asks again; see that this node reaches the wireserver and IMDS",
                )
            nic, source, at_s = self._known
            return Reading(nic, source, self._clock() - at_s, self._fault)

    def _ask(self) -> None:
        """Ask one after the other until one knows."""
        faults = []
        for place in self._places:
            try:
                nic = own_nic(_PARSERS[place.name](self._fetch(place)), self._links())
            except KoratError as error:
                faults.append(f"{place.name}: {error}")
            else:
                self._known = (nic, place.name, self._clock())
                self._fault, self._pause_s = "", _RETRY_S
                self._next_s = self._clock() + INTERVAL_S
                return
        self._fault = "; ".join(faults)
        pause_s = INTERVAL_S if self._known is not None else self._pause_s
        self._pause_s = min(2 * self._pause_s, INTERVAL_S)
        self._next_s = self._clock() + pause_s * (1 + _JITTER * self._dice())

    def _fetch(self, place: Place) -> bytes:
        """The document, unless the place has asked to be left alone.

        Raises:
            Unavailable: there is none now.
        """
        left_s = self._barred_s.get(place.name, float("-inf")) - self._clock()
        if left_s > 0:
            raise Unavailable(f"wants no question for {left_s:.0f} s more")
        try:
            status, pause_s, body = _get(place, self._timeout_s)
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = str(error) or type(error).__name__
            raise Unavailable(f"http://{place.host}:{place.port} does not answer: {why}") from error
        if status == _TOO_MANY:
            self._barred_s[place.name] = self._clock() + pause_s
        if status != _OK:
            raise Unavailable(f"answers with status {status}")
        return body


def _get(place: Place, timeout_s: float) -> tuple[int, float, bytes]:
    """Status, how long to leave it alone if it says so, and body; proxies are never asked."""
    end_s = time.monotonic() + timeout_s
    connection = http.client.HTTPConnection(place.host, place.port, timeout=timeout_s)
    try:
        connection.request("GET", _PATHS[place.name], headers={"Metadata": "true"})
        answer = connection.getresponse()
        parts, size = [], 0
        while part := answer.read1(_READ_BYTES):
            parts.append(part)
            size += len(part)
            if size > _ANSWER_BYTES_MAX:
                raise ValueError(f"more than {_ANSWER_BYTES_MAX} bytes")
            if time.monotonic() > end_s:
                raise TimeoutError(f"not all of the answer came within {timeout_s:g} s")
        return answer.status, _seconds(answer.headers.get("Retry-After", "")), b"".join(parts)
    finally:
        connection.close()


def _seconds(text: str) -> float:
    """A ``Retry-After`` in seconds; IMDS sends no dates."""
    return min(float(text), _PAUSE_S_MAX) if text.isdecimal() else _PAUSE_S
