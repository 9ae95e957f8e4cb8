//! What may help whoever asked? Remarks beside the answer; none of them decides anything.

mod endpoints;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use lb_common::addr::{Ip4, Ip6};
use lb_common::decide::{Nat, SourceClass};
use lb_common::drops::DropReason;
use lb_common::layout::{CONFIG_STANDBY, FRONTEND_ADDRESS, FRONTEND_NODE_PORT, FrontendInfo};

use super::answer::{Answer, Reason, Verdict};
use super::question::{Question, has_ports, protocol_name};
use super::{Known, names};
use crate::model::Policy;
use crate::tables::PerFamily;

/// The hints, the most helpful one first.
pub(super) fn hints(answer: &Answer, known: &Known<'_>) -> Vec<String> {
    if answer.question.destination.is_ipv4() {
        Hinter::<Ip4>::new(answer, known).hints()
    } else {
        Hinter::<Ip6>::new(answer, known).hints()
    }
}

struct Hinter<'a, A> {
    answer: &'a Answer,
    question: &'a Question,
    known: &'a Known<'a>,
    /// Every frontend of the family, without the markers of addresses.
    frontends: Vec<&'a FrontendInfo<A>>,
}

impl<'a, A: PerFamily> Hinter<'a, A> {
    fn new(answer: &'a Answer, known: &'a Known<'a>) -> Self {
        let family = A::of(known.tables);
        let infos = family
            .frontends
            .values()
            .filter_map(|reference| family.info.get(&reference.info));
        Self {
            answer,
            question: &answer.question,
            known,
            frontends: infos
                .filter(|info| info.flags & FRONTEND_ADDRESS == 0)
                .collect(),
        }
    }

    fn hints(&self) -> Vec<String> {
        let mut hints = match self.answer.reason {
            Reason::NewFlow | Reason::Affinity | Reason::Flow => self.of_forward(),
            Reason::Reply => Vec::new(),
            Reason::Ping => vec![
                "the answer says that this node has the Service, not that any of its backends is there; try one of its ports, as with `curl`".to_owned(),
            ],
            Reason::NoFrontend => self.of_pass(),
            Reason::OwnSctp => vec![
                "no hook of the kernel sees where an SCTP socket of the node connects to; dial a pod instead, or dial from a pod".to_owned(),
            ],
            Reason::Dropped(reason) => self.of_drop(reason),
        };
        hints.extend(self.about_class());
        hints.extend(self.problems());
        hints
    }

    fn of_forward(&self) -> Vec<String> {
        let mut hints = Vec::new();
        let candidates = &self.answer.candidates;
        if candidates.iter().any(|one| one.nat == Nat::Hairpin) {
            hints.push(
                "the client is one of its backends: if it draws itself, its address is replaced, or the reply would not come back through here".to_owned(),
            );
        }
        let remote = candidates
            .iter()
            .any(|one| one.nat == Nat::Source && !one.local);
        if remote && self.answer.class == SourceClass::Outside {
            hints.push(
                "backends on other nodes see this node's address instead of the client's, or their replies would not come back through here; `externalTrafficPolicy: Local` would keep it".to_owned(),
            );
        }
        if !candidates.is_empty() && candidates.iter().all(|one| one.terminating) {
            hints.push(
                "every endpoint is terminating: these still serve, and are chosen only because none is ready".to_owned(),
            );
        }
        hints
    }

    fn of_drop(&self, reason: DropReason) -> Vec<String> {
        match reason {
            DropReason::NoEndpoints => self.endpoints_of_service(),
            DropReason::NoLocalEndpoints => vec![self.elsewhere()],
            DropReason::UndefinedPort => self.other_ports(),
            DropReason::NotAPort => vec![
                "a ping of a VIP gets no answer, that is normal: it exists only with its ports, on no interface; try one of them instead, as with `curl` (`--answer-ping` would answer)".to_owned(),
            ],
            DropReason::SourceRange => vec![self.source_ranges()],
            DropReason::UnallocatedAddress => vec![
                "the address lies in a ServiceCIDR, but no Service has it: is it mistyped, or was the Service deleted? `lb get services` lists all".to_owned(),
            ],
            DropReason::Inconsistent => vec![
                "the tables were read while they changed: ask again; if it stays so, `lb doctor` says more".to_owned(),
            ],
            _ => Vec::new(),
        }
    }

    /// Which ports the address has, and what the client may have meant.
    fn other_ports(&self) -> Vec<String> {
        let question = self.question;
        let here: Vec<_> = self.at_destination().collect();
        let ports: BTreeSet<_> = here
            .iter()
            .map(|info| {
                let protocol = protocol_name(info.key.protocol);
                format!("{}/{protocol}", info.key.port)
            })
            .collect();
        let ports: Vec<_> = ports.into_iter().collect();
        let mut hints = vec![format!("the address has {}", list("port", &ports))];
        let same_number = here
            .iter()
            .find(|info| info.key.port == question.destination_port);
        if let Some(info) = same_number {
            hints.push(format!(
                "port {} is there for {} only",
                question.destination_port,
                protocol_name(info.key.protocol)
            ));
        }
        let target = here.iter().find(|info| {
            let backends = A::of(self.known.tables).backends.values();
            let mut ours = backends.filter(|backend| backend.service_port == info.service_port);
            ours.any(|backend| backend.port == question.destination_port)
        });
        if let Some(info) = target {
            hints.push(format!(
                "{} is a port of the endpoints (targetPort): clients dial {}",
                question.destination_port, info.key.port
            ));
        }
        hints
    }

    fn source_ranges(&self) -> String {
        let id = self.answer.served.as_ref().map(|served| served.id);
        let ranges = A::of(self.known.tables).ranges.iter();
        let ranges: Vec<_> = ranges
            .filter(|range| Some(range.service_port) == id)
            .map(|range| format!("{}/{}", range.network, range.prefix_length - u32::BITS))
            .collect();
        format!(
            "`loadBalancerSourceRanges` admits {} only; add one that contains {}",
            ranges.join(", "),
            self.question.source
        )
    }

    /// Why the packet is none of ours.
    fn of_pass(&self) -> Vec<String> {
        if self.known.tables.config.flags & CONFIG_STANDBY != 0 {
            return vec![
                "lb stands by: what begins is left to kube-proxy's rules, until `lb takeover`"
                    .to_owned(),
            ];
        }
        let question = self.question;
        let destination = SocketAddr::new(question.destination, question.destination_port);
        let to_address: Vec<_> = self.at_destination().collect();
        if let Some(hint) = self.node_port_elsewhere() {
            return vec![hint];
        }
        if let Some(first) = to_address.first() {
            let ports: Vec<_> = to_address
                .iter()
                .map(|info| format!("{}/{}", info.key.port, protocol_name(info.key.protocol)))
                .collect();
            return vec![format!(
                "the address is a {} with {}; everything else on it is left alone, as it may be the node's own",
                names::kind(first.flags),
                list("port", &ports)
            )];
        }
        if let Some(hint) = self.left_to_the_cloud() {
            return vec![hint];
        }
        let mut backends = A::of(self.known.tables).backends.values();
        let backend = backends.find(|backend| {
            backend.address.to_ip() == destination.ip()
                && (backend.port == destination.port() || !has_ports(question.protocol))
        });
        if let Some(backend) = backend {
            let service = names::served_port(self.known.tables, backend.service_port);
            let service =
                service.map_or_else(String::new, |served| format!(" of {}", served.service));
            return vec![format!(
                "{} is itself an endpoint{service}: packets to it pass untouched",
                backend.address
            )];
        }
        vec!["no Service has this address: routing alone decides where the packet goes".to_owned()]
    }

    /// The address is one of a load balancer that brings its traffic to node ports itself.
    fn left_to_the_cloud(&self) -> Option<String> {
        let address = self.question.destination;
        let mut services = self.known.state.services.iter();
        let service = services.find(|service| service.proxied_ips.contains(&address))?;
        Some(format!(
            "{address} is left to the cloud's load balancer: Service {} has it with `ipMode: Proxy`, so packets go there and come back to a node port",
            service.service
        ))
    }

    /// The port is a NodePort, but not at this address.
    fn node_port_elsewhere(&self) -> Option<String> {
        let question = self.question;
        let address = A::from_ip(question.destination)?;
        if !A::of(self.known.tables).nodes.contains(&address) {
            return None;
        }
        let at: Vec<_> = self
            .frontends
            .iter()
            .filter(|info| {
                info.flags & FRONTEND_NODE_PORT != 0
                    && info.key.port == question.destination_port
                    && info.key.protocol == question.protocol
            })
            .map(|info| info.key.address.to_string())
            .collect();
        (!at.is_empty()).then(|| {
            format!(
                "{} is a NodePort, but served on {} only: --nodeport-addresses says where",
                question.destination_port,
                at.join(", ")
            )
        })
    }

    /// What the client's class depends on, where that may surprise.
    fn about_class(&self) -> Option<String> {
        self.answer.frontend?;
        let config = &self.known.tables.config;
        match self.answer.class {
            SourceClass::Outside if A::pods(config).iter().all(|prefix| prefix.used == 0) => {
                Some("no prefix of pods is known (--cluster-cidr, podCIDRs of the Node): without a packet, every address but the node's own counts as outside".to_owned())
            }
            SourceClass::Node
                if self.known.traffic.is_some()
                    && self.answer.verdict == Verdict::Forward
                    && self.answer.candidates.len() > 1 =>
            {
                Some("sockets of the node are served before they have a port, so each draws for itself".to_owned())
            }
            _ => None,
        }
    }

    /// What is wrong with the Service as it was written.
    fn problems(&self) -> Vec<String> {
        let Some(served) = &self.answer.served else {
            return Vec::new();
        };
        let problems = self.known.state.problems.iter();
        problems
            .filter(|problem| problem.object.name == served.service)
            .map(|problem| format!("problem: {problem}"))
            .collect()
    }

    fn is_external(&self) -> bool {
        let frontend = self.answer.frontend;
        frontend.is_some_and(|frontend| {
            frontend.inside == Policy::Cluster && frontend.kind != "ClusterIP"
        })
    }

    fn at_destination(&self) -> impl Iterator<Item = &&'a FrontendInfo<A>> {
        let destination = self.question.destination;
        self.frontends
            .iter()
            .filter(move |info| info.key.address.to_ip() == destination)
    }
}

fn count(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

fn list(what: &str, items: &[String]) -> String {
    match items {
        [] => format!("no {what}"),
        [only] => format!("{what} {only} only"),
        several => format!("{what}s {}", several.join(", ")),
    }
}
