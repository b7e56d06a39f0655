"""Waiting until every packet that was on its way through the kernel has come through.

For: looking at what packets leave behind, connections above all, after the rules have changed. A
packet is worked off within one read-side section of RCU, and membarrier(2) waits until all that
are open have ended; where it may not be called, a pause has to do.
Source: membarrier(2), kernel/sched/membarrier.c (MEMBARRIER_CMD_GLOBAL is synchronize_rcu).
"""

import ctypes
import platform
import time

_NUMBERS = {"x86_64": 324, "aarch64": 283}
_GLOBAL = 1
_PAUSE_S = 0.05

_libc = ctypes.CDLL(None, use_errno=True)


def packets_under_way() -> None:
    """Return when no packet is on its way any more that was so when this was called."""
    number = _NUMBERS.get(platform.machine())
    if number is None or _libc.syscall(ctypes.c_long(number), _GLOBAL, 0) != 0:
        time.sleep(_PAUSE_S)
