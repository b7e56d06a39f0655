"""Peer classes and verdict tables: policy compiled to flat lookups, and its slow twin."""
