//! What becomes of each field of kube-proxy's configuration?

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is the value of the setting with this flag.
    Taken(&'static str),
    /// It means this.
    Means(&'static str),
    /// It has no effect, for this reason.
    Ignored(&'static str),
}

use Fate::{Ignored, Means, Taken};

/// The fields, by path. A path stands for everything below it, unless that has a row of its own.
pub const FIELDS: &[(&str, Fate)] = &[
    (
        "bindAddress",
        Means("`--node-address`, unless it is all zeros"),
    ),
    (
        "bindAddressHardFail",
        Ignored("an address that somebody else has is a Problem, and tried again"),
    ),
    ("clientConnection.kubeconfig", Taken("kubeconfig")),
    (
        "clientConnection",
        Ignored("requests are few: lists once, then watches"),
    ),
    (
        "clusterCIDR",
        Means("`--cluster-cidr`, unless `detectLocalMode` is `NodeCIDR`"),
    ),
    (
        "configSyncPeriod",
        Ignored("what is watched is not listed again"),
    ),
    (
        "conntrack.tcpCloseWaitTimeout",
        Means("`--timeouts tcp-half-closed=SECONDS`"),
    ),
    (
        "conntrack.tcpEstablishedTimeout",
        Means("`--timeouts tcp-established=SECONDS`"),
    ),
    (
        "conntrack.udpStreamTimeout",
        Means("`--timeouts udp-assured=SECONDS`"),
    ),
    ("conntrack.udpTimeout", Means("`--timeouts udp=SECONDS`")),
    (
        "conntrack",
        Ignored("flows of Services are not nf_conntrack's here"),
    ),
    (
        "detectLocal.bridgeInterface",
        Ignored("ports of bridges lead to pods unless `--pod-link` says otherwise"),
    ),
    (
        "detectLocal.interfaceNamePrefix",
        Means("`--pod-link PREFIX*` where `detectLocalMode` is `InterfaceNamePrefix`"),
    ),
    (
        "detectLocalMode",
        Means("which of `clusterCIDR` and `detectLocal` counts"),
    ),
    ("enableProfiling", Ignored("there is no profile to ask for")),
    ("featureGates", Ignored("they are kube-proxy's")),
    ("healthzBindAddress", Taken("healthz-bind-address")),
    ("hostnameOverride", Taken("node-name")),
    (
        "iptables.masqueradeAll",
        Means("`--masquerade-all`, unless `mode` is `nftables`"),
    ),
    (
        "iptables.localhostNodePorts",
        Means("`--nodeport-localhost`, where it is written and `mode` is `iptables`"),
    ),
    ("iptables", Ignored("there are no iptables rules")),
    ("ipvs", Ignored("there is no IPVS")),
    ("logging", Ignored("RUST_LOG says how much is logged")),
    ("metricsBindAddress", Taken("metrics-bind-address")),
    (
        "mode",
        Means(
            "whether NodePorts are on every address where `nodePortAddresses` says nothing: not with `nftables`",
        ),
    ),
    (
        "nftables.masqueradeAll",
        Means("`--masquerade-all` where `mode` is `nftables`"),
    ),
    ("nftables", Ignored("there are no nftables rules")),
    ("nodePortAddresses", Taken("nodeport-addresses")),
    (
        "oomScoreAdj",
        Ignored(
            "forwarding goes on without the daemon; the DaemonSet's priority class protects it",
        ),
    ),
    ("portRange", Ignored("kube-proxy ignores it as well")),
    (
        "showHiddenMetricsForVersion",
        Ignored("there are no hidden metrics"),
    ),
    ("windowsRunAsService", Ignored("it is for Windows")),
    ("winkernel", Ignored("it is for Windows")),
];

/// kube-proxy's own defaults: who writes them out does not ask for anything.
pub(super) const DEFAULTS: &[(&str, &str)] = &[
    ("clientConnection.burst", "10"),
    (
        "clientConnection.contentType",
        "application/vnd.kubernetes.protobuf",
    ),
    ("clientConnection.qps", "5"),
    ("configSyncPeriod", "15m0s"),
    ("conntrack.maxPerCore", "32768"),
    ("conntrack.min", "131072"),
    ("iptables.masqueradeBit", "14"),
    ("iptables.minSyncPeriod", "1s"),
    ("iptables.syncPeriod", "30s"),
    ("ipvs.syncPeriod", "30s"),
    ("logging.flushFrequency", "5s"),
    ("logging.format", "text"),
    ("logging.options.json.infoBufferSize", "0"),
    ("logging.options.text.infoBufferSize", "0"),
    ("nftables.masqueradeBit", "14"),
    ("nftables.minSyncPeriod", "1s"),
    ("nftables.syncPeriod", "30s"),
    ("oomScoreAdj", "-999"),
];

/// Fields that say how long a flow lasts, and our stages of it.
pub(super) const TIMEOUTS: [(&str, &str); 4] = [
    ("conntrack.tcpCloseWaitTimeout", "tcp-half-closed"),
    ("conntrack.tcpEstablishedTimeout", "tcp-established"),
    ("conntrack.udpStreamTimeout", "udp-assured"),
    ("conntrack.udpTimeout", "udp"),
];
