//! What time is it in jiffies, and how many are there in a second? Flows are stamped in jiffies,
//! which userspace can only learn from a program.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::LoadError;
use super::programs::Programs;

/// Kernels are configured for one of these.
const HERTZ: [u32; 4] = [100, 250, 300, 1000];

/// How long jiffies are counted to tell 250 a second from 300: ten of the former.
const COUNT_FOR: Duration = Duration::from_millis(40);

/// Tells the kernel's time: jiffies, low 32 bits.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    jiffies: u32,
    at: Instant,
    /// Jiffies in a second.
    pub hz: u32,
}

impl Clock {
    /// Asks a program twice and counts in between.
    pub(super) fn measure(programs: &mut Programs) -> Result<Self, LoadError> {
        let (first, first_at) = (programs.test_run("clock")?, Instant::now());
        sleep(COUNT_FOR);
        let (jiffies, at) = (programs.test_run("clock")?, Instant::now());
        let hz = nearest(jiffies.wrapping_sub(first), at - first_at);
        Ok(Self { jiffies, at, hz })
    }

    /// Jiffies now, low 32 bits.
    #[must_use]
    pub fn now(&self) -> u32 {
        let passed = self.at.elapsed().as_millis() * u128::from(self.hz) / 1000;
        self.jiffies.wrapping_add(passed as u32)
    }
}

/// The usual number of jiffies in a second that is nearest to what was counted.
fn nearest(jiffies: u32, within: Duration) -> u32 {
    let counted = f64::from(jiffies) / within.as_secs_f64();
    let distance = |hz: &u32| (f64::from(*hz) - counted).abs();
    HERTZ
        .into_iter()
        .min_by(|a, b| distance(a).total_cmp(&distance(b)))
        .unwrap_or(HERTZ[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_usual_number_is_taken() {
        for (jiffies, millis, hz) in [
            (4, 40, 100),
            (10, 40, 250),
            (11, 40, 250),
            (12, 40, 300),
            (40, 40, 1000),
        ] {
            assert_eq!(nearest(jiffies, Duration::from_millis(millis)), hz);
        }
    }
}
