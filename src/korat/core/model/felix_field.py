"""Every documented field of FelixConfiguration and the form of its value, as a table.

Those that begin with ``korat`` are korat's own, for what Calico has no setting of.

Korat stores them all and honours those of ``felix.FelixSettings``; a name that is not here is
unknown. Source: felix/docs/config-params.json and the CRD's patterns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType


class Form(Enum):
    """What a value looks like in JSON; the value is how to name it to a user."""

    BOOLEAN = "true or false"
    INTEGER = "an integer"
    TEXT = "a string"
    DURATION = "a duration like 1m30s"
    CHOICE = "one of a few words"
    PORTS = "a port, or a range min:max"
    LIST = "a list"
    MAPPING = "a mapping"


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its name in the spec, its form, and what narrows it."""

    name: str
    form: Form
    choices: tuple[str, ...] = ()
    exact: bool = False
    first: int | None = None
    last: int | None = None
    pattern: str = ""


_NAMES = {
    Form.BOOLEAN: """
        allowIPIPPacketsFromWorkloads allowVXLANPacketsFromWorkloads
        bpfConnectTimeLoadBalancingEnabled bpfDisableUnprivileged bpfEnabled
        bpfHostConntrackBypass bpfIPFragmentReassemblyEnabled bpfKubeProxyIptablesCleanupEnabled
        bpfPolicyDebugEnabled debugDisableLogDropping disableConntrackInvalidCheck
        endpointReportingEnabled flowLogsCollectorDebugTrace genericXDPEnabled healthEnabled
        ipipEnabled ipv6Support prometheusGoMetricsEnabled prometheusMetricsEnabled
        prometheusProcessMetricsEnabled prometheusWireGuardMetricsEnabled removeExternalRoutes
        requireMTUFile routeSyncDisabled sidecarAccelerationEnabled usageReportingEnabled
        useInternalDataplaneDriver vxlanEnabled wireguardEnabled wireguardEnabledV6
        wireguardHostEncryptionEnabled wireguardThreadingEnabled xdpEnabled""",
    Form.INTEGER: """
        bpfExportBufferSizeMB bpfKubeProxyHealthzPort bpfMapSizeConntrack
        bpfMapSizeConntrackCleanupQueue bpfMapSizeIPSets bpfMapSizeIfState bpfMapSizeNATAffinity
        bpfMapSizeNATBackend bpfMapSizeNATFrontend bpfMapSizePerCpuConntrack bpfMapSizeRoute
        deviceRouteProtocol ipipMTU iptablesMarkMask maxIpsetSize nftablesMarkMask
        wireguardListeningPort wireguardListeningPortV6 wireguardMTU wireguardMTUV6
        wireguardRoutingRulePriority""",
    Form.TEXT: """
        bpfCTLBLogFilter bpfDataIfacePattern bpfDisableGROForIfaces bpfL3IfacePattern cgroupV2Path
        dataplaneDriver debugHost debugMemoryProfilePath deviceRouteSourceAddress
        deviceRouteSourceAddressIPv6 endpointStatusPathPrefix flowLogsGoldmaneServer healthHost
        interfaceExclude interfacePrefix iptablesNATOutgoingInterfaceFilter logDebugFilenameRegex
        logFilePath metadataAddr mtuIfacePattern natOutgoingAddress
        nftablesFlowTableDataIfacePattern nodeSelector openstackRegion policySyncPathPrefix
        prometheusMetricsCAFile prometheusMetricsCertFile prometheusMetricsHost
        prometheusMetricsKeyFile wireguardInterfaceName wireguardInterfaceNameV6""",
    Form.DURATION: """
        bpfIPFragTimeout bpfKubeProxyMinSyncPeriod dataplaneWatchdogTimeout
        debugSimulateCalcGraphHangAfter debugSimulateDataplaneApplyDelay
        debugSimulateDataplaneHangAfter endpointReportingDelay flowLogsFlushInterval
        interfaceRefreshInterval ipsetsRefreshInterval iptablesLockProbeInterval
        iptablesPostWriteCheckInterval iptablesRefreshInterval liveMigrationRouteConvergenceTime
        localSubnetL2ReachabilityRefreshInterval netlinkTimeout nftablesRefreshInterval
        reportingInterval reportingTTL routeRefreshInterval usageReportingInitialDelay
        usageReportingInterval wireguardKeepAlive xdpRefreshInterval""",
    Form.PORTS: "bpfPSNATPorts istioDSCPMark natPortRange",
    Form.LIST: """
        bpfDSROptoutCIDRs bpfExcludeCIDRsFromNAT bpfForceTrackPacketsFromIfaces externalNodesList
        failsafeInboundHostPorts failsafeOutboundHostPorts healthTimeoutOverrides
        kubeNodePortRanges routeTableRanges""",
    Form.MAPPING: "bpfConntrackTimeouts bpfLogFilters routeTableRange",
}

#: Words of which any case, and the empty word, are right.
_WORDS = {
    "Trace Debug Info Warning Error Fatal": "logSeverityFile logSeverityScreen logSeveritySys",
    "Insert Append": "chainInsertMode",
    "Auto Legacy NFT": "iptablesBackend",
    "Drop Accept Return": "defaultEndpointToHostAction",
    "CalicoIPAM WorkloadIPs": "routeSource",
    "Drop Reject Disabled": "serviceLoopPrevention",
    "Disabled Any": "workloadSourceSpoofing",
    "Accept Return": """iptablesFilterAllowAction iptablesMangleAllowAction
        nftablesFilterAllowAction nftablesMangleAllowAction""",
    "Drop Reject": "iptablesFilterDenyAction nftablesFilterDenyAction",
    "Disabled Loose Strict": "bpfEnforceRPF",
    "Tunnel DSR": "bpfExternalServiceMode",
    "Off Info Debug": "bpfLogLevel",
    "Disabled DoubleIfFull": "bpfMapSizeConntrackScaling",
}

#: Words that must be written just so.
_EXACT_WORDS = {
    "Enabled Disabled": """bpfHostNetworkedNATWithoutCTLB bpfProfiling bpfRedirectToPeer
        floatingIPs flowLogsLocalReporter ipForwarding istioAmbientMode koratDenyLog
        koratRejudgeConnections
        windowsManageFirewallRules""",
    "Enabled Disabled Auto": "nftablesMode",
    "All Disabled": "nftablesFlowTableOffload",
    "Azure Layer2": "koratFabric",
    "Allowed Refused": "koratPodsToWireserver koratPodsToInstanceMetadata",
    "IPPoolsOnly IPPoolsAndHostIPs": "natOutgoingExclusions",
    "Enabled Disabled EnabledIPIPOnly EnabledNoEncapOnly": "programClusterRoutes",
    "Disabled PodsAndLoadBalancers": "localSubnetL2Reachability",
    "RequireAndVerifyClientCert RequireAnyClientCert VerifyClientCertIfGiven NoClientCert": (
        "prometheusMetricsClientAuth"
    ),
    "TC TCX Netkit": "bpfAttachType",
    "TCP Enabled Disabled": "bpfConnectTimeLoadBalancing",
    "Auto Userspace BPFProgram": "bpfConntrackMode",
    "Off Debug": "bpfConntrackLogLevel",
    "Auto Strict": "bpfJITHardening",
    "TunnelAddress HostAddress": "bpfOverlayHostSourceIP",
    "Continuous None": "flowLogsPolicyEvaluationMode",
    "DoNothing Enable Disable": "awsSrcDstCheck",
}

_ROUTE_PRIORITIES = """ipv4ElevatedRoutePriority ipv4NormalRoutePriority
    ipv6ElevatedRoutePriority ipv6NormalRoutePriority"""

_NARROWED = (
    *(Field(n, Form.INTEGER, first=-1) for n in ("goGCThreshold", "goMaxProcs", "goMemoryLimitMB")),
    *(Field(n, Form.INTEGER, first=1, last=2_147_483_646) for n in _ROUTE_PRIORITIES.split()),
    *(
        Field(n, Form.INTEGER, first=0, last=65535)
        for n in ("healthPort", "prometheusMetricsPort", "metadataPort", "debugPort")
    ),
    *(
        Field(n, Form.INTEGER, first=1, last=3000)
        for n in ("bpfMaglevMaxEndpointsPerService", "bpfMaglevMaxServices")
    ),
    *(Field(n, Form.INTEGER, first=0, last=65535) for n in ("vxlanMTU", "vxlanMTUV6")),
    # What a packet has room for; with others the kernel would refuse the rules too.
    Field("vxlanPort", Form.INTEGER, first=1, last=65535),
    Field("vxlanVNI", Form.INTEGER, first=1, last=0xFFFFFF),
    Field("bpfExtToServiceConnmark", Form.INTEGER, first=0, last=0xFFFFFFFF),
    Field("logActionRateLimitBurst", Form.INTEGER, first=0, last=9999),
    Field("logActionRateLimit", Form.TEXT, pattern=r"([1-9]\d{0,3}/(second|minute|hour|day))?"),
    Field("koratDenyLogGroup", Form.INTEGER, first=1, last=65535),
    Field("koratDenyLogRateLimit", Form.TEXT, pattern=r"([1-9]\d{0,3}/(second|minute|hour|day))?"),
    Field("koratDenyLogRateLimitBurst", Form.INTEGER, first=1, last=9999),
    Field("logPrefix", Form.TEXT, pattern=r"[a-zA-Z0-9%: /_-]*"),
    Field(
        "featureDetectOverride",
        Form.TEXT,
        pattern=r"([a-zA-Z0-9-_]+=(true|false|),)*([a-zA-Z0-9-_]+=(true|false|))?",
    ),
    Field(
        "featureGates",
        Form.TEXT,
        pattern=r"([a-zA-Z0-9-_]+=([^=]+),)*([a-zA-Z0-9-_]+=([^=]+))?",
    ),
)

#: Settings that only the environment or a configuration file may hold: how to reach a datastore.
LOCAL_ONLY = frozenset(
    [
        "datastoretype",
        "etcdaddr",
        "etcdcafile",
        "etcdcertfile",
        "etcdendpoints",
        "etcdkeyfile",
        "etcdscheme",
        "felixhostname",
        "typhaaddr",
        "typhacafile",
        "typhacn",
        "typhacertfile",
        "typhak8snamespace",
        "typhak8sservicename",
        "typhakeyfile",
        "typhareadtimeout",
        "typhaurisan",
        "typhawritetimeout",
        "debugbpfcgroupv2",
        "debugcpuprofilepath",
        "debugpanicafter",
        "debugsimulatedatarace",
    ]
)

#: Environment names that are not simply the field's name.
_ENVIRONMENT = {
    "externalnodescidrlist": "externalNodesList",
    "netlinktimeoutsecs": "netlinkTimeout",
    "iptableslockprobeintervalmillis": "iptablesLockProbeInterval",
    "iptablespostwritecheckintervalsecs": "iptablesPostWriteCheckInterval",
    "bpfconntrackcleanupmode": "bpfConntrackMode",
    "endpointreportingdelaysecs": "endpointReportingDelay",
    "reportingintervalsecs": "reportingInterval",
    "reportingttlsecs": "reportingTTL",
    "ipinipenabled": "ipipEnabled",
    "ipinipmtu": "ipipMTU",
    "wireguardpersistentkeepalive": "wireguardKeepAlive",
    "usagereportinginitialdelaysecs": "usageReportingInitialDelay",
    "usagereportingintervalsecs": "usageReportingInterval",
}


def _fields() -> dict[str, Field]:
    plain = [Field(n, form) for form, names in _NAMES.items() for n in names.split()]
    words = [
        Field(n, Form.CHOICE, choices=tuple(choices.split()), exact=exact)
        for table, exact in ((_WORDS, False), (_EXACT_WORDS, True))
        for choices, names in table.items()
        for n in names.split()
    ]
    return {field.name: field for field in (*plain, *words, *_NARROWED)}


#: All fields by their name in the spec.
FIELDS: Mapping[str, Field] = MappingProxyType(_fields())

#: Field names by their environment name in lower case, without ``FELIX_``.
BY_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {name.lower(): name for name in FIELDS} | _ENVIRONMENT
)
