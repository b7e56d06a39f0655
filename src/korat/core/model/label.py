"""The names that programs write on objects for each other: labels, annotations, prefixes.

Source: Calico's api/pkg/apis/projectcalico/v3/constants.go and
libcalico-go/lib/backend/k8s/conversion.
"""

from korat.core.net.address import Family

#: The namespace of an endpoint or network set.
NAMESPACE = "projectcalico.org/namespace"
#: The service account a workload runs as.
SERVICE_ACCOUNT = "projectcalico.org/serviceaccount"
#: Who runs the workload.
ORCHESTRATOR = "projectcalico.org/orchestrator"
#: The tier of a policy.
TIER = "projectcalico.org/tier"
#: The name of a namespace or service account, among the labels it hands down.
NAME = "projectcalico.org/name"

#: Who made an object that no user wrote, and the name that Calico's controllers sign with.
CREATED_BY = "projectcalico.org/created-by"
KUBE_CONTROLLERS = "calico-kube-controllers"

#: What stands before a namespace's labels on its endpoints.
NAMESPACE_PREFIX = "pcns."
#: What stands before a service account's labels on its endpoints.
SERVICE_ACCOUNT_PREFIX = "pcsa."

#: What stands before the name of a namespace's profile.
NAMESPACE_PROFILE_PREFIX = "kns."
#: What stands before ``<namespace>.<account>``, the name of a service account's profile.
ACCOUNT_PROFILE_PREFIX = "ksa."

#: The orchestrator of pods.
KUBERNETES = "k8s"

#: On pods: sources that the pod may use beside its own addresses, a JSON list of CIDRs.
ALLOWED_SOURCE_PREFIXES = "cni.projectcalico.org/allowedSourcePrefixes"
#: On pods: the addresses that Calico's IPAM is to give it, a JSON list.
IP_ADDRS = "cni.projectcalico.org/ipAddrs"
#: On pods and namespaces: the pools to take addresses from, JSON lists of names or CIDRs.
IP_POOLS = {
    Family.V4: "cni.projectcalico.org/ipv4pools",
    Family.V6: "cni.projectcalico.org/ipv6pools",
}
#: On pods: their addresses as CNI gave them, as CIDRs; empty once CNI has taken them back.
POD_IPS = "cni.projectcalico.org/podIPs"
#: There too, the first one alone.
POD_IP = "cni.projectcalico.org/podIP"

#: On ClusterInformation ``default``: the prefixes of Azure's virtual network, separated by commas.
#: The route controller writes them, agents do not masquerade packets to them.
AZURE_VNET = "korat/azure-vnet"
#: There too: the prefixes of its subnets, where Azure gives addresses to network interfaces.
AZURE_SUBNETS = "korat/azure-subnets"

#: On a WorkloadEndpoint whose link another CNI plugin made: the name of that plugin's network.
CNI_NETWORK = "korat/cni-network"

#: On an EndpointSlice: the service of its namespace whose endpoints it holds.
SERVICE_NAME = "kubernetes.io/service-name"
#: There too: who keeps the slice.
SLICE_KEEPER = "endpointslice.kubernetes.io/managed-by"
