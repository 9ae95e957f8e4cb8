//! The pages about the command line and the settings, made from what clap knows: docs/cli.md and
//! docs/configuration.md cannot say anything else than `--help` does. And docs/kernels.md, whose table is of the
//! features that the loader looks for.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};

use super::{Cli, golden};
use crate::loader::features::{self, Feature, OLDEST};
use crate::settings::kube_proxy::{self, Fate, Flag};
use crate::settings::{API_VERSION, SIZES, TIMEOUTS, followed, key_of, settings_of, variable_of};

/// Width of help in the pages.
const WIDTH: usize = 100;

const BY_REWRITING: &str = "<!-- Made from the program itself: `LB_UPDATE_GOLDEN=1 cargo test -p lb-userspace` rewrites it. -->";

#[test]
fn the_page_about_the_command_line() {
    let mut command = Cli::command();
    command.build();
    let mut page = format!(
        "# The command line\n\n{BY_REWRITING}\n\n\
         Every command also takes the settings of [configuration.md](configuration.md). Data goes to \
         standard output, remarks and errors to standard error.\n\n\
         | exit code | |\n|---|---|\n\
         | 0 | done |\n\
         | 1 | not done, or (`lb status`, `lb doctor`, `lb verify`) not well |\n\
         | 2 | the command line, the environment or the configuration file is wrong |\n\
         | 3 | (`lb takeover`, `lb handback`) something stays where it is |\n"
    );
    for subcommand in command.get_subcommands() {
        write!(page, "\n## lb {}\n\n", subcommand.get_name()).expect("a text takes everything");
        page.push_str(&help(subcommand));
    }
    golden::check("../docs/cli.md", &page);
}

/// A command's help, as prose and as a block of what may be written.
fn help(command: &Command) -> String {
    let about = command.get_long_about().or_else(|| command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let mut own = Command::new(format!("lb {}", command.get_name()))
        .disable_help_flag(true)
        .term_width(WIDTH);
    for argument in command.get_arguments() {
        if !argument.is_global_set() && argument.get_id() != "help" {
            own = own.arg(argument.clone());
        }
    }
    let block = own.render_long_help().to_string();
    let lines: Vec<_> = block.lines().map(str::trim_end).collect();
    format!("{about}\n\n```text\n{}\n```\n", lines.join("\n").trim_end())
}

#[test]
fn the_page_about_settings() {
    let command = Cli::command();
    let mut page = format!(
        "# Settings\n\n{BY_REWRITING}\n\n\
         Every command takes the same settings. Each is a flag, an environment variable and a key of \
         the configuration file that `--config` names. The flag wins over the environment, the \
         environment over the file, the file over the default; a variable that is empty counts as \
         none. Lists are separated by commas in flags and variables, where a flag may also be \
         repeated, and are lists in the file. A wrong value is an error that says where it is \
         written and how to write it.\n\n\
         ```yaml\napiVersion: {API_VERSION}\nmanifests: [/etc/lb/services]\n\
         clusterCidr: [10.42.0.0/16, \"fd00:10:42::/48\"]\nhooks: [tc, xdp, socket]\n\
         maps:\n  flows4: 524288\n```\n\n\
         | flag | environment | file | default | |\n|---|---|---|---|---|\n"
    );
    for setting in settings_of(&command) {
        page.push_str(&row(&setting));
    }
    page.push_str(
        "\n## Changes of the file\n\n`lb run` reads the file again when it changes, and on SIGHUP. \
         These settings take effect at once; of all others that have changed a Problem says that \
         they wait for the next start. While something is wrong with the file everything stays as \
         it was, and a Problem says so.\n\n",
    );
    for flag in followed() {
        writeln!(page, "- `{flag}`").expect("a text takes everything");
    }
    page.push_str(
        "\n## Names of others\n\nAll flags of kube-proxy's are [understood](#kube-proxys-flags), and so are the API server's \
         `--service-cluster-ip-range` and `--service-node-port-range`.\n\n\
         ## Maps\n\nWhose size `--maps` may change, and the number of elements that they have room \
         for otherwise. A map that is full is a problem that `lb get problems` shows. A size takes \
         effect when the maps are made: run `lb uninstall` before, which ends connections that \
         depend on them.\n\n| map | elements |\n|---|---|\n",
    );
    for (map, size) in SIZES {
        writeln!(page, "| {map} | {size} |").expect("a text takes everything");
    }
    page.push_str(
        "\n## Time-outs\n\nAfter so many seconds without a packet in either direction a connection \
         is forgotten; `--timeouts` changes them by stage. Later packets of it are answered by a \
         reset (TCP) or begin a new flow. Connections at the stages `tcp-opening`, `tcp-ended` and \
         `tcp-reset`, and others that were not seen for two seconds or longer, have half of the flow \
         table among themselves and make room for new ones, the oldest first. When the rest is full, \
         too, new connections are dropped (`flow-table-full`).\n\n\
         | stage | seconds | |\n|---|---|---|\n",
    );
    for kind in TIMEOUTS {
        writeln!(
            page,
            "| {} | {} | {} |",
            kind.name, kind.seconds, kind.meaning
        )
        .expect("a text takes everything");
    }
    page.push_str(&kube_proxys());
    golden::check("../docs/configuration.md", &page);
}

/// What becomes of the fields of kube-proxy's own file, and of its flags.
fn kube_proxys() -> String {
    let mut text = format!(
        "\n## kube-proxy's configuration file\n\n`--config` also takes a document of kube-proxy's \
         (`apiVersion: {}`, `kind: {}`), as kubeadm keeps it in the ConfigMap `kube-proxy`. A field \
         that has no effect here is named in the log of `lb run`, unless it has kube-proxy's own \
         default.\n\n| field | |\n|---|---|\n",
        kube_proxy::VERSION,
        kube_proxy::KIND
    );
    for (path, fate) in kube_proxy::FIELDS {
        let becomes = match fate {
            Fate::Taken(flag) => format!("`--{flag}`"),
            Fate::Means(what) => (*what).to_owned(),
            Fate::Ignored(why) => format!("ignored: {why}"),
        };
        writeln!(text, "| `{path}` | {becomes} |").expect("a text takes everything");
    }
    text.push_str(
        "\n## kube-proxy's flags\n\nA command line of kube-proxy's works as it is: `lb run` and the same flags. Those \
         that are no settings here count before the environment and the file; where a setting is said by its own \
         flag, too, that counts. Flags also count beside `--config`, where kube-proxy ignores most of them. A flag \
         that has no effect here is named in the log of `lb run`, unless it has kube-proxy's own default.\n\n\
         | flag | |\n|---|---|\n",
    );
    for (name, flag) in kube_proxy::FLAGS {
        let name = if *name == "v" {
            "-v`, `--v"
        } else {
            &format!("--{name}")
        };
        let becomes = match flag {
            Flag::Same(same) if name.ends_with(same) => "the same".to_owned(),
            Flag::Same(same) => format!("the same (`--{same}`)"),
            Flag::Means(what) => (*what).to_owned(),
            Flag::Field(path) => format!("as the field `{path}` above"),
            Flag::Ignored(why) => format!("ignored: {why}"),
            Flag::Instead(what) => format!("an error: {what}"),
        };
        writeln!(text, "| `{name}` | {becomes} |").expect("a text takes everything");
    }
    text
}

fn row(setting: &Arg) -> String {
    let flag = setting.get_long().unwrap_or_default();
    let short = setting
        .get_short()
        .map_or_else(String::new, |short| format!(", `-{short}`"));
    let help = setting
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let (help, told) = match help.split_once(" [default: ") {
        Some((help, default)) => (help.to_owned(), default.trim_end_matches(']').to_owned()),
        None => (help, String::new()),
    };
    let values: Vec<_> = setting
        .get_default_values()
        .iter()
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    let default = if values.is_empty() {
        told
    } else {
        values.join(", ")
    };
    let variable = variable_of(setting);
    let key = match key_of(setting) {
        key if key == "config" => String::new(),
        key => format!("`{key}`"),
    };
    format!(
        "| `--{flag}`{short} | `{variable}` | {key} | {default} | {} |\n",
        help.replace('|', "\\|")
    )
}

/// What the page about kernels says besides the features.
const WHERE_TESTS_RUN: &str = "
Before 5.11 maps count as locked memory of the process that makes them: `lb` raises the limit. Test-run
tells an XDP program its link from 5.14 on, which only our tests feel.

## Where the tests run

`cargo xtask vm` boots Debian's cloud kernels 5.10, 6.1, 6.12 and the newest one there is, each in a virtual
machine with an emulated processor, and runs there what may depend on the kernel. `cargo xtask test` runs a
part of it on all four, and on 6.12 besides what needs devices that the host's kernel may not have
(`cargo xtask vm --brief`); its table at the end has a line for each machine, and what
each program cost that kernel's verifier. Kernels are kept in `~/.cache/lb/kernels`; a newer one is looked for
once a week, where apt's own sources say that Debian's packages are. One that cannot be had fails its own line
and no other.

| what is shown on each | by | in `cargo xtask test` |
|---|---|---|
| the verifier takes every program, in how many steps, with how much stack as 5.10 counts it | `every_program_stays_far_from_the_verifiers_limits`, `no_program_has_a_loop_that_the_oldest_kernel_refuses` | yes |
| pods, the node and outside are served and refused over real connections by TC, XDP and socket calls, TCP and UDP, both families; conntrack sees nothing invalid; `lb uninstall` leaves nothing | `every_hook_serves_and_refuses` | yes |
| the node's own connections are refused where the socket hook cannot, before 5.18 | `what_the_node_sends_to_a_frontend_that_refuses_is_answered_where_it_leaves`, `every_hook_serves_and_refuses` | yes |
| packets are translated byte by byte, at TC and XDP | `both_directions_are_translated` and every other row of the packet tests | one row of each class |
| SCTP associations through ClusterIPs and node ports, from pods and outside | `associations_go_through_cluster_ips_and_node_ports` | on 6.12 |
| no connection fails where 2 % of packets are lost, some doubled and some overtaken, at TC and XDP: 5,000 of them | `no_connection_fails_where_packets_are_lost_doubled_and_overtaken` | on 6.12 |
| streams and new connections outlive a failing member of a bond, at TC and XDP (which bonds have from 5.15 on) | `streams_outlive_a_member_of_a_bond_at_traffic_control`, `streams_outlive_a_member_of_a_bond_at_xdp` | on 6.12 |
| everything is served by a VLAN, and by a VLAN of a VLAN of a bond | `a_vlan_is_served_where_the_tag_is_beside_the_packet`, `a_vlan_of_a_vlan_of_a_bond_is_served` | on 6.12 |
| pods behind WireGuard are reached, and reach Services | `pods_behind_wireguard_are_served_and_reach_others` | on 6.12 |
| ports of one bridge are served where `br_netfilter` is not loaded | `ports_of_one_bridge_are_served_without_br_netfilter` | on 6.12 |
| what others detach, remove or put before ours is named by `lb verify`, counted and mended; programs are filters before 6.6 | `whatever_others_change_is_named_counted_and_mended` | on the host's |
| what the maps take and give back | `a_full_map_is_told_with_the_remedy` | no: slow |

A few tests are about how much happens in a time and are left out there, as an emulated processor is slow.
";

#[test]
fn the_page_about_kernels_lists_every_feature() {
    let (major, minor) = OLDEST;
    let mut page = format!(
        "# Kernels\n\n{BY_REWRITING}\n\nLinux {major}.{minor} is the oldest kernel that everything works on. What \
         came later is looked for when `lb` starts, in the kernel itself and not by its version, so that \
         distributions' backports count; `lb doctor` names what is missing on a node.\n\n\
         | feature | since | without it |\n|---|---|---|\n"
    );
    for feature in features::ALL {
        let Feature {
            name,
            since: (major, minor),
            without,
        } = feature;
        writeln!(page, "| {name} | {major}.{minor} | {without} |")
            .expect("a text takes everything");
    }
    page += WHERE_TESTS_RUN;
    golden::check("../docs/kernels.md", &page);
}
