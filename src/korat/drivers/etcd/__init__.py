"""etcd, version 3: a client of korat's own, and flannel's subnet leases on it."""
