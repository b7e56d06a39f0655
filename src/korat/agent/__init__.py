"""The node program: what calico/node and Felix do on every machine, in one process."""
