//! What do the given manifests amount to? For commands that answer without the daemon.

use super::error::CliError;
use crate::explain::{Planned, planned};
use crate::input::{Allocations, manifests};
use crate::settings::Settings;
use crate::tables::Tables;

/// Reads the manifests of the settings and plans them, with the node's addresses and what was
/// allocated before where a daemon runs.
///
/// # Errors
/// No manifests are named, or they cannot be read.
pub(super) fn plan(
    settings: &Settings,
    live: Option<(&Tables, Allocations)>,
) -> Result<Planned, CliError> {
    if settings.manifests.is_empty() {
        return Err(CliError::NoManifests);
    }
    let (tables, allocations) = live.map_or_else(Default::default, |(tables, allocations)| {
        (Some(tables), allocations)
    });
    let update = manifests::read_once(manifests::Options::new(settings, allocations))?;
    Ok(planned(settings, update, tables))
}
