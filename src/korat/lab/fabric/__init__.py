"""The Azure fabric in network namespaces: real packets, forwarded by what ARM holds."""
