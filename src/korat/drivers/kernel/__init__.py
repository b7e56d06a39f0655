"""The Linux kernel: nftables, netlink, conntrack, sysctls, network namespaces."""
