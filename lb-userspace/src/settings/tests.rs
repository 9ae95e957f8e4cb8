//! Flag, environment and file give the same; the nearer one wins; errors say what to do.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};

use super::*;

#[derive(Parser, Debug)]
struct Command {
    #[command(flatten)]
    settings: Settings,
}

/// A configuration file that goes with its guard.
pub(super) struct ConfigFile(PathBuf);

impl ConfigFile {
    pub(super) fn new(name: &str, text: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("settings-{}-{name}.yaml", std::process::id()));
        std::fs::File::create(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .expect("a configuration file");
        Self(path)
    }

    pub(super) fn flag(&self) -> String {
        format!("--config={}", self.0.display())
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

pub(super) fn read(
    flags: &[&str],
    environment: &[(&str, &str)],
) -> Result<Settings, SettingsError> {
    let arguments = ["lb"].iter().chain(flags).map(OsString::from);
    Ok(read_remarked(arguments, environment)?.0)
}

/// The settings, and what of the file has no effect.
pub(super) fn read_remarked(
    arguments: impl Iterator<Item = OsString>,
    environment: &[(&str, &str)],
) -> Result<(Settings, Vec<String>), SettingsError> {
    let (command, remarks): (Command, _) = parse(arguments, |name| {
        environment
            .iter()
            .find(|(variable, _)| *variable == name)
            .map(|(_, value)| OsString::from(value))
    })?;
    let settings = Settings {
        config: None,
        ..command.settings
    };
    Ok((settings, remarks))
}

fn read_file(name: &str, text: &str) -> Result<Settings, SettingsError> {
    let file = ConfigFile::new(name, text);
    read(&[&file.flag()], &[])
}

/// Flag as given, its value in the environment, and what the file says.
const TABLE: &[(&[&str], &str, &str)] = &[
    (
        &["--manifests=examples,more.yaml"],
        "examples,more.yaml",
        "manifests: [examples, more.yaml]",
    ),
    (
        &["-f", "examples", "-f", "more.yaml"],
        "examples,more.yaml",
        "manifests: [examples, more.yaml]",
    ),
    (
        &["--kubeconfig=admin.conf:other.conf"],
        "admin.conf:other.conf",
        "kubeconfig: [admin.conf, other.conf]",
    ),
    (
        &["--master=https://192.0.2.1:6443"],
        "https://192.0.2.1:6443",
        "apiServer: https://192.0.2.1:6443",
    ),
    (&["--node-name=Node-A"], "node-a", "nodeName: node-a"),
    (
        &["--hostname-override=node-a"],
        "node-a",
        "nodeName: node-a",
    ),
    (
        &["--node-address=192.0.2.1", "--node-address=2001:db8::1"],
        "192.0.2.1,2001:db8::1",
        "nodeAddress: [192.0.2.1, \"2001:db8::1\"]",
    ),
    (
        &["--cluster-cidr=10.42.0.0/16,fd00:42::/56"],
        "10.42.0.0/16,fd00:42::/56",
        "clusterCidr: [10.42.0.0/16, \"fd00:42::/56\"]",
    ),
    (
        &["--service-cidr=10.43.0.0/16"],
        "10.43.0.0/16",
        "serviceCidr: 10.43.0.0/16",
    ),
    (
        &["--nodeport-addresses=192.0.2.0/24,10.0.0.0/8"],
        "192.0.2.0/24,10.0.0.0/8",
        "nodeportAddresses: [192.0.2.0/24, 10.0.0.0/8]",
    ),
    (
        &["--service-node-port-range=31000-31999"],
        "31000-31999",
        "nodeportRange: 31000-31999",
    ),
    (&["--nodeport-localhost"], "true", "nodeportLocalhost: true"),
    (&["--masquerade-all"], "true", "masqueradeAll: true"),
    (&["--masquerade-all=yes"], "1", "masqueradeAll: true"),
    (&["--algorithm=maglev"], "maglev", "algorithm: maglev"),
    (&["--answer-ping"], "true", "answerPing: true"),
    (&["--uplink=eth*,wg0"], "eth*,wg0", "uplink: [eth*, wg0]"),
    (&["--pod-link=cali*"], "cali*", "podLink: cali*"),
    (
        &["--dns-listen=192.0.2.1,[2001:db8::1]:5353"],
        "192.0.2.1:53,[2001:db8::1]:5353",
        "dnsListen: [192.0.2.1, \"[2001:db8::1]:5353\"]",
    ),
    (
        &["--cluster-domain=K8s.Example."],
        "k8s.example",
        "clusterDomain: k8s.example",
    ),
    (
        &["--dns-upstream=192.0.2.53:5353"],
        "192.0.2.53:5353",
        "dnsUpstream: 192.0.2.53:5353",
    ),
    (
        &["--healthz-bind-address=[::]:7"],
        "[::]:7",
        "healthzBindAddress: \"[::]:7\"",
    ),
    (
        &["--metrics-bind-address="],
        "off",
        "metricsBindAddress: \"\"",
    ),
    (
        &["--prepare=bpffs,sysctls"],
        "bpffs,sysctls",
        "prepare: [bpffs, sysctls]",
    ),
    (&["--standby"], "true", "standby: true"),
    (&["--audit-interval=5m"], "300", "auditInterval: 5m"),
    (&["--hooks=tc", "--hooks=xdp"], "tc,xdp", "hooks: [tc, xdp]"),
    (&["--socket=all"], "all", "socket: all"),
    (
        &["--socket-connected-udp=false"],
        "false",
        "socketConnectedUdp: false",
    ),
    (&["--xdp=generic"], "generic", "xdp: generic"),
    (
        &["--pin-dir=/sys/fs/bpf/b"],
        "/sys/fs/bpf/b",
        "pinDir: /sys/fs/bpf/b",
    ),
    (&["--state-dir=/tmp/b"], "/tmp/b", "stateDir: /tmp/b"),
    (
        &["--cgroup=/sys/fs/cgroup/b"],
        "/sys/fs/cgroup/b",
        "cgroup: /sys/fs/cgroup/b",
    ),
    (
        &["--timeouts=udp=10", "--timeouts=tcp-ended=7"],
        "udp=10,tcp-ended=7",
        "timeouts: {udp: 10, tcp-ended: 7}",
    ),
    (
        &["--maps=flows4=1000,slots=7"],
        "flows4=1000,slots=7",
        "maps: {flows4: 1000, slots: 7}",
    ),
];

#[test]
fn flag_environment_and_file_give_the_same() {
    let default = read(&[], &[]).expect("defaults");
    let known: Vec<_> = settings_of(&Command::command()).collect();
    for (row, (flags, value, line)) in TABLE.iter().enumerate() {
        let key = line.split(':').next().expect("a key");
        let setting = known
            .iter()
            .find(|setting| key_of(setting) == key)
            .expect(key);
        let by_flag = read(flags, &[]).expect(key);
        let by_environment = read(&[], &[(&variable_of(setting), value)]).expect(key);
        let text = format!("apiVersion: {API_VERSION}\n{line}\n");
        let by_file = read_file(&format!("table-{row}"), &text).expect(key);
        assert_ne!(by_flag, default, "{key}");
        assert_eq!(by_flag, by_environment, "{key}");
        assert_eq!(by_flag, by_file, "{key}");
    }
}

#[test]
fn every_setting_is_in_the_table() {
    for setting in settings_of(&Command::command()) {
        let key = key_of(&setting);
        assert!(
            key == file::SETTING || TABLE.iter().any(|(_, _, line)| line.starts_with(&key)),
            "{key}"
        );
    }
}

#[test]
fn the_nearer_one_wins() {
    let file = ConfigFile::new(
        "nearer",
        &format!("apiVersion: {API_VERSION}\nuplink: file*\nsocket: all\nhooks: [xdp]\n"),
    );
    let environment = [
        ("LB_UPLINK", "environment*"),
        ("LB_SOCKET", "off"),
        ("LB_POD_LINK", ""),
    ];
    let settings = read(&[&file.flag(), "--uplink=flag*"], &environment).expect("settings");
    assert_eq!(settings.uplink, ["flag*".parse().expect("a pattern")]);
    assert_eq!(settings.socket, SocketScope::Off);
    assert_eq!(settings.hooks, [Hook::Xdp]);
    assert_eq!(settings.pod_link, [], "an empty variable is as none");
}

#[test]
fn variables_that_others_read_count_where_ours_are_not_set() {
    let customary = [("KUBECONFIG", "a.conf:b.conf"), ("NODE_NAME", "Node-A")];
    let settings = read(&[], &customary).expect("settings");
    let files: [PathBuf; 2] = ["a.conf".into(), "b.conf".into()];
    assert_eq!(settings.kubeconfig, files);
    assert_eq!(settings.node_name(), "node-a");
    let both = [("NODE_NAME", "node-a"), ("LB_NODE_NAME", "node-b")];
    let settings = read(&[], &both).expect("settings");
    assert_eq!(settings.node_name(), "node-b");
}

#[test]
fn the_last_of_a_repeated_flag_wins() {
    let settings = read(&["--node-name=a", "--node-name=b"], &[]).expect("settings");
    assert_eq!(settings.node_name(), "b");
}

#[test]
fn errors_name_place_value_and_remedy() {
    let flag = read(&["--cluster-cidr=10.42.0.0"], &[])
        .unwrap_err()
        .to_string();
    assert!(
        flag.contains("'10.42.0.0' for '--cluster-cidr <CIDR>'") && flag.contains("10.42.0.0/16"),
        "{flag}"
    );
    let variable = read(&[], &[("LB_SOCKET", "pods")]).unwrap_err().to_string();
    assert_eq!(
        variable,
        "LB_SOCKET: value \"pods\": choose from host, all, off"
    );
    for (name, text, expected) in [
        ("none", "uplink: eth0", "begin it with `apiVersion: lb/v1`"),
        (
            "other",
            "apiVersion: v1",
            ":1: apiVersion: is not of a version",
        ),
        (
            "unknown",
            "apiVersion: lb/v1\nupLink: eth0",
            ":2: upLink: no such setting: choose from manifests, kubeconfig, apiServer, nodeName,",
        ),
        (
            "value",
            "apiVersion: lb/v1\n\nhooks: [tc, ipvs]",
            ":3: hooks: value \"ipvs\": not a hook: choose from tc, xdp, socket",
        ),
        (
            "several",
            "apiVersion: lb/v1\nsocket: [host, all]",
            ":2: socket: takes one value, not 2",
        ),
        (
            "itself",
            "apiVersion: lb/v1\nconfig: x",
            ":2: config: no such setting",
        ),
        ("syntax", "apiVersion: lb/v1\nuplink: [eth0", ".yaml:"),
        (
            "twice",
            "apiVersion: lb/v1\nuplink: a\nuplink: b",
            ".yaml:3: ",
        ),
    ] {
        let error = read_file(name, text).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
    let missing = read(&["--config=/nowhere.yaml"], &[])
        .unwrap_err()
        .to_string();
    assert!(missing.starts_with("/nowhere.yaml: "), "{missing}");
}

#[test]
fn a_bad_file_value_is_told_even_where_the_environment_wins() {
    let file = ConfigFile::new("hidden", "apiVersion: lb/v1\nsocket: pods\n");
    let error = read(&[&file.flag()], &[("LB_SOCKET", "off")]).unwrap_err();
    assert!(error.to_string().contains("\"pods\""), "{error}");
}

#[test]
fn primary_stands_alone() {
    let settings = read(&["--nodeport-addresses=primary,10.0.0.0/8"], &[]).expect("settings");
    assert!(settings.check().is_err());
}

#[test]
fn node_ports_on_localhost_need_the_socket_hook() {
    for (flags, is_well) in [
        (&["--nodeport-localhost"][..], true),
        (&["--nodeport-localhost", "--hooks=tc"], false),
        (&["--nodeport-localhost", "--socket=off"], false),
    ] {
        let settings = read(flags, &[]).expect("settings");
        assert_eq!(settings.check().is_ok(), is_well, "{flags:?}");
    }
}

#[test]
fn questions_are_not_sent_to_who_asks_them() {
    let settings = read(
        &["--dns-listen=192.0.2.1", "--dns-upstream=192.0.2.1:53"],
        &[],
    );
    assert!(settings.expect("settings").check().is_err());
}

#[test]
fn the_state_file_is_named_after_the_pin_directory() {
    let settings =
        read(&["--pin-dir=/sys/fs/bpf/node-b", "--state-dir=/tmp"], &[]).expect("settings");
    assert_eq!(settings.state_file(), Path::new("/tmp/node-b.json"));
}
