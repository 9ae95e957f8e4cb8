//! What does dig make of an answer? BIND's client, which shares no code with our server.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::Result;

use crate::netns::Netns;

/// Always: no settings of the user's, an id that a transcript can hold, no second try, and nothing
/// in the output that differs from run to run.
const OPTIONS: [&str; 8] = [
    "-r",
    "+qid=7",
    "+tries=1",
    "+time=5",
    "+nocookie",
    "+nostats",
    "+nocmd",
    "+nobadcookie",
];

/// Asks that server with these further words of dig's, and returns what dig prints.
///
/// # Errors
/// Nobody answers, or there is no dig.
pub fn dig(netns: &Netns, server: SocketAddr, words: &[&str]) -> Result<String> {
    let mut command = Command::new("dig");
    command
        .args(OPTIONS)
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string()])
        .args(words);
    netns.output(&mut command)
}
