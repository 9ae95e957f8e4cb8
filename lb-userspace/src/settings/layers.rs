//! Where does the value of a setting come from? The flag, else kube-proxy's flag that means it, else the
//! environment, else the configuration file, else the default.
//!
//! All but the flag fill in what clap takes for the default, value by value checked by the
//! flag's own parser: there is one definition of each setting and one of what is valid.

use std::error::Error as _;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches, Id};
use lb_common::names;

use super::file::{self, Entry};
use super::kube_proxy::flags;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The command line is wrong, or asks for help only.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// A value in the environment or in the file is wrong.
    #[error("{place}: value {value:?}: {why}")]
    Value {
        /// Where it is written: `LB_CLUSTER_CIDR`, or `lb.yaml:3: clusterCidr`.
        place: String,
        /// What is written there.
        value: String,
        /// What is wrong with it and how to write it.
        why: String,
    },
    /// The file cannot be read, or is none of ours.
    #[error("{place}: {why}")]
    File {
        /// The file, with the line where that is known.
        place: String,
        /// What is wrong with it and what to do.
        why: String,
    },
    /// Settings contradict each other.
    #[error("{0}")]
    Conflict(&'static str),
}

/// Reads the command line, the environment and the configuration file; besides what was asked for,
/// returns what of kube-proxy's flags and of the file has no effect, for people.
///
/// # Errors
/// See [`SettingsError`]; the first wrong value is told.
pub fn parse<C: CommandFactory + FromArgMatches>(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<(C, Vec<String>), SettingsError> {
    let mut command = C::command().args_override_self(true);
    let settings: Vec<Arg> = settings_of(&command).collect();
    let (arguments, theirs) = flags::take(arguments.into_iter().collect(), &settings)?;
    let mut remarks = theirs.remarks;
    let mut nearer = Vec::new();
    for entry in from_environment(&settings, environment)?
        .into_iter()
        .chain(theirs.given)
    {
        nearer.push(entry.setting.get_id().clone());
        command = fill_in(command, &entry)?;
    }
    for entry in theirs.implied {
        command = fill_in_below(command, &entry, &nearer)?;
    }

    let mut matches = command.clone().try_get_matches_from(&arguments)?;
    if let Some(path) = matches.get_one::<PathBuf>(file::SETTING) {
        let (entries, without_effect) = file::read(path, &settings)?;
        remarks.extend(without_effect);
        for entry in entries {
            command = fill_in_below(command, &entry, &nearer)?;
        }
        matches = command.try_get_matches_from(&arguments)?;
    }
    Ok((C::from_arg_matches_mut(&mut matches)?, remarks))
}

/// What the environment says.
fn from_environment(
    settings: &[Arg],
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<Entry>, SettingsError> {
    let mut entries = Vec::new();
    for setting in settings {
        let variables = [Some(variable_of(setting)), customary_variable_of(setting)];
        let value_of = |variable: String| {
            let value = environment(&variable).filter(|value| !value.is_empty());
            Some((variable, value?))
        };
        let Some((place, value)) = variables.into_iter().flatten().find_map(value_of) else {
            continue;
        };
        let value = value.into_string().map_err(|value| SettingsError::Value {
            place: place.clone(),
            value: value.to_string_lossy().into_owned(),
            why: "is not UTF-8".to_owned(),
        })?;
        entries.push(Entry {
            setting: setting.clone(),
            place,
            values: vec![value],
        });
    }
    Ok(entries)
}

/// The settings among a command's arguments: those that every command knows.
pub fn settings_of(command: &Command) -> impl Iterator<Item = Arg> + use<> {
    let settings: Vec<Arg> = command
        .get_arguments()
        .filter(|argument| argument.is_global_set() && argument.get_long().is_some())
        .cloned()
        .collect();
    settings.into_iter()
}

/// The environment variable of a setting: `--cluster-cidr` is `LB_CLUSTER_CIDR`.
#[must_use]
pub fn variable_of(setting: &Arg) -> String {
    format!("{}-{}", names::NAME, name_of(setting))
        .to_uppercase()
        .replace('-', "_")
}

/// The variable that counts where ours is not set: what kubectl reads, and what manifests of
/// DaemonSets usually set.
fn customary_variable_of(setting: &Arg) -> Option<String> {
    let variable = match name_of(setting) {
        "kubeconfig" => "KUBECONFIG",
        "node-name" => "NODE_NAME",
        _ => return None,
    };
    Some(variable.to_owned())
}

/// The key of a setting in the configuration file: `--cluster-cidr` is `clusterCidr`.
#[must_use]
pub fn key_of(setting: &Arg) -> String {
    let mut words = name_of(setting).split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |key, word| {
        let (initial, rest) = word.split_at(1);
        key + &initial.to_uppercase() + rest
    })
}

/// Whether a setting takes several values.
pub(super) fn is_list(setting: &Arg) -> bool {
    matches!(setting.get_action(), ArgAction::Append)
}

fn name_of(setting: &Arg) -> &str {
    setting.get_long().unwrap_or_default()
}

/// Makes these values the default of the setting.
fn fill_in(command: Command, entry: &Entry) -> Result<Command, SettingsError> {
    check(entry)?;
    let values = entry.values.clone();
    Ok(command.mut_arg(entry.setting.get_id(), |setting| {
        setting.default_values(values)
    }))
}

/// The same, unless something nearer has said it; what is wrong is told all the same.
fn fill_in_below(command: Command, entry: &Entry, nearer: &[Id]) -> Result<Command, SettingsError> {
    if nearer.contains(entry.setting.get_id()) {
        check(entry)?;
        return Ok(command);
    }
    fill_in(command, entry)
}

/// Has the flag's own parser judge the values, so that an error names the place that they are from.
fn check(entry: &Entry) -> Result<(), SettingsError> {
    let alone = Command::new(names::NAME)
        .no_binary_name(true)
        .arg(entry.setting.clone().global(false));
    for value in &entry.values {
        let flag = format!("--{}={value}", name_of(&entry.setting));
        if let Err(error) = alone.clone().try_get_matches_from([flag]) {
            return Err(SettingsError::Value {
                place: entry.place.clone(),
                value: value.clone(),
                why: reason(&error),
            });
        }
    }
    Ok(())
}

/// What is wrong with a value, without clap's words around it.
fn reason(error: &clap::Error) -> String {
    if let Some(source) = error.source() {
        return source.to_string();
    }
    match (error.kind(), error.get(ContextKind::ValidValue)) {
        (ErrorKind::InvalidValue, Some(valid)) => format!("choose from {valid}"),
        _ => error.kind().to_string(),
    }
}
