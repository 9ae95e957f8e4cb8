//! How is waited for something? Until it is so, in small steps, and never for ever.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks.
const TICK: Duration = Duration::from_millis(10);

/// Waits until the condition holds.
///
/// # Errors
/// It does not within `patience`, or looking fails.
pub fn until(
    what: &str,
    patience: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    while !condition()? {
        if start.elapsed() > patience {
            bail!("not within {patience:?}: {what}");
        }
        sleep(TICK);
    }
    Ok(())
}
