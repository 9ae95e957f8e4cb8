//! In which format are metrics told? OpenMetrics to whoever asks for it, else Prometheus' older text format,
//! which every collector reads.

use std::fmt::{self, Write as _};

/// `Content-Type` of what the registry writes.
pub(super) const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// `Content-Type` of the older format.
pub(super) const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether a client with this `Accept` rather has OpenMetrics. What it does not name is not meant by `*/*`
/// either, as in Prometheus' own libraries.
pub(super) fn is_open(accept: &str) -> bool {
    let (mut open, mut classic) = (0.0, 0.0);
    for range in accept.split(',') {
        let mut words = range.split(';').map(str::trim);
        let kind = words.next().unwrap_or_default().to_ascii_lowercase();
        let (mut quality, mut version) = (1.0, None);
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            match name {
                "q" => quality = value.parse::<f32>().unwrap_or(0.0),
                "version" => version = Some(value),
                _ => {}
            }
        }
        let is_of = |known| version.is_none_or(|version| version == known);
        match &*kind {
            "application/openmetrics-text" if is_of("1.0.0") => open = quality.max(open),
            "text/plain" if is_of("0.0.4") => classic = quality.max(classic),
            _ => {}
        }
    }
    open > 0.0 && open >= classic
}

/// The same in the older format: there a counter's name has its suffix in every line, an info is a gauge, and
/// units and the end are not told. We have no exemplars and no times, which it would write in another way.
pub(super) fn classic(open: &str) -> Result<String, fmt::Error> {
    let mut text = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        let Some(said) = line.strip_prefix("# ") else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        let mut words = said.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            // What kind it is comes next.
            (Some("HELP"), Some(_), about) => help = about,
            (Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", kind),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    _ => ("", kind),
                };
                if let Some(help) = help.take() {
                    writeln!(text, "# HELP {name}{suffix} {help}")?;
                }
                writeln!(text, "# TYPE {name}{suffix} {kind}")?;
            }
            _ => {}
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::metrics::info::Info;
    use prometheus_client::registry::{Registry, Unit};

    use super::*;

    #[test]
    fn whoever_asks_for_open_metrics_gets_it_and_nobody_else() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            ("", false),
            ("*/*", false),
            ("text/html, */*;q=0.1", false),
            ("text/plain", false),
            ("application/openmetrics-text", true),
            (
                "Application/OpenMetrics-Text; version=1.0.0; charset=utf-8",
                true,
            ),
            ("application/openmetrics-text; version=0.0.1", false),
            ("application/openmetrics-text;q=0", false),
            (
                "text/plain;version=0.0.4;q=0.9, application/openmetrics-text;q=0.5",
                false,
            ),
            ("text/plain;q=0.5, application/openmetrics-text;q=0.5", true),
            ("application/vnd.google.protobuf", false),
            (prometheus, true),
        ] {
            assert_eq!(is_open(accept), expected, "{accept}");
        }
    }

    #[test]
    fn the_older_format_has_the_same_samples_under_its_own_heads() {
        let mut registry = Registry::default();
        let requests = Family::<[(&str, &str); 1], Counter>::default();
        requests.get_or_create(&[("path", "/a \"b\" # c")]).inc();
        registry.register("requests", "Questions # asked", requests);
        let gauge: Gauge = Gauge::default();
        registry.register_with_unit("use", "Memory", Unit::Bytes, gauge);
        registry.register("build", "Version", Info::new([("version", "1")]));
        let histogram = Histogram::new([0.5]);
        histogram.observe(1.0);
        registry.register("took", "Time", histogram);
        let mut open = String::new();
        encode(&mut open, &registry).expect("a text");
        let expected = "\
# HELP requests_total Questions # asked.
# TYPE requests_total counter
requests_total{path=\"/a \\\"b\\\" # c\"} 1
# HELP use_bytes Memory.
# TYPE use_bytes gauge
use_bytes 0
# HELP build_info Version.
# TYPE build_info gauge
build_info{version=\"1\"} 1
# HELP took Time.
# TYPE took histogram
took_sum 1.0
took_count 1
took_bucket{le=\"0.5\"} 0
took_bucket{le=\"+Inf\"} 1
";
        assert_eq!(classic(&open).as_deref(), Ok(expected));
    }
}
