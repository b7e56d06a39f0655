"""The NICs that come and go with the lab's VMs."""

from dataclasses import replace

import pytest

from korat.core.net.address import Addr
from korat.lab.arm.error import ArmError
from korat.lab.arm.model import Model
from korat.lab.arm.view import network_view
from korat.lab.azure import add_nic, furnish, remove_nic
from korat.lab.blueprint import LOCATION, RESOURCE_GROUP, SUBSCRIPTION, Options, blueprint, grown

A = Addr.parse
PLAN = blueprint(Options(nodes=2))
VM3 = grown(PLAN, 1).vms[-1]


@pytest.fixture
def model():
    made = Model(SUBSCRIPTION, {RESOURCE_GROUP: LOCATION})
    furnish(made, PLAN)
    return made


def nics(model):
    return {nic.name: (nic.vm, str(nic.addresses[0])) for nic in network_view(model).nics}


def test_a_vm_comes_with_its_nic_and_goes_with_it(model):
    before = nics(model)
    add_nic(model, VM3)
    assert nics(model) == {**before, "vm3-nic": ("vm3", "10.10.0.6")}
    macs = {nic.mac for nic in network_view(model).nics}
    assert len(macs) == 3
    remove_nic(model, VM3)
    remove_nic(model, VM3)
    assert nics(model) == before
    add_nic(model, VM3)
    assert nics(model)["vm3-nic"] == ("vm3", "10.10.0.6")


def test_a_nic_that_is_there_is_nobody_elses(model):
    with pytest.raises(ArmError, match="vm1-nic already"):
        add_nic(model, PLAN.vms[0])


def test_the_addresses_for_pods_are_the_nics_secondary_ones(model):
    pods = (A("10.10.0.100"), A("10.10.0.101"))
    add_nic(model, replace(VM3, pod_addresses=pods))
    (nic,) = (nic for nic in network_view(model).nics if nic.vm == "vm3")
    assert nic.addresses == (A("10.10.0.6"), *pods)
    assert not nic.ip_forwarding
