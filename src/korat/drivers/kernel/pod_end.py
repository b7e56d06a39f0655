"""The link of a pod that another program made: what the pod has of it, and its end on the node.

Only reads. A pod's interface that is one end of a veth pair leads to exactly one link, which the
kernel names by its index and the identifier of its namespace; others, as of a macvlan, to none.
Source: rtnetlink(7); linux/if_link.h (IFLA_LINK, IFLA_LINK_NETNSID), linux/net_namespace.h.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from korat.core.errors import NotFound, Unavailable
from korat.drivers.kernel import namespace

_PAIR = "veth"


@dataclass(frozen=True, slots=True)
class PodEnd:
    """A pod's interface; ``peer`` is its end on this node, empty when it is not of a pair here."""

    mac: str
    peer: str


class PodEnds:
    """The interfaces of this node's pods."""

    def read(self, netns: str, ifname: str) -> PodEnd:
        """One of them.

        Raises:
            NotFound: there is no such namespace, or no such interface in it.
            Unavailable: the kernel does not answer.
        """
        with _errors(f"interface {ifname} of {netns}"):
            link = namespace.run_in(netns, lambda: _by_name(ifname))
            if link is None:
                raise NotFound(f"{netns} has no interface {ifname}")
            return PodEnd(str(link.get_attr("IFLA_ADDRESS") or ""), _peer(netns, link))

    def has(self, host_name: str) -> bool:
        """Whether this node has a link of that name.

        Raises:
            Unavailable: the kernel does not answer.
        """
        with _errors(f"interface {host_name}"):
            return _by_name(host_name) is not None

    def master(self, host_name: str) -> str:
        """The bridge, or the like, that a link of this node is a port of; empty for none.

        Raises:
            Unavailable: the kernel does not answer.
        """
        with _errors(f"interface {host_name}"), IPRoute() as here:
            link = _asked(here, ifname=host_name)
            index = link.get_attr("IFLA_MASTER") if link is not None else None
            above = _asked(here, index=index) if index else None
            return str(above.get_attr("IFLA_IFNAME")) if above is not None else ""


def _peer(netns: str, link: Any) -> str:  # noqa: ANN401 - pyroute2's messages have no types
    if _kind(link) != _PAIR:
        return ""
    with IPRoute() as node:
        other = _asked(node, index=link.get_attr("IFLA_LINK"))
        if other is None or _kind(other) != _PAIR:
            return ""
        fd = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            told = node.get_netnsid(fd=fd)
        finally:
            os.close(fd)
    # An index alone may be that of any link in a third namespace.
    leads_back = (
        other.get_attr("IFLA_LINK") == link["index"]
        and other.get_attr("IFLA_LINK_NETNSID") == told["nsid"]
    )
    return str(other.get_attr("IFLA_IFNAME")) if leads_back else ""


def _by_name(name: str) -> Any:  # noqa: ANN401 - pyroute2's messages have no types
    with IPRoute() as here:
        return _asked(here, ifname=name)


def _asked(here: IPRoute, **which: object) -> Any:  # noqa: ANN401 - pyroute2's messages have no types
    try:
        return next(iter(here.link("get", **which)), None)
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            return None
        raise


def _kind(link: Any) -> str:  # noqa: ANN401 - pyroute2's messages have no types
    return str(link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or "")


@contextmanager
def _errors(what: str) -> Iterator[None]:
    try:
        yield
    except (NetlinkError, OSError) as error:
        raise Unavailable(f"{what} cannot be read: {error}") from error
