"""Calico's own tables of valid and invalid values, row by row.

Each row is wrapped into a whole object and read as a manifest is: decode, default, validate. Rows
of kinds that korat does not store yet are counted and named, not run.
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from korat.core.errors import Invalid
from korat.core.model import number
from korat.core.model.endpoint_name import (
    EndpointIdentity,
    endpoint_name,
)
from korat.core.model.kind import KINDS
from korat.core.model.kubernetes import decode_any
from korat.core.net.port import canonical_protocol

CASES = Path(__file__).resolve().parents[4] / ".." / "shared" / "cases"

#: Where korat decides otherwise than Calico, on purpose: the row, and why.
DIFFERENCES = {
    "should reject protocol tcp": (
        "names of protocols are matched in any case on input and stored in Calico's own"
    ),
}


def rows(name):
    path = CASES / name
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="the tables of cases are not here")


def rule(**fields):
    return ("GlobalNetworkPolicy", {"ingress": [{"action": "Allow", **fields}]})


def endpoint(**fields):
    own = {"node": "n", "orchestrator": "foo", "workload": "w", "endpoint": "e"}
    return ("WorkloadEndpoint", {**own, "interfaceName": "cali0", **fields})


def controllers(**fields):
    return ("KubeControllersConfiguration", {"controllers": fields})


#: How a part of an object becomes a whole one: kind and spec.
PARTS = {
    "Rule": lambda o: rule(**o),
    "EntityRule": lambda o: rule(protocol="TCP", source=o),
    "ICMPFields": lambda o: rule(protocol="ICMP", icmp=o),
    "HTTPMatch": lambda o: rule(http=o),
    "Protocol": lambda o: rule(protocol=o),
    "ProtoPort": lambda o: ("FelixConfiguration", {"failsafeInboundHostPorts": [o]}),
    "WorkloadEndpointSpec": lambda o: endpoint(**o),
    "WorkloadEndpointPort": lambda o: endpoint(ports=[o]),
    "NodeControllerConfig": lambda o: controllers(node=o),
    "Template": lambda o: controllers(node={"hostEndpoint": {"templates": [o]}}),
    "IPNAT": lambda o: endpoint(ipNetworks=[o["internalIP"]], ipNATs=[o]),
}


def whole(row):
    """The object that a row is about, or None when korat does not store its kind."""
    name = row["type"].rpartition(".")[2]
    obj = row["obj"]
    if name in KINDS:
        return {"kind": name, "apiVersion": "projectcalico.org/v3", **obj}
    if name in PARTS:
        kind, spec = PARTS[name](obj)
        body = {"spec": spec}
    elif name.removesuffix("Spec") in KINDS:
        kind, body = name.removesuffix("Spec"), {"spec": obj}
    elif name == "NodeStatus":
        kind, body = "Node", {"status": obj}
    else:
        return None
    own = {"WorkloadEndpoint": "n-foo-w-e", "FelixConfiguration": "default"}
    own = {**own, "KubeControllersConfiguration": "default"}
    own = {**own, "BlockAffinity": "host:node-1/10.0.0.0-24"}.get(kind, "test")
    return {
        "kind": kind,
        "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": own},
        **body,
    }


VALIDATOR = rows("validator.jsonl")
APPLICABLE = [row for row in VALIDATOR if whole(row) is not None]


def ids(row):
    return f"{row['type']}: {row['desc'][:60]}"


@needs_cases
@pytest.mark.parametrize("row", APPLICABLE, ids=ids)
def test_validator_row(row):
    problems = problems_of(whole(row))
    if row["valid"] or row["desc"] in DIFFERENCES:
        assert not problems
    else:
        assert problems, row["calico_error"]
        assert all(problem.where for problem in problems)
        assert names_a_field_of(row["calico_error"], problems), problems


def problems_of(raw):
    try:
        decode_any(raw)
    except Invalid as invalid:
        return invalid.problems
    return ()


#: Names of whole structs, and one that the field has in Go only.
WHOLE = (
    ["tier"],
    ["routetablerange"],
    ["externalnodescidrlist"],
    ["stagedglobalnetworkpolicyspec"],
)


def names_a_field_of(calico_error, problems):
    """Whether one of our problems is about a field that Calico's error is about.

    Calico names a Go field, a JSON path or just the object that holds the field.
    """
    theirs = re.findall(
        r"(?:error with field |^-  )([A-Za-z][\w.\[\]]*)", calico_error, re.MULTILINE
    )
    ours = [re.sub(r"\[\d+\]", "", p.field).lower() for p in problems]
    for name in theirs:
        words = re.sub(r"\[\d+\]", "", name).lower().removeprefix("ippool.").split(".")
        if any(words[-1] in path or path.startswith(".".join(words)) for path in ours):
            return True
        if words in WHOLE:
            return True
    return not theirs


@needs_cases
def test_validator_rows_are_all_accounted_for(capsys):
    missing = Counter(row["type"] for row in VALIDATOR if whole(row) is None)
    with capsys.disabled():
        kinds = ", ".join(f"{name} {count}" for name, count in sorted(missing.items()))
        sys.stdout.write(
            f"\nvalidator.jsonl: {len(APPLICABLE)} rows run, {len(DIFFERENCES)} differ on "
            f"purpose, {sum(missing.values())} of kinds not stored yet ({kinds})\n"
        )
    assert len(APPLICABLE) + sum(missing.values()) == len(VALIDATOR) == 347
    assert len(APPLICABLE) == 271
    assert not {name.rpartition(".")[2] for name in missing} & set(KINDS)


#: DSCP values and Calico's v1 form are nothing that korat has.
ALL_NUMBERS = rows("numorstring.jsonl")
NUMBERS = [row for row in ALL_NUMBERS if not re.search("DSCP|FromStringV1", json.dumps(row))]


@needs_cases
@pytest.mark.parametrize("row", NUMBERS, ids=lambda row: f"{row['Table'][11:]}: {row['Desc']}")
def test_number_or_string_row(row):
    CHECKS[row["Table"]](row)


@needs_cases
def test_number_or_string_rows_are_all_accounted_for(capsys):
    left_out = [row for row in ALL_NUMBERS if row not in NUMBERS]
    with capsys.disabled():
        sys.stdout.write(
            f"\nnumorstring.jsonl: {len(NUMBERS)} rows run, {len(left_out)} not applicable\n"
        )
    assert len(ALL_NUMBERS) == 105
    assert len(NUMBERS) == 65


def read_number(row):
    text, _, expected = row["Args"]
    kind = row["Desc"]
    parse = {"AS": number.as_number, "port": number.port, "protocol": canonical_protocol}[
        next(word for word in ("AS", "protocol", "port") if word in kind)
    ]
    try:
        value = json.loads(text)
        result = parse(value)
    except ValueError:
        assert expected is None
    else:
        assert result == expected


def written_number(row):
    value, text = row["Args"]
    parse = {
        "numorstring.ASNumber": number.as_number,
        "numorstring.Port": number.port,
        "numorstring.Protocol": canonical_protocol,
    }[row["Types"][0]]
    assert json.dumps(parse(value)) == text


def printed_number(row):
    value, text = row["Args"]
    parse = {
        "numorstring.ASNumber": number.as_number,
        "numorstring.Port": number.port,
        "numorstring.Protocol": canonical_protocol,
    }[row["Types"][0]]
    assert str(parse(value)) == text


def protocol_with_ports(row):
    value, expected = row["Args"]
    assert number.has_ports(canonical_protocol(value)) is expected


def protocol_case(row):
    value, expected = row["Args"]
    assert canonical_protocol(value) == expected


def named_port(row):
    text, expected, valid = row["Args"]
    if not valid:
        with pytest.raises(ValueError, match="a port is"):
            number.port(text)
    elif text.isdecimal():
        # Calico's constructor of names takes digits too; its JSON form reads them as a number.
        assert number.port(text) == int(expected)
    else:
        assert number.port(text) == expected


CHECKS = {
    "NumOrStringJSONUnmarshaling": read_number,
    "NumOrStringJSONMarshaling": written_number,
    "NumOrStringStringify": printed_number,
    "NumOrStringProtocolsSupportingPorts": protocol_with_ports,
    "NumOrStringProtocols FromString is not case-sensitive": protocol_case,
    "NumOrString named ports": named_port,
}

#: Calico also takes names apart and completes beginnings of them; korat never has to.
NAMES = [row for row in rows("workloadendpoint_names.jsonl") if row["Table"].endswith(" names")]


def identity_of(fields):
    names = {"Node", "Orchestrator", "Endpoint", "Workload", "Pod"}
    own = {name.lower(): fields[name] for name in names}
    return EndpointIdentity(container_id=fields["ContainerID"], **own)


def outcome(function, *args):
    """What a function gives, or the first word of why not: the name of the field."""
    try:
        return function(*args), ""
    except ValueError as error:
        word = str(error).split()[0]
        return "", {"container_id": "containerID"}.get(word, word)


@needs_cases
@pytest.mark.parametrize("row", NAMES, ids=lambda row: f"{row['Table'][17:]}: {row['Desc']}")
def test_endpoint_name_row(row):
    fields, *expected = row["Args"]
    assert outcome(endpoint_name, identity_of(fields)) == tuple(expected)
