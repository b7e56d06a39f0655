"""The rulesets that the data path rows compare, each in a lane of its own.

- none: no table at all, and so no connection tracking either
- again: none once more; what two lanes differ that should not
- conntrack: one rule for established connections, one that counts and accepts new ones
- tables N: the cluster of size N, put there by the real agent, which ends then
- plain N: the same cluster as ``render_slow`` makes it, every rule tried one by one
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.agent import program
from bench.cluster import NODE, Shape, objects
from bench.ends import Ends
from bench.lane import SERVER, Lane, lane
from bench.plan import Context
from bench.process import BenchError, cores, worker
from korat.core.model.felix import FelixSettings
from korat.core.policy.cluster import Cluster
from korat.core.render.nft.node import NodeInput, render_slow
from korat.core.table.compile import local_endpoints, workloads_of
from korat.core.table.value import NodePolicy
from korat.drivers.kernel import namespace
from korat.drivers.kernel.nft import Nft

NONE, AGAIN, CONNTRACK = "none", "again", "conntrack"
_DENIED_PORT, _DENIED_S = 20_000, 0.3
_ONE_RULE = """
add table inet one
add chain inet one forward { type filter hook forward priority 0; policy accept; }
add rule inet one forward ct state established,related accept
add rule inet one forward counter accept
"""


@dataclass(frozen=True, slots=True)
class Variant:
    """A lane with a ruleset."""

    name: str
    lane: Lane


def ways_of(made: Mapping[str, Variant]) -> tuple[Ends, ...]:
    """What a load drives of each variant, in their order."""
    return tuple(variant.lane.ends for variant in made.values())


def tables_of(shape: Shape) -> str:
    """The name of the variant with this size's verdict tables."""
    return f"tables {shape.focus}"


def plain_of(shape: Shape) -> str:
    """The name of the variant with this size's plain sequence."""
    return f"plain {shape.focus}"


def label(shape: Shape) -> str:
    """How rows name a size."""
    many = "policy" if shape.focus == 1 else "policies"
    return f"{shape.focus:,} {many}, {shape.remote:,} peers"


@contextmanager
def variants(context: Context, names: tuple[str, ...]) -> Iterator[dict[str, Variant]]:
    """The lanes of these names, programmed; those that cannot be had in time are left out."""
    sizes = {name(s): s for s in context.plan.sizes for name in (tables_of, plain_of)}
    with ExitStack() as stack:
        made: dict[str, Variant] = {}
        for number, name in enumerate(names):
            one = stack.enter_context(lane(f"d{number}"))
            try:
                _program(context, name, one, sizes.get(name))
                if name in sizes:
                    _refuse_open(one)
            except BenchError as error:
                context.say(f"{name}: left out: {error}")
            else:
                made[name] = Variant(name, one)
        yield made


def _program(context: Context, name: str, one: Lane, shape: Shape | None) -> None:
    context.say(f"preparing: {name}")
    if name == CONNTRACK:
        namespace.run_in(one.node, lambda: Nft().apply(_ONE_RULE))
    elif shape is not None and name.startswith("tables"):
        program(one, context.files.copy(shape), cores()[0], context.plan.load_limit_s)
    elif shape is not None:
        # In a process of its own, so that one that takes too long can be ended.
        with worker("plain", cores()[0], lambda: _load_plain(one, shape)) as loading:
            loading.ask(timeout_s=context.plan.plain_limit_s)


def _refuse_open(one: Lane) -> None:
    """What no policy allows must not pass, or something else than policy would be measured.

    Raises:
        BenchError: it does.
    """
    with namespace.socket_in(one.client) as asking:
        asking.settimeout(_DENIED_S)
        try:
            asking.connect((str(SERVER), _DENIED_PORT))
        except TimeoutError:
            return
        except ConnectionRefusedError:
            pass
    raise BenchError(f"port {_DENIED_PORT} can be reached, which no policy allows")


def _load_plain(one: Lane, shape: Shape) -> None:
    cluster = Cluster.build(objects(shape))
    local = local_endpoints(cluster, NODE)
    node = NodeInput(NodePolicy(workloads_of(local), {}), FelixSettings())
    text = render_slow(node, cluster, local).text
    namespace.run_in(one.node, lambda: Nft().apply(text))
