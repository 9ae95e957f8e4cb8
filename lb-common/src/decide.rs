//! What becomes of a packet that belongs to no flow yet? The one decision function.
//!
//! The kernel programs run it on BPF maps, tests on tables in memory, `lb explain` on either.

use crate::addr::Family;
use crate::drops::DropReason;
use crate::hash::{self, Draw};
use crate::layout::{
    Affinity, AffinityKey, BACKEND_HOST_NETWORK, BACKEND_IN_CLUSTER, BACKEND_IN_LOCAL,
    BACKEND_LOCAL, Backend, CONFIG_ANSWER_PING, CONFIG_MASQUERADE_ALL, CONFIG_STANDBY,
    CONFIG_TAKEOVER, FRONTEND_LOOPBACK, FRONTEND_MAGLEV, FRONTEND_SOURCE_RANGES, FlowKey,
    FrontendInfo, FrontendKey, FrontendRef, POOL_DROP, POOL_LOCAL, Pool,
};

/// IP protocol number.
pub const TCP: u8 = 6;
/// IP protocol number.
pub const UDP: u8 = 17;
/// IP protocol number.
pub const SCTP: u8 = 132;

/// Whether a protocol has connections that begin and end by packets that say so.
#[inline(always)]
#[must_use]
pub const fn has_connections(protocol: u8) -> bool {
    protocol == TCP || protocol == SCTP
}

/// Read access to what the decision depends on.
pub trait Tables<A: Family> {
    /// `CONFIG_*` bits.
    fn flags(&self) -> u32;
    /// Whether a pod prefix contains the address.
    fn is_pod(&self, address: &A) -> bool;
    /// Whether the address is one of this node's.
    fn is_node(&self, address: &A) -> bool;
    /// Whether a ServiceCIDR contains the address.
    fn is_service(&self, address: &A) -> bool;
    /// Map `frontends4|6`, read in one 64-bit load.
    fn frontend(&self, key: &FrontendKey<A>) -> Option<FrontendRef>;
    /// Map `frontend_info4|6`.
    fn info(&self, index: u32) -> Option<&FrontendInfo<A>>;
    /// Map `slots`.
    fn slot(&self, index: u32) -> Option<u32>;
    /// Map `backends4|6`.
    fn backend(&self, id: u32) -> Option<&Backend<A>>;
    /// Whether map `ranges4|6` admits the source to the service port.
    fn admits(&self, service_port: u32, source: &A) -> bool;
    /// Map `affinity4|6`, unless the entry is older than `seconds`.
    fn affinity(&self, key: &AffinityKey<A>, seconds: u32) -> Option<Affinity>;
}

/// How a packet came to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// From a pod of this node.
    PodLink,
    /// From another node or from outside.
    Uplink,
    /// From a socket of this node, before there was a packet.
    Socket,
    /// From a socket of a pod, whose address nobody knows yet.
    PodSocket,
    /// Nobody knows (a question without a packet): the source address must tell.
    Unknown,
}

/// Who asks: decides which policy holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourceClass {
    /// This node's own stack.
    Node,
    /// A pod, here or on another node.
    Pod,
    /// Anybody else.
    Outside,
}

/// A packet that has no flow.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a, A> {
    /// Its addresses, ports and protocol.
    pub flow: &'a FlowKey<A>,
    /// How it came.
    pub arrival: Arrival,
    /// Whether a flow may begin with it: any but a TCP packet that is not a plain SYN, and one of
    /// SCTP that is no INIT.
    pub begins: bool,
}

/// What has to change besides the destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nat {
    /// Nothing: the reply comes back by itself.
    DestinationOnly,
    /// The source: the reply would not come back here otherwise.
    Source,
    /// The source: client and backend are the same pod.
    Hairpin,
}

/// A new flow and its backend.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'t, A> {
    /// The frontend.
    pub info: &'t FrontendInfo<A>,
    /// Which of its pools.
    pub outside: bool,
    /// Id of the backend.
    pub backend_id: u32,
    /// The backend.
    pub backend: &'t Backend<A>,
    /// Affinity chose it.
    pub by_affinity: bool,
    /// What else changes.
    pub nat: Nat,
}

/// What becomes of the packet.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub enum Decision<'t, A> {
    /// None of our business.
    Pass,
    /// Dropped in silence.
    Drop(DropReason),
    /// Answered with a reset or an ICMP error.
    Refuse(DropReason),
    /// ICMP to a ClusterIP whose pings are to be answered.
    AnswerPing,
    /// Sent to a backend.
    Forward(Forward<'t, A>),
}

/// Decides what becomes of a packet that has no flow; `draw` chooses the slot.
#[inline(always)]
pub fn decide<'t, A: Family, T: Tables<A>>(
    tables: &'t T,
    request: &Request<'_, A>,
    draw: impl Draw<A>,
) -> Decision<'t, A> {
    if tables.flags() & CONFIG_STANDBY != 0 {
        return Decision::Pass;
    }
    let info = match find(tables, request.flow) {
        Ok(Some(info)) => info,
        Ok(None) => return without_frontend(tables, request.flow),
        Err(Torn) => return Decision::Drop(DropReason::Inconsistent),
    };
    if info.flags & FRONTEND_LOOPBACK != 0 && !is_of_node(tables, request) {
        // Somebody else's loopback, or a forged packet: the stack knows what to do.
        return Decision::Pass;
    }
    if request.arrival == Arrival::PodSocket && depends_on_source(info) {
        // Left to traffic control, which sees the pod's address.
        return Decision::Pass;
    }
    let source = &request.flow.source;
    if info.flags & FRONTEND_SOURCE_RANGES != 0 && !tables.admits(info.service_port, source) {
        return Decision::Drop(DropReason::SourceRange);
    }
    if !request.begins {
        if tables.flags() & CONFIG_TAKEOVER != 0 {
            return Decision::Pass;
        }
        // Another node may have had the flow until now: it chose as this one does.
        if info.flags & FRONTEND_MAGLEV == 0 {
            return Decision::Refuse(DropReason::NoFlow);
        }
    }
    let outside = source_class(tables, source, request.arrival) == SourceClass::Outside;
    let pool = if outside { &info.outside } else { &info.inside };
    if pool.count == 0 {
        return if pool.flags & POOL_DROP != 0 {
            Decision::Drop(DropReason::NoLocalEndpoints)
        } else {
            Decision::Refuse(DropReason::NoEndpoints)
        };
    }
    let Some((backend_id, by_affinity)) = choose(tables, info, pool, source, draw) else {
        return Decision::Drop(DropReason::Inconsistent);
    };
    let Some(backend) = tables.backend(backend_id) else {
        return Decision::Drop(DropReason::Inconsistent);
    };
    let nat = nat(tables, request, backend, outside);
    Decision::Forward(Forward {
        info,
        outside,
        backend_id,
        backend,
        by_affinity,
        nat,
    })
}

/// Whether a socket of the node asks; packets at links never do, whatever their source says.
#[inline(always)]
fn is_of_node<A: Family, T: Tables<A>>(tables: &T, request: &Request<'_, A>) -> bool {
    match request.arrival {
        Arrival::Socket => true,
        Arrival::PodLink | Arrival::PodSocket | Arrival::Uplink => false,
        Arrival::Unknown => tables.is_node(&request.flow.source),
    }
}

/// Whether the frontend asks for the client's address.
#[inline(always)]
const fn depends_on_source<A>(info: &FrontendInfo<A>) -> bool {
    info.affinity_seconds != 0 || info.flags & FRONTEND_SOURCE_RANGES != 0
}

/// Who a source is: by the link where that is known, else by its address.
#[inline(always)]
pub fn source_class<A: Family, T: Tables<A>>(
    tables: &T,
    source: &A,
    arrival: Arrival,
) -> SourceClass {
    match arrival {
        Arrival::PodLink | Arrival::PodSocket => SourceClass::Pod,
        Arrival::Socket => SourceClass::Node,
        Arrival::Uplink | Arrival::Unknown => {
            if tables.is_node(source) {
                SourceClass::Node
            } else if tables.is_pod(source) {
                SourceClass::Pod
            } else {
                SourceClass::Outside
            }
        }
    }
}

/// The tables changed under the reader, twice.
struct Torn;

/// The frontend that the packet is for. A hash element may be recycled while it is read, so the
/// information must say that it is the key's; after one look more there is no excuse.
///
/// No loop: kernel 5.10 refuses one that LLVM makes begin right behind a helper's call.
#[inline(always)]
fn find<'t, A: Family, T: Tables<A>>(
    tables: &'t T,
    flow: &FlowKey<A>,
) -> Result<Option<&'t FrontendInfo<A>>, Torn> {
    let key = FrontendKey::new(flow.destination, flow.destination_port, flow.protocol);
    look(tables, &key).or_else(|Torn| look(tables, &key))
}

#[inline(always)]
fn look<'t, A: Family, T: Tables<A>>(
    tables: &'t T,
    key: &FrontendKey<A>,
) -> Result<Option<&'t FrontendInfo<A>>, Torn> {
    let Some(reference) = tables.frontend(key) else {
        return Ok(None);
    };
    match tables.info(reference.info) {
        Some(info) if info.key == *key => Ok(Some(info)),
        _ => Err(Torn),
    }
}

/// No frontend has this address, port and protocol (ICMP has none); does one have the address?
#[inline(always)]
pub fn without_frontend<'t, A: Family, T: Tables<A>>(
    tables: &'t T,
    flow: &FlowKey<A>,
) -> Decision<'t, A> {
    let has_ports = matches!(flow.protocol, TCP | UDP | SCTP);
    match whose(tables, &flow.destination) {
        Whose::Services if has_ports => Decision::Refuse(DropReason::UndefinedPort),
        Whose::Services if flow.protocol == A::ICMP && tables.flags() & CONFIG_ANSWER_PING != 0 => {
            Decision::AnswerPing
        }
        Whose::Services => Decision::Drop(DropReason::NotAPort),
        Whose::Nobody => Decision::Drop(DropReason::UnallocatedAddress),
        Whose::Foreign => Decision::Pass,
    }
}

/// Whose an address is, whatever the port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// A Service's, which has nothing behind it but its ports: a ClusterIP.
    Services,
    /// No Service's yet: it is of a ServiceCIDR, and nothing is there.
    Nobody,
    /// Somebody else's, who may share it with a Service: a node address, an external IP.
    Foreign,
}

/// Whose an address is.
#[inline(always)]
pub fn whose<A: Family, T: Tables<A>>(tables: &T, address: &A) -> Whose {
    let key = FrontendKey {
        address: *address,
        ..FrontendKey::default()
    };
    if tables.frontend(&key).is_some() {
        Whose::Services
    } else if tables.is_service(address) {
        Whose::Nobody
    } else {
        Whose::Foreign
    }
}

/// The backend's id, and whether affinity named it.
#[inline(always)]
fn choose<A: Family, T: Tables<A>>(
    tables: &T,
    info: &FrontendInfo<A>,
    pool: &Pool,
    source: &A,
    draw: impl Draw<A>,
) -> Option<(u32, bool)> {
    if info.affinity_seconds != 0 {
        let key = AffinityKey {
            client: *source,
            service_port: info.service_port,
        };
        if let Some(affinity) = tables.affinity(&key, info.affinity_seconds)
            && let Some(backend) = tables.backend(affinity.backend)
            && backend.generation == affinity.generation
            && backend.service_port == info.service_port
            && backend.flags & membership(pool) != 0
        {
            return Some((affinity.backend, true));
        }
    }
    let slot = hash::slot(draw.draw(info), pool.count);
    let slot = pool.first.wrapping_add(slot);
    Some((tables.slot(slot)?, false))
}

/// The flag of the backends that a pool holds.
#[inline(always)]
const fn membership(pool: &Pool) -> u8 {
    if pool.flags & POOL_LOCAL != 0 {
        BACKEND_IN_LOCAL
    } else {
        BACKEND_IN_CLUSTER
    }
}

/// SNAT only where the reply would not come back otherwise.
#[inline(always)]
fn nat<A: Family, T: Tables<A>>(
    tables: &T,
    request: &Request<'_, A>,
    backend: &Backend<A>,
    outside: bool,
) -> Nat {
    let before_any_packet = matches!(request.arrival, Arrival::Socket | Arrival::PodSocket);
    if before_any_packet || backend.flags & BACKEND_HOST_NETWORK != 0 {
        return Nat::DestinationOnly;
    }
    if backend.address == request.flow.source {
        return Nat::Hairpin;
    }
    let from_elsewhere = outside || request.arrival == Arrival::Uplink;
    let returns = backend.flags & BACKEND_LOCAL != 0 || !from_elsewhere;
    if returns && tables.flags() & CONFIG_MASQUERADE_ALL == 0 {
        Nat::DestinationOnly
    } else {
        Nat::Source
    }
}
