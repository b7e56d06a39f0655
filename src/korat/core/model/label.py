"""The labels that Calico itself sets and reads.

Source: api/pkg/apis/projectcalico/v3/constants.go and libcalico-go/lib/backend/k8s/conversion.
"""

#: The namespace of an endpoint or network set.
NAMESPACE = "projectcalico.org/namespace"
#: The service account a workload runs as.
SERVICE_ACCOUNT = "projectcalico.org/serviceaccount"
#: Who runs the workload, ``k8s`` for pods.
ORCHESTRATOR = "projectcalico.org/orchestrator"
#: The tier of a policy.
TIER = "projectcalico.org/tier"
#: The name of a namespace or service account, among the labels it hands down.
NAME = "projectcalico.org/name"

#: What stands before a namespace's labels on its endpoints.
NAMESPACE_PREFIX = "pcns."
#: What stands before a service account's labels on its endpoints.
SERVICE_ACCOUNT_PREFIX = "pcsa."
