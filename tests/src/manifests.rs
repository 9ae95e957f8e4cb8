//! Which objects does a test's cluster have? Manifests as `lb run --manifests` reads them, made
//! from the places of a topology, in a directory of the test's own, or in a real API server.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::kubernetes::{Api, ControlPlane};
use crate::leftovers::{self, Guard};
use crate::topology::{Family, Node, Place};

/// A directory of manifests; a file changes as a whole.
#[derive(Debug)]
pub struct Manifests {
    directory: Guard,
    cluster: Option<(Arc<ControlPlane>, Mutex<Applied>)>,
}

/// What each file holds.
type Applied = BTreeMap<String, Vec<Value>>;

impl Manifests {
    /// An empty directory.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new() -> Result<Self> {
        Ok(Self {
            directory: leftovers::temporary_dir("manifests")?,
            cluster: None,
        })
    }

    /// The same objects in an API server: a file is what was applied together.
    ///
    /// # Errors
    /// As [`Manifests::new`].
    pub fn in_cluster(control: &Arc<ControlPlane>) -> Result<Self> {
        Ok(Self {
            cluster: Some((Arc::clone(control), Mutex::default())),
            ..Self::new()?
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Whether they are in an API server.
    #[must_use]
    pub const fn are_in_cluster(&self) -> bool {
        self.cluster.is_some()
    }

    /// The setting of `lb` that names the source: its variable and its value.
    #[must_use]
    pub fn setting(&self) -> (&'static str, String) {
        match &self.cluster {
            Some((control, _)) => ("LB_KUBECONFIG", control.kubeconfig().display().to_string()),
            None => ("LB_MANIFESTS", self.path().display().to_string()),
        }
    }

    /// Replaces a file by these objects, in one step: written beside it and renamed.
    ///
    /// # Errors
    /// The file cannot be written, or the API server refuses an object.
    pub fn write(&self, file: &str, objects: &[Value]) -> Result<()> {
        if let Some((control, applied)) = &self.cluster {
            let mut applied = applied.lock().unwrap_or_else(PoisonError::into_inner);
            let before = applied.insert(file.to_owned(), objects.to_vec());
            return replace(&control.api(), &before.unwrap_or_default(), objects);
        }
        let documents: Vec<_> = objects.iter().map(Value::to_string).collect();
        self.write_text(file, &documents.join("\n---\n"))
    }

    /// As [`Manifests::write`], with the text as it is.
    ///
    /// # Errors
    /// As there.
    pub fn write_text(&self, file: &str, text: &str) -> Result<()> {
        self.write_bytes(file, text.as_bytes())
    }

    /// As [`Manifests::write`], with bytes that may be no text.
    ///
    /// # Errors
    /// As there.
    pub fn write_bytes(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path().join(file);
        let beside = path.with_extension("new");
        fs::write(&beside, bytes)
            .and_then(|()| fs::rename(&beside, &path))
            .with_context(|| format!("writing {}", path.display()))
    }

    /// Copies a file of `examples/`.
    ///
    /// # Errors
    /// There is no such example.
    pub fn copy_example(&self, example: &str) -> Result<()> {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples")).join(example);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        self.write_text(&example.replace('/', "-"), &text)
    }
}

/// Changes what is in an API server as the text of a file changes.
fn replace(api: &Api<'_>, before: &[Value], after: &[Value]) -> Result<()> {
    let id = |object: &Value| (object["kind"].clone(), object["metadata"]["name"].clone());
    let is_ending = |object: &Value| !object["metadata"]["deletionTimestamp"].is_null();
    let mut applied = Vec::new();
    for object in after {
        let same = before.iter().find(|before| id(before) == id(object));
        if is_ending(object) {
            if same.is_some_and(|before| !is_ending(before)) {
                // Without a kubelet it stays so until it is deleted for good.
                api.delete(&[object], GRACE_SECONDS)?;
            }
        } else if same != Some(object) {
            applied.push(object.clone());
        }
    }
    api.apply(&applied)?;
    let is_left = |object: &&Value| after.iter().any(|after| id(after) == id(object));
    let gone: Vec<_> = before.iter().filter(|object| !is_left(object)).collect();
    if gone.is_empty() {
        return Ok(());
    }
    api.delete(&gone, 0)
}

/// Longer than any test.
const GRACE_SECONDS: u32 = 600;

/// A Service in namespace `default` that selects the pods labelled `app: <app>`.
#[derive(Clone, Debug)]
pub struct Service {
    name: String,
    spec: Value,
    status: Value,
}

impl Service {
    /// A ClusterIP Service with no port yet; its addresses are allocated unless given.
    #[must_use]
    pub fn new(name: &str, app: &str) -> Self {
        Self {
            name: name.to_owned(),
            spec: json!({"selector": {"app": app}, "ports": []}),
            status: json!({}),
        }
    }

    /// With these ClusterIPs, one for each family that it shall have.
    #[must_use]
    pub fn at(mut self, cluster_ips: &[IpAddr]) -> Self {
        let families = cluster_ips.iter().map(|ip| Family::of(*ip).to_string());
        self.spec["clusterIP"] = json!(cluster_ips.first());
        self.spec["clusterIPs"] = json!(cluster_ips);
        self.spec["ipFamilies"] = json!(families.collect::<Vec<_>>());
        let policy = if cluster_ips.len() > 1 {
            "RequireDualStack"
        } else {
            "SingleStack"
        };
        self.spec["ipFamilyPolicy"] = json!(policy);
        self
    }

    /// With one more port, over TCP and UDP alike.
    #[must_use]
    pub fn port(mut self, port: u16, target_port: u16) -> Self {
        for protocol in ["TCP", "UDP"] {
            let name = format!("{}-{port}", protocol.to_lowercase());
            let entry = json!({"name": name, "protocol": protocol, "port": port, "targetPort": target_port});
            self.ports().push(entry);
        }
        self
    }

    /// With one more port, over SCTP.
    #[must_use]
    pub fn sctp_port(mut self, port: u16, target_port: u16) -> Self {
        let name = format!("sctp-{port}");
        let entry =
            json!({"name": name, "protocol": "SCTP", "port": port, "targetPort": target_port});
        self.ports().push(entry);
        self
    }

    /// As type NodePort, with this port for all that it has.
    #[must_use]
    pub fn node_port(mut self, node_port: u16) -> Self {
        self.spec["type"] = json!("NodePort");
        for port in self.ports() {
            port["nodePort"] = json!(node_port);
        }
        self
    }

    /// With external IPs.
    #[must_use]
    pub fn external_ips(mut self, ips: &[IpAddr]) -> Self {
        self.spec["externalIPs"] = json!(ips);
        self
    }

    /// As type LoadBalancer, with these addresses given by a provider.
    #[must_use]
    pub fn load_balancer(self, ips: &[IpAddr]) -> Self {
        let ingress: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        self.ingress(&ingress)
    }

    /// As type LoadBalancer, with what a provider gave it, word by word.
    #[must_use]
    pub fn ingress(mut self, ingress: &[Value]) -> Self {
        self.spec["type"] = json!("LoadBalancer");
        self.status = json!({"loadBalancer": {"ingress": ingress}});
        self
    }

    /// With any other field of its `spec`.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.spec[field] = value;
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The object.
    #[must_use]
    pub fn object(&self) -> Value {
        let Self { name, spec, status } = self;
        let metadata = json!({"name": name, "namespace": "default"});
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec, "status": status})
    }

    fn ports(&mut self) -> &mut Vec<Value> {
        self.spec["ports"].as_array_mut().expect("made as an array")
    }
}

/// How a pod does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Ready.
    Ready,
    /// Running, and not ready.
    NotReady,
    /// Being deleted, and still serving.
    Terminating,
}

/// The Pod object of a place that is a pod of the node, labelled `app: <app>`.
#[must_use]
pub fn pod(node: &Node, place: &Place, app: &str, health: Health) -> Value {
    let ips = Family::ALL.map(|family| json!({"ip": place.address(family)}));
    let ready = if health == Health::NotReady {
        "False"
    } else {
        "True"
    };
    let mut metadata =
        json!({"name": place.name(), "namespace": "default", "labels": {"app": app}});
    if health == Health::Terminating {
        metadata["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": node.name(), "containers": [{"name": app, "image": app}]},
        "status": {
            "phase": "Running",
            "podIP": ips[0]["ip"],
            "podIPs": ips,
            "conditions": [{"type": "Ready", "status": ready}],
        },
    })
}

/// The Pod object of a process in the node's own network.
#[must_use]
pub fn host_pod(node: &Node, name: &str, app: &str) -> Value {
    let mut object = pod(node, node.place(), app, Health::Ready);
    object["metadata"]["name"] = json!(name);
    object["spec"]["hostNetwork"] = json!(true);
    object
}

/// The Service by which pods find DNS, and its one endpoint: `lb` itself, listening on that port of
/// the node.
#[must_use]
pub fn dns_service(node: &Node, vip: SocketAddr, port: u16) -> Vec<Value> {
    let ports = |number: u16| {
        let protocols = [("dns", "UDP"), ("dns-tcp", "TCP")];
        protocols
            .map(|(name, protocol)| json!({"name": name, "protocol": protocol, "port": number}))
    };
    let metadata = json!({
        "name": "kube-dns",
        "namespace": "kube-system",
        "labels": {"kubernetes.io/service-name": "kube-dns"},
    });
    let spec = json!({"clusterIP": vip.ip(), "ports": ports(vip.port())});
    vec![
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}),
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata,
            "addressType": Family::of(vip.ip()).to_string(),
            "ports": ports(port),
            "endpoints": [{
                "addresses": [node.place().address(Family::of(vip.ip()))],
                "nodeName": node.name(),
            }],
        }),
    ]
}
