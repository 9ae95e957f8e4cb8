//! How child processes run: in a cleaned environment, and with an error that names the command when they fail.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// What the outer cargo tells the program it runs about that program; a child cargo must not take it for its own.
const OUTER_CARGO: &[&str] = &[
    "CARGO",
    "CARGO_MANIFEST_*",
    "CARGO_PKG_*",
    "CARGO_BIN_*",
    "CARGO_CRATE_NAME",
];

/// What bends the choice of compiler, flags or profile. The BPF object is made from its sources alone, so none of it counts.
const COMPILER_CHOICE: &[&str] = &[
    "CARGO_BUILD_*",
    "CARGO_ENCODED_*",
    "CARGO_INCREMENTAL",
    "CARGO_PROFILE_*",
    "CARGO_TARGET_*",
    "CARGO_UNSTABLE_*",
    "LD_LIBRARY_PATH",
    "RUSTC",
    "RUSTC_*",
    "RUSTDOC*",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// A child that builds for this machine, in `dir`: the user's choice of toolchain and flags stays.
pub(crate) fn host(program: impl AsRef<OsStr>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir);
    remove_env(&mut command, OUTER_CARGO);
    command
}

/// A child that builds for the BPF target, in `dir`: nothing of the caller's compiler settings reaches it.
pub(crate) fn isolated(program: impl AsRef<OsStr>, dir: &Path) -> Command {
    let mut command = host(program, dir);
    remove_env(&mut command, COMPILER_CHOICE);
    command
}

fn remove_env(command: &mut Command, patterns: &[&str]) {
    for (name, _) in env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| patterns.iter().any(|pattern| matches(pattern, name)))
        {
            command.env_remove(name);
        }
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

/// Runs the command to its end; anything but exit status 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", show(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", show(command));
    }
    Ok(())
}

/// Runs the command to its end and returns what it printed; anything but exit status 0 is an error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", show(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` failed: {}\n{}",
            show(command),
            output.status,
            stderr.trim_end()
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` printed no UTF-8", show(command)))
}

/// The command as a person would type it, without the environment.
pub(crate) fn show(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|argument| argument.to_string_lossy().into_owned()),
    );
    words.join(" ")
}

/// The command with the variables that were set for it.
pub(crate) fn show_with_environment(command: &Command) -> String {
    let variables = command
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    variables
        .map(|(name, value)| format!("{}={} ", name.display(), value.display()))
        .chain([show(command)])
        .collect()
}

/// The program of that name in `PATH`, or where administrators' programs are.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_matches_any_ending_and_no_star_the_whole_name() {
        assert!(matches("CARGO_PKG_*", "CARGO_PKG_NAME"));
        assert!(!matches("CARGO_PKG_*", "CARGO_HOME"));
        assert!(matches("RUSTC", "RUSTC"));
        assert!(!matches("RUSTC", "RUSTC_WRAPPER"));
    }
}
