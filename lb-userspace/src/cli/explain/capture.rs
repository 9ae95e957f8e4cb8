//! What becomes of each flow of a capture?

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::ground::Ground;
use crate::cli::error::CliError;
use crate::explain::{Answer, Capture, CapturedFlow, Document, Verdict, capture};

/// The path that means standard input.
const STDIN: &str = "-";

/// The flows of a capture, each with its answer.
pub(super) struct Answers {
    file: PathBuf,
    packets: u64,
    left_out: BTreeMap<String, u64>,
    flows: Vec<(CapturedFlow, Answer)>,
}

/// As programs get it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CaptureDocument<'a> {
    capture: &'a Path,
    packets: u64,
    /// Packets that belong to no flow, by the reason why.
    left_out: &'a BTreeMap<String, u64>,
    flows: Vec<FlowDocument<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FlowDocument<'a> {
    /// Packets of the client.
    packets: u64,
    /// Packets to the client.
    replies: u64,
    #[serde(flatten)]
    answer: Document<'a>,
}

/// Reads the file.
///
/// # Errors
/// It is not there, or no capture.
pub(super) fn read(file: &Path) -> Result<Capture, CliError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| CliError::Capture {
        file: file.to_owned(),
        source,
    };
    let read = if file.as_os_str() == STDIN {
        capture::read(io::stdin())
    } else {
        capture::read(File::open(file).map_err(|error| failed(error.into()))?)
    };
    read.map_err(|error| failed(error.into()))
}

/// Asks about each flow. Where a capture begins in the middle of a flow, the client is who speaks
/// to something of ours.
///
/// # Errors
/// A map cannot be read.
pub(super) fn explain(file: &Path, capture: Capture, ground: &Ground) -> Result<Answers, CliError> {
    let mut flows = Vec::new();
    for flow in capture.flows {
        let answer = ground.explain(&flow.question)?;
        let reversed = flow.reversed();
        if answer.verdict == Verdict::Pass && !flow.is_certain {
            let other = ground.explain(&reversed.question)?;
            if other.verdict != Verdict::Pass {
                flows.push((reversed, other));
                continue;
            }
        }
        flows.push((flow, answer));
    }
    Ok(Answers {
        file: file.to_owned(),
        packets: capture.packets,
        left_out: capture.left_out,
        flows,
    })
}

impl Answers {
    /// The answers for programs.
    pub(super) fn document(&self) -> CaptureDocument<'_> {
        let flows = self.flows.iter().map(|(flow, answer)| FlowDocument {
            packets: flow.packets,
            replies: flow.replies,
            answer: answer.document(),
        });
        CaptureDocument {
            capture: &self.file,
            packets: self.packets,
            left_out: &self.left_out,
            flows: flows.collect(),
        }
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: packets {}, flows {}",
            self.file.display(),
            self.packets,
            self.flows.len()
        )?;
        for (why, packets) in &self.left_out {
            writeln!(f, "left out: packets {packets}: {why}")?;
        }
        for (i, (flow, answer)) in self.flows.iter().enumerate() {
            writeln!(
                f,
                "\n{}. packets there {}, back {}\n{answer}",
                i + 1,
                flow.packets,
                flow.replies
            )?;
        }
        Ok(())
    }
}
