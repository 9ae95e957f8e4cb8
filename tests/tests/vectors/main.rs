//! Kubernetes' own cases: does everybody get what kube-proxy would give?
//!
//! The cases are in `tests/vectors/`; its README says what they mean. `LB_VECTORS` names another
//! directory of the same form, as one with the full set.

mod ask;
mod cases;
mod packets;
mod programs;
mod topology;

/// What came out otherwise than it should, all of it.
fn none(failures: &[String]) {
    assert!(
        failures.is_empty(),
        "{} cases:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
