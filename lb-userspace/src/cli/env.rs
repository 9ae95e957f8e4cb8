//! `lb env`: by which environment variables do pods find Services?

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use clap::Args;

use super::error::CliError;
use super::show::write;
use super::source::remark;
use crate::input::Allocations;
use crate::input::manifests::{self, Options};
use crate::model::World;
use crate::settings::Settings;
use crate::state::{self, Details, ServiceDetails, State, StateError};

/// The Service that pods of every namespace find.
const OF_ALL: (&str, &str) = ("default", "kubernetes");

/// Show the environment variables by which the pods of a namespace find its Services
///
/// They are those that the kubelet gives to containers: KUBIA_SERVICE_HOST, KUBIA_SERVICE_PORT,
/// KUBIA_PORT_80_TCP_ADDR and so on, one NAME=VALUE in each line, for every Service with a ClusterIP.
/// As with the kubelet, they are what is so now: a process that is started with them does not see
/// later changes.
///
/// With -f the Services are those of the manifests, else those that `lb run` serves here.
#[derive(Args, Debug)]
pub(super) struct Env {
    /// The pods' namespace
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    namespace: String,
}

impl Env {
    /// Answers.
    pub(super) fn run(&self, settings: &Settings) -> Result<ExitCode, CliError> {
        let state = State::read(&settings.state_file());
        let (services, remarks) = if settings.manifests.is_empty() {
            served(settings, state)?
        } else {
            // What the daemon gave, it gives again.
            let before = state.map(|state| state.allocations);
            written(settings, before.unwrap_or_default())?
        };
        for remark in remarks {
            eprintln!("{remark}");
        }
        let lines = variables(&services, &self.namespace)
            .into_iter()
            .map(|(name, value)| format!("{name}={value}\n"));
        write(&lines.collect::<String>())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The Services that the daemon serves.
fn served(
    settings: &Settings,
    state: Result<State, StateError>,
) -> Result<(Vec<ServiceDetails>, Vec<String>), CliError> {
    let is_running = state::holder(&settings.state_file()).is_some();
    let remark = remark(&state, is_running, std::time::SystemTime::now());
    Ok((state?.services, remark.into_iter().collect()))
}

/// The Services of the manifests.
fn written(
    settings: &Settings,
    before: Allocations,
) -> Result<(Vec<ServiceDetails>, Vec<String>), CliError> {
    let update = manifests::read_once(Options::new(settings, before))?;
    let mut world = World::default();
    for change in update.changes {
        world.apply(change);
    }
    let problems = update.problems.iter().map(ToString::to_string);
    let services = Details::of(&world).services().collect();
    Ok((services, problems.collect()))
}

/// The variables that containers of a namespace get, Service by Service in the kubelet's order.
/// A Service without ClusterIP has none.
fn variables(services: &[ServiceDetails], namespace: &str) -> Vec<(String, String)> {
    let mut visible = BTreeMap::new();
    for details in services {
        let (of, name) = (&*details.service.namespace, &*details.service.name);
        if of == namespace {
            visible.insert(name, details);
        } else if (of, name) == OF_ALL {
            // One of the namespace's own goes before it.
            visible.entry(name).or_insert(details);
        }
    }
    visible.values().flat_map(|details| of(details)).collect()
}

fn of(details: &ServiceDetails) -> Vec<(String, String)> {
    let (Some(address), Some(first)) = (details.cluster_ips.first(), details.ports.first()) else {
        return Vec::new();
    };
    let name = variable(&details.service.name);
    let mut variables = vec![
        (format!("{name}_SERVICE_HOST"), address.to_string()),
        (format!("{name}_SERVICE_PORT"), first.port.to_string()),
    ];
    for port in details.ports.iter().filter(|port| !port.name.is_empty()) {
        let port_name = variable(&port.name);
        variables.push((
            format!("{name}_SERVICE_PORT_{port_name}"),
            port.port.to_string(),
        ));
    }
    variables.extend(links(&name, *address, details));
    variables
}

/// What Docker's links were called.
fn links(name: &str, address: IpAddr, details: &ServiceDetails) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for (i, port) in details.ports.iter().enumerate() {
        let protocol = port.protocol.to_string();
        let number = port.port;
        let link = format!("{name}_PORT_{number}_{protocol}");
        let protocol = protocol.to_lowercase();
        let url = format!("{protocol}://{}", SocketAddr::new(address, number));
        if i == 0 {
            variables.push((format!("{name}_PORT"), url.clone()));
        }
        variables.extend([
            (link.clone(), url),
            (format!("{link}_PROTO"), protocol),
            (format!("{link}_PORT"), number.to_string()),
            (format!("{link}_ADDR"), address.to_string()),
        ]);
    }
    variables
}

fn variable(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ObjectName, Protocol};
    use crate::state::PortDetails;

    fn service(
        namespace: &str,
        name: &str,
        addresses: &[&str],
        ports: &[(&str, u16, Protocol)],
    ) -> ServiceDetails {
        let ports = ports.iter().map(|(name, port, protocol)| PortDetails {
            name: (*name).to_owned(),
            protocol: *protocol,
            port: *port,
            target_port: "8080".to_owned(),
        });
        ServiceDetails {
            service: ObjectName::new(namespace, name),
            kind: "ClusterIP".to_owned(),
            cluster_ips: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            proxied_ips: Vec::new(),
            ports: ports.collect(),
        }
    }

    fn lines(services: &[ServiceDetails], namespace: &str) -> Vec<String> {
        let variables = variables(services, namespace).into_iter();
        let lines = variables.map(|(name, value)| format!("{name}={value}"));
        lines.collect()
    }

    #[test]
    fn a_service_with_an_unnamed_port() {
        let kubia = [("", 80, Protocol::Tcp)];
        assert_eq!(
            lines(
                &[service("default", "kubia", &["10.43.165.39"], &kubia)],
                "default"
            ),
            [
                "KUBIA_SERVICE_HOST=10.43.165.39",
                "KUBIA_SERVICE_PORT=80",
                "KUBIA_PORT=tcp://10.43.165.39:80",
                "KUBIA_PORT_80_TCP=tcp://10.43.165.39:80",
                "KUBIA_PORT_80_TCP_PROTO=tcp",
                "KUBIA_PORT_80_TCP_PORT=80",
                "KUBIA_PORT_80_TCP_ADDR=10.43.165.39",
            ]
        );
    }

    #[test]
    fn several_ports_several_families_and_a_name_with_dashes() {
        let ports = [("http-alt", 80, Protocol::Tcp), ("dns", 53, Protocol::Udp)];
        let addresses = ["fd00:10:43::53", "10.43.7.83"];
        assert_eq!(
            lines(&[service("shop", "my-dns", &addresses, &ports)], "shop"),
            [
                "MY_DNS_SERVICE_HOST=fd00:10:43::53",
                "MY_DNS_SERVICE_PORT=80",
                "MY_DNS_SERVICE_PORT_HTTP_ALT=80",
                "MY_DNS_SERVICE_PORT_DNS=53",
                "MY_DNS_PORT=tcp://[fd00:10:43::53]:80",
                "MY_DNS_PORT_80_TCP=tcp://[fd00:10:43::53]:80",
                "MY_DNS_PORT_80_TCP_PROTO=tcp",
                "MY_DNS_PORT_80_TCP_PORT=80",
                "MY_DNS_PORT_80_TCP_ADDR=fd00:10:43::53",
                "MY_DNS_PORT_53_UDP=udp://[fd00:10:43::53]:53",
                "MY_DNS_PORT_53_UDP_PROTO=udp",
                "MY_DNS_PORT_53_UDP_PORT=53",
                "MY_DNS_PORT_53_UDP_ADDR=fd00:10:43::53",
            ]
        );
    }

    #[test]
    fn whose_services_a_namespace_sees() {
        let port = [("", 80, Protocol::Tcp)];
        let mut services = vec![
            service("default", "kubernetes", &["10.43.0.1"], &port),
            service("default", "kubia", &["10.43.165.39"], &port),
            service("shop", "cart", &["10.43.0.3"], &port),
            service("shop", "headless", &[], &port),
        ];
        let hosts = |services: &[ServiceDetails], namespace| {
            let mut lines = lines(services, namespace);
            lines.retain(|line| line.contains("_SERVICE_HOST="));
            lines
        };
        let kubernetes = "KUBERNETES_SERVICE_HOST=10.43.0.1";
        assert_eq!(
            hosts(&services, "default"),
            [kubernetes, "KUBIA_SERVICE_HOST=10.43.165.39"]
        );
        let cart = "CART_SERVICE_HOST=10.43.0.3";
        assert_eq!(hosts(&services, "shop"), [cart, kubernetes]);
        assert_eq!(hosts(&services, "empty"), [kubernetes]);
        services.push(service("shop", "kubernetes", &["10.43.0.4"], &port));
        assert_eq!(
            hosts(&services, "shop"),
            [cart, "KUBERNETES_SERVICE_HOST=10.43.0.4"]
        );
    }
}
