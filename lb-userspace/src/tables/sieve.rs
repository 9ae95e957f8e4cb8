//! Which marks does the sieve need, so that no packet passes that concerns us?

use std::net::IpAddr;

use ipnet::IpNet;
use lb_common::layout::{Config, Flow, FlowKey, Link, Prefix, Sieve, SieveFrame};
use lb_common::sieve::{ends_of_flow, spot_of_snat};

use super::{FamilyRow, PerFamily, Tables, prefix};

/// What of the sieve is not marks, as the configuration asks for.
#[must_use]
pub fn frame<A: PerFamily>(config: &Config) -> SieveFrame<A> {
    SieveFrame {
        services: around(A::services(config)),
        snat_ports: config.snat_ports,
    }
}

/// The mark that has to be there before this element of a map is.
#[must_use]
pub fn spot_of_row<A: PerFamily>(frame: &SieveFrame<A>, row: &FamilyRow<A>) -> Option<usize> {
    match row {
        FamilyRow::Frontend(key, _) => Some(frame.spot(&key.address, key.port)),
        FamilyRow::Info(_, info) => Some(frame.spot(&info.key.address, info.key.port)),
        FamilyRow::Backend(_, backend) => Some(frame.spot(&backend.address, backend.port)),
        FamilyRow::Range(_) | FamilyRow::Node(_) => None,
    }
}

/// The mark that has to be there before the configuration is.
#[must_use]
pub fn spot_of_config<A: PerFamily>(config: &Config) -> usize {
    spot_of_snat(&A::node(config))
}

/// The mark that has to be there before this link's address is; none if it has none.
#[must_use]
pub fn spot_of_link<A: PerFamily>(link: &Link) -> Option<usize> {
    let address = A::of_link(link);
    (address != A::default()).then(|| spot_of_snat(&address))
}

/// The marks that have to be there before these tables are.
pub fn spots_of_tables<A: PerFamily>(tables: &Tables) -> impl Iterator<Item = usize> {
    let (frame, family) = (frame::<A>(&tables.config), A::of(tables));
    let frontends = family.frontends.iter();
    let rows = frontends.map(|(key, value)| FamilyRow::Frontend(*key, *value));
    let infos = family.info.iter();
    let rows = rows.chain(infos.map(|(index, info)| FamilyRow::Info(*index, *info)));
    let backends = family.backends.iter();
    let rows = rows.chain(backends.map(|(id, backend)| FamilyRow::Backend(*id, *backend)));
    rows.filter_map(move |row| spot_of_row(&frame, &row))
        .chain([spot_of_config::<A>(&tables.config)])
}

/// The marks that have to be there before this entry of a flow is.
pub fn spots_of_flow<A: PerFamily>(
    frame: SieveFrame<A>,
    key: &FlowKey<A>,
    flow: &Flow<A>,
) -> impl Iterator<Item = usize> + use<A> {
    let ends = ends_of_flow(key, flow).into_iter().flatten();
    ends.map(move |(address, port)| frame.spot(&address, port))
}

/// The smallest network that contains all of these. One is usual, and whatever else it contains is
/// only looked at.
fn around<A: PerFamily>(networks: &[Prefix<A>]) -> Prefix<A> {
    let used = networks.iter().filter(|network| network.used != 0);
    let used: Vec<IpAddr> = used
        .flat_map(|network| [network.network.to_ip(), last_of(network).to_ip()])
        .collect();
    let (Some(first), Some(last)) = (used.iter().min(), used.iter().max()) else {
        return Prefix::default();
    };
    let bits = 0..=u8::try_from(A::BITS).unwrap_or(u8::MAX);
    bits.rev()
        .filter_map(|bits| IpNet::new(*first, bits).ok())
        .find(|network| network.contains(last))
        .and_then(|network| prefix(network.trunc()))
        .unwrap_or_default()
}

/// The last address of a network.
fn last_of<A: PerFamily>(network: &Prefix<A>) -> A {
    let mut last = network.network;
    let mask = bytemuck::bytes_of(&network.mask);
    for (byte, mask) in bytemuck::bytes_of_mut(&mut last).iter_mut().zip(mask) {
        *byte |= !mask;
    }
    last
}

/// The whole sieve for these tables and links, in force.
#[must_use]
pub fn sieve<A: PerFamily>(tables: &Tables, links: &[Link]) -> Box<Sieve<A>> {
    let mut sieve: Box<Sieve<A>> = bytemuck::zeroed_box();
    sieve.state = 1;
    sieve.frame = frame(&tables.config);
    let of_links = links.iter().filter_map(spot_of_link::<A>);
    for spot in spots_of_tables::<A>(tables).chain(of_links) {
        sieve.marks[spot / 64] |= 1 << (spot % 64);
    }
    sieve
}

#[cfg(test)]
mod tests {
    use lb_common::addr::{Ip4, Ip6};

    use super::*;

    fn around_all<A: PerFamily>(networks: &[&str]) -> Prefix<A> {
        let networks = networks.iter().map(|text| text.parse().unwrap());
        let networks: Vec<Prefix<A>> = networks.filter_map(prefix).collect();
        around(&networks)
    }

    #[test]
    fn one_network_is_around_all() {
        let four = |networks: &[&str]| around_all::<Ip4>(networks);
        assert_eq!(four(&[]), Prefix::default());
        assert_eq!(
            four(&["10.43.0.0/16"]),
            four(&["10.43.0.0/16", "10.43.7.0/24"])
        );
        let both = four(&["10.43.0.0/16", "10.96.0.0/12"]);
        assert_eq!(both, four(&["10.0.0.0/9"]));
        assert_eq!(
            four(&["10.43.0.0/16", "172.20.0.0/16"]).mask,
            Ip4::default()
        );
        let six = around_all::<Ip6>(&["fd00:10:43::/112", "fd00:10:43::1:0/112"]);
        assert_eq!(six, around_all(&["fd00:10:43::/111"]));
    }
}
