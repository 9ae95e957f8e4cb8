//! What did a kube-proxy leave behind on this machine, in any of its modes?

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;

use super::xtables;
use crate::netlink::Facts;
use crate::netlink::chains::{Chain, chains};

/// The table of its nftables mode.
const TABLE: &str = "kube-proxy";
/// The chain by which all of its iptables rules are reached.
const CHAIN: &str = "KUBE-SERVICES";
/// The link that has all VIPs in its IPVS mode.
const LINK: &str = "kube-ipvs0";
/// IPVS' services; not there without its module.
const IPVS: &str = "/proc/net/ip_vs";

/// Rules that still steer Services' packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// A table of nftables with so many chains.
    Nftables(usize),
    /// Chains of iptables, new or old, in the table of this name.
    Iptables(String),
    /// Virtual services of IPVS, and whether the link of kube-proxy is there.
    Ipvs(usize, bool),
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nftables(chains) => write!(f, "nftables table {TABLE} with {chains} chains"),
            Self::Iptables(table) => write!(f, "iptables chain {CHAIN} in table {table}"),
            Self::Ipvs(services, has_link) => {
                write!(f, "{services} virtual services of IPVS")?;
                if *has_link {
                    write!(f, " and link {LINK}")?;
                }
                Ok(())
            }
        }
    }
}

impl Leftover {
    /// What takes it away, once kube-proxy has stopped.
    #[must_use]
    pub const fn cleanup(&self) -> &'static str {
        match self {
            Self::Nftables(_) => "nft delete table ip kube-proxy; nft delete table ip6 kube-proxy",
            Self::Iptables(_) => "kube-proxy --cleanup",
            Self::Ipvs(..) => {
                "kube-proxy --cleanup (without it: ipvsadm --clear; ip link delete kube-ipvs0)"
            }
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        let takes_over = match self {
            Self::Ipvs(..) => "",
            Self::Nftables(_) | Self::Iptables(_) => "`lb takeover` keeps its connections; ",
        };
        format!(
            "{takes_over}stop kube-proxy if it runs, then: {}",
            self.cleanup()
        )
    }
}

/// Looks for them, in the network namespace of this thread; needs `CAP_NET_ADMIN`.
///
/// # Errors
/// The kernel does not tell, so there may be some. That it has no such rules at all is no error.
pub fn leftovers(links: &Facts) -> io::Result<Vec<Leftover>> {
    let mut chains = chains()?;
    chains.extend(xtables::chains()?);
    let mut found = among(&chains);
    let has_link = links.links.values().any(|link| link.name == LINK);
    let services = fs::read_to_string(IPVS).map_or(0, |table| virtual_services(&table));
    if services > 0 || has_link {
        found.push(Leftover::Ipvs(services, has_link));
    }
    Ok(found)
}

/// Whether some of it translates by nf_conntrack, as all but IPVS does.
#[must_use]
pub fn translates(leftovers: &[Leftover]) -> bool {
    leftovers.iter().any(|leftover| match leftover {
        Leftover::Nftables(_) => true,
        Leftover::Iptables(table) => table == "nat",
        Leftover::Ipvs(..) => false,
    })
}

fn among(chains: &[Chain]) -> Vec<Leftover> {
    let own = chains.iter().filter(|chain| chain.table == TABLE).count();
    let mut found = Vec::new();
    if own > 0 {
        found.push(Leftover::Nftables(own));
    }
    let of_iptables = chains.iter().filter(|chain| chain.name == CHAIN);
    let tables: BTreeSet<_> = of_iptables.map(|chain| chain.table.clone()).collect();
    found.extend(tables.into_iter().map(Leftover::Iptables));
    found
}

/// Each begins with its protocol; destinations are indented.
fn virtual_services(table: &str) -> usize {
    let lines = table.lines();
    lines
        .filter(|line| {
            ["TCP ", "UDP ", "SCTP "]
                .iter()
                .any(|name| line.starts_with(name))
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_each_mode_are_told_apart() {
        let chain = |(table, name): (&str, &str)| Chain {
            table: table.to_owned(),
            name: name.to_owned(),
        };
        let others = [("filter", "FORWARD"), ("nat", "KUBE-MARK-MASQ")].map(chain);
        assert_eq!(among(&others), []);
        let ours = [
            ("kube-proxy", "services"),
            ("kube-proxy", "nat-prerouting"),
            ("nat", "KUBE-SERVICES"),
            ("filter", "KUBE-SERVICES"),
            ("nat", "KUBE-SERVICES"),
        ]
        .map(chain);
        assert_eq!(
            among(&ours),
            [
                Leftover::Nftables(2),
                Leftover::Iptables("filter".to_owned()),
                Leftover::Iptables("nat".to_owned()),
            ]
        );
        let table = "IP Virtual Server version 1.2.1 (size=4096)\n\
                     Prot LocalAddress:Port Scheduler Flags\n\
                     \x20 -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n\
                     TCP  0A2BA527:0050 rr\n  -> 0A2A000A:1F90      Masq    1      0          0\n\
                     UDP  0A2B0035:0035 rr\n";
        assert_eq!(virtual_services(table), 2);
    }
}
