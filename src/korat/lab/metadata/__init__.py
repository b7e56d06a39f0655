"""What Azure tells a virtual machine of itself: instance metadata (IMDS) and the wireserver."""
