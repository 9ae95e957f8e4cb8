//! Do connections outlive a change from kube-proxy to `lb`, and the way back? With rules like
//! kube-proxy's, beside nothing else that translates and beside others; with itself: tests/kubernetes.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::Result;
use lb_tests::app::App;
use lb_tests::command;
use lb_tests::handover::{self, Course, TARGET_PORT, backends, frontend, there_and_back};
use lb_tests::kube_proxy::KubeProxyRules;
use lb_tests::manifests::Manifests;
use lb_tests::topology::{Cluster, Family, Place, alone};

/// What other parts of a node have, such as the CNI: pods are masqueraded toward outside.
const OTHER_NAT: &str = "
table ip other {
    chain postrouting {
        type nat hook postrouting priority srcnat + 10; policy accept;
        ip saddr 10.42.0.0/16 ip daddr != 10.42.0.0/16 masquerade
    }
}
table ip6 other {
    chain postrouting {
        type nat hook postrouting priority srcnat + 10; policy accept;
        ip6 saddr fd00:10:42::/48 ip6 daddr != fd00:10:42::/48 masquerade
    }
}
";

/// The rules alone.
struct Rules<'c> {
    place: &'c Place,
    backends: [Place; 3],
    written: Option<KubeProxyRules<'c>>,
}

impl handover::KubeProxy for Rules<'_> {
    fn start(&mut self) -> Result<()> {
        let service = |family| {
            let backends = self.backends.iter();
            let backends = backends.map(|pod| SocketAddr::new(pod.address(family), TARGET_PORT));
            (frontend(family), backends.collect())
        };
        self.written = Some(KubeProxyRules::write(
            self.place,
            &Family::ALL.map(service),
        )?);
        Ok(())
    }

    fn remove(&mut self) -> Result<()> {
        self.written.take().map_or(Ok(()), KubeProxyRules::remove)
    }
}

fn in_course(cluster: &Cluster, course: Course) -> Result<()> {
    let manifests = Manifests::new()?;
    manifests.write("kubia.yaml", &[handover::service().object()])?;
    let app = App::new(&manifests, "kubia", TARGET_PORT);
    let place = cluster.here().place();
    let mut rules = Rules {
        place,
        backends: backends(cluster, &app)?,
        written: None,
    };
    if course.keeps_nat {
        place
            .netns()
            .run(|| command::feed(Command::new("nft").args(["-f", "-"]), OTHER_NAT))?;
    }
    let backend = rules.backends[0].clone();
    there_and_back(cluster, &manifests, &backend, &mut rules, course)
}

#[test]
fn connections_outlive_kube_proxy_and_lb_where_nothing_else_translates() {
    let course = Course {
        keeps_nat: false,
        standby: true,
    };
    alone(Cluster::routed_veth, |cluster| in_course(cluster, course));
}

/// Here `lb` begins to serve what begins as it starts: what kube-proxy translated before goes on.
#[test]
fn connections_outlive_kube_proxy_and_lb_beside_keeps_nat() {
    let course = Course {
        keeps_nat: true,
        standby: false,
    };
    alone(Cluster::routed_veth, |cluster| in_course(cluster, course));
}
