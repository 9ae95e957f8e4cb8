//! What do the tables say, without the numbers that differ from run to run?

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;

use lb_common::layout::{
    BACKEND_HOST_NETWORK, BACKEND_IN_CLUSTER, BACKEND_IN_LOCAL, BACKEND_LOCAL, BACKEND_TERMINATING,
    CONFIG_ANSWER_PING, CONFIG_MASQUERADE_ALL, FRONTEND_ADDRESS, FRONTEND_CLUSTER_IP,
    FRONTEND_EXTERNAL_IP, FRONTEND_LOAD_BALANCER, FRONTEND_MAGLEV, FRONTEND_NODE_PORT,
    FRONTEND_SOURCE_RANGES, FrontendKey, FrontendRef, POOL_DROP, POOL_LOCAL, Pool, Prefix,
};
use lb_common::{Ip4, Ip6};
use lb_userspace::model::Protocol;
use lb_userspace::tables::{PerFamily, Tables};

/// Pools with more slots are told by each backend's share.
const SHOWN: usize = 100;

/// The tables as text: the same for the same content, whatever the numbers.
pub(crate) fn text(tables: &Tables) -> String {
    let mut text = String::new();
    let mut lines = BTreeSet::new();
    describe::<Ip4>(tables, &mut lines);
    describe::<Ip6>(tables, &mut lines);
    for line in lines {
        writeln!(text, "{line}").unwrap();
    }
    let (v4, v6) = (&tables.v4, &tables.v6);
    writeln!(
        text,
        "elements: {} services, {} slots, {} + {} infos",
        tables.services.len(),
        tables.slots.len(),
        v4.info.len(),
        v6.info.len()
    )
    .unwrap();
    text
}

fn describe<A: PerFamily>(tables: &Tables, lines: &mut BTreeSet<String>) {
    let family = A::of(tables);
    for (kind, prefixes) in [
        ("pods", A::pods(&tables.config)),
        ("services", A::services(&tables.config)),
    ] {
        for prefix in prefixes.iter().filter(|prefix| prefix.used != 0) {
            lines.insert(format!("config {kind} {}", network(prefix)));
        }
    }
    if tables.config.flags & CONFIG_MASQUERADE_ALL != 0 {
        lines.insert("config masquerade-all".to_owned());
    }
    if tables.config.flags & CONFIG_ANSWER_PING != 0 {
        lines.insert("config answer-ping".to_owned());
    }
    for address in &family.nodes {
        lines.insert(format!("node {address}"));
    }
    for range in &family.ranges {
        let service = service(tables, range.service_port);
        let bits = range.prefix_length - u32::BITS;
        lines.insert(format!("range {service} {}/{bits}", range.network));
    }
    for backend in family.backends.values() {
        let address = SocketAddr::new(backend.address.to_ip(), backend.port);
        let flags = names(backend.flags.into(), BACKEND_FLAGS);
        let service = service(tables, backend.service_port);
        lines.insert(format!("backend {service} {address}{flags}"));
    }
    for (key, reference) in &family.frontends {
        lines.insert(frontend(tables, key, *reference));
    }
}

/// All about a frontend, following every number to what it names.
pub(crate) fn frontend<A: PerFamily>(
    tables: &Tables,
    key: &FrontendKey<A>,
    reference: FrontendRef,
) -> String {
    let Some(info) = A::of(tables).info.get(&reference.info) else {
        return format!("frontend {} names no info", dial(key));
    };
    assert_eq!(info.key, *key, "the info is another frontend's");
    assert_eq!(info.service_port, reference.service_port);
    let mut line = format!(
        "frontend {} {}{}",
        service(tables, reference.service_port),
        dial(key),
        names(info.flags, FRONTEND_FLAGS),
    );
    if info.affinity_seconds != 0 {
        write!(line, " affinity={}s", info.affinity_seconds).unwrap();
    }
    if info.flags & FRONTEND_ADDRESS == 0 {
        let inside = pool::<A>(tables, &info.inside);
        let outside = pool::<A>(tables, &info.outside);
        write!(line, "\n    inside  {inside}\n    outside {outside}").unwrap();
    }
    line
}

fn pool<A: PerFamily>(tables: &Tables, pool: &Pool) -> String {
    let backend = |slot: u32| {
        let backend = tables.slots.get(&slot);
        let backend = backend.and_then(|id| A::of(tables).backends.get(id));
        backend.map_or_else(
            || format!("slot {slot} names nothing"),
            |backend| SocketAddr::new(backend.address.to_ip(), backend.port).to_string(),
        )
    };
    let slots = pool.first..pool.first + pool.count;
    let slots: Vec<String> = slots.map(backend).collect();
    let flags = names(pool.flags, POOL_FLAGS);
    if slots.len() > SHOWN {
        let mut shares: BTreeMap<&String, usize> = BTreeMap::new();
        for slot in &slots {
            *shares.entry(slot).or_default() += 1;
        }
        let shares = shares.iter().map(|(at, count)| format!("{at} × {count}"));
        let shares: Vec<String> = shares.collect();
        let order = fingerprint(&slots);
        return format!("[{}] in order {order:x}{flags}", shares.join(", "));
    }
    format!("[{}]{flags}", slots.join(" "))
}

/// The same for the same texts in the same order (FNV-1a).
fn fingerprint(texts: &[String]) -> u64 {
    let bytes = texts.iter().flat_map(|text| text.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn dial<A: PerFamily>(key: &FrontendKey<A>) -> String {
    match Protocol::from_number(key.protocol) {
        Some(protocol) => {
            let address = SocketAddr::new(key.address.to_ip(), key.port);
            format!("{address}/{protocol}")
        }
        None => key.address.to_string(),
    }
}

fn service(tables: &Tables, id: u32) -> String {
    let name = tables.services.get(&id);
    name.map_or_else(
        || format!("service port {id} without a name"),
        |name| match Protocol::from_number(name.protocol) {
            Some(protocol) => format!("{name} {}/{protocol}", name.port),
            None => format!("{name:?}"),
        },
    )
}

fn network<A: PerFamily>(prefix: &Prefix<A>) -> String {
    let network = prefix.network.to_ip();
    let network = ipnet::IpNet::with_netmask(network, prefix.mask.to_ip());
    network.unwrap().to_string()
}

fn names(flags: u32, of: &[(u32, &str)]) -> String {
    let set = of.iter().filter(|(flag, _)| flags & flag != 0);
    set.flat_map(|(_, name)| [" ", *name]).collect()
}

const FRONTEND_FLAGS: &[(u32, &str)] = &[
    (FRONTEND_CLUSTER_IP, "cluster-ip"),
    (FRONTEND_NODE_PORT, "node-port"),
    (FRONTEND_EXTERNAL_IP, "external-ip"),
    (FRONTEND_LOAD_BALANCER, "load-balancer"),
    (FRONTEND_SOURCE_RANGES, "source-ranges"),
    (FRONTEND_ADDRESS, "address"),
    (FRONTEND_MAGLEV, "maglev"),
];

const POOL_FLAGS: &[(u32, &str)] = &[(POOL_LOCAL, "local"), (POOL_DROP, "drop")];

const BACKEND_FLAGS: &[(u32, &str)] = &[
    (BACKEND_LOCAL as u32, "local"),
    (BACKEND_HOST_NETWORK as u32, "host-network"),
    (BACKEND_TERMINATING as u32, "terminating"),
    (BACKEND_IN_CLUSTER as u32, "in-cluster"),
    (BACKEND_IN_LOCAL as u32, "in-local"),
];
