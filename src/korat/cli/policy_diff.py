"""policy diff: whose verdict would change if files were applied or deleted.

The change is made as ``korat apply -f`` or ``korat delete -f`` would make it, refusals included,
but in memory. Staged policies that are applied are taken as enforced, and all that there are if
wanted. Not for how it looks: that is ``policy_diff_screen``'s.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from msgspec import structs

from korat.cli.connect import connect
from korat.cli.manifest import Item
from korat.cli.policy_diff_host import HostDifference, host_difference, host_rows
from korat.cli.policy_place import Places
from korat.cli.policy_source import Snapshot, bare, running, store_of
from korat.cli.policy_words import Labels, Names, pods_words, traffic_rows
from korat.cli.question import title
from korat.core.errors import Unsupported
from korat.core.model.endpoint import WorkloadEndpoint
from korat.core.model.key import Key
from korat.core.model.kubernetes.endpointslice import kept, wanted_slices
from korat.core.model.kubernetes.workload import endpoint_of
from korat.core.model.pod import Pod
from korat.core.model.policy import GlobalNetworkPolicy, GlobalPolicySpec
from korat.core.model.resource import Resource
from korat.core.model.staged import Staged, StagedGlobalNetworkPolicy, StagedGlobalPolicySpec
from korat.core.net.address import Family
from korat.core.policy.promote import Promotion, promoted
from korat.core.table.compare import Ruling, compare
from korat.core.table.compare_group import Group, HostGroup, Peers, grouped
from korat.core.table.compare_pair import CrowdedError
from korat.core.table.paint import IntricateError
from korat.drivers.store.batch import Batch, Verb, prepare
from korat.drivers.store.client import Objects

#: A node may speak both.
_FAMILIES = frozenset(Family)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be compared: files over the store, or over other files; applied or deleted.

    With ``staged`` the staged policies that are there are enforced too.
    """

    items: Sequence[Item]
    base: Sequence[Item] = ()
    offline: bool = False
    delete: bool = False
    staged: bool = False
    config: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """Both sides of a change, and what turned between them, for pods and for nodes."""

    before: Snapshot
    after: Snapshot
    groups: Sequence[Group]
    hosts: HostDifference
    names: Names = field(repr=False)
    titles: Mapping[Key, str]
    families: Mapping[Key, frozenset[Family]]
    labels: Labels = field(repr=False)
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.groups or self.hosts.groups)

    def families_of(self, group: Group) -> frozenset[Family]:
        """The IP versions that the group's endpoints speak."""
        return frozenset[Family]().union(*(self.families[key] for key in group.endpoints))

    def endpoints(self, group: Group) -> list[str]:
        """The group's endpoints by name."""
        return [self.titles[key] for key in group.endpoints]

    def pods(self, group: Group) -> list[str]:
        """The pods among a group's peers; the endpoint itself only when it is not the only one."""
        found = self.names.pods(group.peers, self.families_of(group))
        alone = self.endpoints(group) if len(group.endpoints) == 1 else []
        return [name for name in found if name not in alone]

    def anybody_words(self, peers: Peers) -> list[str]:
        """Whoever is among some addresses at the interface of a node, pods by namespace."""
        whole = self.names.whole(peers, _FAMILIES)
        if whole:
            return [whole]
        pods = pods_words(self.names.pods(peers, _FAMILIES), self.titles.values(), self.labels)
        return [*pods, *self.names.strangers(peers, _FAMILIES)]

    def pods_words(self, group: Group) -> list[str]:
        """The same, by namespace where it is shorter."""
        alone = self.endpoints(group) if len(group.endpoints) == 1 else []
        everybody = [name for name in self.titles.values() if name not in alone]
        return pods_words(self.pods(group), everybody, self.labels)

    def strangers(self, group: Group) -> list[str]:
        """Who else is among a group's peers."""
        return self.names.strangers(group.peers, self.families_of(group))


def difference(wanted: Wanted) -> Difference:
    """Make the change in memory and compare.

    Raises:
        KoratError: the change would be refused, or cannot be compared.
    """
    client = store_of(wanted.base)[0] if wanted.offline else connect(wanted.config)
    resources = [resource for item in wanted.items for resource in item.resources]
    if wanted.offline:
        resources = [bare(resource) for resource in resources]
    batch = prepare(client, Verb.DELETE if wanted.delete else Verb.APPLY, resources)
    enforced = _enforced(_changed(batch), batch, everything=wanted.staged)
    there = enforced.objects
    items = wanted.base if wanted.delete else (*wanted.base, *wanted.items)
    old, new = Places(wanted.base), Places(items, enforced.made)
    if wanted.offline:
        before, after = running(batch.before, old), running(there, new)
    else:
        before, after = _stored(batch.before, old), _stored(_moved(there, batch), new)
    found = _compared(before, after)
    left_out = (*_left_out(found, batch.resources), *_of_hosts(found, batch.resources))
    notes = (*batch.notes, *enforced.notes, *left_out)
    return replace(found, notes=notes)


def _enforced(there: Mapping[Key, Resource], batch: Batch, *, everything: bool) -> Promotion:
    """The objects once the staged policies of the batch, or all that there are, are enforced."""
    applied = () if batch.verb is Verb.DELETE else batch.resources
    chosen = there.values() if everything else applied
    staged = sorted((r for r in chosen if isinstance(r, Staged)), key=lambda r: r.key)
    return promoted(there, staged)


def _changed(batch: Batch) -> dict[Key, Resource]:
    """The objects after the change."""
    named = {resource.key: resource for resource in batch.resources}
    if batch.verb is Verb.DELETE:
        return {key: r for key, r in batch.before.items() if key not in named}
    return {**batch.before, **named}


def _stored(there: Mapping[Key, Resource], places: Places) -> Snapshot:
    snapshot = Snapshot.of(Objects(dict(there), 0))
    return Snapshot(snapshot.objects, snapshot.cluster, places)


def _moved(there: Mapping[Key, Resource], batch: Batch) -> dict[Key, Resource]:
    """The objects with the endpoints and slices that there would be after the change."""
    pods = {r.key: r for r in batch.resources if isinstance(r, Pod)}
    after = dict(there)
    for key, endpoint in there.items():
        if not isinstance(endpoint, WorkloadEndpoint):
            continue
        pod = pods.get(Key("Pod", key.namespace, endpoint.spec.pod))
        if pod is None:
            continue
        if batch.verb is Verb.DELETE:
            del after[key]
        else:
            after[key] = _relabelled(endpoint, pod)
    return _with_slices(after, batch.before)


def _with_slices(
    there: Mapping[Key, Resource], before: Mapping[Key, Resource]
) -> dict[Key, Resource]:
    """The objects with the slices that services would have then, which follow from running pods."""
    pods = {key: r for key, r in before.items() if isinstance(r, Pod)}
    placed = [
        structs.replace(r, status=pods[key].status) if isinstance(r, Pod) and key in pods else r
        for key, r in there.items()
    ]
    others = {key: r for key, r in there.items() if not kept(r)}
    return {**wanted_slices(placed), **others}


def _relabelled(endpoint: WorkloadEndpoint, pod: Pod) -> WorkloadEndpoint:
    """The endpoint as the pod's new manifest makes it, where it is."""
    spec = endpoint.spec
    place = spec.node, spec.container_id, spec.ip_networks, spec.interface_name, spec.mac
    return endpoint_of(pod, *place)


def _compared(before: Snapshot, after: Snapshot) -> Difference:
    """Compare the workloads that both have, and the interfaces of nodes that either governs.

    Raises:
        Unsupported: port lists, or selectors of both ends, make too many pieces.
    """
    ends = [{e.key: e for e in each.cluster.endpoints} for each in (before, after)]
    shared = sorted(ends[0].keys() & ends[1].keys())
    try:
        groups = grouped(compare(before.cluster, after.cluster))
        hosts = host_difference(before, after)
    except IntricateError as error:
        remedy = "source and destination port lists multiply; use fewer ranges"
        raise Unsupported(f"the policies cannot be compared: {error}", remedy) from error
    except CrowdedError as error:
        remedy = "selectors and nets of both sides multiply; ask less of one side"
        text = f"the policies of host endpoints cannot be compared: {error}"
        raise Unsupported(text, remedy) from error
    titles = {key: title(after.objects, key) for key in shared}
    families = {key: frozenset(a.family for a in ends[0][key].addresses) for key in shared}
    names = Names(after.cluster, titles)
    labels = {titles[key]: ends[1][key].labels for key in shared}
    return Difference(before, after, groups, hosts, names, titles, families, labels)


def _left_out(found: Difference, resources: Iterable[Resource]) -> Iterator[str]:
    """Which pods of the files were not compared."""
    pods = [r for r in resources if isinstance(r, Pod) and not r.spec.host_network]
    names = {f"{pod.metadata.namespace}/{pod.metadata.name}" for pod in pods}
    missing = sorted(names - set(found.titles.values()))
    if missing:
        yield f"not compared, for they do not run both before and after: {', '.join(missing)}"


def _of_hosts(found: Difference, resources: Iterable[Resource]) -> Iterator[str]:
    """What is to be known about policies that have something only host endpoints know."""
    specs = [spec for resource in resources if (spec := _spec_for_hosts(resource)) is not None]
    if specs and not found.hosts.endpoints:
        yield "applyOnForward, preDNAT and doNotTrack say nothing here: there is no host endpoint"
    elif any(spec.do_not_track for spec in specs):
        yield (
            "doNotTrack policy is compared packet by packet: "
            "whether replies to what it allows are allowed too is a change of its own"
        )


def _spec_for_hosts(resource: Resource) -> GlobalPolicySpec | StagedGlobalPolicySpec | None:
    """The spec of a policy that has something only host endpoints know."""
    match resource:
        case GlobalNetworkPolicy() | StagedGlobalNetworkPolicy():
            spec = resource.spec
            switches = spec.apply_on_forward, spec.pre_dnat, spec.do_not_track
            return spec if any(switches) else None
        case _:
            return None


def rows(found: Difference) -> Iterator[dict[str, Any]]:
    """Every change for scripts, one peer and one protocol each."""
    for group in found.groups:
        names = [*found.names.pods(group.peers, found.families_of(group)), *found.strangers(group)]
        for endpoint, peer in product(found.endpoints(group), names):
            if endpoint != peer:
                for protocol, ports in traffic_rows(group.traffic):
                    yield {
                        "direction": group.direction.value,
                        "endpoint": endpoint,
                        "peer": peer,
                        "protocol": protocol,
                        "ports": ports,
                        **_rulings(group, found),
                    }
    for change, row in host_rows(found.hosts, found.names):
        yield {**row, **_rulings(change, found)}


def _rulings(group: Group | HostGroup, found: Difference) -> dict[str, Any]:
    before = _ruling("before", group.before, found.before)
    return {**before, **_ruling("after", group.after, found.after)}


def _ruling(when: str, ruling: Ruling, snapshot: Snapshot) -> dict[str, Any]:
    return {
        when: ruling.action.value,
        f"{when}Rule": ruling.ref.text,
        f"{when}Place": snapshot.places.of(ruling.ref) or None,
    }
