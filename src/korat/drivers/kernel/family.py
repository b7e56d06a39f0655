"""What the kernel calls the IP versions."""

from socket import AF_INET, AF_INET6

from korat.core.net.address import Family

AF = {Family.V4: int(AF_INET), Family.V6: int(AF_INET6)}
