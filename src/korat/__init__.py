"""Korat: Calico networking and network policy for Azure."""

__version__ = "0.1.0"
