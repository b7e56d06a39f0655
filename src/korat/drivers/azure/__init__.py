"""Azure through the official SDK: the virtual network that carries the pods."""
