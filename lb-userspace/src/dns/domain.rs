//! What is the cluster's domain, and what stands below it?

use std::fmt;
use std::str::FromStr;

use hickory_proto::rr::Name;

/// What the cluster is called by default.
pub const DEFAULT_DOMAIN: &str = "cluster.local";

/// Longest domain: a name in it has at most 253 characters, of which a host, its Service, their
/// namespace (63 each, with a dot) and `svc.` take the most.
const LONGEST: usize = 253 - 3 * 64 - 4;

/// The domain that all names of the cluster are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain(Name);

impl Domain {
    pub(super) fn name(&self) -> &Name {
        &self.0
    }

    /// A name in the domain; none if it is too long.
    pub(super) fn name_of(&self, labels: &str) -> Option<Name> {
        let labels = Name::from_ascii(labels).ok()?;
        labels.append_domain(&self.0).ok()
    }

    /// The labels of a name before the domain, in lower case; none if it is not in the domain.
    /// Labels that no object of the cluster can have are as good as any other that is not there.
    pub(super) fn below(&self, name: &Name) -> Option<Vec<String>> {
        if !self.0.zone_of(name) {
            return None;
        }
        let count = usize::from(name.num_labels() - self.0.num_labels());
        let labels = name.iter().take(count).map(|label| {
            // A dot within a label must not look like one between two.
            let label = String::from_utf8_lossy(label).replace('.', "\\.");
            label.to_lowercase()
        });
        Some(labels.collect())
    }
}

impl Default for Domain {
    fn default() -> Self {
        Self(Name::from_labels(DEFAULT_DOMAIN.split('.')).unwrap_or_default())
    }
}

impl FromStr for Domain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim().trim_end_matches('.').to_lowercase();
        let is_label = |label: &str| {
            let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
            !label.is_empty()
                && label.len() <= 63
                && label.chars().all(inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if !text.split('.').all(is_label) {
            return Err(format!("not a domain: write it as {DEFAULT_DOMAIN}"));
        }
        if text.len() > LONGEST {
            return Err(format!(
                "leaves no room for the names in it: use at most {LONGEST} characters"
            ));
        }
        let name = Name::from_labels(text.split('.')).map_err(|error| error.to_string())?;
        Ok(Self(name))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_string().trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_written_in_one_way() {
        for (text, expected) in [
            ("cluster.local", "cluster.local"),
            (" Cluster.Local. ", "cluster.local"),
            ("k8s", "k8s"),
        ] {
            assert_eq!(text.parse::<Domain>().unwrap().to_string(), expected);
        }
        assert_eq!(Domain::default().to_string(), DEFAULT_DOMAIN);
        let long = "a.".repeat(40);
        for text in ["", ".", "a..b", "-a.b", "a_b", "svc.*", long.as_str()] {
            assert!(text.parse::<Domain>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_dot_within_a_label_separates_nothing() {
        let below = |name: &str| Domain::default().below(&Name::from_ascii(name).unwrap());
        assert_eq!(
            below("a\\.b.cluster.local."),
            Some(vec!["a\\.b".to_owned()])
        );
        assert_eq!(below("A.cluster.LOCAL."), Some(vec!["a".to_owned()]));
        assert_eq!(below("cluster.local."), Some(vec![]));
        assert_eq!(below("local."), None);
    }
}
