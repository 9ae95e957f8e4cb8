//! `cargo xtask demo`: the main job on real processes, in namespaces without a route out.

use std::process::ExitCode;

fn main() -> ExitCode {
    match lb_tests::demo::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe demo stopped, as this did not hold:\n  {error:#}");
            ExitCode::FAILURE
        }
    }
}
