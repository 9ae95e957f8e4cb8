//! How do batches of many programs become comparable figures? They take turns, and what counts is
//! the median.

use anyhow::Result;

/// What was measured of one program, in nanoseconds for each run.
#[derive(Clone, Debug, Default)]
pub(super) struct Series(Vec<f64>);

/// The middle, the least and the most of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    /// Median.
    pub(super) median: f64,
    /// Least.
    pub(super) least: f64,
    /// Most.
    pub(super) most: f64,
}

impl Series {
    /// Takes one more batch.
    pub(super) fn push(&mut self, nanoseconds: f64) {
        self.0.push(nanoseconds);
    }

    /// The series without what another one of the same rounds contains.
    pub(super) fn net_of(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a - b).collect())
    }

    /// What so many of a hundred are at most.
    pub(super) fn at(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        let at = (percent * last).div_ceil(100);
        sorted.get(at.min(last)).copied().unwrap_or(f64::NAN)
    }

    /// Its middle and its ends.
    pub(super) fn spread(&self) -> Spread {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |i: usize| sorted.get(i).copied().unwrap_or(f64::NAN);
        Spread {
            median: at(sorted.len() / 2),
            least: at(0),
            most: at(sorted.len().saturating_sub(1)),
        }
    }
}

/// Measures `count` subjects in so many rounds: each round all of them, one after the other, every
/// other round backwards. The first round only warms up.
pub(super) fn interleave(
    count: usize,
    rounds: u32,
    mut measure: impl FnMut(usize, u32) -> Result<f64>,
) -> Result<Vec<Series>> {
    let mut series = vec![Series::default(); count];
    for round in 0..=rounds {
        for step in 0..count {
            let i = if round % 2 == 0 {
                step
            } else {
                count - 1 - step
            };
            let nanoseconds = measure(i, round)?;
            if round > 0 {
                series[i].push(nanoseconds);
            }
        }
    }
    Ok(series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_is_measured_in_every_round_and_the_median_counts() -> Result<()> {
        let mut order = Vec::new();
        let series = interleave(2, 3, |i, round| {
            order.push((round, i));
            Ok(f64::from(round) * 10.0 + if i == 1 { 1.0 } else { 0.0 })
        })?;
        assert_eq!(&order[..4], &[(0, 0), (0, 1), (1, 1), (1, 0)]);
        let net = series[1].net_of(&series[0]).spread();
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(net.least, 1.0) && close(net.most, 1.0));
        assert!(close(series[0].spread().median, 20.0));
        Ok(())
    }
}
