//! Which cases are there, and which manifests and flags does each mean?

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

/// A cluster, and packets that arrive at one of its nodes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Case {
    #[serde(default)]
    services: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    endpoint_slices: Option<BTreeMap<String, Value>>,
    pub(crate) node_name: String,
    #[serde(rename = "nodeIPs")]
    pub(crate) node_ips: Vec<String>,
    /// A list in brackets, separated by spaces.
    node_port_addresses: String,
    /// The last word is the prefix of pods.
    local_detector: Option<Vec<String>>,
    #[serde(rename = "serviceCIDRs")]
    service_cidrs: String,
    masquerade_all: bool,
    pub(crate) packets: Vec<Packet>,
}

/// A packet, and what it must become.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Packet {
    pub(crate) name: String,
    pub(crate) src: String,
    pub(crate) proto: String,
    pub(crate) dst: String,
    pub(crate) dst_port: u16,
    /// Backends, `REJECT`, `DROP`, or nothing.
    pub(crate) expect: String,
}

/// A Service with endpoints here and there, and who may be chosen.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) node_name: String,
    node_labels: Option<BTreeMap<String, String>>,
    pub(crate) internal_policy_local: bool,
    pub(crate) external_policy_local: bool,
    pub(crate) node_port: u16,
    endpoints: Option<Vec<Endpoint>>,
    pub(crate) cluster: Option<BTreeSet<String>>,
    pub(crate) local: Option<BTreeSet<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(clippy::struct_excessive_bools, reason = "the file has it so")]
struct Endpoint {
    /// Address and port.
    #[serde(rename = "Endpoint")]
    place: String,
    local: bool,
    ready: bool,
    serving: bool,
    terminating: bool,
    zone_hints: Option<Vec<String>>,
    node_hints: Option<Vec<String>>,
}

fn directory() -> PathBuf {
    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors");
    std::env::var_os("LB_VECTORS").map_or_else(|| PathBuf::from(ours), PathBuf::from)
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> T {
    let text = fs::read(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// All clusters with packets, by file.
pub(crate) fn cases() -> Vec<(String, Case)> {
    let directory = directory().join("packets");
    let files = fs::read_dir(&directory);
    let files = files.unwrap_or_else(|why| panic!("{}: {why}", directory.display()));
    let mut paths: Vec<_> = files
        .map(|file| file.expect("a directory entry").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{}: no cases", directory.display());
    let name = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), read(path))).collect()
}

/// All rows of topology.
pub(crate) fn rows() -> Vec<Row> {
    read(&directory().join("topology.json"))
}

impl Case {
    /// One `List` of all objects.
    pub(crate) fn manifest(&self) -> Value {
        let kinds = [
            ("Service", "v1", &self.services),
            (
                "EndpointSlice",
                "discovery.k8s.io/v1",
                &self.endpoint_slices,
            ),
        ];
        let mut items = vec![json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": self.node_name },
        })];
        for (kind, version, objects) in kinds {
            for object in objects.iter().flat_map(BTreeMap::values) {
                let mut object = object.clone();
                object["kind"] = kind.into();
                object["apiVersion"] = version.into();
                items.push(object);
            }
        }
        list(&items)
    }

    /// The flags, without `--manifests`.
    pub(crate) fn flags(&self) -> Vec<String> {
        let node_port_addresses = self.node_port_addresses.trim_matches(['[', ']']);
        let mut flags = vec![
            format!("--node-name={}", self.node_name),
            format!("--node-address={}", self.node_ips.join(",")),
            format!("--service-cidr={}", self.service_cidrs),
            format!(
                "--nodeport-addresses={}",
                node_port_addresses.replace(' ', ",")
            ),
        ];
        flags.extend(self.pod_cidr().map(|cidr| format!("--cluster-cidr={cidr}")));
        if self.masquerade_all {
            flags.push("--masquerade-all".to_owned());
        }
        flags
    }

    /// Whether `--masquerade-all` is set.
    pub(crate) const fn masquerades_all(&self) -> bool {
        self.masquerade_all
    }

    /// Whether the packet goes to an external address of a Service with
    /// `externalTrafficPolicy: Local`.
    pub(crate) fn keeps_sources(&self, packet: &Packet) -> bool {
        let mut services = self.services.iter().flat_map(BTreeMap::values);
        services.any(|service| {
            let spec = &service["spec"];
            let items = |list: &Value| list.as_array().cloned().unwrap_or_default();
            let external = items(&spec["externalIPs"]).contains(&packet.dst.as_str().into());
            let ingress = items(&service["status"]["loadBalancer"]["ingress"]);
            let vip = ingress
                .iter()
                .any(|ingress| ingress["ip"] == packet.dst.as_str());
            let mut ports = items(&spec["ports"]).into_iter();
            let node_port = self.node_ips.contains(&packet.dst)
                && ports.any(|port| port["nodePort"] == packet.dst_port);
            spec["externalTrafficPolicy"] == "Local" && (external || vip || node_port)
        })
    }

    /// Whether the endpoint (address and port) is on another node.
    pub(crate) fn is_remote(&self, backend: &str) -> bool {
        let address = backend.rsplit_once(':').map(|(address, _)| address);
        let address = address.map(|address| address.trim_matches(['[', ']']));
        let slices = self.endpoint_slices.iter().flat_map(BTreeMap::values);
        let mut endpoints =
            slices.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
        endpoints.any(|endpoint| {
            endpoint["addresses"][0].as_str() == address
                && endpoint["nodeName"].as_str() != Some(&self.node_name)
        })
    }

    /// The prefix of pods, if it is known.
    pub(crate) fn pod_cidr(&self) -> Option<&String> {
        self.local_detector.as_ref()?.last()
    }
}

/// What clients dial in the rows of topology.
pub(crate) const CLUSTER_IP: &str = "172.30.0.41:80";
/// As [`CLUSTER_IP`], from outside.
pub(crate) const NODE_PORT: &str = "192.0.2.10:30080";

impl Row {
    /// The name of the node that asks.
    pub(crate) fn node(&self) -> &str {
        if self.node_name.is_empty() {
            "this-node"
        } else {
            &self.node_name
        }
    }

    /// One `List` of the Service, its slice and the node.
    pub(crate) fn manifest(&self) -> Value {
        let policy = |local| if local { "Local" } else { "Cluster" };
        let mut port = json!({ "name": "p", "port": 80, "protocol": "TCP" });
        let mut spec = json!({
            "clusterIP": "172.30.0.41",
            "internalTrafficPolicy": policy(self.internal_policy_local),
        });
        if self.node_port != 0 {
            port["nodePort"] = 30_080.into();
            spec["type"] = "NodePort".into();
            spec["externalTrafficPolicy"] = policy(self.external_policy_local).into();
        }
        spec["ports"] = json!([port]);
        let endpoints = self.endpoints.iter().flatten();
        let endpoints: Vec<_> = endpoints
            .map(|endpoint| endpoint.object(self.node()))
            .collect();
        list(&[
            json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": { "name": self.node(), "labels": self.node_labels },
                "status": { "addresses": [{ "type": "InternalIP", "address": "192.0.2.10" }] },
            }),
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": { "name": "svc", "namespace": "ns" },
                "spec": spec,
            }),
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {
                    "name": "svc-1", "namespace": "ns",
                    "labels": { "kubernetes.io/service-name": "svc" },
                },
                "addressType": "IPv4",
                "ports": [{ "name": "p", "port": 80, "protocol": "TCP" }],
                "endpoints": endpoints,
            }),
        ])
    }
}

impl Endpoint {
    fn object(&self, here: &str) -> Value {
        let (address, _) = self.place.rsplit_once(':').expect("address and port");
        let hints = |names: &Option<Vec<String>>| -> Vec<Value> {
            let names = names.iter().flatten();
            names.map(|name| json!({ "name": name })).collect()
        };
        json!({
            "addresses": [address],
            "conditions": {
                "ready": self.ready, "serving": self.serving, "terminating": self.terminating,
            },
            "nodeName": if self.local { here } else { "another-node" },
            "hints": { "forZones": hints(&self.zone_hints), "forNodes": hints(&self.node_hints) },
        })
    }
}

fn list(items: &[Value]) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}
