//! What do many clients experience while something changes? New connections at a steady rate.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Dial, Failure};
use crate::topology::Place;

/// Clients at work at the same time: at 200 a second, each may take 300 ms before others wait.
const WORKERS: usize = 64;

/// Clients that connect at a steady rate until told to stop.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    place: Place,
    dial: Dial,
    interval: Duration,
    start: Instant,
    next: AtomicU32,
    stop: AtomicBool,
    report: Mutex<LoadReport>,
}

/// What became of the connections.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// How many were tried.
    pub asked: u32,
    /// How many each server answered.
    pub by: BTreeMap<String, u32>,
    /// When, since the start, an attempt began that failed, and why.
    pub failures: Vec<(Duration, Failure)>,
    /// The slowest that did not fail.
    pub slowest: Duration,
    /// How late the latest attempt began: the machine's fault, not that of what is tested.
    pub latest: Duration,
}

impl LoadReport {
    /// How many were answered.
    #[must_use]
    pub fn answered(&self) -> u32 {
        self.by.values().sum()
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slowest = self.slowest.as_millis();
        write!(
            f,
            "{} asked, {} answered, slowest {slowest} ms",
            self.asked,
            self.answered()
        )?;
        for (name, count) in &self.by {
            write!(f, "; {name} {count}")?;
        }
        for (when, failure) in self.failures.iter().take(5) {
            write!(f, "; after {:.3} s: {failure}", when.as_secs_f64())?;
        }
        Ok(())
    }
}

impl Load {
    /// Begins to ask `dial`'s question from the place, `per_second` times a second.
    ///
    /// # Panics
    /// If `per_second` is 0.
    #[must_use]
    pub fn start(place: &Place, dial: Dial, per_second: u32) -> Self {
        let shared = Arc::new(Shared {
            place: place.clone(),
            dial,
            interval: Duration::from_secs(1) / per_second,
            start: Instant::now(),
            next: AtomicU32::new(0),
            stop: AtomicBool::new(false),
            report: Mutex::default(),
        });
        let worker = |_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.work())
        };
        let workers = (0..WORKERS).map(worker).collect();
        Self { shared, workers }
    }

    /// Time since the start, as failures are dated.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.shared.start.elapsed()
    }

    /// What became of the connections so far.
    #[must_use]
    pub fn so_far(&self) -> LoadReport {
        self.shared.report().clone()
    }

    /// Stops, waits for the last ones and reports.
    ///
    /// # Panics
    /// If a client did.
    #[must_use]
    pub fn finish(self) -> LoadReport {
        self.shared.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            assert!(worker.join().is_ok(), "a client panicked");
        }
        self.shared.report().clone()
    }
}

impl Shared {
    fn report(&self) -> std::sync::MutexGuard<'_, LoadReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let due = self.interval * self.next.fetch_add(1, Ordering::Relaxed);
            thread::sleep(due.saturating_sub(self.start.elapsed()));
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let began = self.start.elapsed();
            let outcome = self.dial.ask(&self.place);
            let mut report = self.report();
            report.asked += 1;
            report.latest = report.latest.max(began.saturating_sub(due));
            match outcome {
                Ok(answer) => {
                    report.slowest = report.slowest.max(answer.took);
                    *report.by.entry(answer.by).or_default() += 1;
                }
                Err(failure) => report.failures.push((began, failure)),
            }
        }
    }
}
