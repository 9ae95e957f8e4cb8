//! Which tests run in a machine? Those whose outcome may depend on the kernel; the rest of the suite says nothing new
//! there, and takes its time under emulation.

/// A test binary of `lb-tests`, and which of its tests.
struct Tests {
    target: &'static str,
    /// Parts of names; empty = all.
    parts: &'static [&'static str],
    /// Parts of names of those that are left out: they are about how much happens in a time.
    not: &'static [&'static str],
    /// How many at a time.
    threads: u8,
}

const TESTS: &[Tests] = &[
    // What the programs do with single packets, all hooks.
    Tests {
        target: "datapath",
        parts: &[],
        not: &["atomic::", "flood::a_flood"],
        threads: 1,
    },
    // Whether every program fits into this kernel, and what that costs it.
    Tests {
        target: "kernels",
        parts: &[],
        not: &[],
        threads: 1,
    },
    // What needs modules that not every host has.
    Tests {
        target: "topology",
        parts: &["sctp::"],
        not: &[],
        threads: 1,
    },
    // What the maps take and give back.
    Tests {
        target: "loader",
        parts: &["tables::"],
        not: &[],
        threads: 1,
    },
];

/// The names of the test binaries.
pub(super) fn targets() -> Vec<&'static str> {
    TESTS.iter().map(|tests| tests.target).collect()
}

/// The part of a machine's first program that runs them, and counts in `$failed` the binaries that failed.
pub(super) fn script(only: &[String]) -> String {
    let mut script = String::new();
    for tests in TESTS {
        let parts: Vec<&str> = if only.is_empty() {
            tests.parts.to_vec()
        } else {
            only.iter().map(String::as_str).collect()
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
