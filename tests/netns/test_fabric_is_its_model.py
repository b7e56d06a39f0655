"""The kernel's fabric and its plain model agree on every packet of random networks.

each NIC ── sends ──▶ fabric ──▶ some NIC, the internet, or nobody  ==  model.deliver
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric_wire import UDP, delivered, lab_name, wires
from korat.lab.fabric.apply import Fabric
from korat.lab.fabric.model import Packet, deliver
from korat.lab.fabric.switch import Switches
from strategies_fabric import DESTINATIONS, STRANGERS, networks

pytestmark = pytest.mark.netns

_PROTOCOLS = (1, 2, 4, 6, 17, 41, 47, 50, 51, 132)


@pytest.fixture(scope="module")
def fabric():
    with Fabric(lab_name(), Switches(sctp=True)) as made:
        yield made


@settings(max_examples=30)  # each is a whole fabric, with every packet between its machines
@given(view=networks(), protocols=st.lists(st.sampled_from(_PROTOCOLS), min_size=4, max_size=4))
def test_every_packet_goes_where_the_model_says(fabric, view, protocols):
    fabric.apply(view)
    with wires(fabric, view) as opened:
        for sender in view.nics:
            others = tuple(addr for nic in view.nics for addr in nic.addresses)
            sources = dict.fromkeys((*sender.addresses, *others, *STRANGERS))
            sent = [Packet(src, dst, UDP) for src in sources for dst in DESTINATIONS]
            sent += [Packet(src, dst, p) for src in sources for dst in others for p in protocols]
            where = delivered(opened, sender.name, sent)
            said = [deliver(view, sender, packet, Switches(sctp=True)) for packet in sent]
            assert list(zip(sent, where, strict=True)) == list(zip(sent, said, strict=True))
