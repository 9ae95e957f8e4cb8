//! What do `/healthz`, `/livez` and `/readyz` answer?

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{Health, Snapshot};
use crate::http::{Answers, Reply};
use crate::metrics::Metrics;

/// Answers for the node as a whole.
#[derive(Clone, Debug)]
pub struct NodeAnswers {
    health: Health,
    metrics: Metrics,
}

/// kube-proxy's body, field by field.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    last_updated: String,
    current_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    status: BTreeMap<&'static str, FamilyStatus>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct FamilyStatus {
    last_updated: String,
    healthy: bool,
}

impl NodeAnswers {
    /// Answers that follow `health`, and are counted.
    #[must_use]
    pub const fn new(health: Health, metrics: Metrics) -> Self {
        Self { health, metrics }
    }
}

impl Answers for NodeAnswers {
    fn answer(&self, path: &str, _accept: &str) -> Option<Reply> {
        let snapshot = self.health.snapshot();
        let now = Timestamp::now();
        match path {
            // Fails while the node is being deleted, so that load balancers send nobody new.
            "/healthz" => {
                let is_well = snapshot.is_healthy && !snapshot.leaving;
                self.metrics.healthz(is_well);
                let eligible = Some(!snapshot.leaving);
                Some(Reply::json(
                    is_well,
                    body(&snapshot, eligible, is_well, now),
                ))
            }
            // Does not fail then: to restart us would help nobody.
            "/livez" => {
                let is_well = snapshot.is_healthy;
                self.metrics.livez(is_well);
                Some(Reply::json(is_well, body(&snapshot, None, is_well, now)))
            }
            // kube-proxy has none: a rolling update goes on once the node serves.
            "/readyz" => {
                let is_well = snapshot.is_healthy && snapshot.is_ready;
                Some(Reply::json(is_well, body(&snapshot, None, is_well, now)))
            }
            _ => None,
        }
    }
}

/// The body; its `healthy` is that of writing, whatever else makes the answer 503, as in
/// kube-proxy. Whoever is well was updated just now.
fn body(snapshot: &Snapshot, eligible: Option<bool>, is_well: bool, now: Timestamp) -> String {
    // Go's zero time, for what has not been yet.
    let text = |time: Option<Timestamp>| {
        time.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |t| t.to_string())
    };
    let family = FamilyStatus {
        last_updated: text(snapshot.synced),
        healthy: snapshot.is_healthy,
    };
    let families = ["IPv4", "IPv6"].map(|name| (name, family.clone()));
    let body = Body {
        last_updated: text(if is_well { Some(now) } else { snapshot.synced }),
        current_time: text(Some(now)),
        node_eligible: eligible,
        healthy: snapshot.is_healthy,
        status: if snapshot.is_ready {
            families.into()
        } else {
            BTreeMap::new()
        },
    };
    serde_json::to_string(&body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ask(answers: &NodeAnswers, path: &str) -> (u16, serde_json::Value) {
        let reply = answers.answer(path, "").expect("an answer");
        assert_eq!(reply.content_type, "application/json");
        let body = serde_json::from_str(&reply.body).expect("JSON");
        (reply.status, body)
    }

    #[test]
    fn a_node_that_leaves_fails_healthz_alone() {
        let health = Health::default();
        let answers = NodeAnswers::new(health.clone(), Metrics::default());
        health.beat(true, false, false);
        let (status, body) = ask(&answers, "/healthz");
        assert_eq!((status, &body["nodeEligible"]), (200, &true.into()));
        assert_eq!(body["status"]["IPv4"]["healthy"], true);
        health.beat(true, false, true);
        let (status, body) = ask(&answers, "/healthz");
        assert_eq!((status, &body["nodeEligible"]), (503, &false.into()));
        assert_eq!(body["healthy"], true, "as kube-proxy says it");
        let (status, body) = ask(&answers, "/livez");
        assert_eq!(status, 200);
        assert!(body.get("nodeEligible").is_none(), "{body}");
        assert_eq!(answers.answer("/", ""), None);
    }

    #[test]
    fn a_node_that_starts_is_healthy_but_not_ready() {
        let health = Health::default();
        let answers = NodeAnswers::new(health.clone(), Metrics::default());
        health.beat(false, false, false);
        assert_eq!(ask(&answers, "/healthz").0, 200);
        let (status, body) = ask(&answers, "/readyz");
        assert_eq!(status, 503);
        assert_eq!(body["lastUpdated"], "0001-01-01T00:00:00Z");
        health.beat(true, false, false);
        assert_eq!(ask(&answers, "/readyz").0, 200);
    }

    #[test]
    fn changes_that_wait_for_a_minute_fail_every_path() {
        let health = Health::default();
        let answers = NodeAnswers::new(health.clone(), Metrics::default());
        health.beat(true, false, false);
        for (seconds, expected) in [(0, 200), (58, 200), (60, 503), (61, 503)] {
            health.wait(Duration::from_secs(seconds));
            for path in ["/healthz", "/livez", "/readyz"] {
                let (status, body) = ask(&answers, path);
                assert_eq!(status, expected, "{path} after {seconds} s");
                assert_eq!(body["healthy"], expected == 200, "{path}: {body}");
                let family = &body["status"]["IPv6"]["healthy"];
                assert_eq!(*family, expected == 200, "{path}: {body}");
            }
            let (_, body) = ask(&answers, "/healthz");
            assert_eq!(
                body["nodeEligible"], true,
                "it is not being deleted: {body}"
            );
        }
        health.beat(true, false, false);
        assert_eq!(ask(&answers, "/healthz").0, 200, "written at last");
    }
}
