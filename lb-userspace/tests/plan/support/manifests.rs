//! How do these tests get from files to what is known? As `lb` does.

use std::path::{Path, PathBuf};

use lb_userspace::input::Update;
use lb_userspace::input::manifests::{NODE_PORT_RANGE, Options, read_once};
use lb_userspace::model::{Algorithm, Change, Node};

/// Reads one file; its Node object `this-node` is this node, and nodePorts are on its addresses.
pub(crate) fn read(file: &Path) -> (Vec<Change>, Update) {
    let options = Options {
        paths: vec![file.to_owned()],
        node_name: "this-node".to_owned(),
        service_cidrs: Vec::new(),
        node_port_range: NODE_PORT_RANGE,
        allocations: lb_userspace::input::Allocations::default(),
        kept: None,
    };
    let update = read_once(options).unwrap();
    let addresses = update.node.addresses.iter().copied();
    let node = Node {
        name: "this-node".to_owned(),
        zone: update.node.zone.clone(),
        addresses: addresses.clone().collect(),
        node_port_addresses: addresses.collect(),
        pod_cidrs: update.node.pod_cidrs.clone(),
        service_cidrs: update.service_cidrs.clone(),
        masquerade_all: false,
        algorithm: Algorithm::Random,
        answer_ping: false,
    };
    let mut changes = vec![Change::Node(node)];
    changes.extend(update.changes.iter().cloned());
    (changes, update)
}

/// The directory of this name below the checkout's `tests/`.
pub(crate) fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests")
        .join(name)
}
