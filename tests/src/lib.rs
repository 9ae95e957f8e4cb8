//! What proves that packets go where they should: namespaces, topologies, servers and clients,
//! the daemon under test, and single packets run through the kernel programs.
//!
//! Read in this order: [`topology`] (the machines that a test sees), [`peer`] (who talks there),
//! [`packet`] and [`datapath`] (single packets), and `README.md` beside this crate's sources for how
//! to debug a failing test.

pub mod app;
pub mod bench;
pub mod command;
pub mod datapath;
pub mod demo;
pub mod dig;
pub mod foreign;
pub mod golden;
pub mod handover;
pub mod http;
pub mod install;
pub mod kube_proxy;
pub mod kubernetes;
pub mod lb;
pub mod leftovers;
pub mod manifests;
pub mod metrics_page;
pub mod need;
pub mod netns;
pub mod packet;
pub mod peer;
pub mod program;
pub mod random;
pub mod sockets;
pub mod stats;
pub mod topology;
pub mod tun;
pub mod wait;
