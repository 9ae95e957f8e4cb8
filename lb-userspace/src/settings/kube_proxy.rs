//! What do kube-proxy's own configuration file and flags amount to here? Each field of a
//! `KubeProxyConfiguration` (`kubeproxy.config.k8s.io/v1alpha1`, Kubernetes 1.36) is taken as it is,
//! taken in another form, or named as ignored; so is each flag.

mod fields;
pub(super) mod flags;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use clap::Arg;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::file::{Entry, syntax_error};
use super::layers::SettingsError;

/// What the documents say under `apiVersion`.
pub const VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
/// What they say under `kind`.
pub const KIND: &str = "KubeProxyConfiguration";

use Fate::{Ignored, Taken};
use fields::{DEFAULTS, TIMEOUTS};
pub use fields::{FIELDS, Fate};
pub use flags::{FLAGS, Flag};

/// What a document gives, and what of it has no effect, for people.
pub(super) type Read = (Vec<Entry>, Vec<String>);

/// Reads a document that says that it is kube-proxy's.
pub(super) fn parse(file: &str, text: &str, settings: &[Arg]) -> Result<Read, SettingsError> {
    let tree: BTreeMap<String, Spanned<Tree>> =
        serde_saphyr::from_str(text).map_err(|error| syntax_error(file, &error))?;
    let mut document = Document {
        file,
        fields: BTreeMap::new(),
    };
    document.flatten("", tree);
    for (path, expected) in [("apiVersion", VERSION), ("kind", KIND)] {
        let field = document.fields.remove(path);
        if field
            .as_ref()
            .is_none_or(|field| field.values != [expected])
        {
            return Err(SettingsError::File {
                place: file.to_owned(),
                why: format!("{path} is not known here: write `{path}: {expected}`"),
            });
        }
    }
    // What is not given, in Go's way of saying so.
    document.fields.retain(|_, field| !field.is_zero());
    Ok((document.entries(settings), document.remarks()))
}

/// The fields of a document, by path.
struct Document<'t> {
    file: &'t str,
    fields: BTreeMap<String, Field>,
}

struct Field {
    /// Where it is written.
    place: String,
    values: Vec<String>,
}

impl Field {
    fn is_zero(&self) -> bool {
        let zeros = ["", "0", "0s", "false"];
        self.values
            .iter()
            .all(|value| zeros.contains(&value.as_str()))
    }

    fn remark(&self, why: &str) -> String {
        format!("{}: {}: ignored: {why}", self.place, self.values.join(","))
    }

    fn wrong(&self, why: &str) -> SettingsError {
        SettingsError::Value {
            place: self.place.clone(),
            value: self.values.join(","),
            why: why.to_owned(),
        }
    }
}

/// A flag, where its value is written, and the value.
type Value = (&'static str, String, Vec<String>);

impl Document<'_> {
    fn flatten(&mut self, above: &str, tree: BTreeMap<String, Spanned<Tree>>) {
        for (key, node) in tree {
            let path = if above.is_empty() {
                key
            } else {
                format!("{above}.{key}")
            };
            let place = format!("{}:{}: {path}", self.file, node.defined.line());
            match node.value {
                Tree::Leaf(values) => {
                    self.fields.insert(path, Field { place, values });
                }
                Tree::Branch(tree) => self.flatten(&path, tree),
            }
        }
    }

    /// What has no effect.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        for (path, field) in &self.fields {
            let is_default = DEFAULTS
                .iter()
                .any(|(of, default)| of == path && field.values == [*default]);
            let why = match fate(path) {
                Some(Ignored(why)) if !is_default => why,
                None => "Kubernetes 1.36 has no such field",
                Some(_) => continue,
            };
            remarks.push(field.remark(why));
        }
        remarks
    }

    /// What it says of these settings.
    fn entries(&self, settings: &[Arg]) -> Vec<Entry> {
        let values = self.values().into_iter();
        let entries = values.filter_map(|(flag, place, values)| {
            let setting = settings.iter().find(|s| s.get_long() == Some(flag))?;
            Some(Entry {
                setting: setting.clone(),
                place,
                values,
            })
        });
        entries.collect()
    }

    fn values(&self) -> Vec<Value> {
        let mut values = Vec::new();
        let mut set = |flag, path: &str, value: Option<Vec<String>>| {
            values.extend(value.map(|value| (flag, self.place(path), value)));
        };
        for (path, fate) in FIELDS {
            if let Taken(flag) = fate {
                set(*flag, path, self.given(path));
            }
        }
        let is_any = |text: &String| {
            let address = text.parse::<IpAddr>();
            address.is_ok_and(|address| address.is_unspecified())
        };
        let node = self.given("bindAddress").filter(|v| !v.iter().all(is_any));
        set("node-address", "bindAddress", node);

        let local = self.word("detectLocalMode").unwrap_or("ClusterCIDR");
        if local != "NodeCIDR" {
            set("cluster-cidr", "clusterCIDR", self.given("clusterCIDR"));
        }
        if local == "InterfaceNamePrefix" {
            let path = "detectLocal.interfaceNamePrefix";
            let prefix = self.word(path);
            set("pod-link", path, prefix.map(|p| vec![format!("{p}*")]));
        }

        let timeouts = TIMEOUTS.iter().filter_map(|(path, stage)| {
            let value = self.word(path)?;
            // What is no time is told by the setting's own parser, as it is written.
            let seconds = seconds(value).map_or_else(|| value.to_owned(), |s| s.to_string());
            Some((*path, format!("{stage}={seconds}")))
        });
        let (paths, timeouts): (Vec<_>, Vec<_>) = timeouts.unzip();
        if let Some(&path) = paths.first() {
            set("timeouts", path, Some(timeouts));
        }

        let mode = self.word("mode").unwrap_or("iptables");
        let masquerade = match mode {
            "nftables" => "nftables.masqueradeAll",
            _ => "iptables.masqueradeAll",
        };
        set("masquerade-all", masquerade, self.given(masquerade));
        if mode == "iptables" {
            let path = "iptables.localhostNodePorts";
            set("nodeport-localhost", path, self.given(path));
        }
        if mode != "nftables" && self.given("nodePortAddresses").is_none() {
            let everywhere = ["0.0.0.0/0", "::/0"].map(str::to_owned);
            set("nodeport-addresses", "mode", Some(everywhere.into()));
        }
        values
    }

    fn given(&self, path: &str) -> Option<Vec<String>> {
        self.fields.get(path).map(|field| field.values.clone())
    }

    fn word(&self, path: &str) -> Option<&str> {
        self.fields.get(path)?.values.first().map(String::as_str)
    }

    fn place(&self, path: &str) -> String {
        match self.fields.get(path) {
            Some(field) => field.place.clone(),
            None => format!("{}: {path}", self.file),
        }
    }
}

/// Whole seconds of a time as Go writes it: `24h0m0s`, `90s`, `1m30s`.
fn seconds(text: &str) -> Option<u64> {
    let mut total = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, unit_and_rest) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let unit = match unit_and_rest.chars().next()? {
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        let number: u64 = number.parse().ok()?;
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = &unit_and_rest[1..];
    }
    (total != 0).then_some(total)
}

/// What becomes of a field: the row of its path, or of the nearest one above.
fn fate(path: &str) -> Option<Fate> {
    let is_at = |of: &str| {
        path.strip_prefix(of)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let rows = FIELDS.iter().filter(|(of, _)| is_at(of));
    rows.max_by_key(|(of, _)| of.len()).map(|(_, fate)| *fate)
}

/// YAML as it is nested; numbers and words are texts.
enum Tree {
    Leaf(Vec<String>),
    Branch(BTreeMap<String, Spanned<Tree>>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

impl Tree {
    /// Its values, each with the name that it has in a mapping.
    fn words(self, name: &str, words: &mut Vec<String>) {
        match self {
            Self::Leaf(values) if name.is_empty() => words.extend(values),
            Self::Leaf(values) => words.push(format!("{name}={}", values.join(","))),
            Self::Branch(tree) => {
                for (name, node) in tree {
                    node.value.words(&name, words);
                }
            }
        }
    }
}

struct TreeVisitor;

impl TreeVisitor {
    #[expect(clippy::unnecessary_wraps, reason = "what a visitor returns")]
    fn leaf<E>(value: &impl ToString) -> Result<Tree, E> {
        Ok(Tree::Leaf(vec![value.to_string()]))
    }
}

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list of values, or a mapping")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Vec::new()))
    }

    fn visit_none<E: de::Error>(self) -> Result<Tree, E> {
        self.visit_unit()
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Tree, E> {
        Self::leaf(&value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Tree, E> {
        Self::leaf(&value)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Tree, E> {
        Self::leaf(&value)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Tree, E> {
        Self::leaf(&value)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Tree, E> {
        Self::leaf(&value)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Tree, S::Error> {
        let mut values = Vec::new();
        while let Some(element) = list.next_element::<Tree>()? {
            element.words("", &mut values);
        }
        Ok(Tree::Leaf(values))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Tree, M::Error> {
        let mut tree = BTreeMap::new();
        while let Some((key, value)) = map.next_entry()? {
            tree.insert(key, value);
        }
        Ok(Tree::Branch(tree))
    }
}

#[cfg(test)]
mod tests;
