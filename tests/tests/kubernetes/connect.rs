//! Which API server is asked, and as whom? The pod's own service account says it, or a kubeconfig, and
//! `--api-server` is nearer than either.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use lb_tests::app::App;
use lb_tests::lb::Lb;
use lb_tests::leftovers;
use lb_tests::manifests::{Manifests, Service};
use lb_tests::topology::{Cluster, Family};

use super::rbac::service_account_token;
use super::{await_answers, await_problems, in_cluster, kubia, tcp};

/// Where the API server is, and where nobody is.
const SERVER: (&str, &str) = ("127.0.0.1", "6443");
const NOWHERE: &str = "1";

/// A Service with a pod, and `lb`, not yet started, that nobody has told of a cluster.
fn prepared<'m>(cluster: &'m Cluster, manifests: &'m Manifests) -> Result<(App<'m>, Lb)> {
    let service = Service::new("kubia", "kubia")
        .at(&kubia().both())
        .port(80, 8080);
    manifests.write("kubia.yaml", &[service.object()])?;
    let app = App::new(manifests, "kubia", 8080);
    app.pod(cluster.here(), "kubia")?;
    let lb = Lb::new(cluster.here(), manifests, "tc")?;
    Ok((app, lb.with("LB_KUBECONFIG", "")))
}

/// It waits for a server that cannot be reached, and says which.
fn await_nobody(lb: &Lb) -> Result<()> {
    let address = format!("{}:{NOWHERE}", SERVER.0);
    await_problems(lb, "nobody answers", |problems| {
        problems.iter().any(|problem| {
            let is_server = problem["object"]["kind"] == "APIServer";
            is_server && problem.to_string().contains(&address)
        })
    })
}

/// As the DaemonSet's pods do: the environment names the server, and a volume has who is asking and whom to
/// trust.
#[test]
fn a_pod_finds_the_api_server_by_its_service_account() {
    in_cluster(|cluster, control| {
        let volume = leftovers::temporary_dir("service-account")?;
        let token = service_account_token(control)?;
        fs::write(volume.path().join("token"), token)?;
        fs::write(volume.path().join("namespace"), "kube-system")?;
        fs::copy(control.certificate(), volume.path().join("ca.crt"))?;
        let mounted = "/var/run/secrets/kubernetes.io/serviceaccount";
        let arrangement = format!(
            "mount -t tmpfs run /run\nmkdir -p {mounted}\nmount --bind {} {mounted}",
            volume.path().display()
        );

        let manifests = Manifests::in_cluster(control)?;
        let (_app, lb) = prepared(cluster, &manifests)?;
        let client = cluster.here().pod("client")?;
        let dial = tcp(kubia().port(Family::V4, 80));
        let mut lb = lb
            .among_mounts(&arrangement)
            .with("KUBERNETES_SERVICE_HOST", SERVER.0)
            .with("KUBERNETES_SERVICE_PORT", NOWHERE);
        lb.start()?;
        await_nobody(&lb)?;
        lb.stop()?;
        let mut lb = lb.with("KUBERNETES_SERVICE_PORT", SERVER.1);
        lb.start()?;
        await_answers(&client, dial, &["kubia"])?;
        await_problems(&lb, "nothing is wrong", <[_]>::is_empty)?;
        lb.stop()?;

        // The flag is nearer than the environment, which is kept for who is asking.
        let server = format!("https://{}:{}", SERVER.0, SERVER.1);
        let mut lb = lb
            .with("KUBERNETES_SERVICE_PORT", NOWHERE)
            .with("LB_API_SERVER", &server);
        lb.start()?;
        await_problems(&lb, "nothing is wrong", <[_]>::is_empty)?;
        await_answers(&client, dial, &["kubia"])?;
        lb.uninstall()
    });
}

#[test]
fn the_flag_names_another_server_than_the_kubeconfig() {
    in_cluster(|cluster, control| {
        let text = fs::read_to_string(control.kubeconfig())?;
        let server = format!("https://{}:{}", SERVER.0, SERVER.1);
        let nowhere = format!("https://{}:{NOWHERE}", SERVER.0);
        let directory = leftovers::temporary_dir("kubeconfig")?;
        let elsewhere = directory.path().join("elsewhere.conf");
        ensure!(text.contains(&server), "{text}");
        fs::write(&elsewhere, text.replace(&server, &nowhere))?;

        let manifests = Manifests::in_cluster(control)?;
        let (_app, lb) = prepared(cluster, &manifests)?;
        let client = cluster.here().pod("client")?;
        let path = elsewhere.to_str().context("a path")?;
        let mut lb = lb.with("LB_KUBECONFIG", path);
        lb.start()?;
        await_nobody(&lb)?;
        lb.stop()?;
        let mut lb = lb.with("LB_API_SERVER", &server);
        lb.start()?;
        await_answers(&client, tcp(kubia().port(Family::V4, 80)), &["kubia"])?;
        await_problems(&lb, "nothing is wrong", <[_]>::is_empty)?;
        lb.uninstall()
    });
}
