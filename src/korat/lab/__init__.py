"""An Azure fabric in a box: virtual machines, route tables and pods on one machine."""
