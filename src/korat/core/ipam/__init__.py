"""Addresses for workloads: a request and a state give an assignment."""
