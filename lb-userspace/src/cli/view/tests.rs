//! What each view shows of a small cluster, in each format.

use std::path::{Path, PathBuf};

use lb_common::layout::{LINK_POD, LINK_UPLINK, LINK_XDP, Link};

use super::fixture::{Fixture, counters};
use super::*;
use crate::cli::golden;
use crate::cli::print::{Format, Output, Printer, aligned};
use crate::state::State;
use crate::tables::Capacities;

fn print<R: Record>(records: &[R], format: Format) -> String {
    let output = Output {
        output: format,
        no_headers: false,
        watch: false,
    };
    Printer::new(&output, true)
        .list(records)
        .expect("records that can be printed")
}

fn expect<R: Record>(file: &str, records: &[R], format: Format) {
    let file = format!("src/cli/view/golden/{file}");
    golden::check(&file, &print(records, format));
}

#[test]
fn services_in_every_format() {
    let Fixture { tables, state } = Fixture::new();
    let records = services(&Index::new(&tables, Some(&state)));
    expect("services.txt", &records, Format::Table);
    expect("services-wide.txt", &records, Format::Wide);
    expect("services.json", &records, Format::Json);
    expect("services.yaml", &records, Format::Yaml);
    expect("services-name.txt", &records, Format::Name);
}

#[test]
fn services_without_the_daemons_words() {
    let Fixture { tables, .. } = Fixture::new();
    let records = services(&Index::new(&tables, None));
    expect("services-from-maps-alone.txt", &records, Format::Wide);
}

#[test]
fn frontends_of_every_kind() {
    let Fixture { tables, state } = Fixture::new();
    let records = frontends(&Index::new(&tables, Some(&state)));
    expect("frontends.txt", &records, Format::Table);
    expect("frontends-wide.txt", &records, Format::Wide);
    expect("frontends.json", &records[..1], Format::Json);
}

#[test]
fn backends_ready_draining_and_elsewhere() {
    let Fixture { tables, state } = Fixture::new();
    let records = backends(&Index::new(&tables, Some(&state)));
    expect("backends.txt", &records, Format::Table);
    expect("backends-wide.txt", &records, Format::Wide);
    expect("backends.json", &records[..1], Format::Json);
}

#[test]
fn flows_with_and_without_a_clock() {
    let fixture = Fixture::new();
    let index = Index::new(&fixture.tables, Some(&fixture.state));
    let clock = Clock {
        now: 10_000,
        hz: 250,
    };
    let records = flows(&index, &fixture.flows(), Some(clock));
    expect("flows.txt", &records, Format::Table);
    expect("flows-wide.txt", &records, Format::Wide);
    expect("flows.json", &records[..1], Format::Json);
    let undated = flows(&index, &fixture.flows(), None);
    expect("flows-without-clock.txt", &undated, Format::Table);
}

#[test]
fn problems_with_their_places() {
    let Fixture { state, .. } = Fixture::new();
    let records = problems(&state);
    expect("problems.txt", &records, Format::Table);
    expect("problems.json", &records, Format::Json);
}

#[test]
fn drops_that_happened_and_all() {
    expect("drops.txt", &drops(&counters(), false), Format::Table);
    let all = drops(&counters(), true);
    assert_eq!(all.len(), counters().len());
}

/// The status as it is printed.
fn status_text(fixture: &Fixture, state: Option<&State>, daemon: Option<u32>) -> String {
    let link = |flags| Link {
        mtu: 1500,
        flags,
        ..Link::default()
    };
    let index = Index::new(&fixture.tables, state);
    let lines = status(&Facts {
        daemon,
        state_age: state.map(|_| Duration::from_mins(7)),
        pin_dir: "/sys/fs/bpf/lb".to_owned(),
        index: &index,
        tables: &fixture.tables,
        capacities: Capacities::default(),
        sieves: [("IPv4", true), ("IPv6", state.is_some())].map(|(family, is_in_force)| {
            let sifting = Sifting {
                is_in_force,
                marks: 31,
            };
            (family, sifting)
        }),
        links: vec![
            ("eth0".to_owned(), link(LINK_UPLINK | LINK_XDP)),
            ("veth1".to_owned(), link(LINK_POD)),
            ("veth2".to_owned(), link(LINK_POD)),
        ],
        sockets: true,
        flows: 2,
        counters: counters(),
    });
    let rows = lines
        .into_iter()
        .map(|(subject, text)| vec![subject.to_owned(), text]);
    aligned(&rows.collect::<Vec<_>>(), &mut Vec::new())
}

#[test]
fn status_with_the_daemon_and_after_it() {
    let fixture = Fixture::new();
    let file = |name| format!("src/cli/view/golden/{name}");
    let running = status_text(&fixture, Some(&fixture.state), Some(812));
    golden::check(&file("status.txt"), &running);
    let dead = status_text(&fixture, Some(&fixture.state), None);
    golden::check(&file("status-without-daemon.txt"), &dead);
    let unknown = status_text(&fixture, None, None);
    golden::check(&file("status-without-state.txt"), &unknown);
}

/// The examples' directories.
fn examples() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let entries = std::fs::read_dir(root).expect("examples");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.is_dir()).collect()
}

#[test]
fn each_example_is_served_as_it_is_written() {
    for example in examples() {
        let fixture = Fixture::of_manifests(vec![example.clone()]);
        assert_eq!(fixture.state.problems, [], "{}", example.display());
    }
}

#[test]
fn the_examples_go_together() {
    let Fixture { tables, state } = Fixture::of_manifests(examples());
    assert_eq!(state.problems, []);
    let index = Index::new(&tables, Some(&state));
    expect("examples-services.txt", &services(&index), Format::Wide);
    expect("examples-frontends.txt", &frontends(&index), Format::Wide);
    expect("examples-backends.txt", &backends(&index), Format::Table);
}

#[test]
fn names_that_people_use() {
    let Fixture { tables, state } = Fixture::new();
    let index = Index::new(&tables, Some(&state));
    let backends = backends(&index);
    let named = |name: &str| backends.iter().filter(|b| b.is_called(name)).count();
    for (name, expected) in [
        ("10.42.0.10", 2),
        ("10.42.0.10:8080", 2),
        ("10.42.0.10:8080/TCP", 2),
        ("10.42.0.10:8080/UDP", 0),
        ("Pod/kubia-vs2kl", 2),
        ("kubia-vs2kl", 2),
        ("fd00:10:42::5", 2),
        ("[fd00:10:42::5]:53/UDP", 1),
        ("", 0),
    ] {
        assert_eq!(named(name), expected, "{name}");
    }
}
