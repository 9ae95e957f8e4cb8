//! kube-proxy itself, on the node under test.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::ControlPlane;
use super::process::Process;
use crate::topology::{Node, addresses};

/// A kube-proxy that runs until it is dropped; its rules stay.
#[derive(Debug)]
pub struct KubeProxy {
    process: Process,
}

impl ControlPlane {
    /// Starts kube-proxy in nftables mode, with these flags besides. It changes nothing that other
    /// network namespaces share.
    ///
    /// # Errors
    /// It is not there.
    pub fn kube_proxy(&self, node: &Node, flags: &[&str]) -> Result<KubeProxy> {
        let [v4, v6] = addresses::PODS;
        let mut command = Command::new(self.kube_proxy_program());
        command
            .arg(format!("--kubeconfig={}", self.kubeconfig().display()))
            .arg(format!("--hostname-override={}", node.name()))
            .arg(format!("--cluster-cidr={v4},{v6}"))
            .args(["--proxy-mode=nftables", "--conntrack-max-per-core=0"])
            .args(flags);
        let process = Process::start(node.place(), self.directory.path(), command)?;
        Ok(KubeProxy { process })
    }

    /// Has kube-proxy, which does not run any more, remove what it left on the node.
    ///
    /// # Errors
    /// Something of it stays.
    pub fn clean_up_after_kube_proxy(&self, node: &Node) -> Result<()> {
        let mut command = Command::new(self.kube_proxy_program());
        command.arg("--cleanup");
        node.place().netns().output(&mut command)?;
        Ok(())
    }

    fn kube_proxy_program(&self) -> PathBuf {
        self.programs.join("kube-proxy")
    }
}

impl KubeProxy {
    /// Fails if it has ended.
    ///
    /// # Errors
    /// It has; what it said is part of the error.
    pub fn check(&mut self) -> Result<()> {
        let outcome = self.process.check();
        outcome.map_err(|error| error.context(self.process.said()))
    }

    /// Ends it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn stop(self) -> Result<()> {
        self.process.kill()
    }
}
