//! kube-proxy itself, on the node under test.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::ControlPlane;
use super::process::Process;
use crate::topology::{Node, addresses};

/// How kube-proxy steers packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Rules of nftables, its own.
    Nftables,
    /// Rules of iptables, which are kept in nftables (`iptables-nft`).
    Iptables,
    /// Rules of the old iptables (`iptables-legacy`).
    IptablesLegacy,
}

impl Mode {
    const fn flag(self) -> &'static str {
        match self {
            Self::Nftables => "--proxy-mode=nftables",
            Self::Iptables | Self::IptablesLegacy => "--proxy-mode=iptables",
        }
    }

    /// The program behind all commands whose names begin with `iptables` or `ip6tables`.
    const fn iptables(self) -> &'static str {
        match self {
            Self::Nftables | Self::Iptables => "xtables-nft-multi",
            Self::IptablesLegacy => "xtables-legacy-multi",
        }
    }
}

/// A kube-proxy that runs until it is dropped; its rules stay.
#[derive(Debug)]
pub struct KubeProxy {
    process: Process,
}

impl ControlPlane {
    /// Starts kube-proxy in this mode, with these flags besides. It changes nothing that other
    /// network namespaces share.
    ///
    /// # Errors
    /// It is not there.
    pub fn kube_proxy(&self, node: &Node, mode: Mode, flags: &[&str]) -> Result<KubeProxy> {
        let [v4, v6] = addresses::PODS;
        let mut command = self.kube_proxy_command(mode)?;
        command
            .arg(format!("--kubeconfig={}", self.kubeconfig().display()))
            .arg(format!("--hostname-override={}", node.name()))
            .arg(format!("--cluster-cidr={v4},{v6}"))
            .args([mode.flag(), "--conntrack-max-per-core=0"])
            .args(flags);
        let process = Process::start(node.place(), self.directory.path(), command)?;
        Ok(KubeProxy { process })
    }

    /// Has kube-proxy, which does not run any more, remove what it left on the node.
    ///
    /// # Errors
    /// Something of it stays.
    pub fn clean_up_after_kube_proxy(&self, node: &Node, mode: Mode) -> Result<()> {
        let mut command = self.kube_proxy_command(mode)?;
        command.arg("--cleanup");
        node.place().netns().output(&mut command)?;
        Ok(())
    }

    /// kube-proxy calls whatever iptables it finds first.
    fn kube_proxy_command(&self, mode: Mode) -> Result<Command> {
        let program = mode.iptables();
        let directory = self.directory.path().join(program);
        if !directory.exists() {
            fs::create_dir(&directory)?;
            for family in ["iptables", "ip6tables"] {
                for task in ["", "-save", "-restore"] {
                    let name = directory.join(format!("{family}{task}"));
                    symlink(PathBuf::from("/usr/sbin").join(program), name)?;
                }
            }
        }
        let path = env::var_os("PATH").context("no PATH")?;
        let path = [directory].into_iter().chain(env::split_paths(&path));
        let mut command = Command::new(self.kube_proxy_program());
        command.env("PATH", env::join_paths(path)?);
        Ok(command)
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
