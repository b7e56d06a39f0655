"""IMDS's contract, request by request."""

import pytest

from fabric_wire import nic
from korat.core.net.address import Addr
from korat.lab.arm.view import MachineView
from korat.lab.metadata.imds import VERSIONS, Question, refusal, reply, throttled

V = "2021-12-13"
ADDRESSES = (Addr.parse("10.10.0.4"), Addr.parse("10.10.0.40"))
MACHINE = MachineView(
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1",
    "westeurope",
    (nic(1, (), addresses=ADDRESSES),),
)


def ask(path, **query):
    names = {"version": "api-version", "form": "format"}
    asked = {names[key]: value for key, value in query.items()}
    return reply(Question("GET", path, asked, {"metadata": "true"}), MACHINE)


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"metadata": "true"}, None),
        ("GET", {"metadata": "True"}, None),
        ("GET", {}, 400),
        ("GET", {"metadata": "false"}, 400),
        ("GET", {"metadata": "true", "x-forwarded-for": "10.10.0.9"}, 400),
        ("POST", {"metadata": "true"}, 405),
        ("HEAD", {"metadata": "true"}, 405),
    ],
)
def test_what_a_request_must_be(method, headers, status):
    refused = refusal(Question(method, "/metadata/instance", {}, headers))
    assert (refused.status if refused else None) == status


FIRST = "/metadata/instance/network/interface/0"


@pytest.mark.parametrize(
    ("path", "form", "status", "body"),
    [
        (f"{FIRST}/ipv4/ipAddress/1/privateIpAddress", "text", 200, "10.10.0.40"),
        (f"{FIRST}/ipv4/ipAddress/0/publicIpAddress", "text", 200, ""),
        (f"{FIRST}/ipv4/subnet", "json", 200, [{"address": "10.10.0.0", "prefix": "24"}]),
        (f"{FIRST}/macAddress/", "text", 200, "000D3A000001"),
        ("/metadata/instance/compute/name", "text", 200, "vm1"),
        (f"{FIRST}/macAddress", "json", 400, None),
        (f"{FIRST}/ipv4", "text", 400, None),
        (f"{FIRST}/ipv4", "yaml", 400, None),
        (f"{FIRST}/ipv5", "json", 404, None),
        ("/metadata/instance/network/interface/1", "json", 404, None),
        ("/metadata/attested/document", "json", 404, None),
        ("/", "json", 404, None),
    ],
)
def test_parts_and_their_formats(path, form, status, body):
    answer = ask(path, version=V, form=form)
    assert answer.status == status
    if body is not None:
        assert answer.body == body
    else:
        assert set(answer.body) == {"error"}


def test_json_is_what_is_meant_without_a_format():
    assert set(ask("/metadata/instance", version=V).body) == {"compute", "network"}
    assert ask("/metadata/instance/compute/name", version=V).status == 400


@pytest.mark.parametrize("query", [{}, {"version": "2016-01-01"}, {"version": ""}])
def test_a_request_needs_a_version_that_there_is(query):
    answer = ask("/metadata/instance", **query)
    assert answer.status == 400
    assert answer.body["newest-versions"] == ["2025-07-24", "2025-04-07", "2023-11-15"]


def test_every_version_answers_and_they_are_listed():
    assert all(ask("/metadata/instance", version=version).status == 200 for version in VERSIONS)
    assert ask("/metadata/versions").body == {"apiVersions": list(VERSIONS)}
    assert list(VERSIONS) == sorted(set(VERSIONS))


def test_who_asks_too_often_is_told_when_to_come_back():
    answer = throttled()
    assert (answer.status, answer.headers) == (429, {"Retry-After": "1"})
