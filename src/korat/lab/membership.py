"""The nodes of a running lab: how one comes, goes and reboots, in Azure and in the cluster.

Each change is whole: a node that does not come up is taken out again. The caller gives the way to
wait, since the lab must be kept meanwhile.
"""

from collections.abc import Callable, Sequence
from functools import partial

from korat.core.errors import KoratError
from korat.lab.blueprint import Blueprint, Vm, grown, without
from korat.lab.cloud import Cloud
from korat.lab.cluster import LabCluster
from korat.lab.control import AddNodes, Answer, RebootNode, RemoveNode, Request

#: Who is waited for, asked again and again until it is nobody.
Waiting = Callable[[], Sequence[str]]


class Membership:
    """Which virtual machines the lab has; ``plan`` is the lab as it is."""

    def __init__(
        self,
        plan: Blueprint,
        cloud: Cloud,
        cluster: LabCluster,
        wait: Callable[[Waiting], None],
        tell: Callable[[Blueprint], None],
    ) -> None:
        """``wait`` keeps the lab until nobody is waited for, ``tell`` hears of every new plan."""
        self.plan = plan
        self._cloud = cloud
        self._cluster = cluster
        self._wait = wait
        self._tell = tell

    def carry_out(self, request: Request) -> Answer:
        """Do what was asked.

        Raises:
            KoratError: it cannot be done; all is as it was, unless the sentence says otherwise.
        """
        match request:
            case AddNodes(count):
                return self._add(count)
            case RemoveNode(name):
                return self._remove(name)
            case RebootNode(name):
                return self._reboot(self.plan.vm(name))

    def _add(self, count: int) -> Answer:
        before, after = self.plan, grown(self.plan, count)
        new = [vm for vm in after.vms if vm not in before.vms]
        self._cloud.add(new)
        announced: list[Vm] = []
        try:
            for vm in new:
                self._cluster.announce(vm)
                announced.append(vm)
                self._cluster.set_up(vm)
            self._become(after)
            self._wait(partial(self._not_up, new))
        except (KoratError, OSError):
            self._take_out(new, announced)
            self._become(before)
            raise
        return Answer(tuple(vm.name for vm in new))

    def _remove(self, name: str) -> Answer:
        after, gone = without(self.plan, name), self.plan.vm(name)
        pods = self._take_out([gone], [gone])
        self._become(after)
        self._wait(partial(self._routed, gone))
        return Answer((name,), pods)

    def _reboot(self, vm: Vm) -> Answer:
        self._cluster.power_off(vm)
        self._cloud.reboot(vm)
        self._cluster.power_on(vm)
        self._become(self.plan)
        self._wait(partial(self._not_up, [vm]))
        return Answer((vm.name,))

    def _become(self, plan: Blueprint) -> None:
        self.plan = plan
        self._tell(plan)

    def _take_out(self, vms: Sequence[Vm], announced: Sequence[Vm]) -> tuple[str, ...]:
        """As when VMs are deleted: the power first, then the NICs, then what the store holds."""
        for vm in announced:
            self._cluster.power_off(vm)
        self._cloud.remove(vms)
        return tuple(pod for vm in announced for pod in self._cluster.remove(vm))

    def _not_up(self, vms: Sequence[Vm]) -> list[str]:
        """Which of these, or which of their routes, are still waited for."""
        waiting = self._cluster.waiting_for(*(vm.name for vm in vms))
        if self.plan.routed:
            waiting += [
                f"Azure's route to {vm.name}"
                for vm in vms
                if not (self._cloud.leads_to(vm) and self._cloud.lets_pods_through(vm))
            ]
        return waiting

    def _routed(self, vm: Vm) -> list[str]:
        return [f"the end of Azure's route to {vm.name}"] if self._cloud.leads_to(vm) else []
