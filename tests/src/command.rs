//! How is another program run? To its end, its output kept, its complaint part of the error.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};

/// Runs the command to its end and returns what it wrote to standard output.
///
/// # Errors
/// The program is missing or says that it failed; its standard error is part of the message.
pub fn run(command: &mut Command) -> Result<String> {
    feed(command, "")
}

/// As [`run`], with `input` on its standard input.
///
/// # Errors
/// As [`run`].
pub fn feed(command: &mut Command, input: &str) -> Result<String> {
    let output = finish(command, input)?;
    ensure!(
        output.status.success(),
        "`{}`: {}\n{}{}",
        show(command),
        output.status,
        String::from_utf8_lossy(&output.stderr),
        numbered(input)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs the command to its end, however that ends.
///
/// # Errors
/// The program is missing.
pub fn finish(command: &mut Command, input: &str) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", show(command)))?;
    let mut stdin = child.stdin.take().context("standard input is a pipe")?;
    // What is fed here is far smaller than a pipe, so nobody waits for the other.
    match stdin.write_all(input.as_bytes()) {
        Ok(()) => {}
        // It ended without reading: its status says why.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        Err(error) => return Err(error).with_context(|| format!("feeding `{}`", show(command))),
    }
    drop(stdin);
    child
        .wait_with_output()
        .with_context(|| format!("waiting for `{}`", show(command)))
}

/// The command as one would type it.
#[must_use]
pub fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The input with line numbers, which is what `ip -batch` and `nft` complain by.
fn numbered(input: &str) -> String {
    let lines = input.lines().enumerate();
    let numbered = lines.map(|(i, line)| format!("{:>4}  {line}", i + 1));
    numbered.collect::<Vec<_>>().join("\n")
}
