//! Which API server is asked, and as whom? A kubeconfig says it, or the pod that this runs in.

use std::path::{Path, PathBuf};

use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::Options;

/// Where a pod finds its service account's token.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Why it is not known which API server to ask, or how.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A kubeconfig cannot be used.
    #[error("kubeconfig {}: {source}: name one that `kubectl --kubeconfig` takes", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<KubeconfigError>,
    },
    /// This pod lacks something.
    #[error(
        "this pod's service account: {0}: set automountServiceAccountToken, or name a --kubeconfig"
    )]
    InCluster(#[from] InClusterError),
    /// Nothing says which server.
    #[error("this is no pod of a cluster, and no --kubeconfig is given")]
    NoServer,
    /// The credentials cannot be used.
    #[error(
        "API server {server}: {source}: check the certificates and credentials of the kubeconfig"
    )]
    Client {
        /// Its address.
        server: String,
        /// Why.
        source: Box<kube::Error>,
    },
}

/// Whether this runs in a pod with a service account.
#[must_use]
pub fn is_in_cluster() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() && Path::new(TOKEN).exists()
}

/// A client, and the address that it calls. Nothing is asked yet.
pub(super) async fn connect(options: &Options) -> Result<(Client, String), Error> {
    let mut config = match (&*options.kubeconfig, &options.api_server) {
        ([], _) if is_in_cluster() => Config::incluster()?,
        ([], Some(server)) => Config::new(server.clone()),
        ([], None) => return Err(Error::NoServer),
        (paths, _) => of_kubeconfig(paths).await?,
    };
    if let Some(server) = &options.api_server {
        config.cluster_url = server.clone();
    }
    // Ours tells what is wrong meanwhile.
    config.default_retry = false;
    let server = config.cluster_url.to_string();
    let client = Client::try_from(config).map_err(|source| Error::Client {
        server: server.clone(),
        source: source.into(),
    })?;
    Ok((client, server))
}

/// Several files count as one, as with kubectl: of what is written twice the first counts.
async fn of_kubeconfig(paths: &[PathBuf]) -> Result<Config, Error> {
    let error = |path: &PathBuf| {
        let path = path.clone();
        move |source: KubeconfigError| Error::Kubeconfig {
            path,
            source: source.into(),
        }
    };
    let mut merged = Kubeconfig::default();
    for path in paths {
        let one = Kubeconfig::read_from(path).map_err(error(path))?;
        merged = merged.merge(one).map_err(error(path))?;
    }
    Config::from_custom_kubeconfig(merged, &KubeConfigOptions::default())
        .await
        .map_err(error(&paths[0]))
}
