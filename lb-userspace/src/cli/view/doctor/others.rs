//! What do others on this machine do to packets that pass here? The kernel's own filters, programs
//! at links, a kube-proxy that was here before.

use std::collections::BTreeMap;

use lb_common::drops::Hook;

use super::{FindingRecord, good, note};
use crate::loader::kube_proxy::Leftover;
use crate::loader::probe::{Occupant, Place};
use crate::netlink::filters::Direction;
use crate::settings::Settings;

/// Value of `rp_filter` with which a packet must come in where a reply would go out.
const STRICT: &str = "1";
const LOOSE: &str = "2";

/// Somebody else's program at a link.
pub(super) fn occupant(other: &Occupant, settings: &Settings) -> FindingRecord {
    let Occupant { link, place, name } = other;
    match place {
        Place::Xdp if settings.hooks.contains(&Hook::Xdp) => note(
            "foreign",
            format!("{link} has an XDP program of others ({name}): ours serve there by tc"),
        ),
        Place::Xdp => note(
            "foreign",
            format!("{link} has an XDP program of others ({name}): ours see what it passes"),
        ),
        Place::Tcx(direction) | Place::Filter(direction, _) => note(
            "foreign",
            format!(
                "{link} {}: {name} of others; ours leave packets to it, but for those that they redirect",
                match direction {
                    Direction::In => "ingress",
                    Direction::Out => "egress",
                }
            ),
        ),
    }
}

/// What a kube-proxy left here.
pub(super) fn kube_proxy(found: &Result<Vec<Leftover>, String>) -> Vec<FindingRecord> {
    match found {
        Ok(found) => found.iter().map(leftover).collect(),
        Err(error) => vec![note(
            "kube-proxy",
            format!("whether its rules are here is not known: {error}"),
        )],
    }
}

/// Rules of a kube-proxy: ours come first, so they steer what ours pass, and slow down the rest.
fn leftover(leftover: &Leftover) -> FindingRecord {
    let mut finding = note(
        "kube-proxy",
        format!("{leftover}: ours serve first, but what ours pass still meets its old rules"),
    );
    finding.remedy = leftover.remedy();
    finding
}

/// Whether the kernel drops packets whose reply would leave elsewhere; nothing if it does not say.
pub(super) fn rp_filter(
    sysctls: &BTreeMap<String, String>,
    uplinks: &[&str],
) -> Option<FindingRecord> {
    let value = |name: &str| {
        let value = sysctls.get(&format!("net.ipv4.conf.{name}.rp_filter"));
        value.map(String::as_str)
    };
    // The kernel takes the greater one of the link's and that for all.
    let all = value("all")?;
    let is_strict = |link: &&&str| value(link).map(|own| own.max(all)) == Some(STRICT);
    let strict: Vec<_> = uplinks.iter().filter(is_strict).copied().collect();
    if strict.is_empty() {
        return Some(good("rp_filter", "off or loose at uplinks".to_owned()));
    }
    if uplinks.len() == 1 {
        return Some(good(
            "rp_filter",
            format!(
                "strict at {}, the only uplink: nothing of ours is dropped",
                strict[0]
            ),
        ));
    }
    let mut finding = note(
        "rp_filter",
        format!(
            "strict at {}: clients that come in by one uplink and whose replies leave by another one are dropped before any backend of this node sees them",
            strict.join(", ")
        ),
    );
    let settings = strict.iter();
    let settings: Vec<_> = settings
        .map(|link| format!("net.ipv4.conf.{link}.rp_filter={LOOSE}"))
        .collect();
    finding.remedy = format!("sysctl -w {}", settings.join(" "));
    Some(finding)
}
