//! Where does `lb` read the cluster from? A directory of manifests, or a real API server.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::Result;
use serde_json::Value;

use super::objects;
use crate::kubernetes::ControlPlane;
use crate::manifests::Manifests;
use crate::topology::Cluster;

/// Services in one file, with their slices.
const IN_A_FILE: u32 = 100;
/// The one that changes alone, and has a file for itself.
const CHANGING: u32 = 0;

/// One of the two.
pub(super) struct Source {
    pub(super) manifests: Manifests,
    control: Option<Arc<ControlPlane>>,
    /// Versions of slices so far: each is said once.
    version: AtomicU32,
    services: AtomicU32,
}

impl Source {
    pub(super) fn manifests() -> Result<Self> {
        Ok(Self {
            manifests: Manifests::new()?,
            control: None,
            version: AtomicU32::new(1),
            services: AtomicU32::new(0),
        })
    }

    pub(super) fn api_server(programs: &Path, cluster: &Cluster) -> Result<Self> {
        let control = Arc::new(ControlPlane::start(programs, cluster)?);
        Ok(Self {
            manifests: Manifests::in_cluster(&control)?,
            control: Some(control),
            ..Self::manifests()?
        })
    }

    pub(super) fn name(&self) -> &'static str {
        if self.control.is_some() {
            "API server"
        } else {
            "manifests"
        }
    }

    /// Has so many Services, some of which may be there.
    pub(super) fn fill(&self, services: u32) -> Result<()> {
        let there = self.services.swap(services, Ordering::Relaxed);
        if let Some(control) = &self.control {
            let new: Vec<_> = (there..services).flat_map(objects::service).collect();
            return control.api().apply(&new);
        }
        self.write(&(0..services).map(objects::service).collect::<Vec<_>>())
    }

    /// All files.
    fn write(&self, services: &[[Value; 2]]) -> Result<()> {
        for (i, some) in services.chunks(IN_A_FILE as usize).enumerate() {
            // The slice that changes is in a file of its own.
            let all = some.concat();
            let from = usize::from(i == 0) * 2;
            self.manifests.write(&format!("{i}.yaml"), &all[from..])?;
        }
        match services.first() {
            Some(first) => self.manifests.write("changing.yaml", first),
            None => Ok(()),
        }
    }

    /// Seconds that it takes to ask the API server for the same objects, and do nothing with them.
    pub(super) fn list(&self) -> Result<Option<f64>> {
        let Some(control) = &self.control else {
            return Ok(None);
        };
        let began = Instant::now();
        for path in [
            "/api/v1/services",
            "/apis/discovery.k8s.io/v1/endpointslices",
        ] {
            control.api().get(path)?;
        }
        Ok(Some(began.elapsed().as_secs_f64()))
    }

    fn next_version(&self) -> u32 {
        self.version.fetch_add(1, Ordering::Relaxed)
    }

    /// Replaces one endpoint of one Service.
    pub(super) fn change(&self, _: u32) -> Result<()> {
        let slice = objects::slice(CHANGING, self.next_version());
        if let Some(control) = &self.control {
            return control.api().apply(&[slice]);
        }
        let [service, _] = objects::service(CHANGING);
        self.manifests.write("changing.yaml", &[service, slice])
    }

    /// Replaces one endpoint in each of so many slices, as soon as it can.
    pub(super) fn burst(&self, changes: u32) -> Result<()> {
        let version = self.next_version();
        if let Some(control) = &self.control {
            let slices: Vec<_> = (0..changes).map(|n| objects::slice(n, version)).collect();
            return control.api().apply(&slices);
        }
        let all = (0..self.services.load(Ordering::Relaxed)).map(|n| {
            let [service, slice] = objects::service(n);
            let is_changed = n < changes;
            [
                service,
                if is_changed {
                    objects::slice(n, version)
                } else {
                    slice
                },
            ]
        });
        self.write(&all.collect::<Vec<_>>())
    }
}
