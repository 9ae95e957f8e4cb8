//! Is a spread even? Pearson's chi-square test, with the critical values from the tables.

/// Values that chi-square exceeds with a probability of 0.001, for 1 to 9 degrees of freedom.
const CRITICAL: [f64; 9] = [
    10.828, 13.816, 16.266, 18.467, 20.515, 22.458, 24.322, 26.124, 27.877,
];

/// Whether counts that deviate so much from an even spread come about by chance with a
/// probability of more than 0.001.
///
/// # Panics
/// With less than 2 or more than 10 counts.
#[must_use]
pub fn is_even(counts: &[u32]) -> bool {
    chi_square(counts) < CRITICAL[counts.len() - 2]
}

/// The sum of squared deviations from an even spread, each in units of what is expected.
#[must_use]
pub fn chi_square(counts: &[u32]) -> f64 {
    let total: f64 = counts.iter().copied().map(f64::from).sum();
    let kinds: f64 = counts.iter().map(|_| 1.0).sum();
    let expected = total / kinds;
    let deviation = |count: &u32| (f64::from(*count) - expected).powi(2) / expected;
    counts.iter().map(deviation).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lopsided_spread_is_told_from_chance() {
        assert!(is_even(&[667, 640, 693]));
        assert!(!is_even(&[720, 560, 720]));
        assert!(!is_even(&[2_000, 0, 0]));
    }
}
