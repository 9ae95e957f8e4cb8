//! What do the kernel programs do with one packet? Rows: tables in, packets in; verdicts, every
//! byte, the flow entries and exactly the drop counters that moved out.
//!
//! The programs run by `BPF_PROG_TEST_RUN` in a namespace of a [`crate::topology`], so that routes
//! and neighbours are real. They have maps of their own, pinned nowhere.

mod bench;
mod code;
mod counted;
mod fixture;
mod kernel;
pub(crate) mod maps;
mod row;
pub mod verifier;

pub use bench::Bench;
pub use counted::{Counted, Counts, Outcome};
pub use fixture::{Endpoint, Fixture, SNAT_PORT, Service};
pub use kernel::{Code, Kernel, PROGRAMS, Run, object, object_file};
pub use maps::Drops;
pub use row::{At, Fate, FlowPair, Row, Toward};
