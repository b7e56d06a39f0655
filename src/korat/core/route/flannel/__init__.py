"""flannel's side of a node: its network configuration, its subnets' leases, its tunnel."""
