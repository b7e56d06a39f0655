"""What the agent tells of its policy at work: counters, metrics and the deny log, kept going.

One thread follows the settings and reads the counters from time to time; it never acts on the
kernel, and nothing waits for it. The node loop only rings.
"""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from korat.agent.counters import Counting
from korat.agent.denials import Denials
from korat.agent.intent import Intent
from korat.agent.metrics import NodeCollector, place_of
from korat.core.errors import KoratError
from korat.core.net.header import Header
from korat.core.policy.outcome import Direction, RuleRef
from korat.drivers.kernel.nft_counter import NftCounters
from korat.drivers.metrics import MetricsServer
from korat.drivers.tally import TallyServer

log = structlog.get_logger(__name__)

#: How often counters are read at least, so that little is lost when the table is loaded anew. Ten
#: thousand of them take 0.13 s of the interpreter.
_REFRESH_S = 30.0
#: Changes of settings are looked at no more often than this.
_PAUSE_S = 0.5


class Observer:
    """The three ways of telling, from ``start`` to ``close``."""

    def __init__(
        self, node_name: str, run_dir: Path, enforced: Callable[[], Intent | None]
    ) -> None:
        """``enforced`` says what the kernel was last made to enforce."""
        self._enforced = enforced
        self._counters = NftCounters("korat")
        self._counting = Counting(enforced, self._counters.read)
        self._tallies = TallyServer(run_dir, self._counting.tallies)
        self._metrics = MetricsServer(NodeCollector(node_name, enforced, self._counting.tallies))
        self._denials: tuple[int, Denials] | None = None
        self._failure = ""
        self._owners: tuple[Mapping[str, RuleRef], Mapping[str, RuleRef]] = ({}, {})
        self._bell = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ring(self) -> None:
        """What is enforced has changed; returns at once."""
        self._bell.set()

    def close(self) -> None:
        """End everything."""
        self._stopping.set()
        self._bell.set()
        self._thread.join()
        self._listen(None)
        self._metrics.close()
        self._tallies.close()
        self._counters.close()

    def _run(self) -> None:
        next_s = 0.0
        while not self._stopping.is_set():
            self._bell.wait(_REFRESH_S)
            self._bell.clear()
            try:
                self._look()
                if time.monotonic() >= next_s:
                    next_s = time.monotonic() + _REFRESH_S
                    self._counting.refresh()
            except KoratError as error:
                log.warning("counters cannot be read", error=str(error))
            except Exception as error:
                log.exception("a defect in what watches policy", error=str(error))
            self._stopping.wait(_PAUSE_S)

    def _look(self) -> None:
        enforced = self._enforced()
        if enforced is None:
            return
        owners = enforced.ruleset.counters
        if owners is not self._owners[0]:
            # A packet that an old rule denied may be told of when the rule is gone.
            self._owners = owners, self._owners[0]
        felix = enforced.felix
        self._metrics.move(place_of(felix))
        self._listen(felix.deny_log_group if felix.deny_log else None)

    def _listen(self, group: int | None) -> None:
        """Listen to this group and no other."""
        if self._denials is not None and self._denials[0] != group:
            self._denials[1].close()
            self._denials = None
            log.info("the deny log ends")
        if group is None or self._denials is not None:
            return
        try:
            self._denials = group, Denials(group, self._owner, self._endpoint)
            self._failure = ""
            log.info("the deny log begins", group=group)
        except KoratError as error:
            if str(error) != self._failure:
                log.warning("no deny log", error=str(error))
            self._failure = str(error)

    def _owner(self, name: str) -> RuleRef | None:
        enforced = self._enforced()
        newest = enforced.ruleset.counters if enforced else {}
        return next((each[name] for each in (newest, *self._owners) if name in each), None)

    def _endpoint(self, header: Header, direction: Direction) -> str:
        """The local workload whose policy denied."""
        enforced = self._enforced()
        address = header.dst if direction is Direction.INGRESS else header.src
        local = enforced.around.local if enforced else ()
        found = next((each for each in local if address in each.addresses), None)
        return f"{found.key.namespace}/{found.key.name}" if found else ""
