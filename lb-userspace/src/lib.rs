//! The load balancer's userspace: sources of Services → model → plan → tables → BPF maps.

pub mod bpf;
pub mod cli;
pub mod daemon;
pub mod dataplane;
pub mod dns;
pub mod explain;
pub mod handover;
pub mod health;
pub mod http;
pub mod input;
pub mod loader;
pub mod metrics;
pub mod model;
pub mod netlink;
pub mod object;
pub mod plan;
pub mod reconcile;
pub mod settings;
pub mod state;
pub mod tables;
