"""Kubernetes objects as Calico sees them: namespaces, accounts, network policies and pods."""
