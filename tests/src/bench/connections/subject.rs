//! Who carries connections from a Service's address to its endpoints? Started and removed by turns on the same
//! node.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::kubernetes::{ControlPlane, KubeProxy, Mode};
use crate::lb::Lb;
use crate::manifests::Manifests;
use crate::topology::{Cluster, Place};

/// A slow machine, and somebody who writes all rules anew.
const PATIENCE: Duration = Duration::from_mins(3);
/// Between two tries whether the Service answers.
const TICK: Duration = Duration::from_millis(50);

/// Who.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// Nobody: clients dial the endpoints themselves.
    Nobody,
    /// `lb` with these hooks.
    Lb(&'static str),
    KubeProxy(Mode),
}

impl Subject {
    /// With what clients on the node and its pods are compared.
    pub(super) const INSIDE: [Self; 4] = [
        Self::Nobody,
        Self::Lb("tc,socket"),
        Self::KubeProxy(Mode::Nftables),
        Self::KubeProxy(Mode::IptablesLegacy),
    ];
    /// With what clients outside are compared.
    pub(super) const OUTSIDE: [Self; 5] = [
        Self::Nobody,
        Self::Lb("tc"),
        Self::Lb("tc,xdp"),
        Self::KubeProxy(Mode::Nftables),
        Self::KubeProxy(Mode::IptablesLegacy),
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nobody => "no load balancer",
            Self::Lb(_) => "lb",
            Self::KubeProxy(Mode::Nftables) => "kube-proxy, nftables",
            Self::KubeProxy(Mode::Iptables) => "kube-proxy, iptables-nft",
            Self::KubeProxy(Mode::IptablesLegacy) => "kube-proxy, iptables-legacy",
        }
    }

    pub(super) fn start(self, cluster: &Cluster, control: &Arc<ControlPlane>) -> Result<Running> {
        let here = cluster.here();
        Ok(match self {
            Self::Nobody => Running::Nobody,
            Self::Lb(hooks) => {
                let manifests = Manifests::in_cluster(control)?;
                Running::Lb(Lb::started(here, &manifests, hooks)?.into())
            }
            Self::KubeProxy(mode) => Running::KubeProxy(control.kube_proxy(here, mode, &[])?, mode),
        })
    }
}

/// A subject at work.
pub(super) enum Running {
    Nobody,
    Lb(Box<Lb>),
    KubeProxy(KubeProxy, Mode),
}

impl Running {
    /// Waits until somebody answers there.
    pub(super) fn await_answer(&mut self, place: &Place, at: SocketAddr) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Self::KubeProxy(proxy, _) = self {
                proxy.check()?;
            }
            let answered = place
                .netns()
                .run(|| Ok(TcpStream::connect_timeout(&at, TICK).is_ok()))?;
            if answered {
                return Ok(());
            }
            sleep(TICK);
        }
        bail!("nobody answers at {at} within {PATIENCE:?}")
    }

    /// The cgroup whose sockets are served, if any are.
    pub(super) fn cgroup(&self) -> Option<PathBuf> {
        match self {
            Self::Lb(lb) => Some(lb.cgroup().to_owned()),
            _ => None,
        }
    }

    /// Removes it from the node, and what conntrack knows of its connections.
    pub(super) fn stop(self, cluster: &Cluster, control: &ControlPlane) -> Result<()> {
        let here = cluster.here();
        match self {
            Self::Nobody => {}
            Self::Lb(lb) => lb.uninstall()?,
            Self::KubeProxy(proxy, mode) => {
                proxy.stop()?;
                control.clean_up_after_kube_proxy(here, mode)?;
            }
        }
        let mut command = Command::new("conntrack");
        let flushed = here.place().netns().output(command.arg("-F"));
        flushed.context("forgetting connections").map(drop)
    }
}
