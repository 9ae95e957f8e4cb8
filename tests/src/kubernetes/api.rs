//! How does a test change a cluster? By the calls that anybody makes, with objects as JSON.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use http::{Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::runtime;
use tokio::task::JoinSet;

use crate::topology::Place;

/// Calls that are under way at once where there are many.
const AT_ONCE: usize = 8;
const APPLY: &str = "application/apply-patch+yaml";
/// For statuses: some have lists of which an apply would take one of each kind only.
const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json";

/// Calls of an API server, made in a place.
#[derive(Clone, Debug)]
pub struct Api<'p> {
    place: &'p Place,
    kubeconfig: PathBuf,
}

/// One call.
type Call = Request<Vec<u8>>;

impl<'p> Api<'p> {
    /// As whom and where a kubeconfig says.
    #[must_use]
    pub fn new(place: &'p Place, kubeconfig: PathBuf) -> Self {
        Self { place, kubeconfig }
    }

    /// Makes objects or changes them so that they are as written, status included; all of them
    /// first without their status.
    ///
    /// # Errors
    /// One is refused.
    pub fn apply(&self, objects: &[Value]) -> Result<()> {
        let mut specs = Vec::new();
        let mut statuses = Vec::new();
        for object in objects {
            let path = path(object)?;
            let query = "fieldManager=test&force=true";
            let mut spec = object.clone();
            let status = spec.as_object_mut().and_then(|spec| spec.remove("status"));
            specs.push(call(
                Method::PATCH,
                &format!("{path}?{query}"),
                APPLY,
                &spec,
            )?);
            if let Some(status) = status.filter(|status| *status != json!({})) {
                let object = json!({"status": status});
                let path = format!("{path}/status");
                statuses.push(call(Method::PATCH, &path, MERGE, &object)?);
            }
        }
        self.calls(specs)?;
        self.calls(statuses)?;
        Ok(())
    }

    /// Deletes objects; a pod with a grace period is terminating until then, as there is no kubelet.
    ///
    /// # Errors
    /// One is not there.
    pub fn delete(&self, objects: &[&Value], grace_seconds: u32) -> Result<()> {
        let options = json!({"gracePeriodSeconds": grace_seconds});
        let delete = |object: &&Value| call(Method::DELETE, &path(object)?, JSON, &options);
        self.calls(objects.iter().map(delete).collect::<Result<_>>()?)?;
        Ok(())
    }

    /// What a path has.
    ///
    /// # Errors
    /// Nothing, or it is not answered.
    pub fn get(&self, path: &str) -> Result<String> {
        let request = Request::get(path).body(Vec::new())?;
        Ok(self.calls(vec![request])?.swap_remove(0))
    }

    /// Makes a call with a body and returns the answer.
    ///
    /// # Errors
    /// It is refused.
    pub fn create(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = self.calls(vec![call(Method::POST, path, JSON, body)?])?;
        Ok(serde_json::from_str(&answer[0])?)
    }

    /// Applies objects one after the other over one connection. `before` is called with the number of each
    /// before it is sent.
    ///
    /// # Errors
    /// One is refused, or `before` fails.
    pub fn apply_each(
        &self,
        objects: Vec<Value>,
        mut before: impl FnMut(usize) -> Result<()> + Send,
    ) -> Result<()> {
        in_place(self.place, async {
            let client = self.client().await?;
            for (number, object) in objects.into_iter().enumerate() {
                let path = path(&object)?;
                let query = "fieldManager=test&force=true";
                let call = call(Method::PATCH, &format!("{path}?{query}"), APPLY, &object)?;
                before(number)?;
                client.request_text(call).await?;
            }
            Ok(())
        })
    }

    async fn client(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        config.default_retry = false;
        Ok(Client::try_from(config)?)
    }

    /// Makes calls, some at once, and returns the answers in any order.
    fn calls(&self, calls: Vec<Call>) -> Result<Vec<String>> {
        in_place(self.place, async {
            let client = self.client().await?;
            let mut answers = Vec::new();
            let mut running = JoinSet::new();
            let mut calls = calls.into_iter();
            loop {
                while running.len() < AT_ONCE
                    && let Some(call) = calls.next()
                {
                    let client = client.clone();
                    running.spawn(async move {
                        let what = format!("{} {}", call.method(), call.uri());
                        client.request_text(call).await.context(what)
                    });
                }
                match running.join_next().await {
                    Some(answer) => answers.push(answer??),
                    None => return Ok(answers),
                }
            }
        })
    }
}

/// A call without credentials.
pub(super) fn post(place: &Place, url: &str, body: &Value) -> Result<Value> {
    in_place(place, async {
        let (server, path) = split(url)?;
        let client = Client::try_from(Config::new(server.parse()?))?;
        Ok(client
            .request(call(Method::POST, path, JSON, body)?)
            .await?)
    })
}

/// The server of a URL, and what is asked of it.
fn split(url: &str) -> Result<(&str, &str)> {
    let (scheme, rest) = url.split_once("://").context("a URL")?;
    let at = rest.find('/').context("a path")? + scheme.len() + "://".len();
    Ok(url.split_at(at))
}

fn in_place<T: Send>(place: &Place, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
    // One thread alone: it is the one that has moved to the namespace.
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    place.netns().run(|| runtime.block_on(work))
}

fn call(method: Method, path: &str, content: &str, body: &Value) -> Result<Call> {
    Ok(Request::builder()
        .method(method)
        .uri(path)
        .header("Content-Type", content)
        .body(body.to_string().into_bytes())?)
}

/// Where an object is in the API.
fn path(object: &Value) -> Result<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let version = text(&object["apiVersion"]).context("apiVersion")?;
    let kind = text(&object["kind"]).context("kind")?.to_lowercase();
    let name = text(&object["metadata"]["name"]).context("metadata.name")?;
    let root = if version.contains('/') { "apis" } else { "api" };
    let plural = match &*kind {
        "endpoints" => kind,
        _ => format!("{kind}s"),
    };
    let is_global = matches!(
        &*plural,
        "nodes" | "servicecidrs" | "namespaces" | "clusterroles" | "clusterrolebindings"
    );
    let namespace = match text(&object["metadata"]["namespace"]) {
        _ if is_global => String::new(),
        namespace => format!("namespaces/{}/", namespace.as_deref().unwrap_or("default")),
    };
    Ok(format!("/{root}/{version}/{namespace}{plural}/{name}"))
}
