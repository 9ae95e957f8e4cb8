//! What do the objects of a cluster amount to, and what is to be told about it? News in, updates
//! out; no I/O.
//!
//! Nothing but problems is told before every list has been heard once. A list that is heard again
//! is compared by versions: what it repeats makes no change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::announce::EVENTS;
use super::ended::Trouble;
use super::follow::News;
use super::read::{Reading, Said};
use super::resource::Resource;
use super::{Options, line::Version};
use crate::input::declared::{Family, Key, Kind, Object, Triggered};
use crate::input::{
    Allocations, NodeObject, Trigger, Unmapped, UnmappedReason, Update, standalone,
};
use crate::model::{self, Change, ObjectName, Problem};

/// What is known of the cluster, and what of it is to be told.
#[derive(Debug)]
pub(super) struct Source {
    options: Options,
    server: String,
    /// Lists that were not heard yet.
    missing: BTreeSet<Kind>,
    troubles: BTreeMap<Kind, Trouble>,
    /// What keeps problems from being told by Events.
    refusal: Option<Trouble>,
    /// What is there, in which version.
    known: BTreeMap<Key, Version>,
    problems: BTreeMap<Key, Vec<Problem>>,
    unmapped: BTreeMap<ObjectName, UnmappedReason>,
    service_cidrs: BTreeMap<ObjectName, Vec<IpNet>>,
    node: Option<NodeObject>,
    /// Changes that nobody was told yet, the last one of each object.
    untold: BTreeMap<Key, Change>,
    /// What the slices among them follow.
    triggers: BTreeMap<Key, Vec<Trigger>>,
    /// Whether something else than changes is new.
    is_news: bool,
}

impl Source {
    /// Nothing is known yet; `server` is the API server's address for people.
    pub(super) fn new(options: Options, server: String) -> Self {
        Self {
            options,
            server,
            missing: [
                Kind::Service,
                Kind::EndpointSlice,
                Kind::ServiceCidr,
                Kind::Node,
            ]
            .into(),
            troubles: BTreeMap::new(),
            refusal: None,
            known: BTreeMap::new(),
            problems: BTreeMap::new(),
            unmapped: BTreeMap::new(),
            service_cidrs: BTreeMap::new(),
            node: None,
            untold: BTreeMap::new(),
            triggers: BTreeMap::new(),
            is_news: false,
        }
    }

    /// Takes in what was heard of a list.
    pub(super) fn hear(&mut self, kind: Kind, news: News) {
        match news {
            News::Listed(objects) => self.listed(kind, objects),
            News::Now(object) => self.now(kind, object),
            News::Gone(name) => self.gone(&Key { kind, name }),
            News::Answers => self.is_news |= self.troubles.remove(&kind).is_some(),
            News::Trouble(trouble) => {
                // Before Kubernetes 1.33 nobody has ServiceCIDRs, and where they may not be read
                // the rest is served all the same.
                let is_not_ours = trouble.is_absent || trouble.is_forbidden;
                if is_not_ours && kind == Kind::ServiceCidr {
                    self.heard_all(kind);
                }
                self.is_news |= self.troubles.get(&kind) != Some(&trouble);
                self.troubles.insert(kind, trouble);
            }
        }
    }

    /// Takes in whether Events can be written.
    pub(super) fn hear_of_events(&mut self, refusal: Option<Trouble>) {
        self.is_news |= self.refusal != refusal;
        self.refusal = refusal;
    }

    /// Whether there is anything to tell.
    pub(super) fn has_news(&self) -> bool {
        self.is_news || (self.is_complete() && !self.untold.is_empty())
    }

    /// Tells what is new.
    pub(super) fn tell(&mut self) -> Update {
        self.is_news = false;
        let complete = self.is_complete();
        let (changes, triggers) = if complete {
            (
                std::mem::take(&mut self.untold).into_values().collect(),
                std::mem::take(&mut self.triggers)
                    .into_values()
                    .flatten()
                    .collect(),
            )
        } else {
            <_>::default()
        };
        Update {
            changes,
            triggers,
            node: self.node.clone().unwrap_or_default(),
            service_cidrs: self.prefixes(),
            problems: self.all_problems(),
            unmapped: self.all_unmapped(),
            // Here the API server allocates.
            allocations: Allocations::default(),
            complete,
        }
    }

    fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    fn heard_all(&mut self, kind: Kind) {
        self.is_news |= self.missing.remove(&kind);
    }

    fn listed(&mut self, kind: Kind, objects: Vec<Reading>) {
        let there: BTreeSet<_> = objects.iter().map(|object| &object.name).collect();
        let of_kind = self.known.keys().filter(|key| key.kind == kind);
        let gone = of_kind.filter(|key| !there.contains(&key.name));
        for key in gone.cloned().collect::<Vec<_>>() {
            self.gone(&key);
        }
        for object in objects {
            self.now(kind, object);
        }
        self.heard_all(kind);
    }

    fn now(&mut self, kind: Kind, object: Reading) {
        let Reading {
            name,
            version,
            said,
            findings,
        } = object;
        let key = Key { kind, name };
        if self.known.get(&key) == Some(&version) {
            return;
        }
        let findings = findings.iter();
        let problems: Vec<_> = findings.map(|finding| key.problem(finding, None)).collect();
        self.note(&key, problems);
        match said {
            Said::Object(object) => self.set(&key, object),
            Said::Nothing => self.forget(&key),
            // As it was.
            Said::Refused => {}
        }
        self.known.insert(key, version);
    }

    fn gone(&mut self, key: &Key) {
        if self.known.remove(key).is_some() {
            self.note(key, Vec::new());
            self.forget(key);
        }
    }

    fn note(&mut self, key: &Key, problems: Vec<Problem>) {
        let before = self.problems.remove(key);
        self.is_news |= before.as_ref().map_or(&[][..], Vec::as_slice) != problems;
        if !problems.is_empty() {
            self.problems.insert(key.clone(), problems);
        }
    }

    /// An object says this now.
    fn set(&mut self, key: &Key, object: Object) {
        match object {
            Object::Service(service) => {
                let reason = standalone::unmapped(&service);
                self.set_unmapped(&key.name, reason.as_ref());
                let service = match reason {
                    Some(UnmappedReason::OtherProxy(_)) => None,
                    _ => Some(Arc::new(service.model.clone())),
                };
                self.change(key, Change::Service(key.name.clone(), service));
            }
            Object::Slice(slice) => {
                if let Some(Triggered { at, family }) = slice.triggered {
                    self.triggers.entry(key.clone()).or_default().push(Trigger {
                        slice: key.name.clone(),
                        is_ipv6: family == Family::V6,
                        at,
                    });
                }
                let slice = (!slice.headless).then(|| Arc::clone(&slice.model));
                self.change(key, Change::Slice(key.name.clone(), slice));
            }
            Object::ServiceCidr(prefixes) => {
                let before = self.service_cidrs.insert(key.name.clone(), prefixes);
                self.is_news |= before.as_ref() != self.service_cidrs.get(&key.name);
            }
            Object::Node(node) => {
                // All others are their own nodes' business.
                if key.name.name == self.options.node_name {
                    self.is_news |= self.node.as_ref() != Some(&node);
                    self.node = Some(node);
                }
            }
            // Nobody follows these: the slices of both are what counts in a cluster.
            Object::Endpoints(_) | Object::Pod(_) => {}
        }
    }

    /// An object says nothing any more.
    fn forget(&mut self, key: &Key) {
        match key.kind {
            Kind::Service => {
                self.set_unmapped(&key.name, None);
                self.change(key, Change::Service(key.name.clone(), None));
            }
            Kind::EndpointSlice => {
                // What it followed was before it went.
                self.triggers.remove(key);
                self.change(key, Change::Slice(key.name.clone(), None));
            }
            Kind::ServiceCidr => self.is_news |= self.service_cidrs.remove(&key.name).is_some(),
            // A node whose object is deleted still forwards, and where its pods are has not
            // changed: it stays as it was, and a problem says so.
            Kind::Node => self.is_news = true,
            Kind::Endpoints | Kind::Pod => {}
        }
    }

    fn change(&mut self, key: &Key, change: Change) {
        self.untold.insert(key.clone(), change);
    }

    fn set_unmapped(&mut self, name: &ObjectName, reason: Option<&UnmappedReason>) {
        let before = match reason {
            Some(reason) => self.unmapped.insert(name.clone(), reason.clone()),
            None => self.unmapped.remove(name),
        };
        self.is_news |= before.as_ref() != reason;
    }

    fn prefixes(&self) -> Vec<IpNet> {
        let own = self.options.service_cidrs.iter();
        let of_objects = self.service_cidrs.values().flatten();
        own.chain(of_objects).copied().collect()
    }

    fn all_unmapped(&self) -> Vec<Unmapped> {
        let unmapped = self.unmapped.iter();
        unmapped
            .map(|(service, reason)| Unmapped {
                service: service.clone(),
                reason: reason.clone(),
            })
            .collect()
    }

    fn all_problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = self.problems.values().flatten().cloned().collect();
        problems.extend(self.of_server());
        problems.extend(self.of_node());
        problems.sort();
        problems
    }

    /// What is wrong with the API server, each only once where all lists have the same.
    fn of_server(&self) -> Vec<Problem> {
        let mut lists: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (kind, trouble) in &self.troubles {
            let is_older = trouble.is_absent && *kind == Kind::ServiceCidr;
            if !is_older {
                let list = Resource::name(*kind);
                lists.entry(&trouble.why).or_default().push(list);
            }
        }
        let problem = |what: String, why: String| Problem {
            object: model::Object {
                kind: "APIServer".into(),
                name: ObjectName::new("", &self.server),
            },
            field: what,
            why,
            place: None,
        };
        let lists = lists.into_iter().map(|(why, lists)| {
            let consequence =
                "what was known of them stays in force, and it is asked again and again";
            problem(lists.join(", "), format!("{why}; {consequence}"))
        });
        let refusal = self.refusal.iter().map(|Trouble { why, .. }| {
            let consequence = "until then problems are told on the nodes alone";
            problem(EVENTS.into(), format!("{why}; {consequence}"))
        });
        let bootstrap = self.may_need_itself().then(|| {
            let why = "nothing is known yet, and the ClusterIP by which pods reach the API server may be for lb \
                       itself to serve: give an address of the API server's own, https://HOST:PORT";
            problem("--api-server".into(), why.into())
        });
        lists.chain(refusal).chain(bootstrap).collect()
    }

    /// Whether the server cannot be reached, at an address that lb may have to serve first.
    fn may_need_itself(&self) -> bool {
        let is_unreached = |trouble: &Trouble| !trouble.is_forbidden && !trouble.is_absent;
        self.options.is_by_cluster_ip()
            && !self.is_complete()
            && self.troubles.values().any(is_unreached)
    }

    fn of_node(&self) -> Option<Problem> {
        let name = ObjectName::new("", &self.options.node_name);
        let key = Key {
            kind: Kind::Node,
            name,
        };
        let is_missing = self.is_complete() && !self.known.contains_key(&key);
        is_missing.then(|| Problem {
            object: model::Object {
                kind: key.kind.name().into(),
                name: key.name,
            },
            field: String::new(),
            why: "the cluster has no Node of this name, so its zone and podCIDRs are not known; \
                  give its name with --node-name, or by NODE_NAME in the environment"
                .into(),
            place: None,
        })
    }
}
