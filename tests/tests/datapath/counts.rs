//! What exactly does each path cost: map calls, bytes hashed, helpers, instructions? A commit that raises a
//! figure shows it in `counts.txt`, which is written anew by `LB_UPDATE_GOLDEN=1`.
//!
//! The programs are interpreted on plain tables, so that the figures are those of any kernel.

mod paths;

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use lb_tests::datapath::{self, Counted, Counts, Fate};
use lb_tests::topology::Family;
use lb_userspace::model::Protocol;

use self::paths::{Path, calls, of_calls, paths};
use super::cases::Case;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/datapath/counts.txt");
/// How lines begin that another compiler may write otherwise.
const COMPILED: &str = "instructions: ";
/// The compiler that wrote them.
const COMPILER: &str = "compiler: ";

#[test]
fn no_path_costs_more_than_it_did() -> Result<()> {
    let now = measured()?;
    let before = fs::read_to_string(FILE).unwrap_or_default();
    if std::env::var_os("LB_UPDATE_GOLDEN").is_some() {
        return fs::write(FILE, now).context(FILE);
    }
    let compiler = |text: &str| {
        text.lines()
            .find(|line| line.starts_with(COMPILER))
            .map(str::to_owned)
    };
    let is_same = compiler(&now) == compiler(&before);
    let compared = |text: &str| {
        let mut heading = String::new();
        let lines = text.lines().filter_map(|line| {
            if !line.starts_with(' ') {
                line.clone_into(&mut heading);
            }
            let counts =
                is_same || !line.trim_start().starts_with(COMPILED) && !line.starts_with(COMPILER);
            counts.then(|| format!("{heading} |{line}"))
        });
        lines.collect::<Vec<_>>()
    };
    let (was, is) = (compared(&before), compared(&now));
    let only = |one: &[String], other: &[String]| {
        let lines = one.iter().filter(|line| !other.contains(line));
        lines.cloned().collect::<Vec<_>>().join("\n  ")
    };
    ensure!(
        was == is,
        "paths cost other than {FILE} says. Now:\n  {}\nwhere there was\n  {}\n\
         Where that is meant to be, LB_UPDATE_GOLDEN=1 writes the file; the commit says why, and for what\n\
         rises what `cargo xtask bench datapath` showed before and after.",
        only(&is, &was),
        only(&was, &is),
    );
    Ok(())
}

fn measured() -> Result<String> {
    let counted = Counted::load()?;
    let mut text = format!("{COMPILER}{}\n", compiler()?);
    for family in Family::ALL {
        let case = Case {
            family,
            protocol: Protocol::Tcp,
        };
        for path in paths(case) {
            let name = format!("{family}, {}", path.name);
            let (program, counts) = walk(&counted, &path).with_context(|| name.clone())?;
            tell(&mut text, &name, program, &counts)?;
        }
        for (name, program, protocol, [to, expected], is_later) in calls(family) {
            let name = format!("{family}, {name}");
            let mut machine = counted.clone();
            machine.write(&of_calls(family).tables)?;
            if is_later {
                machine.call(program, protocol, to)?;
            }
            let (code, named, counts) = machine.call(program, protocol, to)?;
            ensure!((code, named) == (1, expected), "{name}: {code}, {named}");
            tell(&mut text, &name, program, &counts)?;
        }
    }
    text += "\nthe programs themselves\n";
    for (name, instructions, calls) in counted.sizes() {
        let calls = if calls.is_empty() {
            "no helper"
        } else {
            &calls
        };
        writeln!(
            text,
            "  {COMPILED}{name} {instructions}; calls written there: {calls}"
        )?;
    }
    Ok(text)
}

fn tell(text: &mut String, name: &str, program: &str, counts: &Counts) -> Result<()> {
    writeln!(text, "\n{name} ({program})")?;
    for line in counts.lines() {
        writeln!(text, "  {line}")?;
    }
    Ok(writeln!(text, "  {COMPILED}{}", counts.instructions())?)
}

/// What the object says about who made it.
fn compiler() -> Result<String> {
    const BEFORE: &[u8] = b"rustc version ";
    let object = datapath::object()?;
    let mut places = object.windows(BEFORE.len());
    let at = places
        .position(|window| window == BEFORE)
        .context("nobody made the object")?;
    let version = object[at + BEFORE.len()..]
        .split(|byte| b" )\0".contains(byte))
        .next();
    Ok(format!(
        "rustc {}",
        String::from_utf8_lossy(version.unwrap_or_default())
    ))
}

/// Lets the packets through, one after the other; what the last one took.
fn walk(counted: &Counted, path: &Path) -> Result<(&'static str, Counts)> {
    let mut machine = counted.clone();
    machine.write(&path.fixture.tables)?;
    for map in ["evictable4", "evictable6"] {
        if let Some(elements) = path.evictable {
            machine.limit(map, elements)?;
        }
    }
    let mut last = None;
    for (i, (program, packet, fate)) in path.steps.iter().enumerate() {
        let (outcome, counts) = machine.run(program, packet)?;
        let (next, out) = if *program == "xdp_uplink" {
            (2, 3)
        } else {
            (-1, 7)
        };
        let (code, left) = match fate {
            Fate::Untouched => (next, packet.clone()),
            Fate::Becomes(left) => (next, left.clone()),
            // No neighbour has an address here.
            Fate::Sent(left, _) if out == 3 => (out, left.clone().with_macs([[0; 6]; 2])),
            Fate::Answered(left) | Fate::Sent(left, _) => (out, left.clone()),
            Fate::Dropped => bail!("what is dropped is no path that is counted"),
        };
        ensure!(
            outcome.code.cast_signed() == code && outcome.packet == left.bytes(),
            "packet {}: {program} returned {} and left\n  {:02x?}\ninstead of {code} and\n  {:02x?}",
            i + 1,
            outcome.code.cast_signed(),
            outcome.packet,
            left.bytes()
        );
        last = Some((*program, counts));
    }
    last.context("a path without packets")
}
