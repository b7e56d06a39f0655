"""What canal's environment, and flanneld's own, mean to an agent."""

from pathlib import Path

import pytest

from korat.agent.settings import node_settings
from korat.core.errors import Invalid

#: What canal's manifest gives calico/node.
CANAL = {
    "NODENAME": "vm1",
    "CALICO_NETWORKING_BACKEND": "none",
    "CLUSTER_TYPE": "k8s,canal",
    "USE_POD_CIDR": "true",
}
ETCD = {"FLANNELD_ETCD_ENDPOINTS": "http://10.10.0.254:2379"}


def flannel(**more):
    return node_settings({**CANAL, **more}).flannel


def test_canals_environment_alone_leaves_flannel_to_a_flanneld():
    settings = flannel()
    assert not settings.own
    assert settings.subnet_file == Path("/run/flannel/subnet.env")
    assert (settings.masquerade, settings.public_ip, settings.margin_s) == (False, "", 3600.0)


def test_with_flannels_etcd_korat_is_flannel():
    told = {
        "FLANNELD_SUBNET_FILE": "/run/other/subnet.env",
        "FLANNELD_IP_MASQ": "true",
        "FLANNELD_PUBLIC_IP": "10.10.0.4",
        "FLANNELD_SUBNET_LEASE_RENEW_MARGIN": "90",
    }
    settings = flannel(**ETCD, **told)
    assert settings.own
    assert settings.subnet_file == Path("/run/other/subnet.env")
    assert settings.masquerade
    assert (settings.public_ip, settings.margin_s) == ("10.10.0.4", 5400.0)


@pytest.mark.parametrize("kind", ["", "k8s,bgp", "k8s,canalside"])
def test_without_canal_flannels_variables_say_nothing(kind):
    assert flannel(CLUSTER_TYPE=kind, **ETCD) is None


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("CALICO_NETWORKING_BACKEND", "vxlan", "must be none with CLUSTER_TYPE canal"),
        ("USE_POD_CIDR", "false", "must be true with canal"),
        ("FLANNELD_KUBE_SUBNET_MGR", "true", "in etcd only; give FLANNELD_ETCD_ENDPOINTS"),
        ("FLANNELD_SUBNET_FILE", "subnet.env", "must be an absolute path"),
        ("FLANNELD_SUBNET_FILE", "/run/../etc/subnet.env", "without '..'"),
        ("FLANNELD_PUBLIC_IP", "eth0", "must be an address"),
        ("FLANNELD_SUBNET_LEASE_RENEW_MARGIN", "0", "must be 1 to 1439 minutes"),
        ("FLANNELD_SUBNET_LEASE_RENEW_MARGIN", "1440", "must be 1 to 1439 minutes"),
        ("FLANNELD_SUBNET_LEASE_RENEW_MARGIN", "1h", "must be 1 to 1439 minutes"),
    ],
)
def test_what_cannot_be_is_refused_by_name(name, value, rule):
    with pytest.raises(Invalid) as caught:
        flannel(**{name: value})
    (problem,) = caught.value.problems
    assert (problem.field, problem.value) == (name, value)
    assert rule in problem.rule
