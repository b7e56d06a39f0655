"""What flannel's side of a node knew last, in a file that outlasts the agent, but no boot.

An agent that starts while the leases cannot be read goes on with it: the tunnel is kept, and only
nodes that had a lease may send into it. After a boot there is no tunnel that would need it.
"""

from pathlib import Path

import msgspec
import structlog

from korat.agent.flannel_overlay import FlannelState
from korat.drivers.file import replace

log = structlog.get_logger(__name__)

_NAME = "flannel.json"


def remember(run_dir: Path, state: FlannelState) -> None:
    """Write it down; what cannot be is told, and nothing else is held up by it."""
    try:
        replace(run_dir / _NAME, msgspec.json.encode(state))
    except OSError as error:
        log.error("flannel's leases are not kept", path=str(run_dir / _NAME), error=str(error))


def recall(run_dir: Path) -> FlannelState | None:
    """What was written last; None where there is nothing that can be read."""
    path = run_dir / _NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=FlannelState)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        log.warning("flannel's leases of before are lost", path=str(path), error=str(error))
        return None


def forget(run_dir: Path) -> None:
    """The node's flannel is no longer korat's."""
    (run_dir / _NAME).unlink(missing_ok=True)
