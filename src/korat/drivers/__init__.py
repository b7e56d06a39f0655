"""The only code that touches the world: stores, the kernel, Azure."""
