//! How are Services read from a cluster's API server and followed as they change? Objects become the
//! model's as they are decoded; of what is known the names and versions are kept, no objects.
//!
//! One task for each kind follows the API; one task gathers what they hear, so that whatever comes
//! while the daemon is busy is told at once.

mod announce;
mod connect;
mod ended;
mod follow;
mod line;
mod read;
mod resource;
mod source;
#[cfg(test)]
mod tests;
mod turns;

use std::path::PathBuf;

use ipnet::IpNet;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use connect::{Error, is_in_cluster};

use self::announce::Announcer;
use self::ended::Trouble;
use self::follow::{Follower, News, Patience};
use self::resource::resources;
use self::source::Source;
use super::declared::Kind;
use super::{Announcement, Update};
use crate::settings::Settings;

/// News that may wait for the task that gathers them.
const WAITING_NEWS: usize = 256;
/// So much may be gathered before it has to be told; then those who follow have to wait.
const MOST_GATHERED: usize = 4_096;

/// Which API server, and who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `--kubeconfig`; empty = the service account of the pod that this runs in.
    pub kubeconfig: Vec<PathBuf>,
    /// `--api-server`: where to reach it, instead of what the kubeconfig or the pod's environment
    /// says.
    pub api_server: Option<http::Uri>,
    /// Name of this node.
    pub node_name: String,
    /// `--service-cidr`: prefixes of ClusterIPs besides those of ServiceCIDR objects.
    pub service_cidrs: Vec<IpNet>,
}

impl Options {
    /// What the settings say.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            kubeconfig: settings.kubeconfig.clone(),
            api_server: settings.api_server.clone(),
            node_name: settings.node_name(),
            service_cidrs: settings.service_cidr.clone(),
        }
    }
}

/// Keeps the cluster followed; dropped, no further updates come.
#[derive(Debug)]
pub struct Following {
    announcements: watch::Sender<Vec<Announcement>>,
    _tasks: JoinSet<()>,
}

impl Following {
    /// These are all the problems of objects now.
    pub fn announce(&self, all: Vec<Announcement>) {
        self.announcements.send_if_modified(|before| {
            let is_new = *before != all;
            *before = all;
            is_new
        });
    }
}

impl Options {
    /// Whether nobody says where the API server is but the pod's environment, which knows its ClusterIP.
    fn is_by_cluster_ip(&self) -> bool {
        self.kubeconfig.is_empty() && self.api_server.is_none()
    }
}

/// Follows the cluster: the first update with changes holds everything. That the API server does not
/// answer is no error but a problem in an update; what it said last stays.
///
/// # Errors
/// It is not known which API server to ask, or how.
pub async fn start(options: Options, updates: mpsc::Sender<Update>) -> Result<Following, Error> {
    let (client, server) = connect::connect(&options).await?;
    let (sender, news) = mpsc::channel(WAITING_NEWS);
    let mut tasks = JoinSet::new();
    for resource in resources(&options.node_name) {
        let follower = Follower::new(
            client.clone(),
            resource,
            Patience::default(),
            sender.clone(),
        );
        tasks.spawn(follower.run());
    }
    let (announcements, all) = watch::channel(Vec::new());
    let (refused, refusals) = mpsc::channel(1);
    let announcer = Announcer::new(client, options.node_name.clone(), refused);
    tasks.spawn(announcer.run(all));
    let source = Source::new(options, server);
    tasks.spawn(gather(source, news, refusals, updates));
    Ok(Following {
        announcements,
        _tasks: tasks,
    })
}

/// Takes news in and tells what they amount to, as soon as somebody has time to listen.
async fn gather(
    mut source: Source,
    mut news: mpsc::Receiver<(Kind, News)>,
    mut refusals: mpsc::Receiver<Option<Trouble>>,
    updates: mpsc::Sender<Update>,
) {
    let mut gathered = 0;
    loop {
        let heard = tokio::select! {
            biased;
            heard = news.recv(), if gathered < MOST_GATHERED => heard,
            Some(refusal) = refusals.recv() => {
                source.hear_of_events(refusal);
                continue;
            }
            permit = updates.reserve(), if source.has_news() => {
                let Ok(permit) = permit else { return };
                permit.send(source.tell());
                gathered = 0;
                continue;
            }
            // Much was heard that amounts to nothing.
            else => {
                gathered = 0;
                continue;
            }
        };
        let Some((kind, heard)) = heard else { return };
        source.hear(kind, heard);
        gathered += 1;
    }
}
