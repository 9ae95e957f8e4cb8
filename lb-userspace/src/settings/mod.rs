//! What may be configured, and what is it called? Each setting is one field here: its flag, its
//! help and its default; the environment variable and the key of the configuration file follow
//! from the flag's name.

mod derived;
mod file;
mod follow;
mod interval;
pub mod kube_proxy;
mod layers;
mod listen;
mod preparation;
mod timeouts;
mod values;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use lb_common::drops::Hook;
use lb_common::names;

pub use file::API_VERSION;
#[cfg(test)]
pub(crate) use follow::followed;
pub use layers::{SettingsError, key_of, parse, settings_of, variable_of};
pub use listen::Listen;
pub use preparation::Preparation;
pub use timeouts::{TIMEOUTS, Timeout, TimeoutKind};
pub use values::{
    LinkPattern, MapSize, NodePortAddress, PortRange, SIZES, SocketScope, XdpMode,
    default_node_name,
};

use crate::dns::{DEFAULT_DOMAIN, Domain};
use crate::model::Algorithm;

/// The settings; every command knows all of them, so that one environment or one file serves the
/// daemon and the tools beside it.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(next_help_heading = "Settings (the same for every command)")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag that users set by its name"
)]
pub struct Settings {
    /// File with more settings (YAML, `apiVersion: lb/v1`, or kube-proxy's own); flags and
    /// environment win over it
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Files or directories with Services and their endpoints as YAML or JSON; `-` is stdin
    #[arg(
        long,
        short = 'f',
        global = true,
        value_name = "PATH",
        value_delimiter = ','
    )]
    pub manifests: Vec<PathBuf>,

    /// Kubeconfig of the cluster whose Services are served where no manifests are named; also read
    /// from KUBECONFIG; several are joined by `:` [default: the service account of the pod that this
    /// runs in]
    #[arg(long, global = true, value_name = "FILE", value_delimiter = ':')]
    pub kubeconfig: Vec<PathBuf>,

    /// URL of the API server; its ClusterIP can be reached only once it is served here [default:
    /// what the kubeconfig or the pod's environment says]
    #[arg(
        long,
        alias = "master",
        global = true,
        value_name = "URL",
        value_parser = values::api_server
    )]
    pub api_server: Option<http::Uri>,

    /// Name of this node's Node object; also read from NODE_NAME [default: the host's name]
    #[arg(
        long,
        alias = "hostname-override",
        global = true,
        value_name = "NAME",
        value_parser = values::node_name
    )]
    pub node_name: Option<String>,

    /// Addresses of this node, at most one per family used as its primary one [default: those of
    /// the links with a default route]
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS",
        value_delimiter = ',',
        value_parser = values::address
    )]
    pub node_address: Vec<IpAddr>,

    /// Networks that pods have their addresses from [default: the Node's podCIDRs]
    #[arg(
        long,
        global = true,
        value_name = "CIDR",
        value_delimiter = ',',
        value_parser = values::network
    )]
    pub cluster_cidr: Vec<IpNet>,

    /// Networks that ClusterIPs come from [default: the ServiceCIDR objects]
    #[arg(
        long,
        alias = "service-cluster-ip-range",
        global = true,
        value_name = "CIDR",
        value_delimiter = ',',
        value_parser = values::network
    )]
    pub service_cidr: Vec<IpNet>,

    /// Node addresses that NodePorts are served on: networks, or `primary` for --node-address
    #[arg(
        long,
        global = true,
        value_name = "CIDR|primary",
        value_delimiter = ',',
        default_value = "primary",
        value_parser = values::node_port_address
    )]
    pub nodeport_addresses: Vec<NodePortAddress>,

    /// Serve NodePorts on 127.0.0.1 and [::1] too, to this node's own clients
    #[arg(
        long,
        alias = "iptables-localhost-nodeports",
        global = true,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        value_parser = clap::builder::BoolishValueParser::new(),
        action = clap::ArgAction::Set
    )]
    pub nodeport_localhost: bool,

    /// Ports that NodePorts are allocated from, and that SNAT keeps off
    #[arg(
        long,
        alias = "service-node-port-range",
        global = true,
        value_name = "FIRST-LAST",
        default_value = "30000-32767",
        value_parser = values::port_range
    )]
    pub nodeport_range: PortRange,

    /// Replace the source address of every connection to a Service by the node's
    #[arg(
        long,
        global = true,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        value_parser = clap::builder::BoolishValueParser::new(),
        action = clap::ArgAction::Set
    )]
    pub masquerade_all: bool,

    /// How node ports, external IPs and load balancer addresses choose their backends: random, or
    /// maglev, by which all nodes choose alike; the annotation `lb/algorithm` of a Service wins
    #[arg(
        long,
        global = true,
        value_name = "random|maglev",
        default_value = "random",
        value_parser = values::algorithm
    )]
    pub algorithm: Algorithm,

    /// Answer pings of ClusterIPs, which otherwise get none
    #[arg(
        long,
        global = true,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        value_parser = clap::builder::BoolishValueParser::new(),
        action = clap::ArgAction::Set
    )]
    pub answer_ping: bool,

    /// Links that lead to other nodes and outside, `*` and `?` stand for any characters and any
    /// one character [default: links with a route beyond this node]
    #[arg(
        long,
        global = true,
        value_name = "PATTERN",
        value_delimiter = ',',
        value_parser = values::link_pattern
    )]
    pub uplink: Vec<LinkPattern>,

    /// Links that lead to pods [default: the host's ends of veth pairs and the ports of bridges]
    #[arg(
        long,
        global = true,
        value_name = "PATTERN",
        value_delimiter = ',',
        value_parser = values::link_pattern
    )]
    pub pod_link: Vec<LinkPattern>,

    /// Addresses to answer DNS questions on, by UDP and TCP (port 53 if none is given) [default: none]
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS[:PORT]",
        value_delimiter = ',',
        value_parser = values::dns_address
    )]
    pub dns_listen: Vec<SocketAddr>,

    /// Domain that DNS names all Services in
    #[arg(long, global = true, value_name = "DOMAIN", default_value = DEFAULT_DOMAIN)]
    pub cluster_domain: Domain,

    /// DNS servers that know all other names, asked in this order [default: none; such names are
    /// refused]
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS[:PORT]",
        value_delimiter = ',',
        value_parser = values::dns_address
    )]
    pub dns_upstream: Vec<SocketAddr>,

    /// Address to answer /healthz, /livez and /readyz on, or `off`
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS[:PORT]",
        default_value = "0.0.0.0:10256",
        value_parser = listen::healthz_address
    )]
    pub healthz_bind_address: Listen,

    /// Address to answer /metrics on, or `off`
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS[:PORT]",
        default_value = "127.0.0.1:10249",
        value_parser = listen::metrics_address
    )]
    pub metrics_bind_address: Listen,

    /// What to change of this machine where it lacks: bpffs mounts the BPF file system, sysctls
    /// switches forwarding on [default: nothing; `lb doctor` says what lacks]
    #[arg(long, global = true, value_name = "WHAT", value_delimiter = ',')]
    pub prepare: Vec<Preparation>,

    /// How often maps, pins and attached programs are compared with what they must be, and mended; 0 is never
    #[arg(
        long,
        global = true,
        value_name = "TIME",
        default_value = "60s",
        value_parser = interval::interval
    )]
    pub audit_interval: Duration,

    /// Leave what begins to a kube-proxy as long as its rules are on this node; `lb takeover` and `lb
    /// handback` win
    #[arg(
        long,
        global = true,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        value_parser = clap::builder::BoolishValueParser::new(),
        action = clap::ArgAction::Set
    )]
    pub standby: bool,

    /// Where to attach programs: tc, xdp, socket
    #[arg(
        long,
        global = true,
        value_name = "HOOK",
        value_delimiter = ',',
        default_value = "tc,socket",
        value_parser = values::hook
    )]
    pub hooks: Vec<Hook>,

    /// Whose sockets the socket hook serves: those of the host's network namespace, all, or none
    #[arg(long, global = true, value_name = "WHOSE", default_value = "host")]
    pub socket: SocketScope,

    /// Whether the socket hook serves UDP sockets that connect: they keep to one backend, and get an
    /// error when it goes
    #[arg(
        long,
        global = true,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true",
        value_parser = clap::builder::BoolishValueParser::new(),
        action = clap::ArgAction::Set
    )]
    pub socket_connected_udp: bool,

    /// Which kind of XDP to use; generic works on any link, but is no faster than tc
    #[arg(long, global = true, value_name = "KIND", default_value = "native")]
    pub xdp: XdpMode,

    /// Directory on bpffs for maps, programs and links; one for each instance on a kernel
    #[arg(long, global = true, value_name = "DIR", default_value = names::PIN_DIR)]
    pub pin_dir: PathBuf,

    /// Directory for the state file
    #[arg(long, global = true, value_name = "DIR", default_value = names::STATE_DIR)]
    pub state_dir: PathBuf,

    /// Directory of the cgroup whose sockets are served [default: the root of cgroup2]
    #[arg(long, global = true, value_name = "DIR")]
    pub cgroup: Option<PathBuf>,

    /// Seconds without a packet after which a connection is forgotten, by stage
    #[arg(
        long,
        global = true,
        value_name = "STAGE=SECONDS",
        value_delimiter = ',',
        value_parser = timeouts::timeout
    )]
    pub timeouts: Vec<Timeout>,

    /// Sizes of maps, in elements
    #[arg(
        long,
        global = true,
        value_name = "MAP=SIZE",
        value_delimiter = ',',
        value_parser = values::map_size
    )]
    pub maps: Vec<MapSize>,
}

#[cfg(test)]
mod tests;
