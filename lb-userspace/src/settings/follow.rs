//! Which settings take effect while the daemon runs, and which wait for its next start?

use super::Settings;

/// Names the settings whose values differ; no setting can be left out.
macro_rules! differing {
    ($one:expr, $other:expr; $($field:ident),+ $(,)?) => {{
        let Settings { $($field),+ } = $one;
        let mut names = Vec::new();
        $(if *$field != $other.$field {
            names.push(format!("--{}", stringify!($field).replace('_', "-")));
        })+
        names
    }};
}

impl Settings {
    /// These settings with all that `new` says and that can change while the daemon runs; and the flags
    /// of what else it says.
    #[must_use]
    pub fn follow(&self, new: &Self) -> (Self, Vec<String>) {
        let now = Self {
            node_address: new.node_address.clone(),
            cluster_cidr: new.cluster_cidr.clone(),
            nodeport_addresses: new.nodeport_addresses.clone(),
            nodeport_localhost: new.nodeport_localhost,
            masquerade_all: new.masquerade_all,
            algorithm: new.algorithm,
            answer_ping: new.answer_ping,
            audit_interval: new.audit_interval,
            standby: new.standby,
            timeouts: new.timeouts.clone(),
            ..self.clone()
        };
        let waiting = new.differing(&now);
        (now, waiting)
    }

    /// The flags of the settings that differ.
    fn differing(&self, other: &Self) -> Vec<String> {
        differing!(
            self,
            other;
            config,
            manifests,
            kubeconfig,
            api_server,
            node_name,
            node_address,
            cluster_cidr,
            service_cidr,
            nodeport_addresses,
            nodeport_localhost,
            nodeport_range,
            masquerade_all,
            algorithm,
            answer_ping,
            uplink,
            pod_link,
            dns_listen,
            cluster_domain,
            dns_upstream,
            healthz_bind_address,
            metrics_bind_address,
            prepare,
            audit_interval,
            standby,
            hooks,
            socket,
            socket_connected_udp,
            xdp,
            pin_dir,
            state_dir,
            cgroup,
            timeouts,
            maps,
        )
    }
}

/// The flags of all settings that take effect while the daemon runs.
#[cfg(test)]
pub(crate) fn followed() -> Vec<String> {
    let (old, new) = tests::different();
    let (_, waiting) = old.follow(&new);
    let mut all = new.differing(&old);
    all.retain(|flag| !waiting.contains(flag));
    all
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command};

    use super::super::tests::read;
    use super::*;
    use crate::settings::settings_of;

    /// The defaults, and settings of which each has another value.
    pub(super) fn different() -> (Settings, Settings) {
        let different = [
            "--manifests=/etc/lb",
            "--kubeconfig=/etc/lb.conf",
            "--api-server=https://192.0.2.1",
            "--node-name=node-a",
            "--node-address=192.0.2.7",
            "--cluster-cidr=10.42.0.0/16",
            "--service-cidr=10.43.0.0/16",
            "--nodeport-addresses=192.0.2.0/24",
            "--nodeport-localhost",
            "--nodeport-range=30000-30999",
            "--masquerade-all",
            "--algorithm=maglev",
            "--answer-ping",
            "--uplink=eth*",
            "--pod-link=veth*",
            "--dns-listen=192.0.2.7",
            "--cluster-domain=example.test",
            "--dns-upstream=192.0.2.53",
            "--healthz-bind-address=off",
            "--metrics-bind-address=off",
            "--prepare=sysctls",
            "--audit-interval=1s",
            "--standby",
            "--hooks=xdp",
            "--socket=all",
            "--socket-connected-udp=false",
            "--xdp=generic",
            "--pin-dir=/sys/fs/bpf/other",
            "--state-dir=/run/other",
            "--cgroup=/sys/fs/cgroup/other",
            "--timeouts=udp=7",
            "--maps=flows4=1024",
        ];
        let settings = |flags| read(flags, &[]).expect("valid settings");
        let new = Settings {
            config: Some("/etc/lb.yaml".into()),
            ..settings(&different)
        };
        (settings(&[]), new)
    }

    #[test]
    fn every_setting_is_followed_or_named() {
        let (old, new) = different();
        let all = settings_of(&Settings::augment_args(Command::new("lb"))).count();
        assert_eq!(new.differing(&old).len(), all);
        let (now, waiting) = old.follow(&new);
        assert_eq!(new.differing(&now), waiting);
        assert!(waiting.contains(&"--hooks".to_owned()), "{waiting:?}");
        assert!(now.answer_ping && !waiting.contains(&"--answer-ping".to_owned()));
        let (same, waiting) = now.follow(&now);
        assert_eq!((same, waiting), (now, Vec::new()));
    }
}
