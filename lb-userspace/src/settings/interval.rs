//! How often is something done?

use std::time::Duration;

/// Once a day is the least.
const LONGEST: u64 = 86_400;

/// `90`, `90s`, `5m`, `1h`; zero is never.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let (number, unit) = match text.find(|char: char| !char.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let seconds = match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        _ => None,
    };
    let number: Option<u64> = number.parse().ok();
    let total = number
        .zip(seconds)
        .and_then(|(n, unit)| n.checked_mul(unit));
    total
        .filter(|total| *total <= LONGEST)
        .map(Duration::from_secs)
        .ok_or_else(|| {
            "not a time: write it as 90s, 5m or 1h, at most 24h, or 0 for never".to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_their_unit() {
        for (text, seconds) in [
            ("0", 0),
            ("90", 90),
            ("90s", 90),
            ("5m", 300),
            ("24h", LONGEST),
        ] {
            assert_eq!(interval(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "5d", "25h", "-1s", "1.5s"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
