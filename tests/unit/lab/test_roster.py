"""Which probes a lab's words stand for."""

import pytest

from korat.core.errors import Invalid, NotFound, Unavailable
from korat.lab.responder import PodPort
from korat.lab.roster import LabPod, Wanted, pod_named, targets


def pod(
    name: str, *ports: tuple[str, str, int], address: str = "10.0.0.1", message: str = ""
) -> LabPod:
    found = tuple((port, PodPort(protocol, number)) for port, protocol, number in ports)
    phase = "Running" if address else "Pending"
    return LabPod(name, "vm1", f"ns-{name}", address, phase, message, found)


PODS = [
    pod("a/web", ("http", "TCP", 80), ("https", "TCP", 443)),
    pod("a/dns", ("dns", "UDP", 53), ("dns-tcp", "TCP", 53), address="10.0.0.2"),
    pod("default/quiet", address="10.0.0.3"),
    pod("a/lost", ("http", "TCP", 80), address="", message="no node"),
]


def asked(**words: str) -> list[tuple[str, str, str, int]]:
    return [(t.sender, t.receiver, t.protocol, t.port) for t in targets(PODS, Wanted(**words))]


def test_every_pair_on_every_declared_port_but_nobody_with_himself():
    assert asked() == [
        ("a/web", "a/dns", "UDP", 53),
        ("a/web", "a/dns", "TCP", 53),
        ("a/dns", "a/web", "TCP", 80),
        ("a/dns", "a/web", "TCP", 443),
        ("default/quiet", "a/web", "TCP", 80),
        ("default/quiet", "a/web", "TCP", 443),
        ("default/quiet", "a/dns", "UDP", 53),
        ("default/quiet", "a/dns", "TCP", 53),
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"sender": "a/web", "receiver": "a/dns", "protocol": "UDP"}, [("UDP", 53)]),
        ({"sender": "quiet", "receiver": "a/web", "port": "https"}, [("TCP", 443)]),
        ({"sender": "quiet", "receiver": "a/web", "port": "443"}, [("TCP", 443)]),
        ({"sender": "quiet", "receiver": "a/web", "port": "9"}, [("TCP", 9)]),
        ({"sender": "quiet", "receiver": "a/dns", "protocol": "UDP", "port": "9"}, [("UDP", 9)]),
        ({"sender": "quiet", "receiver": "a/dns", "port": "53"}, [("UDP", 53), ("TCP", 53)]),
        ({"sender": "quiet", "receiver": "a/web", "port": "nosuch"}, []),
        ({"sender": "a/web", "receiver": "a/web"}, [("TCP", 80), ("TCP", 443)]),
        ({"sender": "a/web", "receiver": "192.0.2.1", "port": "7"}, [("TCP", 7)]),
    ],
)
def test_narrowed(words: dict[str, str], expected: list[tuple[str, int]]):
    assert [(protocol, port) for _, _, protocol, port in asked(**words)] == expected


@pytest.mark.parametrize(
    ("words", "error", "sentence"),
    [
        ({"protocol": "ICMP"}, Invalid, "must be one of TCP, UDP, SCTP"),
        ({"port": "70000"}, Invalid, "must be 1 to 65535"),
        ({"port": "0"}, Invalid, "must be 1 to 65535"),
        ({"receiver": "192.0.2.1"}, Invalid, "needs a port number"),
        ({"receiver": "192.0.2.1", "port": "http"}, Invalid, "needs a port number"),
        ({"sender": "a/wep"}, NotFound, "did you mean a/web"),
        ({"receiver": "a/lost"}, Unavailable, "no node"),
    ],
)
def test_refused(words: dict[str, str], error: type[Exception], sentence: str):
    with pytest.raises(error, match=sentence):
        asked(**words)


def test_a_pod_by_its_name_alone_in_another_namespace_is_pointed_at():
    with pytest.raises(NotFound, match="there is no pod default/web; did you mean a/web"):
        pod_named(PODS, "web")


def test_a_pod_by_its_name_alone_is_in_default():
    assert pod_named(PODS, "quiet") is PODS[2]
