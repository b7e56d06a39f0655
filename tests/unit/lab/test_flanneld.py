"""What the stand-in for flanneld reads and writes, and which subnet it takes."""

import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from korat.core.errors import Invalid
from korat.lab.flanneld import options
from korat.lab.flanneld.contract import (
    Lease,
    free,
    key_of,
    lease_of,
    network_of,
    previous_subnet,
    subnet_env,
    value_of,
)
from korat.lab.flanneld.launch import REAL, command

PREFIX = "/coreos.com/network"
SUBNET = IPv4Network("10.5.34.0/24")


def config(more: str = "", backend: str = "") -> str:
    return f'{{"Network":"10.5.0.0/16"{more},"Backend":{{"Type":"vxlan"{backend}}}}}'


def lease(subnet: str) -> Lease:
    return Lease("", IPv4Network(subnet), IPv4Address("10.99.0.1"), "vxlan", "")


def test_a_configuration_with_flannels_defaults():
    network = network_of(config())
    assert (str(network.first), str(network.last), network.subnet_len) == (
        "10.5.1.0",
        "10.5.255.0",
        24,
    )
    assert (network.vni, network.port, network.outer_mtu) == (1, 8472, None)


@pytest.mark.parametrize(("network", "length"), [("/22", 24), ("/23", 25), ("/28", 30)])
def test_a_small_network_has_four_subnets(network: str, length: int):
    text = config().replace("/16", network)
    assert network_of(text).subnet_len == length
    assert len(list(network_of(text).subnets())) == 3, "the first is not used"


def test_names_are_read_without_regard_to_case():
    text = '{"network":"10.5.0.0/16","SUBNETLEN":26,"backend":{"type":"vxlan","vni":7,"mtu":1400}}'
    network = network_of(text)
    assert (network.subnet_len, network.vni, network.outer_mtu) == (26, 7, 1400)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"Backend":{"Type":"vxlan"}}', "cannot be read"),
        ('{"Network":"10.5.0.0/16"}', r"Backend\.Type"),
        (config().replace("vxlan", "host-gw"), r"Backend\.Type 'host-gw'"),
        (config(',"EnableIPv6":true'), "EnableIPv6"),
        (config(backend=',"DirectRouting":true'), "directrouting"),
        (config(',"SubnetLen":31'), "SubnetLen 31"),
        (config(',"SubnetLen":17'), "SubnetLen 17"),
        (config(',"SubnetMin":"10.5.1.128"'), "SubnetLen"),
    ],
)
def test_what_it_cannot_do_is_refused(text: str, said: str):
    with pytest.raises(Invalid, match=said):
        network_of(text)


def test_a_lease_as_flanneld_writes_it():
    key = key_of(PREFIX, SUBNET)
    value = value_of(IPv4Address("10.99.0.11"), 1, "22:9a:a8:d5:75:28")
    assert key == "/coreos.com/network/subnets/10.5.34.0-24"
    assert value == (
        '{"PublicIP":"10.99.0.11","PublicIPv6":null,"BackendType":"vxlan",'
        '"BackendData":{"VNI":1,"VtepMAC":"22:9a:a8:d5:75:28"}}'
    )
    read = lease_of(key, value)
    assert read == Lease(key, SUBNET, IPv4Address("10.99.0.11"), "vxlan", "22:9a:a8:d5:75:28")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("nonsense", '{"PublicIP":"10.99.0.11"}'),
        ("10.5.34.1-24", '{"PublicIP":"10.99.0.11"}'),
        ("10.5.34.0-24", "junk"),
        ("10.5.34.0-24", "{}"),
        ("10.5.34.0-24", '{"PublicIP":"--help"}'),
    ],
)
def test_what_is_no_lease_is_passed_over(key: str, value: str):
    assert lease_of(f"{PREFIX}/subnets/{key}", value) is None


def test_a_mac_that_is_none_never_reaches_a_command_line():
    value = '{"PublicIP":"10.99.0.11","BackendType":"vxlan","BackendData":{"VtepMAC":"--help"}}'
    assert lease_of(key_of(PREFIX, SUBNET), value).mac == ""


def test_the_first_hundred_free_subnets():
    network = network_of(config())
    left = free(network, [lease("10.5.2.0/24"), lease("10.5.4.0/23")])
    assert [str(each) for each in left[:3]] == ["10.5.1.0/24", "10.5.3.0/24", "10.5.6.0/24"]
    assert len(left) == 100
    assert not free(network, [lease("10.5.0.0/16")])


def test_only_subnets_of_the_configuration_fit():
    network = network_of(config())
    assert network.fits(SUBNET)
    assert not network.fits(IPv4Network("10.5.0.0/24")), "the first is not used"
    assert not network.fits(IPv4Network("10.5.34.0/26"))
    assert not network.fits(IPv4Network("10.6.0.0/24"))


def test_what_cni_plugins_read_and_the_next_start_too():
    text = subnet_env(network_of(config()), SUBNET, 1450, ip_masq=True)
    assert text == (
        "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\n"
        "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    )
    assert previous_subnet(text) == SUBNET
    assert previous_subnet("") is None
    assert previous_subnet("FLANNEL_SUBNET=junk\n") is None


def test_a_flag_wins_over_its_variable():
    environ = {"FLANNELD_IFACE": "eth9", "FLANNELD_IP_MASQ": "true", "FLANNELD_PUBLIC_IP": ""}
    read = options.parse(["--iface=eth0"], environ)
    assert (read.iface, read.ip_masq, read.public_ip) == ("eth0", True, "")
    assert not options.parse(["-ip-masq=false"], environ).ip_masq
    assert options.parse(["-ip-masq"], {}).ip_masq
    assert options.parse([], {}) == options.Options(
        etcd_endpoints="http://127.0.0.1:4001,http://127.0.0.1:2379",
        etcd_prefix=PREFIX,
        iface="",
        public_ip="",
        ip_masq=False,
        subnet_file=Path("/run/flannel/subnet.env"),
        subnet_lease_renew_margin=60,
    )


@pytest.mark.parametrize(
    "words", [["--no-such"], ["--subnet-lease-renew-margin=1440"], ["--ip-masq=perhaps"]]
)
def test_wrong_flags_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        options.parse(words, {})
    assert "usage" in capsys.readouterr().err


def started(environ: dict[str, str]) -> list[str]:
    return command(
        environ, etcd_endpoints="http://e:2379", interface="eth0", subnet_file=Path("/f/subnet.env")
    )


def test_the_stand_in_or_a_real_one_with_the_same_flags():
    flags = ["--etcd-endpoints=http://e:2379", "--iface=eth0", "--subnet-file=/f/subnet.env"]
    flags += ["--ip-masq=false"]
    assert started({}) == [sys.executable, "-m", "korat.lab.flanneld", *flags]
    assert started({REAL: sys.executable}) == [sys.executable, *flags]


@pytest.mark.parametrize("path", ["flanneld", "/no/such", "/etc/passwd", "/etc"])
def test_a_real_one_that_is_no_program_is_refused(path: str):
    with pytest.raises(Invalid, match=REAL):
        started({REAL: path})
