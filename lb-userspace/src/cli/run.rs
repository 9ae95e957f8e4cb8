//! `lb run`: the daemon.

use std::io;
use std::process::ExitCode;

use clap::Args;
use tracing_subscriber::EnvFilter;

use super::error::CliError;
use crate::daemon::{self, ReadSettings};
use crate::settings::Settings;

/// Serve Services on this node, and follow changes, until stopped
///
/// They are those of the manifests, if any are named, else those of a cluster: by --kubeconfig, or
/// by the service account of the pod that this runs in. While the API server does not answer,
/// everything stays as it was.
///
/// Programs, maps and connections stay when it stops, however it stops: the next one takes over what
/// it finds. `lb uninstall` removes all of it.
///
/// kube-proxy's flags are understood: those that have no effect here are named in the log.
///
/// The configuration file is read again when it changes, and on SIGHUP. What takes effect at the next
/// start only is a problem until then (`lb get problems`).
///
/// The log goes to standard error; RUST_LOG (`debug`, `warn`) says how much of it.
#[derive(Args, Debug)]
pub(super) struct Run {}

impl Run {
    /// Serves until stopped; `remarks` are about the settings, which can be read anew.
    pub(super) fn run(
        settings: &Settings,
        remarks: &[String],
        read: ReadSettings,
    ) -> Result<ExitCode, CliError> {
        let level = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        tracing_subscriber::fmt()
            .with_env_filter(level)
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .with_target(false)
            .with_writer(io::stderr)
            .init();
        for remark in remarks {
            tracing::warn!(remark, "setting");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(CliError::Runtime)?;
        runtime.block_on(daemon::run(settings, read))?;
        Ok(ExitCode::SUCCESS)
    }
}
