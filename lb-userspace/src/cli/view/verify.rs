//! Is the kernel as the daemon left it? Decided from facts alone.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::FindingRecord;
use super::age;
use super::doctor::{bad, good, note};
use crate::loader::Drift;
use crate::state::State;
use crate::tables::Digest;

/// What was looked at.
#[derive(Debug)]
pub struct Verified<'a> {
    /// What the maps hold, or why they cannot be read.
    pub maps: Result<BTreeMap<String, Digest>, String>,
    /// Pins and attached programs that are not as they must be.
    pub amiss: Vec<Drift>,
    /// Whether the daemon runs.
    pub is_running: bool,
    /// What it wrote.
    pub state: &'a State,
    /// When this is.
    pub now: SystemTime,
}

/// What differs, and what does not.
#[must_use]
pub fn verify(verified: &Verified<'_>) -> Vec<FindingRecord> {
    let remedy = if verified.is_running {
        "`lb run` mends it within its --audit-interval; find out who changed it"
    } else {
        "start `lb run`, which mends it"
    };
    let placed = &verified.state.placed;
    let mut findings = if verified.state.digests.is_empty() || placed.maps.is_empty() {
        vec![bad(
            "maps",
            "it is not known what must be there: the state file is an older version's".to_owned(),
            "start `lb run` of this version".to_owned(),
        )]
    } else {
        let mut findings = maps(verified, remedy);
        if verified.amiss.is_empty() {
            let count = placed.links.len() + placed.filters.len();
            let found = format!("{count} programs are attached as they must be");
            findings.push(good("links", found));
        }
        findings
    };
    let amiss = verified.amiss.iter();
    findings.extend(amiss.map(|Drift { kind, name }| {
        let found = match *kind {
            "order" => format!("{name} is not outermost: another's program comes between"),
            "map" => format!("{name} does not hold what it must"),
            _ => format!("{name} is gone, or is another's"),
        };
        bad(kind, found, remedy.to_owned())
    }));
    if !verified.is_running {
        findings.push(note(
            "daemon",
            format!(
                "`lb run` is not running: compared with what it wrote {} ago",
                age(verified.state.age(verified.now))
            ),
        ));
    }
    findings.extend(audit(verified));
    findings
}

fn maps(verified: &Verified<'_>, remedy: &str) -> Vec<FindingRecord> {
    let expected = &verified.state.digests;
    let maps = match &verified.maps {
        Ok(maps) => maps,
        Err(why) => return vec![bad("maps", why.clone(), remedy.to_owned())],
    };
    let differ = expected.iter().filter_map(|(map, expected)| {
        let found = maps.get(map).copied().unwrap_or_default();
        (found != *expected).then(|| {
            let found = match (found.elements, expected.elements) {
                (found, expected) if found == expected => {
                    format!("{map} has {found} elements, but not the right ones")
                }
                (found, expected) => format!("{map} has {found} elements instead of {expected}"),
            };
            bad("map", found, remedy.to_owned())
        })
    });
    let differ: Vec<_> = differ.collect();
    if differ.is_empty() {
        let elements: usize = expected.values().map(|digest| digest.elements).sum();
        let maps = expected.len();
        let found = format!("{elements} elements of {maps} maps are as they must be");
        return vec![good("maps", found)];
    }
    differ
}

/// What the daemon found before.
fn audit(verified: &Verified<'_>) -> Option<FindingRecord> {
    let audit = verified.state.audit.as_ref()?;
    let then = SystemTime::UNIX_EPOCH + Duration::from_millis(audit.found_at_millis);
    let ago = verified.now.duration_since(then).unwrap_or_default();
    let found = audit.found.join(", ");
    Some(note("audit", format!("{} ago mended: {found}", age(ago))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::view::Verdict;
    use crate::loader::Placed;
    use crate::state::Audit;
    use crate::tables::Tables;

    #[test]
    fn what_differs_is_told_and_nothing_else() {
        let mut tables = Tables::default();
        tables.slots.insert(0, 7);
        let state = State {
            digests: tables.digests(),
            placed: Placed {
                maps: BTreeMap::from([("slots".to_owned(), 7)]),
                ..Placed::default()
            },
            audit: Some(Audit {
                found_at_millis: 1_000,
                found: vec!["map slots (1 elements)".to_owned()],
            }),
            ..State::default()
        };
        let look = |tables: &Tables, amiss: &[Drift]| {
            let findings = verify(&Verified {
                maps: Ok(tables.digests()),
                amiss: amiss.to_vec(),
                is_running: true,
                state: &state,
                now: SystemTime::UNIX_EPOCH + Duration::from_secs(61),
            });
            assert!(
                findings
                    .iter()
                    .any(|f| f.found.starts_with("60s ago mended"))
            );
            let bad = findings.into_iter().filter(|f| f.verdict == Verdict::Bad);
            bad.map(|finding| finding.found).collect::<Vec<_>>()
        };
        assert_eq!(look(&tables, &[]), Vec::<String>::new());
        let gone = Drift {
            kind: "link",
            name: "tcx-in-2-eth0".to_owned(),
        };
        assert_eq!(
            look(&tables, &[gone]),
            ["tcx-in-2-eth0 is gone, or is another's"]
        );
        tables.slots.insert(0, 8);
        assert_eq!(
            look(&tables, &[]),
            ["slots has 1 elements, but not the right ones"]
        );
        tables.slots.insert(1, 8);
        assert_eq!(look(&tables, &[]), ["slots has 2 elements instead of 1"]);
    }
}
