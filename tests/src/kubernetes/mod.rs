//! How does a test get a real cluster? etcd, the API server and the controllers that Services need,
//! as `cargo xtask kubernetes` builds them, on the loopback of a test's node.
//!
//! Nodes and pods are objects of the API whose status the test writes; the EndpointSlice controller
//! does the rest. Nothing of it reaches beyond its namespace, and all of it goes with its guard.

mod api;
mod keys;
mod process;
mod proxy;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

pub use api::Api;
pub use proxy::{KubeProxy, Mode};

use self::process::Process;
use crate::leftovers::{self, Guard};
use crate::topology::{Cluster, Node, Place, addresses};
use crate::{need, wait};

/// Where the programs are.
const VARIABLE: &str = "LB_KUBERNETES";
/// It is ready within seconds; a slow machine is given time.
const PATIENCE: Duration = Duration::from_secs(90);
/// Where the API server listens.
const SERVER: &str = "https://127.0.0.1:6443";
const ETCD: &str = "http://127.0.0.1:2379";
/// Who may do everything.
const ADMIN: &str = "admin";

/// The directory of the programs; none, and the test says that it skips, if they are not built.
///
/// # Panics
/// In CI, where everything has to run.
#[must_use]
pub fn programs() -> Option<PathBuf> {
    let directory = std::env::var_os(VARIABLE).map(PathBuf::from);
    let missing = directory.is_none();
    let why = "it is not built: `cargo xtask kubernetes` does that, or `cargo xtask test` for all";
    need::feature("the real Kubernetes", missing.then_some(why)).then_some(directory)?
}

/// The processes of a cluster's control plane.
#[derive(Debug)]
pub struct ControlPlane {
    place: Place,
    programs: PathBuf,
    controllers: Option<Process>,
    server: Mutex<Option<Process>>,
    etcd: Process,
    /// Goes last: they write there to their end.
    directory: Guard,
}

impl ControlPlane {
    /// Starts one on the node under test, with objects for all nodes.
    ///
    /// # Errors
    /// A program fails, or is not ready in time; what it said is part of the error.
    pub fn start(programs: &Path, cluster: &Cluster) -> Result<Self> {
        let place = cluster.here().place().clone();
        let directory = leftovers::temporary_dir("kubernetes")?;
        write_credentials(directory.path())?;
        let etcd = start_etcd(&place, programs, directory.path())?;
        let server = start_server(&place, programs, directory.path(), &[])?;
        let mut control = Self {
            place,
            programs: programs.into(),
            controllers: None,
            server: Mutex::new(Some(server)),
            etcd,
            directory,
        };
        control.await_ready()?;
        // Only now the API server has a certificate for them to check.
        let controllers = controllers(programs, control.directory.path());
        let directory = control.directory.path();
        control.controllers = Some(Process::start(&control.place, directory, controllers)?);
        for node in [cluster.here(), cluster.elsewhere()] {
            control.api().apply(&[node_object(node)])?;
        }
        Ok(control)
    }

    /// Calls of the API, as an administrator.
    #[must_use]
    pub fn api(&self) -> Api<'_> {
        Api::new(&self.place, self.kubeconfig())
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("admin.conf")
    }

    /// The certificate that the API server shows, which vouches for itself.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        certificate(self.directory.path())
    }

    /// A kubeconfig for whoever has this token.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn kubeconfig_for(&self, name: &str, token: &str) -> Result<PathBuf> {
        write_kubeconfig(self.directory.path(), name, token)
    }

    /// Runs kubectl and returns what it says.
    ///
    /// # Errors
    /// It fails.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(self.programs.join("kubectl"));
        command
            .args(arguments)
            .env("KUBECONFIG", self.kubeconfig())
            // Its cache of what the API has.
            .env("HOME", self.directory.path());
        self.place.netns().output(&mut command)
    }

    /// Ends the API server, as a power cut does.
    ///
    /// # Errors
    /// It does not run.
    pub fn stop_server(&self) -> Result<()> {
        self.server().take().context("it does not run")?.kill()
    }

    /// Starts it again.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub fn start_server(&self) -> Result<()> {
        self.start_server_with(&[])
    }

    /// Starts it again, with these flags besides.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub fn start_server_with(&self, flags: &[&str]) -> Result<()> {
        let server = start_server(&self.place, &self.programs, self.directory.path(), flags)?;
        *self.server() = Some(server);
        self.await_ready()
    }

    /// Makes the API server forget all but the last version of everything.
    ///
    /// # Errors
    /// etcd does not answer.
    pub fn compact(&self) -> Result<()> {
        let revision = self.etcd_call("range", &json!({"key": "AA=="}))?;
        let revision = &revision["header"]["revision"];
        self.etcd_call("compaction", &json!({"revision": revision}))?;
        Ok(())
    }

    /// A call of etcd's JSON gateway.
    fn etcd_call(&self, method: &str, body: &Value) -> Result<Value> {
        api::post(&self.place, &format!("{ETCD}/v3/kv/{method}"), body)
    }

    /// What the programs have said, for a failure.
    #[must_use]
    pub fn said(&self) -> String {
        let server = self.server().as_ref().map(Process::said);
        [
            self.etcd.said(),
            server.unwrap_or_default(),
            self.controllers
                .as_ref()
                .map(Process::said)
                .unwrap_or_default(),
        ]
        .concat()
    }

    fn server(&self) -> MutexGuard<'_, Option<Process>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn await_ready(&self) -> Result<()> {
        let api = Api::new(&self.place, self.kubeconfig());
        let ready = wait::until("the API server is ready", PATIENCE, || {
            if let Some(server) = &mut *self.server() {
                server.check()?;
            }
            Ok(api.get("/readyz").is_ok() && api.get("/api/v1/namespaces/default").is_ok())
        });
        ready.with_context(|| self.said())
    }
}

fn start_etcd(place: &Place, programs: &Path, directory: &Path) -> Result<Process> {
    let peers = "http://127.0.0.1:2380";
    let mut etcd = Command::new(programs.join("etcd"));
    etcd.arg("--data-dir").arg(directory.join("etcd"));
    etcd.args([
        "--listen-client-urls",
        ETCD,
        "--advertise-client-urls",
        ETCD,
    ])
    .args([
        "--listen-peer-urls",
        peers,
        "--initial-advertise-peer-urls",
        peers,
    ])
    .args(["--initial-cluster", &format!("default={peers}")])
    // What it holds lives as long as the test.
    .args(["--unsafe-no-fsync", "--log-level", "error"]);
    Process::start(place, directory, etcd)
}

fn start_server(
    place: &Place,
    programs: &Path,
    directory: &Path,
    flags: &[&str],
) -> Result<Process> {
    let [v4, _, v6] = addresses::SERVICES;
    let key = directory.join(keys::PRIVATE).display().to_string();
    let public = directory.join(keys::PUBLIC).display().to_string();
    let mut server = Command::new(programs.join("kube-apiserver"));
    server
        .arg(format!("--etcd-servers={ETCD}"))
        .arg(format!("--cert-dir={}", directory.join("certs").display()))
        .arg(format!(
            "--token-auth-file={}",
            directory.join("tokens.csv").display()
        ))
        .arg(format!("--service-account-signing-key-file={key}"))
        .arg(format!("--service-account-key-file={public}"))
        .arg(format!("--service-cluster-ip-range={v4},{v6}"))
        .args([
            "--bind-address=127.0.0.1",
            "--secure-port=6443",
            // It must not be a loopback address; nobody dials it.
            "--advertise-address=192.0.2.1",
            "--endpoint-reconciler-type=none",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=RBAC",
            // Pods here have no use for a token.
            "--disable-admission-plugins=ServiceAccount",
        ])
        .args(flags);
    Process::start(place, directory, server)
}

/// Those that Services need, and no other: no node is found unwell for want of a kubelet.
fn controllers(programs: &Path, directory: &Path) -> Command {
    let mut command = Command::new(programs.join("kube-controller-manager"));
    command
        .arg(format!("--kubeconfig={}", directory.join("admin.conf").display()))
        .args([
            "--controllers=endpointslice-controller,endpointslice-mirroring-controller,service-cidr-controller",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            "--secure-port=0",
            "--concurrent-service-endpoint-syncs=20",
            "--kube-api-qps=1000",
            "--kube-api-burst=2000",
        ]);
    command
}

fn write_credentials(directory: &Path) -> Result<()> {
    keys::write(directory)?;
    // One who is asked everything for nothing.
    let tokens = format!("{ADMIN},{ADMIN},{ADMIN},\"system:masters\"\n");
    fs::write(directory.join("tokens.csv"), tokens)?;
    write_kubeconfig(directory, ADMIN, ADMIN).map(drop)
}

/// The API server makes it at its first start, with the CA beside it.
fn certificate(directory: &Path) -> PathBuf {
    directory.join("certs/apiserver.crt")
}

fn write_kubeconfig(directory: &Path, name: &str, token: &str) -> Result<PathBuf> {
    let authority = certificate(directory);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": "test", "user": name}}],
        "clusters": [{"name": "test", "cluster": {"server": SERVER, "certificate-authority": authority}}],
        "users": [{"name": name, "user": {"token": token}}],
    });
    let path = directory.join(format!("{name}.conf"));
    fs::write(&path, config.to_string()).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// The Node object of a node, in a zone of its own.
fn node_object(node: &Node) -> Value {
    let address = addresses::node(node.number());
    let pods = addresses::pod(node.number(), 0);
    let addresses = address
        .both()
        .map(|ip| json!({"type": "InternalIP", "address": ip}));
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node.name(),
            "labels": {"topology.kubernetes.io/zone": format!("zone-{}", node.number())},
        },
        "spec": {
            "podCIDR": format!("{}/24", pods.v4),
            "podCIDRs": [format!("{}/24", pods.v4), format!("{}/64", pods.v6)],
        },
        "status": {"addresses": addresses},
    })
}
