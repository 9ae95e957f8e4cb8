//! What stands behind a Service in a test? Pods with servers, and the manifests that say so; both
//! always change together.

use std::cell::RefCell;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::manifests::{self, Health, Manifests};
use crate::peer::Server;
use crate::topology::{Node, Place};

/// Pods with the same label.
#[derive(Debug)]
pub struct App<'m> {
    manifests: &'m Manifests,
    name: String,
    port: u16,
    members: RefCell<Vec<Member<'m>>>,
}

#[derive(Debug)]
struct Member<'m> {
    name: String,
    node: &'m Node,
    /// None: a process of the node's own network.
    pod: Option<Place>,
    health: Health,
    server: Option<Server>,
}

impl Member<'_> {
    fn object(&self, app: &str) -> Value {
        match &self.pod {
            Some(pod) => manifests::pod(self.node, pod, app, self.health),
            None => manifests::host_pod(self.node, &self.name, app),
        }
    }
}

impl<'m> App<'m> {
    /// An app without pods, whose servers listen on this port.
    #[must_use]
    pub fn new(manifests: &'m Manifests, name: &str, port: u16) -> Self {
        Self {
            manifests,
            name: name.to_owned(),
            port,
            members: RefCell::default(),
        }
    }

    /// Starts a ready pod on the node.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn pod(&self, node: &'m Node, name: &str) -> Result<Place> {
        let pod = node.pod(name)?;
        self.add(node, &pod)?;
        Ok(pod)
    }

    /// As [`App::pod`], with an address that ends in `host`.
    ///
    /// # Errors
    /// As there.
    pub fn pod_at(&self, node: &'m Node, host: u8, name: &str) -> Result<Place> {
        let pod = node.pod_at(host, name)?;
        self.add(node, &pod)?;
        Ok(pod)
    }

    fn add(&self, node: &'m Node, pod: &Place) -> Result<()> {
        self.join(Member {
            name: pod.name().to_owned(),
            node,
            pod: Some(pod.clone()),
            health: Health::Ready,
            server: Some(Server::start(pod, pod.name(), self.port)?),
        })
    }

    /// Starts a server in the node's own network.
    ///
    /// # Errors
    /// The port is taken.
    pub fn on_host(&self, node: &'m Node, name: &str) -> Result<()> {
        self.join(Member {
            name: name.to_owned(),
            node,
            pod: None,
            health: Health::Ready,
            server: Some(Server::start(node.place(), name, self.port)?),
        })
    }

    fn join(&self, member: Member<'m>) -> Result<()> {
        self.members.borrow_mut().push(member);
        self.publish()
    }

    /// Says how a pod does; its server goes on.
    ///
    /// # Errors
    /// There is no such pod.
    pub fn set_health(&self, name: &str, health: Health) -> Result<()> {
        self.with(name, |member| member.health = health)?;
        self.publish()
    }

    /// Closes a pod's ports, as a server does that ends in order; its connections go on.
    ///
    /// # Errors
    /// There is no such pod.
    pub fn close(&self, name: &str) -> Result<()> {
        let closed = self.with(name, |member| member.server.as_mut().map(Server::close))?;
        closed.with_context(|| format!("{name} has stopped before"))
    }

    /// Ends a pod's server, without a word in the manifests.
    ///
    /// # Errors
    /// There is no such pod.
    pub fn stop(&self, name: &str) -> Result<()> {
        let server = self.with(name, |member| member.server.take())?;
        server
            .with_context(|| format!("{name} has stopped before"))?
            .stop();
        Ok(())
    }

    /// Takes a pod out of the manifests and then off its node.
    ///
    /// # Errors
    /// There is no such pod.
    pub fn remove(&self, name: &str) -> Result<()> {
        let at = self.position(name)?;
        let member = self.members.borrow_mut().remove(at);
        self.publish()?;
        member.pod.map_or(Ok(()), |pod| member.node.remove(&pod))
    }

    /// How many questions each pod has answered.
    #[must_use]
    pub fn answered(&self) -> Vec<(String, u64)> {
        let count = |member: &Member<'_>| {
            let answered = member.server.as_ref().map_or(0, Server::answered);
            (member.name.clone(), answered)
        };
        self.members.borrow().iter().map(count).collect()
    }

    /// How many connections a pod has open.
    ///
    /// # Errors
    /// There is no such pod.
    pub fn connections(&self, name: &str) -> Result<usize> {
        self.with(name, |member| {
            member.server.as_ref().map_or(0, Server::connections)
        })
    }

    fn with<T>(&self, name: &str, work: impl FnOnce(&mut Member<'m>) -> T) -> Result<T> {
        let at = self.position(name)?;
        Ok(work(&mut self.members.borrow_mut()[at]))
    }

    fn position(&self, name: &str) -> Result<usize> {
        let members = self.members.borrow();
        let at = members.iter().position(|member| member.name == name);
        at.with_context(|| format!("{} has no pod {name}", self.name))
    }

    fn publish(&self) -> Result<()> {
        let members = self.members.borrow();
        let objects: Vec<_> = members
            .iter()
            .map(|member| member.object(&self.name))
            .collect();
        self.manifests
            .write(&format!("{}-pods.yaml", self.name), &objects)
    }
}
