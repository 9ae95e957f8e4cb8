//! How does a machine run, and what does it say? Its console is kept in a file; what the tests print comes by a second
//! serial port, and so does how it ended.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::kernels::Kernel;
use crate::{process, report::Outcome, suite::Suite};

/// What the machine says last, before the number of the test binaries that failed.
const END: &str = "machine done: ";

/// Longer than any machine takes, on a host that does something else besides.
const TIMEOUT: Duration = Duration::from_mins(20);

/// Memory of a machine, in MiB.
const MEMORY: &str = "1536";

/// How many lines of the console tell why a machine did not get to its end.
const TAIL: usize = 30;

/// Boots the kernel with these files, which are removed then, and counts what the tests say.
pub(super) fn run(root: &Path, name: &str, kernel: &Kernel, archive: &Path) -> Result<Outcome> {
    let console = root.join("target/vm").join(format!("{name}.console"));
    let output = root.join("target/vm").join(format!("{name}.output"));
    let mut command = process::host("qemu-system-x86_64", root);
    // Not by the host's own virtualization: nested, it fails with some kernels.
    command.args(["-accel", "tcg", "-machine", "q35", "-m", MEMORY]);
    // Where copying instructions are said to be fast, the kernel copies with them; emulated, they are slow.
    command.args(["-cpu", "max,-erms,-fsrm"]);
    command.args(["-no-reboot", "-nodefaults", "-display", "none"]);
    command.arg("-kernel").arg(kernel.image());
    command.arg("-initrd").arg(archive);
    command.args([
        "-append",
        "console=ttyS0 panic=-1 oops=panic mitigations=off quiet loglevel=4",
    ]);
    command.args(["-serial", &format!("file:{}", console.display())]);
    command.args(["-serial", "stdio"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut machine = command
        .spawn()
        .with_context(|| format!("cannot start `{}`", process::show(&command)))?;
    let said = File::create(&output)
        .context("cannot keep what the machine says")
        .and_then(|file| listen(&mut machine, file));
    fs::remove_file(archive)?;
    let (lines, in_time) = said?;
    if let Some(outcome) = judge(&lines) {
        if outcome.failed > 0 {
            println!(
                "kernel {name}: all that was said is in {}",
                output.display()
            );
        }
        return Ok(outcome);
    }
    let why = if in_time {
        "the machine did not get to its end"
    } else {
        "the machine took too long"
    };
    bail!(
        "{why}; it said last:\n{}\nand on its console:\n{}",
        tail(&lines.join("\n")),
        tail(&fs::read_to_string(&console).unwrap_or_default())
    )
}

/// What the machine says until it ends, or its time is over; kept in a file, too, as it comes.
fn listen(machine: &mut Child, mut file: File) -> Result<(Vec<String>, bool)> {
    let stdout = machine
        .stdout
        .take()
        .context("the child's output is piped")?;
    let (send, receive) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line);
            if send.send(line.trim_end_matches('\r').to_owned()).is_err() {
                break;
            }
        }
    });
    let deadline = std::time::Instant::now() + TIMEOUT;
    let mut lines = Vec::new();
    let in_time = loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        match receive.recv_timeout(left) {
            Ok(line) => {
                writeln!(file, "{line}")?;
                lines.push(line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break true,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                machine.kill().context("cannot stop the machine")?;
                break false;
            }
        }
    };
    machine.wait().context("cannot wait for the machine")?;
    // It ended with the machine's output.
    drop(reader.join());
    Ok((lines, in_time))
}

/// Counts, and shows what a person wants to see; none if the machine did not get to its end.
fn judge(lines: &[String]) -> Option<Outcome> {
    let mut suite = Suite::default();
    let mut failed_binaries = None;
    let mut shown = Vec::new();
    for line in lines {
        if let Some(count) = line.strip_prefix(END) {
            failed_binaries = count.parse::<u64>().ok();
        } else if suite.read(line) {
            shown.push(line);
        }
    }
    let mut outcome = suite.finish();
    let failed_binaries = failed_binaries?;
    if failed_binaries > 0 && outcome.failed == 0 {
        outcome.failed = failed_binaries;
    }
    if outcome.failed > 0 {
        for line in shown.iter().filter(|line| !line.ends_with("... ok")) {
            println!("  {line}");
        }
    }
    Some(outcome)
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}
