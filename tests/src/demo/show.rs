//! How does the demo look? Short aligned lines under numbered headings.

use std::sync::atomic::{AtomicU32, Ordering};

/// Columns of the first word of a line.
const FIRST: usize = 24;

static STEP: AtomicU32 = AtomicU32::new(0);

/// Begins a part.
pub(super) fn heading(text: &str) {
    let step = STEP.fetch_add(1, Ordering::Relaxed) + 1;
    println!("\n{step}. {text}");
}

/// Says one thing.
pub(super) fn line(what: &str, text: &str) {
    println!("   {what:<FIRST$} {text}");
}

/// Shows what a command printed.
pub(super) fn output(text: &str) {
    for line in text.lines() {
        println!("   {line}");
    }
}
