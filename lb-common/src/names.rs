//! Which names are visible outside the process? All of them derive from one constant.

/// Expands to a string literal that contains the product's name; the only place that spells it.
#[macro_export]
macro_rules! named {
    ($prefix:literal, $suffix:literal) => {
        concat!($prefix, "lb", $suffix)
    };
}

/// The product's name: binary, image and chart.
pub const NAME: &str = named!("", "");

/// Where maps, programs and links are pinned unless `--pin-dir` says otherwise.
pub const PIN_DIR: &str = named!("/sys/fs/bpf/", "");

/// Where the state file lives unless `--state-dir` says otherwise.
pub const STATE_DIR: &str = named!("/run/", "");

/// What the name of every annotation of ours starts with.
pub const ANNOTATION_PREFIX: &str = named!("", "/");

/// What every metric's name starts with.
pub const METRIC_PREFIX: &str = named!("", "_");
