"""Azure: the virtual network through the official SDK, and a VM's own NIC by plain HTTP."""
