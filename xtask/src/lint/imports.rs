//! Who may import whom.

use std::path::Path;

use super::{Finding, SourceFile, words};

/// One direction of imports that is forbidden.
struct Rule {
    /// The files it binds: all whose path begins so.
    within: &'static [&'static str],
    /// Those of them that are free: paths that begin so.
    except: &'static [&'static str],
    /// Paths that must not be named, nor anything below them.
    never: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        within: &["lb-common/"],
        except: &[],
        never: &[
            "lb_ebpf",
            "lb_tests",
            "lb_userspace",
            "xtask",
            "aya",
            "aya_ebpf",
        ],
        why: "lb-common imports nothing of ours: it runs in the kernel, in lb and in tests alike",
    },
    Rule {
        within: &["lb-ebpf/"],
        except: &[],
        never: &["lb_tests", "lb_userspace", "xtask", "aya"],
        why: "lb-ebpf imports only lb-common of ours",
    },
    Rule {
        within: &["lb-userspace/"],
        except: &[],
        never: &["lb_ebpf", "lb_tests", "xtask"],
        why: "lb-userspace imports only lb-common of ours",
    },
    Rule {
        within: &["lb-userspace/src/"],
        except: &[
            "lb-userspace/src/dataplane/kernel",
            "lb-userspace/src/loader",
        ],
        never: &["aya", "aya_obj"],
        why: "the kernel is reached through the kernel dataplane and the loader alone",
    },
    Rule {
        within: &["lb-userspace/src/"],
        except: &["lb-userspace/src/input"],
        never: &["k8s_openapi", "kube"],
        why: "Kubernetes' types end where input becomes our model",
    },
    Rule {
        within: &["lb-userspace/src/", "tests/"],
        except: &["lb-userspace/src/cli", "lb-userspace/src/main.rs"],
        never: &["crate::cli", "lb_userspace::cli"],
        why: "nobody imports the CLI: it shows what others decide",
    },
    Rule {
        within: &[
            "lb-userspace/src/model",
            "lb-userspace/src/plan",
            "lb-userspace/src/tables",
        ],
        except: &[],
        never: &[
            "libc",
            "nix",
            "notify",
            "rtnetlink",
            "std::env",
            "std::fs",
            "std::io",
            "std::process",
            "std::thread",
            "std::time::Instant",
            "std::time::SystemTime",
            "tokio",
        ],
        why: "what decides is pure: no I/O, no clock, no tasks",
    },
];

pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    files
        .iter()
        .filter(|file| {
            file.path
                .extension()
                .is_some_and(|extension| extension == "rs")
        })
        .flat_map(check_file)
        .collect()
}

fn check_file(file: &SourceFile) -> Vec<Finding> {
    let rules: Vec<_> = RULES.iter().filter(|rule| rule.binds(&file.path)).collect();
    let mut findings = Vec::new();
    for named in words::paths(&file.text) {
        let path = from_crate_root(&named.segments);
        for rule in rules.iter().filter(|rule| rule.forbids(&path)) {
            findings.push(format!(
                "{}:{}: {path}: {}",
                file.path.display(),
                named.line,
                rule.why
            ));
        }
    }
    findings
}

impl Rule {
    fn binds(&self, file: &Path) -> bool {
        let file = file.to_string_lossy();
        let begins = |beginnings: &[&str]| {
            beginnings
                .iter()
                .any(|beginning| file.starts_with(beginning))
        };
        begins(self.within) && !begins(self.except)
    }

    fn forbids(&self, path: &str) -> bool {
        self.never.iter().any(|never| {
            path.strip_prefix(never)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        })
    }
}

/// A module of the same crate is reached by several roads, `crate`, `super` and `self`: all are written as `crate`.
fn from_crate_root(segments: &[String]) -> String {
    let is_road = |segment: &&String| matches!(segment.as_str(), "crate" | "self" | "super");
    let roads = segments.iter().take_while(is_road).count();
    let names = segments[roads..].iter().map(String::as_str);
    let road = (roads > 0).then_some("crate");
    road.into_iter().chain(names).collect::<Vec<_>>().join("::")
}

#[cfg(test)]
mod tests {
    use super::{SourceFile, check};

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&[SourceFile {
            path: path.into(),
            text: text.into(),
        }])
    }

    #[test]
    fn aya_stays_in_the_kernel_dataplane_and_the_loader() {
        let text = "use std::fs;\nuse aya::{maps::HashMap, Ebpf};\n";
        assert!(findings("lb-userspace/src/dataplane/kernel/maps.rs", text).is_empty());
        assert!(findings("lb-userspace/src/loader.rs", text).is_empty());
        assert_eq!(findings("lb-userspace/src/reconcile.rs", text).len(), 2);
        let finding = &findings("lb-userspace/src/reconcile.rs", "\nfn f(_: aya::Ebpf) {}")[0];
        assert!(
            finding.starts_with("lb-userspace/src/reconcile.rs:2: aya::Ebpf: "),
            "{finding}"
        );
    }

    #[test]
    fn the_cli_is_recognized_by_every_road() {
        for text in [
            "use crate::{cli::get, plan};",
            "use super::super::cli;",
            "fn f() { lb_userspace::cli::run() }",
        ] {
            assert_eq!(
                findings("lb-userspace/src/reconcile.rs", text).len(),
                1,
                "{text}"
            );
            assert!(
                findings("lb-userspace/src/main.rs", text).is_empty(),
                "{text}"
            );
        }
    }

    #[test]
    fn crates_import_downward_only() {
        assert_eq!(
            findings("lb-common/src/flow.rs", "use lb_userspace::model;").len(),
            1
        );
        assert_eq!(
            findings(
                "lb-ebpf/src/maps.rs",
                "use lb_common::flow; use lb_userspace as u;"
            )
            .len(),
            1
        );
        assert!(findings("tests/src/lib.rs", "use lb_userspace::model;").is_empty());
    }

    #[test]
    fn what_decides_is_pure() {
        let text = "use std::{collections::BTreeMap, fs, time::{Duration, Instant}};";
        assert_eq!(findings("lb-userspace/src/plan/mod.rs", text).len(), 2);
        assert!(findings("lb-userspace/src/reconcile.rs", text).is_empty());
    }
}
