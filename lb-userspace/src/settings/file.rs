//! What does the configuration file say? The settings under their flags' names in camelCase, after
//! an `apiVersion`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use clap::Arg;
use lb_common::named;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::kube_proxy::{self, Read};
use super::layers::{SettingsError, is_list, key_of};

/// Id of the setting that names the file: the one that the file cannot hold.
pub(super) const SETTING: &str = "config";

/// What the file says under `apiVersion`: a key is only ever given another meaning under another
/// version.
pub const API_VERSION: &str = named!("", "/v1");

/// Values of one setting.
pub(super) struct Entry {
    /// The setting.
    pub(super) setting: Arg,
    /// Where it is written: `lb.yaml:3: clusterCidr`.
    pub(super) place: String,
    /// Its values as a flag would have them.
    pub(super) values: Vec<String>,
}

/// What every such file begins with.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: String,
}

/// Reads the file: ours, or kube-proxy's.
pub(super) fn read(path: &Path, settings: &[Arg]) -> Result<Read, SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|error| SettingsError::File {
        place: path.display().to_string(),
        why: format!("{error}: name a file that exists by --{SETTING}, or leave it out"),
    })?;
    let file = path.display().to_string();
    let head: Option<Head> = serde_saphyr::from_str(&text).ok();
    if head.is_some_and(|head| head.api_version == kube_proxy::VERSION) {
        kube_proxy::parse(&file, &text, settings)
    } else {
        parse(&file, &text, settings).map(|entries| (entries, Vec::new()))
    }
}

/// What is wrong with the YAML, and where.
pub(super) fn syntax_error(file: &str, error: &serde_saphyr::Error) -> SettingsError {
    SettingsError::File {
        place: match error.location() {
            Some(location) => format!("{file}:{}", location.line()),
            None => file.to_owned(),
        },
        why: error.without_snippet().to_string(),
    }
}

fn parse(file: &str, text: &str, settings: &[Arg]) -> Result<Vec<Entry>, SettingsError> {
    let mut keys: BTreeMap<String, Spanned<Values>> =
        serde_saphyr::from_str(text).map_err(|error| syntax_error(file, &error))?;
    let version = keys.remove("apiVersion");
    if version
        .as_ref()
        .is_none_or(|version| version.value.0 != [API_VERSION])
    {
        return Err(SettingsError::File {
            place: match version {
                Some(version) => format!("{file}:{}: apiVersion", version.defined.line()),
                None => file.to_owned(),
            },
            why: format!(
                "is not of a version known here: begin it with `apiVersion: {API_VERSION}`, or \
                 with kube-proxy's `apiVersion: {}`",
                kube_proxy::VERSION
            ),
        });
    }
    keys.into_iter()
        .map(|(key, values)| entry(file, &key, values, settings))
        .collect()
}

fn entry(
    file: &str,
    key: &str,
    values: Spanned<Values>,
    settings: &[Arg],
) -> Result<Entry, SettingsError> {
    let place = format!("{file}:{}: {key}", values.defined.line());
    let mut settings = settings
        .iter()
        .filter(|setting| setting.get_id() != SETTING);
    let Some(setting) = settings.clone().find(|setting| key_of(setting) == key) else {
        let known: Vec<_> = settings.by_ref().map(key_of).collect();
        return Err(SettingsError::File {
            place,
            why: format!("no such setting: choose from {}", known.join(", ")),
        });
    };
    let values = values.value.0;
    if values.len() != 1 && !is_list(setting) {
        return Err(SettingsError::File {
            place,
            why: format!("takes one value, not {}", values.len()),
        });
    }
    Ok(Entry {
        setting: setting.clone(),
        place,
        values,
    })
}

/// What stands under a key, as a flag would have it: one value, a list of values, or a mapping,
/// each of whose entries is `key=value`.
struct Values(Vec<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValuesVisitor).map(Self)
    }
}

struct ValuesVisitor;

impl<'de> Visitor<'de> for ValuesVisitor {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list of values or a mapping of names to values")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(vec![value.to_string()])
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(vec![value.to_string()])
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(vec![value.to_string()])
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(vec![value.to_owned()])
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Self::Value, S::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element::<String>()? {
            values.push(value);
        }
        Ok(values)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut values = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            values.push(format!("{key}={value}"));
        }
        Ok(values)
    }
}
