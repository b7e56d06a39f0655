"""Addresses, prefixes, intervals and longest-prefix match, on plain integers."""
