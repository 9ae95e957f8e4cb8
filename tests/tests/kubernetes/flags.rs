//! Has kube-proxy the flags that we say it has? It is asked itself.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lb_tests::command;
use lb_tests::kubernetes::programs;

/// What `lb` has a row for each of.
const LIST: &str = include_str!("../../../lb-userspace/src/settings/kube_proxy/flags-1.36.txt");

/// A line of kube-proxy's help as the list has it: `-v, --v Level   number for…` is `--v Level`.
fn flag(line: &str) -> Option<String> {
    let line = line.trim_start();
    let long = match line.split_once(", --") {
        Some((short, long)) if short.len() == 2 => long,
        _ => line.strip_prefix("--")?,
    };
    let (flag, _) = long.split_once("  ")?;
    Some(format!("--{}\n", flag.trim_end()))
}

#[test]
fn kube_proxy_has_the_flags_of_the_list() -> Result<()> {
    let Some(programs) = programs() else {
        return Ok(());
    };
    let ask = |flag: &str| command::run(Command::new(programs.join("kube-proxy")).arg(flag));
    let version = ask("--version")?;
    let minor = version.strip_prefix("Kubernetes v1.36.");
    minor.with_context(|| format!("the list is that of 1.36: {version}"))?;
    let help = ask("--help")?;
    let flags: String = help.lines().filter_map(flag).collect();
    ensure!(flags == LIST, "{flags}where the list has\n{LIST}");
    Ok(())
}
