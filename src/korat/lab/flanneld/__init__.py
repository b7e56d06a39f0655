"""A stand-in for flanneld in the lab's VMs: flannel's contract, without korat's code for it.

``python -m korat.lab.flanneld`` runs inside a VM's network namespace beside korat, as a real
flanneld does under canal, or on a VM without korat as the other side of a mixed cluster. It is a
twin to test korat's own flannel side against, so it is plain on purpose: it runs ``ip``,
``bridge``, ``nft`` and ``etcdctl``, and reads what they print. Where ``KORAT_LAB_FLANNELD`` names
a real flanneld, that is run instead (``launch``); the test of this package runs both side by side.

Kept as flanneld has it: keys and values in etcd byte for byte, leases of a day taken by
transaction and renewed a margin before they end, which subnet is chosen, ``subnet.env``, the
device, neighbours, forwarding entries and routes, the masquerade rules of its nftables mode, the
flags and ``FLANNELD_*`` variables named in ``options``, and what it leaves behind: at SIGTERM
everything; when its own key is deleted it ends with 0, everything left as well. Like flanneld it
sweeps nothing when it starts, and does not compare a peer's VNI or MAC with what it had before.

Left out: IPv6; every backend but ``vxlan``, DirectRouting, GBP and Learning (it refuses them, with
the reason); TLS and passwords for etcd; the Kubernetes subnet manager; iptables (its masquerade
rules are nftables', whatever EnableNFTables says) and the rules of the forward chain; the blackhole
route; healthz; making the device again when somebody removes it (flanneld does, under another MAC
that it tells nobody); taking its key back when somebody overwrites it.

Source: flannel v0.28.9 (cdf7605), and what its flanneld was seen to do in namespaces.
"""
