"""etcd's settings from Calico's variables and from flannel's."""

import subprocess
import sys
from pathlib import Path

import pytest

from korat.core.errors import Invalid, Unsupported
from korat.drivers.etcd.settings import Endpoint, EtcdSettings, calico_etcd, flannel_etcd

PASSWORD = "never-tell-me"  # noqa: S105 - of nothing


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("http://10.0.0.4:2379", ["10.0.0.4:2379"]),
        ("https://etcd-1.example:4001/", ["etcd-1.example:4001"]),
        ("http://[fd00::4]:2379", ["[fd00::4]:2379"]),
        ("http://10.0.0.4", ["10.0.0.4:2379"]),
        (" http://a:1 ,http://b:2,, http://a:1", ["a:1", "b:2"]),
    ],
)
def test_endpoints(text, targets):
    settings = calico_etcd({"ETCD_ENDPOINTS": text})
    assert [endpoint.target for endpoint in settings.endpoints] == targets
    assert {endpoint.secure for endpoint in settings.endpoints} == {text.startswith("https")}


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.4:2379",
        "unix:///run/etcd",
        "http://",
        "http://a:port",
        "http://a:70000",
        f"http://korat:{PASSWORD}@a:1",
        "http://a:1/v3",
        "http://a:1?x=1",
    ],
)
def test_what_is_no_endpoint(text):
    with pytest.raises(Invalid, match="ETCD_ENDPOINTS must be http") as caught:
        calico_etcd({"ETCD_ENDPOINTS": f"http://b:1,{text}"})
    assert PASSWORD not in str(caught.value)


def test_calicos_variables_with_and_without_its_prefix():
    settings = calico_etcd(
        {
            "CALICO_ETCD_ENDPOINTS": "http://elsewhere:1",
            "ETCD_ENDPOINTS": "https://a:1",
            "ETCD_CA_CERT_FILE": "/tls/ca.pem",
            "ETCD_CERT_FILE": "/tls/cert.pem",
            "CALICO_ETCD_KEY_FILE": "/tls/key.pem",
            "ETCD_KEY_FILE": "",
            "ETCD_USERNAME": "korat",
            "ETCD_PASSWORD": PASSWORD,
            "FLANNELD_ETCD_ENDPOINTS": "http://flannels:1",
        }
    )
    assert settings == EtcdSettings(
        (Endpoint("a", 1, secure=True),),
        Path("/tls/ca.pem"),
        Path("/tls/cert.pem"),
        Path("/tls/key.pem"),
        "korat",
        PASSWORD,
    )


def test_flannels_variables():
    flannel = flannel_etcd(
        {
            "FLANNELD_ETCD_ENDPOINTS": "https://a:1",
            "FLANNELD_ETCD_PREFIX": "/shop/network/",
            "FLANNELD_ETCD_CAFILE": "/tls/ca.pem",
            "FLANNELD_ETCD_CERTFILE": "/tls/cert.pem",
            "FLANNELD_ETCD_KEYFILE": "/tls/key.pem",
            "FLANNELD_ETCD_USERNAME": "korat",
            "FLANNELD_ETCD_PASSWORD": PASSWORD,
            "ETCD_ENDPOINTS": "http://calicos:1",
        }
    )
    assert flannel.root == "/shop/network"
    assert flannel.etcd == EtcdSettings(
        (Endpoint("a", 1, secure=True),),
        Path("/tls/ca.pem"),
        Path("/tls/cert.pem"),
        Path("/tls/key.pem"),
        "korat",
        PASSWORD,
        prefix="FLANNELD_ETCD_",
    )


def test_flannels_defaults():
    flannel = flannel_etcd({})
    assert flannel.root == "/coreos.com/network"
    assert [each.target for each in flannel.etcd.endpoints] == ["127.0.0.1:4001", "127.0.0.1:2379"]


def test_every_fault_at_once():
    with pytest.raises(Invalid) as caught:
        calico_etcd({"ETCD_CERT_FILE": "/tls/cert.pem", "ETCD_PASSWORD": PASSWORD})
    assert [problem.field for problem in caught.value.problems] == [
        "ETCD_ENDPOINTS",
        "ETCD_KEY_FILE",
        "ETCD_USERNAME",
    ]
    with pytest.raises(Invalid, match="ETCD_CERT_FILE must be set where ETCD_KEY_FILE is"):
        calico_etcd({"ETCD_ENDPOINTS": "http://a:1", "ETCD_KEY_FILE": "/tls/key.pem"})
    with pytest.raises(Invalid, match="ETCD_PASSWORD a user and a password belong together"):
        calico_etcd({"ETCD_ENDPOINTS": "http://a:1", "ETCD_USERNAME": "korat"})


@pytest.mark.parametrize("endpoints", ["http://a:1", "https://a:1,http://b:1"])
@pytest.mark.parametrize("named", ["CAFILE", "CERTFILE"])
def test_who_names_certificates_never_talks_in_plain_text(endpoints, named):
    environ = {"FLANNELD_ETCD_ENDPOINTS": endpoints, f"FLANNELD_ETCD_{named}": "/tls/x.pem"}
    environ |= {"FLANNELD_ETCD_KEYFILE": "/tls/key.pem"} if named == "CERTFILE" else {}
    rule = f"FLANNELD_ETCD_ENDPOINTS must all begin with https:// where FLANNELD_ETCD_{named} is"
    with pytest.raises(Invalid, match=rule):
        flannel_etcd(environ)


@pytest.mark.parametrize("prefix", ["network", "/", "//"])
def test_what_is_no_prefix(prefix):
    with pytest.raises(Invalid, match="FLANNELD_ETCD_PREFIX"):
        flannel_etcd({"FLANNELD_ETCD_PREFIX": prefix})


@pytest.mark.parametrize("variable", ["ETCD_DISCOVERY_SRV", "CALICO_ETCD_DISCOVERY_SRV"])
def test_members_are_not_looked_up_in_dns(variable):
    with pytest.raises(Unsupported, match="ETCD_ENDPOINTS"):
        calico_etcd({variable: "example.com"})


def test_the_password_is_in_no_text():
    settings = calico_etcd(
        {"ETCD_ENDPOINTS": "http://a:1", "ETCD_USERNAME": "korat", "ETCD_PASSWORD": PASSWORD}
    )
    assert PASSWORD not in f"{settings} {settings!r}"


def test_who_does_not_talk_to_etcd_does_not_pay_for_grpc():
    program = (
        "import sys, korat.agent.main, korat.cli.main, korat.controllers.main,"
        " korat.drivers.etcd.settings, korat.drivers.etcd.value\n"
        "sys.exit(bool({'grpc', 'google.protobuf'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
