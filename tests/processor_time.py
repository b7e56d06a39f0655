"""How much processor time child processes took; others on the machine hardly lengthen it."""

import resource


def of_children_s() -> float:
    """Of all children that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
