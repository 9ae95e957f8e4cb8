//! The binary `lb`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lb_userspace::cli::main(std::env::args_os(), |name| std::env::var_os(name))
}
