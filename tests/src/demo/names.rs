//! How does a pod find a Service by its name? It asks DNS, which is behind a VIP of ours too.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};

use super::serve::{ask, shown};
use super::show::{heading, line};
use super::{DNS_VIP, Pods};
use crate::dig::dig;
use crate::peer::{Dial, Transport};

/// Questions that each name's Service is asked.
const GLANCE: u32 = 6;
/// What is in a pod's `resolv.conf`, so that one word is enough.
const SEARCH: [&str; 3] = ["+short", "+search", "+domain=default.svc.cluster.local"];

/// Resolves names in a pod, and connects to what they say.
pub(super) fn resolved(pods: &Pods) -> Result<()> {
    heading("By name: a pod asks DNS, which lb answers behind a VIP of its own");
    let client = pods.named("name-server-0")?;
    let dns: SocketAddr = DNS_VIP.parse()?;
    for (name, port, expected) in [
        ("kubia", 80, "10.43.165.39"),
        // An ExternalName: another name first.
        ("backend-service", 5_000, "10.96.151.12"),
    ] {
        let said = dig(client.netns(), dns, &[&SEARCH[..], &[name]].concat())?;
        let said: Vec<_> = said.lines().collect();
        let address = said.last().with_context(|| format!("DNS has no {name}"))?;
        ensure!(*address == expected, "{name} is {said:?}");
        line(&format!("dig {name}"), &said.join("  "));
        let to = SocketAddr::new(address.parse::<IpAddr>()?, port);
        let by = ask(client, Dial::new(Transport::Tcp, to), GLANCE)?;
        line(&format!("pod  → {name}:{port}"), &shown(&by));
    }
    Ok(())
}
