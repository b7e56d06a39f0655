"""The file that uses every field of a rule, enforced: each probe and ping is as explain says.

SCTP and what else pods do not speak here is asked of the kernel with raw packets: ``tests/netns``.
"""

import itertools
import os
import select
import socket
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest

from korat.core.net.port import Protocol
from korat.drivers.kernel.namespace import socket_in
from lab_world import Lab, explained, lab
from rule_world import EVERY_FIELD

pytestmark = pytest.mark.lab

#: What hosts answer, by what they are asked: a ping, and what time it is.
ANSWERS = {8: 0, 13: 14}
PATIENCE_S, TIMES = 0.7, 2


@pytest.fixture(scope="module")
def rules() -> Iterator[Lab]:
    with lab("rules", [EVERY_FIELD]) as made:
        yield made


def test_explain_agrees_with_what_probe_saw_for_every_pair_and_port(rules: Lab) -> None:
    found = rules.probe()
    found = {probe: seen for probe, seen in found.items() if probe[2] != "SCTP"}
    pods = rules.status()["pods"]
    assert set(found) == {
        (one["name"], other["name"], port["protocol"], port["port"])
        for one, other in itertools.permutations(pods, 2)
        for port in other["ports"]
        if port["protocol"] != "SCTP"
    }
    assert explained(rules, found) == found
    for kind in ("TCP", "UDP"):
        count = Counter(seen for probe, seen in found.items() if probe[2] == kind)
        assert min(count["allowed"], count["denied"]) >= count.total() / 4, count


@pytest.mark.parametrize("asked", ANSWERS)
def test_explain_agrees_with_what_pings_saw_for_every_pair(rules: Lab, asked: int) -> None:
    pods = {pod["name"]: pod for pod in rules.status()["pods"]}
    pairs = [(one, other, "ICMP", 0) for one, other in itertools.permutations(pods, 2)]
    said = explained(rules, pairs, icmp_type=str(asked))
    answered = pinged(pods, asked)
    assert answered == {(one, to) for (one, to, _, _), seen in said.items() if seen == "allowed"}
    assert len(pairs) / 6 < len(answered) < len(pairs)


def pinged(pods: Mapping[str, Any], asked: int) -> set[tuple[str, str]]:
    """Who got an answer from whom, all asked at the same time and again until the end."""
    kind = socket.AF_INET, socket.SOCK_RAW, Protocol.ICMP
    senders = {socket_in(pod["netns"], *kind): name for name, pod in pods.items()}
    mark = os.getpid() & 0xFFFF
    by_address = {pod["address"]: name for name, pod in pods.items()}
    found: set[tuple[str, str]] = set()
    try:
        for _ in range(TIMES):
            for sender, address in itertools.product(senders, by_address):
                if by_address[address] != senders[sender]:
                    sender.sendto(question(asked, mark), (address, 0))
            for sender, address in answers(senders, ANSWERS[asked], mark):
                found.add((senders[sender], by_address[address]))
    finally:
        for sender in senders:
            sender.close()
    return found


def answers(
    senders: Iterable[socket.socket], kind: int, mark: int
) -> Iterator[tuple[socket.socket, str]]:
    """Who heard an answer from which address, until nobody has heard any for a while."""
    while ready := select.select(senders, [], [], PATIENCE_S)[0]:
        for sender in ready:
            packet, (address, _) = sender.recvfrom(2048)
            answer, _, _, number = struct.unpack("!BBHH", packet[20:26])
            if (answer, number) == (kind, mark):
                yield sender, address


def question(asked: int, mark: int) -> bytes:
    """An ICMP message with its checksum: a header and the 12 octets of a time stamp."""
    message = struct.pack("!BBHHH12x", asked, 0, 0, mark, 0)
    total = sum(struct.unpack(f"!{len(message) // 2}H", message))
    total = (total & 0xFFFF) + (total >> 16)
    return message[:2] + struct.pack("!H", ~total & 0xFFFF) + message[4:]
