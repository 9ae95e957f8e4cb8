//! How do problems become Events of the objects that have them? One node's Event is everybody's.

use std::time::Instant;

use jiff::Timestamp;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep_until, timeout};
use tracing::{debug, info};

use super::ended::{Ended, Trouble};
use super::follow::{Patience, chance};
use super::turns::Turns;
use crate::input::Announcement;

/// What is asked for in rules of RBAC.
pub(super) const EVENTS: &str = "events";

/// Writes Events.
pub(super) struct Announcer {
    client: Client,
    node: String,
    /// What keeps Events from being written.
    trouble: mpsc::Sender<Option<Trouble>>,
}

impl Announcer {
    /// One that writes as this node, and says what keeps it from that.
    pub(super) const fn new(
        client: Client,
        node: String,
        trouble: mpsc::Sender<Option<Trouble>>,
    ) -> Self {
        Self {
            client,
            node,
            trouble,
        }
    }

    /// Tells what there is to tell until nobody says anything any more.
    pub(super) async fn run(self, mut all: watch::Receiver<Vec<Announcement>>) {
        let mut turns = Turns::new(Instant::now());
        loop {
            let due = turns.next();
            tokio::select! {
                changed = all.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = all.borrow_and_update().clone();
                    turns.follow(now, Instant::now(), chance);
                }
                () = at(due) => {
                    let Some(one) = turns.take(Instant::now()) else { continue };
                    let is_told = self.tell(&one).await;
                    turns.told(&one, is_told, Instant::now(), chance());
                }
            }
        }
    }

    /// Writes an Event, unless there is one that says the same.
    async fn tell(&self, one: &Announcement) -> bool {
        let answer = timeout(Patience::default().answer, self.create(one)).await;
        let trouble = match answer.map_err(|_| Ended::trouble("no answer")) {
            Ok(Ok(())) => {
                info!(problem = %one.problem, "told by an Event");
                None
            }
            // Another node was first.
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => None,
            // Where the object's namespace is going there is nobody to tell.
            Ok(Err(kube::Error::Api(status))) if status.code == 404 || is_going(&status) => None,
            Ok(Err(error)) => Some(Ended::from(error)),
            Err(ended) => Some(ended),
        };
        debug!(problem = %one.problem, ?trouble, "Event");
        let is_told = trouble.is_none();
        let trouble = trouble.and_then(|ended| match ended {
            // Of the rest, that the API server does not answer, whoever follows lists says enough.
            Ended::Trouble(trouble) if trouble.is_forbidden => Some(trouble),
            _ => None,
        });
        // Whoever does not listen any more does not need it either.
        drop(self.trouble.send(trouble).await);
        is_told
    }

    async fn create(&self, one: &Announcement) -> Result<(), kube::Error> {
        let namespace = &one.problem.object.name.namespace;
        let event = one.event(&self.node, Timestamp::now());
        let body = serde_json::to_vec(&event).map_err(kube::Error::SerdeError)?;
        let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/{EVENTS}");
        let request = http::Request::post(path).header("content-type", "application/json");
        let request = request.body(body).map_err(kube::Error::HttpError)?;
        self.client.request_text(request).await.map(drop)
    }
}

/// Whether the namespace is being deleted.
fn is_going(status: &kube::core::Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    causes.any(|cause| cause.reason == "NamespaceTerminating")
}

/// Waits until then, or for ever.
async fn at(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then.into()).await,
        None => std::future::pending().await,
    }
}
