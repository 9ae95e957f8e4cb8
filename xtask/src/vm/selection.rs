//! Which tests run in a machine? Those whose outcome may depend on the kernel; the rest of the suite says nothing new
//! there, and takes its time under emulation.

/// A test binary of `lb-tests`, and which of its tests.
struct Tests {
    target: &'static str,
    /// Parts of names; empty = all.
    parts: &'static [&'static str],
    /// The same, where there is little time.
    brief: &'static [&'static str],
    /// Parts of names of those that are left out: they are about how much happens in a time, or run no kernel.
    not: &'static [&'static str],
    /// How many at a time.
    threads: u8,
}

/// No test has this in its name.
const NONE: &[&str] = &["none::"];

/// What needs devices that not every host has, or modules of which one is missing here.
const DEVICES: &str = "topology";

const TESTS: &[Tests] = &[
    // What the programs do with single packets, all hooks.
    Tests {
        target: "datapath",
        parts: &[],
        // One row of each class of packets, at every hook that it comes by.
        brief: &[
            "forward::both_directions",
            "forward::a_node_port",
            "forward::a_pod_may_be_its_own_backend",
            "forward::affinity_keeps",
            "flows::a_client_uses_its_ports_again",
            "apart::a_direct_connection_after",
            "policy::source_ranges_admit",
            "refusal::an_undefined_port",
            "refusal::what_the_node_sends",
            "icmp::errors_about_a_clients_packet",
            "icmp::errors_find_their_way_through_snat",
            "sctp::the_checksum_follows",
            "transit::transit_takes",
            "transit::the_sender_of_a_packet_too_big",
        ],
        not: &["atomic::", "flood::a_flood", "counts::"],
        threads: 1,
    },
    // Whether every program fits into this kernel, and what that costs it.
    Tests {
        target: "kernels",
        parts: &[],
        brief: &["hooks::", "verifier::"],
        not: &[],
        threads: 1,
    },
    Tests {
        target: DEVICES,
        parts: &["devices::", "sctp::", "netem::"],
        brief: NONE,
        not: &[],
        threads: 1,
    },
    // What the maps take and give back.
    Tests {
        target: "loader",
        parts: &["tables::"],
        brief: NONE,
        not: &[],
        threads: 1,
    },
];

/// The names of the test binaries.
pub(super) fn targets() -> Vec<&'static str> {
    TESTS.iter().map(|tests| tests.target).collect()
}

/// How many of the tests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent<'a> {
    /// All that say something about a kernel.
    Whole,
    /// What there is time for beside all other tests.
    Brief,
    /// What needs devices that not every host has.
    Devices,
    /// Those with one of these in their name.
    Named(&'a [String]),
}

/// The part of a machine's first program that runs them, and counts in `$failed` the binaries that failed.
pub(super) fn script(extent: Extent<'_>) -> String {
    let mut script = String::new();
    for tests in TESTS {
        let parts = match extent {
            Extent::Whole => tests.parts.to_vec(),
            Extent::Brief => tests.brief.to_vec(),
            Extent::Devices if tests.target == DEVICES => tests.parts.to_vec(),
            Extent::Devices => continue,
            Extent::Named(parts) => parts.iter().map(String::as_str).collect(),
        };
        let not = tests.not.iter().map(|part| format!(" --skip {part}"));
        let line = format!(
            "./{} --show-output --test-threads={}{} {} || failed=$((failed + 1))\n",
            tests.target,
            tests.threads,
            not.collect::<String>(),
            parts.join(" ")
        );
        script.push_str(&line);
    }
    script
}
