//! What does one Service ask of the tables, before anything has a number?

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use lb_common::addr::{Family, Ip4, Ip6};
use lb_common::layout::{
    BACKEND_HOST_NETWORK, BACKEND_IN_CLUSTER, BACKEND_IN_LOCAL, BACKEND_LOCAL, BACKEND_TERMINATING,
    FrontendKey, ServiceName, text,
};
use lb_common::limits::TEXT;

use super::claims::{Claims, Rank};
use super::endpoints::{Judged, judge};
use super::frontends::{FrontendPlan, frontends, source_ranges};
use crate::model::{
    Object, ObjectName, Policy, Problem, Protocol, Service, ServiceKind, ServicePort, Slice, World,
};
use crate::tables::{FamilyRowKey, PerFamily, RowKey};

/// One Service's part of the tables, without numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePlan {
    /// Its ports, in the order of the Service.
    pub ports: Vec<PortPlan>,
    /// What of it is not served as it was written.
    pub problems: Vec<Problem>,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlan {
    /// By what it is known.
    pub name: ServiceName,
    /// Seconds that ClientIP affinity lasts; 0 = no affinity.
    pub affinity_seconds: u32,
    /// What it is in IPv4.
    pub v4: FamilyPlan<Ip4>,
    /// What it is in IPv6.
    pub v6: FamilyPlan<Ip6>,
}

/// One port of a Service in one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyPlan<A: Family> {
    /// What clients dial.
    pub frontends: BTreeMap<FrontendKey<A>, FrontendPlan>,
    /// Where they may end up, by address and port.
    pub backends: BTreeMap<(A, u16), BackendPlan>,
    /// Bits and network of the sources that restricted frontends admit.
    pub ranges: BTreeSet<(u32, A)>,
}

/// A destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendPlan {
    /// `BACKEND_*` bits.
    pub flags: u8,
    /// Its share of new flows among those of its pool; at least 1.
    pub weight: u32,
}

impl BackendPlan {
    /// Whether pools of this policy have a slot of it.
    #[must_use]
    pub const fn serves(self, policy: Policy) -> bool {
        let flag = match policy {
            Policy::Cluster => BACKEND_IN_CLUSTER,
            Policy::Local => BACKEND_IN_LOCAL,
        };
        self.flags & flag != 0
    }
}

impl ServicePlan {
    /// The frontends it wants, and how strong its claims are.
    #[must_use]
    pub(super) fn wishes(&self) -> BTreeMap<RowKey, Rank> {
        let v4 = self.ports.iter().flat_map(|port| wishes(&port.v4));
        let v6 = self.ports.iter().flat_map(|port| wishes(&port.v6));
        v4.chain(v6).collect()
    }

    /// Does without the frontends that another Service has.
    pub(super) fn give_up(&mut self, name: &ObjectName, claims: &Claims) {
        let mut problems = Problems::of(name);
        for port in &mut self.ports {
            give_up(&mut port.v4, name, claims, &mut problems);
            give_up(&mut port.v6, name, claims, &mut problems);
        }
        self.problems.extend(problems.list);
    }
}

fn wishes<A: PerFamily>(plan: &FamilyPlan<A>) -> impl Iterator<Item = (RowKey, Rank)> {
    let key = |key: &FrontendKey<A>| A::key(FamilyRowKey::Frontend(*key));
    let frontends = plan.frontends.iter();
    frontends.map(move |(of, frontend)| (key(of), frontend.rank()))
}

fn give_up<A: PerFamily>(
    plan: &mut FamilyPlan<A>,
    name: &ObjectName,
    claims: &Claims,
    problems: &mut Problems,
) {
    plan.frontends.retain(|key, frontend| {
        let winner = claims.winner(&A::key(FamilyRowKey::Frontend(*key)));
        match winner {
            Some(winner) if winner != name => {
                problems.add(
                    frontend.field.clone(),
                    format!("{} belongs to Service {winner} already: not served here; give one of them another address or port", describe(key)),
                );
                false
            }
            _ => true,
        }
    });
}

/// The frontend as `address:port/protocol`, the marker of an address as the address.
fn describe<A: Family>(key: &FrontendKey<A>) -> String {
    let address = SocketAddr::new(key.address.to_ip(), key.port);
    Protocol::from_number(key.protocol).map_or_else(
        || key.address.to_string(),
        |protocol| format!("{address}/{protocol}"),
    )
}

/// What the Service of this name asks for; nothing if there is none.
#[must_use]
pub fn plan(name: &ObjectName, world: &World) -> ServicePlan {
    let mut plan = ServicePlan::default();
    let Some(service) = world.service(name) else {
        return plan;
    };
    if matches!(
        service.kind,
        ServiceKind::Headless | ServiceKind::ExternalName(_)
    ) {
        return plan;
    }
    let mut problems = Problems::of(name);
    let ports = usable_ports(name, service, &mut problems);
    let mut v4 = plan_family(name, service, &ports, world, &mut problems).into_iter();
    let mut v6 = plan_family(name, service, &ports, world, &mut problems).into_iter();
    for ((_, port), (v4, v6)) in ports.into_iter().zip(v4.by_ref().zip(v6.by_ref())) {
        plan.ports.push(PortPlan {
            name: service_name(name, port),
            affinity_seconds: service.affinity_seconds.unwrap_or_default(),
            v4,
            v6,
        });
    }
    plan.problems = problems.list;
    plan
}

/// The ports with their place in the Service, without those that cannot be told apart.
fn usable_ports<'w>(
    name: &ObjectName,
    service: &'w Service,
    problems: &mut Problems,
) -> Vec<(usize, &'w ServicePort)> {
    if [&name.namespace, &name.name]
        .iter()
        .any(|part| part.len() >= TEXT)
    {
        problems.add(
            "metadata.name",
            format!(
                "namespace and name may have up to {} bytes: not served; shorten it",
                TEXT - 1
            ),
        );
        return Vec::new();
    }
    let mut seen = BTreeMap::new();
    let mut usable = Vec::new();
    for (i, port) in service.ports.iter().enumerate() {
        let first = *seen.entry((port.port, port.protocol)).or_insert(i);
        if first != i {
            problems.add(
                format!("spec.ports[{i}]"),
                format!(
                    "has the port and protocol of spec.ports[{first}]: not served; give it another port"
                ),
            );
        } else if port.name.len() >= TEXT {
            problems.add(
                format!("spec.ports[{i}].name"),
                format!("may have up to {} bytes: not served; shorten it", TEXT - 1),
            );
        } else {
            usable.push((i, port));
        }
    }
    usable
}

fn plan_family<A: Family>(
    name: &ObjectName,
    service: &Service,
    ports: &[(usize, &ServicePort)],
    world: &World,
    problems: &mut Problems,
) -> Vec<FamilyPlan<A>> {
    let node = world.node();
    let ranges = source_ranges::<A>(service, node);
    frontends::<A>(service, ports, node, problems)
        .into_iter()
        .zip(ports)
        .map(|(frontends, (_, port))| FamilyPlan {
            backends: if frontends.is_empty() {
                BTreeMap::new()
            } else {
                backends(world.slices(name), port, world)
            },
            ranges: if frontends.values().any(FrontendPlan::is_restricted) {
                ranges.clone()
            } else {
                BTreeSet::new()
            },
            frontends,
        })
        .collect()
}

/// The endpoints that may have flows: those that take new ones, and those that serve but take none
/// here, whose flows go on.
fn backends<'w, A: Family>(
    slices: impl Iterator<Item = &'w Slice>,
    port: &ServicePort,
    world: &World,
) -> BTreeMap<(A, u16), BackendPlan> {
    let judgement = judge::<A>(slices, &port.name, port.protocol, world.node());
    let judged = judgement.endpoints.iter();
    judged
        .filter(|judged| judged.endpoint.ready || judged.endpoint.serving)
        .map(|judged| {
            let plan = BackendPlan {
                flags: backend_flags(judged, world),
                weight: judged.endpoint.weight,
            };
            ((judged.address, judged.port), plan)
        })
        .collect()
}

fn backend_flags<A: Family>(judged: &Judged<'_, A>, world: &World) -> u8 {
    let own_address = world.node().addresses.contains(&judged.address.to_ip());
    [
        (judged.local || own_address, BACKEND_LOCAL),
        (own_address, BACKEND_HOST_NETWORK),
        (judged.endpoint.terminating, BACKEND_TERMINATING),
        (judged.in_cluster.takes(), BACKEND_IN_CLUSTER),
        (judged.in_local.takes(), BACKEND_IN_LOCAL),
    ]
    .iter()
    .filter(|(holds, _)| *holds)
    .fold(0, |flags, (_, flag)| flags | flag)
}

/// The port's name as the tables hold it.
#[must_use]
pub fn service_name(service: &ObjectName, port: &ServicePort) -> ServiceName {
    ServiceName {
        namespace: text(&service.namespace),
        name: text(&service.name),
        port_name: text(&port.name),
        port: port.port,
        protocol: port.protocol.number(),
        reserved: 0,
    }
}

/// Collects the problems of one Service.
#[derive(Debug)]
pub(super) struct Problems {
    service: ObjectName,
    list: Vec<Problem>,
}

impl Problems {
    fn of(service: &ObjectName) -> Self {
        Self {
            service: service.clone(),
            list: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, field: impl Into<String>, why: impl Into<String>) {
        self.list.push(problem(&self.service, field, why));
    }
}

/// Something about a Service.
pub(super) fn problem(
    service: &ObjectName,
    field: impl Into<String>,
    why: impl Into<String>,
) -> Problem {
    Problem {
        object: Object {
            kind: "Service".to_owned(),
            name: service.clone(),
        },
        field: field.into(),
        why: why.into(),
        place: None,
    }
}
