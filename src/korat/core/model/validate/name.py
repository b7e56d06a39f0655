"""Names, labels and annotations: what every object must keep to.

Source: Kubernetes' DNS-1123 and qualified names; libcalico-go/lib/validator/v3 for policies,
tiers and the size of annotations.
"""

import re

from korat.core.model.ipam import BlockAffinity, IPAMBlock, IPAMHandle
from korat.core.model.policy import GlobalNetworkPolicy, NetworkPolicy, Tier
from korat.core.model.resource import Resource
from korat.core.model.staged import StagedGlobalNetworkPolicy, StagedNetworkPolicy
from korat.core.model.validate.faults import Faults

NAME_CHARS = 253
LABEL_CHARS = 63
#: An affinity's or a handle's name holds the name of a node.
LOOSE_CHARS = 512
ANNOTATIONS_BYTES = 256 * 1024

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_POLICY = (
    re.compile(rf"{_LABEL}(\.{_LABEL})?|(knp|ossg)\.default\.{_SUBDOMAIN}"),
    "must be of lower case letters, digits and '-', with at most one dot",
)
_GLOBAL_POLICY = (
    re.compile(rf"({_LABEL}\.)?{_LABEL}"),
    "must be of lower case letters, digits and '-', with at most one dot",
)
_LOOSE = (re.compile(r"[!-~]+"), "must be of printable ASCII characters without blanks")
_NAMES = {
    IPAMBlock: _LOOSE,
    BlockAffinity: _LOOSE,
    IPAMHandle: _LOOSE,
    NetworkPolicy: _POLICY,
    StagedNetworkPolicy: _POLICY,
    GlobalNetworkPolicy: _GLOBAL_POLICY,
    StagedGlobalNetworkPolicy: _GLOBAL_POLICY,
    Tier: (re.compile(_LABEL), "must be of lower case letters, digits and '-'"),
}
_ANY_NAME = (
    re.compile(_SUBDOMAIN),
    "must be of lower case letters, digits, '-' and '.', and begin and end with a letter or digit",
)
_DNS_LABEL = re.compile(_LABEL)
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")


def metadata(faults: Faults, resource: Resource) -> None:
    """The object's name, namespace, labels and annotations."""
    pattern, rule = _NAMES.get(type(resource), _ANY_NAME)
    own = resource.metadata
    limit = LABEL_CHARS if isinstance(resource, Tier) else NAME_CHARS
    if pattern is _LOOSE[0]:
        limit = LOOSE_CHARS
    if len(own.name) > limit:
        faults.add("metadata.name", None, f"is {len(own.name)} characters long, at most {limit}")
    if own.name:
        faults.matches("metadata.name", own.name, pattern, rule)
    else:
        faults.add("metadata.name", None, "is missing")
    if own.namespace:
        dns_label(faults, "metadata.namespace", own.namespace)
    labels(faults, "metadata.labels", own.labels)
    annotations(faults, "metadata.annotations", own.annotations)


def name(faults: Faults, field: str, text: str) -> None:
    """The name of some object, as another one refers to it."""
    faults.matches(field, text, *_ANY_NAME)


def dns_label(faults: Faults, field: str, text: str) -> None:
    """One DNS label."""
    if len(text) > LABEL_CHARS or not _DNS_LABEL.fullmatch(text):
        faults.add(field, text, "must be a DNS label: at most 63 of lower case letters, digits, -")


def labels(faults: Faults, field: str, own: dict[str, str]) -> None:
    """A mapping of labels: qualified names to label values."""
    for key, value in own.items():
        qualified_name(faults, f"{field}.{key}", key)
        label_value(faults, f"{field}.{key}", value)


def qualified_name(faults: Faults, field: str, key: str) -> None:
    """The key of a label or annotation: ``app`` or ``example.com/app``."""
    prefix, slash, own = key.rpartition("/")
    if slash and (len(prefix) > NAME_CHARS or not _ANY_NAME[0].fullmatch(prefix)):
        faults.add(field, key, "the part before '/' must be a DNS name in lower case")
    if len(own) > LABEL_CHARS or not _QUALIFIED.fullmatch(own):
        faults.add(field, key, "must be at most 63 letters, digits, '-', '_', '.'")


def label_value(faults: Faults, field: str, value: str) -> None:
    """The value of a label."""
    if len(value) > LABEL_CHARS or not _VALUE.fullmatch(value):
        faults.add(field, value, "a label's value is at most 63 letters, digits, '-', '_', '.'")


def annotations(faults: Faults, field: str, own: dict[str, str]) -> None:
    """A mapping of annotations: qualified names, 256 kB in all."""
    for key in own:
        qualified_name(faults, f"{field}.{key}", key.lower())
    size = sum(len(key.encode()) + len(value.encode()) for key, value in own.items())
    if size > ANNOTATIONS_BYTES:
        faults.add(field, None, f"are {size} bytes in all, at most {ANNOTATIONS_BYTES}")
