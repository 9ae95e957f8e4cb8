//! What becomes of each flag of kube-proxy's? Its command line works here as it is: what means the same
//! is taken, like the field of its configuration file where there is one, and the rest is named as ignored.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::Arg;

use super::{Document, Field};
use crate::settings::file::Entry;
use crate::settings::layers::SettingsError;

/// What becomes of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// It is a setting's, which has this name.
    Same(&'static str),
    /// It is no setting's, but means the same: this.
    Means(&'static str),
    /// It says what this field of the configuration file says.
    Field(&'static str),
    /// It has no effect, for this reason.
    Ignored(&'static str),
    /// It asks for something else than to serve: this is to be done instead.
    Instead(&'static str),
}

use Flag::{Field as As, Ignored, Instead, Means, Same};

const OTHERS_ASK: &str = "nobody is told here which machine this is";

/// The flags of kube-proxy in Kubernetes 1.36, on Linux.
pub const FLAGS: &[(&str, Flag)] = &[
    ("bind-address", As("bindAddress")),
    ("bind-address-hard-fail", As("bindAddressHardFail")),
    ("boot-id-file", Ignored(OTHERS_ASK)),
    (
        "cleanup",
        Means("`lb --cleanup`, which removes what is ours, not kube-proxy's rules"),
    ),
    ("cluster-cidr", Same("cluster-cidr")),
    ("config", Same("config")),
    ("config-sync-period", As("configSyncPeriod")),
    ("conntrack-max-per-core", As("conntrack.maxPerCore")),
    ("conntrack-min", As("conntrack.min")),
    ("conntrack-tcp-be-liberal", As("conntrack.tcpBeLiberal")),
    (
        "conntrack-tcp-timeout-close-wait",
        As("conntrack.tcpCloseWaitTimeout"),
    ),
    (
        "conntrack-tcp-timeout-established",
        As("conntrack.tcpEstablishedTimeout"),
    ),
    ("conntrack-udp-timeout", As("conntrack.udpTimeout")),
    (
        "conntrack-udp-timeout-stream",
        As("conntrack.udpStreamTimeout"),
    ),
    ("detect-local-mode", As("detectLocalMode")),
    ("feature-gates", As("featureGates")),
    ("healthz-bind-address", Same("healthz-bind-address")),
    ("help", Means("`--help`")),
    ("hostname-override", Same("node-name")),
    (
        "init-only",
        Instead("nothing has to be done before the start: leave this step out"),
    ),
    ("iptables-localhost-nodeports", Same("nodeport-localhost")),
    ("iptables-masquerade-bit", As("iptables.masqueradeBit")),
    ("iptables-min-sync-period", As("iptables.minSyncPeriod")),
    ("iptables-sync-period", As("iptables.syncPeriod")),
    ("ipvs-exclude-cidrs", As("ipvs.excludeCIDRs")),
    ("ipvs-min-sync-period", As("ipvs.minSyncPeriod")),
    ("ipvs-scheduler", As("ipvs.scheduler")),
    ("ipvs-strict-arp", As("ipvs.strictARP")),
    ("ipvs-sync-period", As("ipvs.syncPeriod")),
    ("ipvs-tcp-timeout", As("ipvs.tcpTimeout")),
    ("ipvs-tcpfin-timeout", As("ipvs.tcpFinTimeout")),
    ("ipvs-udp-timeout", As("ipvs.udpTimeout")),
    ("kube-api-burst", As("clientConnection.burst")),
    ("kube-api-content-type", As("clientConnection.contentType")),
    ("kube-api-qps", As("clientConnection.qps")),
    ("kubeconfig", Same("kubeconfig")),
    ("log-flush-frequency", As("logging.flushFrequency")),
    (
        "log-json-info-buffer-size",
        As("logging.options.json.infoBufferSize"),
    ),
    (
        "log-json-split-stream",
        As("logging.options.json.splitStream"),
    ),
    (
        "log-text-info-buffer-size",
        As("logging.options.text.infoBufferSize"),
    ),
    (
        "log-text-split-stream",
        As("logging.options.text.splitStream"),
    ),
    ("logging-format", As("logging.format")),
    ("machine-id-file", Ignored(OTHERS_ASK)),
    ("masquerade-all", Same("masquerade-all")),
    ("master", Same("api-server")),
    ("metrics-bind-address", Same("metrics-bind-address")),
    ("nodeport-addresses", Same("nodeport-addresses")),
    ("oom-score-adj", As("oomScoreAdj")),
    ("pod-bridge-interface", As("detectLocal.bridgeInterface")),
    (
        "pod-interface-name-prefix",
        As("detectLocal.interfaceNamePrefix"),
    ),
    ("profiling", As("enableProfiling")),
    ("proxy-mode", As("mode")),
    (
        "show-hidden-metrics-for-version",
        As("showHiddenMetricsForVersion"),
    ),
    ("v", As("logging.verbosity")),
    ("version", Instead("call `lb version`")),
    ("vmodule", As("logging.vmodule")),
    (
        "write-config-to",
        Instead("docs/configuration.md has all settings and their defaults: leave this out"),
    ),
];

/// Those that take a value by `=` alone.
const SWITCHES: [&str; 8] = [
    "bind-address-hard-fail",
    "conntrack-tcp-be-liberal",
    "init-only",
    "ipvs-strict-arp",
    "log-json-split-stream",
    "log-text-split-stream",
    "profiling",
    "version",
];

/// What kube-proxy's flags on a command line amount to.
#[derive(Default)]
pub(in crate::settings) struct Theirs {
    /// What they say.
    pub(in crate::settings) given: Vec<Entry>,
    /// What follows from them where nothing else says it.
    pub(in crate::settings) implied: Vec<Entry>,
    /// What of them has no effect, for people.
    pub(in crate::settings) remarks: Vec<String>,
}

/// Takes kube-proxy's flags out of the arguments; those that are ours as well stay there.
pub(in crate::settings) fn take(
    arguments: Vec<OsString>,
    settings: &[Arg],
) -> Result<(Vec<OsString>, Theirs), SettingsError> {
    let mut theirs = Theirs::default();
    let mut fields = BTreeMap::new();
    let mut ours = Vec::new();
    let mut words = arguments.into_iter();
    while let Some(word) = words.next() {
        let Some((name, flag, value)) = word.to_str().and_then(flag) else {
            let is_last = word == "--";
            ours.push(word);
            if is_last {
                break;
            }
            continue;
        };
        let value = match value {
            Some(value) => value.to_owned(),
            None if SWITCHES.contains(&name) => "true".to_owned(),
            None => next_word(name, words.next())?,
        };
        let field = Field {
            place: flag_of(name),
            values: vec![value],
        };
        match flag {
            As(path) => drop(fields.insert(path.to_owned(), field)),
            _ if field.is_zero() => {}
            Ignored(why) => theirs.remarks.push(field.remark(why)),
            Instead(what) => return Err(field.wrong(what)),
            Same(_) | Means(_) => {}
        }
    }
    ours.extend(words);

    let file = "the command line";
    let mut document = Document { file, fields };
    document.fields.retain(|_, field| !field.is_zero());
    theirs.remarks.extend(document.remarks());
    if document.word("detectLocalMode") == Some("NodeCIDR") {
        ours = without(ours, "--cluster-cidr", &mut theirs.remarks);
    }
    let has_mode = document.word("mode").is_some();
    for entry in document.entries(settings) {
        // No flag gives it: it follows from the mode.
        match entry.setting.get_long() {
            Some("nodeport-addresses") if has_mode => theirs.implied.push(entry),
            Some("nodeport-addresses") => {}
            _ => theirs.given.push(entry),
        }
    }
    Ok((ours, theirs))
}

/// The flag that a word is, unless it is one of ours, and its value, if the word has it.
fn flag(word: &str) -> Option<(&'static str, Flag, Option<&str>)> {
    let (name, value) = match (word.strip_prefix("--"), word.strip_prefix("-v")) {
        (Some(word), _) => match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        },
        (None, Some("")) => ("v", None),
        // -v=2, -v2
        (None, Some(value)) => ("v", Some(value.strip_prefix('=').unwrap_or(value))),
        (None, None) => return None,
    };
    // As kube-proxy has it.
    let name = name.replace('_', "-");
    let (name, flag) = FLAGS.iter().find(|(of, _)| *of == name)?;
    (!matches!(flag, Same(_) | Means(_))).then_some((*name, *flag, value))
}

fn flag_of(name: &str) -> String {
    if name == "v" {
        "-v".to_owned()
    } else {
        format!("--{name}")
    }
}

fn next_word(name: &str, word: Option<OsString>) -> Result<String, SettingsError> {
    let word = word.and_then(|word| word.into_string().ok());
    word.ok_or_else(|| {
        let field = Field {
            place: flag_of(name),
            values: Vec::new(),
        };
        field.wrong("takes a value")
    })
}

/// The arguments without this flag of ours, and a remark for each that there was.
fn without(arguments: Vec<OsString>, flag: &str, remarks: &mut Vec<String>) -> Vec<OsString> {
    let mut rest = Vec::new();
    let mut words = arguments.into_iter();
    while let Some(word) = words.next() {
        let after = word.to_str().and_then(|text| text.strip_prefix(flag));
        let value = match after {
            Some("") => words.next().and_then(|value| value.into_string().ok()),
            Some(after) => after.strip_prefix('=').map(str::to_owned),
            None => None,
        };
        if let Some(value) = value {
            remarks.push(format!(
                "{flag}: {value}: ignored: --detect-local-mode is NodeCIDR"
            ));
        } else {
            rest.push(word);
        }
    }
    rest
}

#[cfg(test)]
mod tests;
