//! Embeds the BPF object into `lb` when `cargo xtask build-ebpf` has made it from the sources as they are now.
//!
//! It never builds the object itself: `cargo build` works without the BPF toolchain, and `lb run` then names the remedy.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

#[path = "../xtask/src/digest.rs"]
mod digest;

/// What is known of the object for the architecture that is built for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Current,
    Stale,
    Missing,
}

fn main() {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("..");
    let arch = variable("CARGO_CFG_TARGET_ARCH");

    // cargo would run this script every time if a watched path were missing.
    let object_dir = root.join(digest::OBJECT_DIR);
    fs::create_dir_all(&object_dir).expect("target/bpf can be made in the checkout");
    println!("cargo::rerun-if-changed={}", object_dir.display());
    for source in digest::SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }

    println!("cargo::rustc-check-cfg=cfg(bpf_object, values(\"current\", \"stale\", \"missing\"))");
    let state = object_state(&root, &arch).expect("the sources of the BPF object are readable");
    if state == State::Current {
        let copy = PathBuf::from(variable("OUT_DIR")).join("lb.o");
        fs::copy(digest::object_file(&root, &arch), copy).expect("the BPF object can be copied");
    }
    let value = match state {
        State::Current => "current",
        State::Stale => "stale",
        State::Missing => "missing",
    };
    println!("cargo::rustc-cfg=bpf_object=\"{value}\"");
}

/// Compares the stamp on disk with the sources on disk, for the features that the object was made with.
fn object_state(root: &Path, arch: &str) -> io::Result<State> {
    if !digest::object_file(root, arch).is_file() {
        return Ok(State::Missing);
    }
    let Ok(written) = fs::read_to_string(digest::stamp_file(root, arch)) else {
        return Ok(State::Stale);
    };
    let features = written
        .lines()
        .find_map(|line| line.strip_prefix("features "))
        .unwrap_or_default();
    let is_current = written == digest::stamp(root, arch, features)?;
    Ok(if is_current {
        State::Current
    } else {
        State::Stale
    })
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("cargo sets {name} for build scripts: {error}"))
}
