//! What is heard when a server answers so, and what is told of it?

mod follow;
mod server;
mod source;

use super::read::{Reading, read};
use crate::input::declared::Kind;

/// A Service as the API server sends it.
fn service(name: &str, version: u32, port: u16) -> String {
    format!(
        r#"{{"metadata":{{"namespace":"default","name":"{name}","resourceVersion":"{version}"}},"spec":{{"clusterIP":"10.43.165.39","ports":[{{"port":{port}}}]}}}}"#
    )
}

/// The same, read.
fn reading(name: &str, version: u32, port: u16) -> Reading {
    read(Kind::Service, &service(name, version, port)).expect("readable")
}
