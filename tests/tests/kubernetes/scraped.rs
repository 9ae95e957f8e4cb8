//! Is what is answered to collectors what docs/metrics.md says, in the format that they ask for?

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use lb_tests::app::App;
use lb_tests::http::{Answer, get, get_with};
use lb_tests::lb::Lb;
use lb_tests::manifests::{Manifests, Service};
use lb_tests::metrics_page::{Metrics, documented};
use lb_tests::peer::{Dial, Transport};
use lb_tests::topology::{Family, Pair};
use serde_json::{Value, json};

use super::{SOON, in_cluster, wait};

const SERVER: &str = "127.0.0.1:10249";
const HEALTHZ: &str = "127.0.0.1:10256";
/// What Prometheus sends.
const PROMETHEUS: &str = "accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// A Service whose endpoints have just changed, as the EndpointSlice controller says it.
fn late() -> [Value; 2] {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "late", "namespace": "default"},
        "spec": {"clusterIP": "10.43.0.7", "ports": [{"port": 80}]},
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "late-x",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "late"},
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": Timestamp::now().to_string()},
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["10.42.0.77"]}],
    });
    [service, slice]
}

fn ask(lb: &Lb, header: &str) -> Result<Answer> {
    get_with(lb.node(), SERVER.parse()?, "/metrics", header)
}

/// The metrics of the older format, each sample of which follows the head of its own metric.
fn scraped(text: &str) -> Result<Metrics> {
    let mut metrics = Metrics::new();
    let (mut name, mut kind) = ("", "");
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# TYPE ") {
            (name, kind) = head.split_once(' ').context(head.to_owned())?;
            ensure!(
                metrics.insert(name.to_owned(), BTreeSet::new()).is_none(),
                "{name} twice"
            );
        } else if !line.starts_with("# HELP ") {
            let rest = line
                .strip_prefix(name)
                .with_context(|| format!("{line} under {name}"))?;
            let (suffix, rest) = rest.split_at(rest.find(['{', ' ']).context(line.to_owned())?);
            let suffixes = ["_bucket", "_sum", "_count"];
            let is_fit = if kind == "histogram" {
                suffixes.contains(&suffix)
            } else {
                suffix.is_empty()
            };
            ensure!(is_fit, "{line} under {name}, {kind}");
            let labels = metrics.get_mut(name).context("no head")?;
            let words = rest
                .split("=\"")
                .map(|word| word.rsplit(['{', ',']).next().unwrap_or_default());
            let count = rest.matches("=\"").count();
            labels.extend(
                words
                    .take(count)
                    .filter(|label| *label != "le")
                    .map(str::to_owned),
            );
        }
    }
    Ok(metrics)
}

#[test]
fn metrics_are_those_of_the_page_in_either_format() {
    in_cluster(|cluster, control| {
        let manifests = Manifests::in_cluster(control)?;
        let kubia = Pair::new("10.43.165.39", "fd00:10:43::a539");
        let service = Service::new("kubia", "kubia")
            .at(&kubia.both())
            .port(80, 8080)
            .with("internalTrafficPolicy", json!("Local"));
        manifests.write("kubia.yaml", &[service.object()])?;
        let app = App::new(&manifests, "kubia", 8080);
        let client = app.pod(cluster.here(), "kubia-here")?;
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        // What is counted of each kind of event is told once there was one.
        for path in ["/healthz", "/livez"] {
            ensure!(get(lb.node(), HEALTHZ.parse()?, path)?.status == 200);
        }
        manifests.write("late.yaml", &late())?;
        wait::until("the late change is measured", SOON, || {
            let text = ask(&lb, "")?.body;
            Ok(text.contains("kubeproxy_network_programming_duration_seconds_count"))
        })?;
        for family in Family::ALL {
            let dial = Dial::new(Transport::Tcp, kubia.port(family, 80));
            dial.ask(&client).context("kubia")?;
        }

        let classic = ask(&lb, "accept: */*")?;
        let content_type = classic.header("content-type");
        ensure!(
            content_type == Some("text/plain; version=0.0.4; charset=utf-8"),
            "{classic:?}"
        );
        ensure!(!classic.body.contains("# EOF"), "{}", classic.body);
        let (scraped, documented) = (scraped(&classic.body)?, documented()?);
        for (of, is_in, metrics) in [
            ("docs/metrics.md", &documented, &scraped),
            ("/metrics", &scraped, &documented),
        ] {
            let missing: Vec<_> = metrics
                .iter()
                .filter(|(name, labels)| is_in.get(*name) != Some(labels))
                .collect();
            ensure!(missing.is_empty(), "{of} has not, or not so: {missing:?}");
        }

        let open = ask(&lb, PROMETHEUS)?;
        let content_type = open.header("content-type").unwrap_or_default();
        ensure!(
            content_type.starts_with("application/openmetrics-text; version=1.0.0"),
            "{open:?}"
        );
        ensure!(open.body.ends_with("# EOF\n"), "cut off: {}", open.body);
        lb.uninstall()
    });
}
