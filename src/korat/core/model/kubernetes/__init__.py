"""Kubernetes objects as Calico sees them: namespaces, accounts, network policies and pods."""

from korat.core.model.kubernetes.manifest import convert, decode_any
from korat.core.model.kubernetes.profile import account_profile, namespace_profile
from korat.core.model.kubernetes.workload import endpoint_of, interface_name

__all__ = [
    "account_profile",
    "convert",
    "decode_any",
    "endpoint_of",
    "interface_name",
    "namespace_profile",
]
