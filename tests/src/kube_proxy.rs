//! What does kube-proxy leave in the kernel for one Service, in its nftables mode? The same tables,
//! chains, mark and order, written by `nft`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::Result;

use crate::command;
use crate::topology::{Family, Place, addresses};

/// kube-proxy's rules on a node, until they are removed.
#[derive(Debug)]
pub struct KubeProxyRules<'p> {
    place: &'p Place,
}

impl<'p> KubeProxyRules<'p> {
    /// Writes the rules by which TCP and UDP to the frontend go to the backends, once for each
    /// family; sources that are no pods are masqueraded.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn write(place: &'p Place, services: &[(SocketAddr, Vec<SocketAddr>)]) -> Result<Self> {
        let mut rules = String::new();
        for family in Family::ALL {
            let of_family: Vec<_> = services
                .iter()
                .filter(|(frontend, _)| Family::of(frontend.ip()) == family)
                .collect();
            write_table(&mut rules, family, &of_family)?;
        }
        place
            .netns()
            .run(|| command::feed(Command::new("nft").args(["-f", "-"]), &rules))?;
        Ok(Self { place })
    }

    /// Removes them all, as `kube-proxy --cleanup` does.
    ///
    /// # Errors
    /// They are not there.
    pub fn remove(self) -> Result<()> {
        let rules = "delete table ip kube-proxy\ndelete table ip6 kube-proxy\n";
        self.place
            .netns()
            .run(|| command::feed(Command::new("nft").args(["-f", "-"]), rules))?;
        Ok(())
    }
}

fn write_table(
    rules: &mut String,
    family: Family,
    services: &[&(SocketAddr, Vec<SocketAddr>)],
) -> Result<()> {
    let (table, address, pods) = match family {
        Family::V4 => ("ip", "ipv4_addr", addresses::PODS[0]),
        Family::V6 => ("ip6", "ipv6_addr", addresses::PODS[1]),
    };
    writeln!(
        rules,
        "table {table} kube-proxy {{
            map service-ips {{
                type {address} . inet_proto . inet_service : verdict
            }}
            chain mark-for-masquerade {{
                mark set mark or 0x4000
            }}
            chain masquerading {{
                mark and 0x4000 == 0 return
                mark set mark xor 0x4000
                masquerade fully-random
            }}"
    )?;
    for (number, (frontend, backends)) in services.iter().enumerate() {
        write_service(rules, table, number, *frontend, backends, pods)?;
    }
    writeln!(
        rules,
        "   chain services {{
                {table} daddr . meta l4proto . th dport vmap @service-ips
            }}
            chain nat-prerouting {{
                type nat hook prerouting priority dstnat; policy accept;
                jump services
            }}
            chain nat-output {{
                type nat hook output priority -100; policy accept;
                jump services
            }}
            chain nat-postrouting {{
                type nat hook postrouting priority srcnat; policy accept;
                jump masquerading
            }}
        }}"
    )?;
    for (number, (frontend, _)) in services.iter().enumerate() {
        for protocol in ["tcp", "udp"] {
            writeln!(
                rules,
                "add element {table} kube-proxy service-ips {{ {} . {protocol} . {} : goto service-{number} }}",
                frontend.ip(),
                frontend.port()
            )?;
        }
    }
    Ok(())
}

fn write_service(
    rules: &mut String,
    table: &str,
    number: usize,
    frontend: SocketAddr,
    backends: &[SocketAddr],
    pods: &str,
) -> Result<()> {
    let mut choice = String::new();
    for (i, backend) in backends.iter().enumerate() {
        writeln!(
            rules,
            "   chain endpoint-{number}-{i} {{
                {table} saddr {} jump mark-for-masquerade
                meta l4proto {{ tcp, udp }} dnat to {backend}
            }}",
            backend.ip()
        )?;
        write!(choice, "{i} : goto endpoint-{number}-{i}, ")?;
    }
    writeln!(
        rules,
        "   chain service-{number} {{
                {table} daddr {} {table} saddr != {pods} jump mark-for-masquerade
                numgen random mod {} vmap {{ {choice} }}
            }}",
        frontend.ip(),
        backends.len()
    )?;
    Ok(())
}
