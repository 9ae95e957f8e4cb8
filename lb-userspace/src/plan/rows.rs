//! Which elements of the tables does a planned Service become? Whatever is as before keeps its
//! numbers; what changed while programs may read it gets new ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use lb_common::layout::{
    BACKEND_IN_CLUSTER, BACKEND_IN_LOCAL, Backend, FRONTEND_ADDRESS, FRONTEND_MAGLEV, FrontendInfo,
    FrontendKey, FrontendRef, POOL_DROP, POOL_LOCAL, Pool, RangeKey, ServiceName,
};

use super::choice::{self, Member};
use super::frontends::FrontendPlan;
use super::ids::Ids;
use super::service::{BackendPlan, FamilyPlan, ServicePlan};
use crate::model::Policy;
use crate::tables::{FamilyTables, Full, PerFamily, Tables};

/// The Service's elements, given those it had before.
///
/// # Errors
/// A map has no room for them.
pub(super) fn rows(plan: &ServicePlan, before: &Tables, ids: &mut Ids) -> Result<Tables, Full> {
    let mut after = Tables::default();
    for port in &plan.ports {
        if port.v4.frontends.is_empty() && port.v6.frontends.is_empty() {
            continue;
        }
        let (service_port, name) = match known_port(&port.name, before) {
            Some(known) => known,
            None => (ids.service_port()?, port.name.into()),
        };
        after.services.insert(service_port, name);
        let frame = Frame {
            service_port,
            protocol: port.name.protocol,
            affinity_seconds: port.affinity_seconds,
        };
        family_rows(&port.v4, &frame, before, &mut after, ids)?;
        family_rows(&port.v6, &frame, before, &mut after, ids)?;
    }
    Ok(after)
}

/// The id that the port has, and its name. After a process that ended between two writes there may be two: then
/// the one that frontends name.
fn known_port(name: &ServiceName, before: &Tables) -> Option<(u32, Arc<ServiceName>)> {
    let is_named = |id| {
        let v4 = before.v4.frontends.values();
        let v6 = before.v6.frontends.values();
        v4.chain(v6).any(|reference| reference.service_port == id)
    };
    let known = before
        .services
        .iter()
        .filter(|(_, known)| ***known == *name);
    let latest = known.max_by_key(|(id, _)| (is_named(**id), **id));
    latest.map(|(id, name)| (*id, Arc::clone(name)))
}

/// What all elements of a service port share.
struct Frame {
    service_port: u32,
    protocol: u8,
    affinity_seconds: u32,
}

fn family_rows<A: PerFamily>(
    plan: &FamilyPlan<A>,
    frame: &Frame,
    before: &Tables,
    after: &mut Tables,
    ids: &mut Ids,
) -> Result<(), Full> {
    if plan.frontends.is_empty() {
        return Ok(());
    }
    let backends = backend_rows(plan, frame, A::of(before), ids)?;
    let mut pools = Pools::new::<A>(frame.service_port, before);
    for (key, frontend) in &plan.frontends {
        let info = FrontendInfo {
            inside: pools.of(frontend, frontend.inside, plan, &backends, ids)?,
            outside: pools.of(frontend, frontend.outside, plan, &backends, ids)?,
            ..frame.info(*key, frontend)
        };
        let index = match known_info(key, &info, A::of(before)) {
            Some(index) => index,
            None => ids.info::<A>()?,
        };
        let reference = FrontendRef {
            info: index,
            service_port: frame.service_port,
        };
        let after = A::of_mut(after);
        after.info.insert(index, info);
        after.frontends.insert(*key, reference);
    }
    after.slots.extend(pools.used);
    let after = A::of_mut(after);
    after.backends.extend(backends.into_values());
    let ranges = plan.ranges.iter();
    after.ranges.extend(ranges.map(|(bits, network)| RangeKey {
        prefix_length: u32::BITS + bits,
        service_port: frame.service_port,
        network: *network,
    }));
    Ok(())
}

impl Frame {
    /// The frontend's information without its pools.
    fn info<A: PerFamily>(&self, key: FrontendKey<A>, frontend: &FrontendPlan) -> FrontendInfo<A> {
        let is_address = frontend.flags & FRONTEND_ADDRESS != 0;
        FrontendInfo {
            key,
            service_port: self.service_port,
            flags: frontend.flags,
            affinity_seconds: if is_address { 0 } else { self.affinity_seconds },
            ..FrontendInfo::default()
        }
    }
}

/// The index under which just this is published.
fn known_info<A: PerFamily>(
    key: &FrontendKey<A>,
    info: &FrontendInfo<A>,
    before: &FamilyTables<A>,
) -> Option<u32> {
    let reference = before.frontends.get(key)?;
    let is_same = before.info.get(&reference.info) == Some(info)
        && reference.service_port == info.service_port;
    is_same.then_some(reference.info)
}

type Backends<A> = BTreeMap<(A, u16), (u32, Backend<A>)>;

/// The backends with their ids. Of two that are the same, left by a process that ended between two
/// writes, the younger one counts.
fn backend_rows<A: PerFamily>(
    plan: &FamilyPlan<A>,
    frame: &Frame,
    before: &FamilyTables<A>,
    ids: &mut Ids,
) -> Result<Backends<A>, Full> {
    let mut known: Backends<A> = BTreeMap::new();
    for (id, backend) in &before.backends {
        if (backend.service_port, backend.protocol) != (frame.service_port, frame.protocol) {
            continue;
        }
        let place = (backend.address, backend.port);
        let entry = known.entry(place).or_insert((*id, *backend));
        if backend.generation > entry.1.generation {
            *entry = (*id, *backend);
        }
    }
    let unused = unused_pools(plan);
    let mut rows = BTreeMap::new();
    for (place, planned) in &plan.backends {
        let (id, generation) = match known.get(place) {
            Some((id, backend)) => (*id, backend.generation),
            None => (ids.backend::<A>()?, ids.generation()),
        };
        let backend = Backend {
            address: place.0,
            port: place.1,
            protocol: frame.protocol,
            flags: planned.flags & !unused,
            service_port: frame.service_port,
            generation,
        };
        rows.insert(*place, (id, backend));
    }
    Ok(rows)
}

/// The flags of membership in pools that no frontend has.
fn unused_pools<A: PerFamily>(plan: &FamilyPlan<A>) -> u8 {
    let frontends = plan.frontends.values();
    let frontends = frontends.filter(|frontend| frontend.flags & FRONTEND_ADDRESS == 0);
    let policies = frontends.flat_map(|frontend| [frontend.inside, frontend.outside]);
    policies.fold(
        BACKEND_IN_CLUSTER | BACKEND_IN_LOCAL,
        |unused, policy| match policy {
            Policy::Cluster => unused & !BACKEND_IN_CLUSTER,
            Policy::Local => unused & !BACKEND_IN_LOCAL,
        },
    )
}

/// The pools of a service port: frontends that choose from the same backends share the slots.
struct Pools {
    /// First slot by content, of those there are already.
    known: BTreeMap<Vec<u32>, u32>,
    /// The slots that frontends choose from now.
    used: BTreeMap<u32, u32>,
    /// Those made already, by whether they are Maglev tables and whether they are local.
    made: BTreeMap<(bool, bool), Pool>,
}

impl Pools {
    fn new<A: PerFamily>(service_port: u32, before: &Tables) -> Self {
        let family = A::of(before);
        // What is published comes first: after a restart there may be slots that were left before.
        let published = family.frontends.values();
        let published = published.filter_map(|reference| family.info.get(&reference.info));
        let infos = published.chain(family.info.values());
        let mut known = BTreeMap::new();
        for info in infos.filter(|info| info.service_port == service_port) {
            for pool in [&info.inside, &info.outside] {
                let end = pool.first.saturating_add(pool.count);
                let slots = before.slots.range(pool.first..end);
                let content: Vec<u32> = slots.map(|(_, backend)| *backend).collect();
                if content.len() == pool.count as usize {
                    known.entry(content).or_insert(pool.first);
                }
            }
        }
        Self {
            known,
            used: BTreeMap::new(),
            made: BTreeMap::new(),
        }
    }

    fn of<A: PerFamily>(
        &mut self,
        frontend: &FrontendPlan,
        policy: Policy,
        plan: &FamilyPlan<A>,
        backends: &Backends<A>,
        ids: &mut Ids,
    ) -> Result<Pool, Full> {
        if frontend.flags & FRONTEND_ADDRESS != 0 {
            return Ok(Pool::default());
        }
        let is_maglev = frontend.flags & FRONTEND_MAGLEV != 0;
        let kind = (is_maglev, policy == Policy::Local);
        if let Some(pool) = self.made.get(&kind) {
            return Ok(*pool);
        }
        let members = members(plan, backends, policy);
        let content = if is_maglev {
            choice::table(&members)
        } else {
            choice::list(&members)
        };
        let pool = Pool {
            flags: pool_flags(plan, policy),
            ..self.place(content, ids)?
        };
        self.made.insert(kind, pool);
        Ok(pool)
    }

    /// Slots with this content, those there are already if there are any.
    fn place(&mut self, content: Vec<u32>, ids: &mut Ids) -> Result<Pool, Full> {
        if content.is_empty() {
            return Ok(Pool::default());
        }
        let count = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let first = match self.known.get(&content) {
            Some(first) => *first,
            None => ids.slots(count)?,
        };
        self.used.extend((first..).zip(content.iter().copied()));
        self.known.insert(content, first);
        Ok(Pool {
            first,
            count,
            flags: 0,
        })
    }
}

/// The backends that a policy chooses from, by address and port.
fn members<A: PerFamily>(
    plan: &FamilyPlan<A>,
    backends: &Backends<A>,
    policy: Policy,
) -> Vec<Member<A>> {
    let chosen = plan.backends.iter().filter(|(_, b)| b.serves(policy));
    let member = |(place, planned): (&(A, u16), &BackendPlan)| {
        let (id, _) = backends.get(place)?;
        Some(Member {
            place: *place,
            id: *id,
            weight: planned.weight,
        })
    };
    chosen.filter_map(member).collect()
}

/// An empty pool drops in silence if others could have served: that is `Local`'s way.
fn pool_flags<A: PerFamily>(plan: &FamilyPlan<A>, policy: Policy) -> u32 {
    let serves = |policy| plan.backends.values().any(|backend| backend.serves(policy));
    match policy {
        Policy::Cluster => 0,
        Policy::Local if !serves(Policy::Local) && serves(Policy::Cluster) => {
            POOL_LOCAL | POOL_DROP
        }
        Policy::Local => POOL_LOCAL,
    }
}
