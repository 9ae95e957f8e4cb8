//! How fast and how surely do changes on a disk arrive?

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, channel};

use super::super::{Error, Following, NODE_PORT_RANGE, Options, read_once, start};
use crate::input::{Allocations, Update};
use crate::model::{ObjectName, World};

/// As fast as a file that is renamed in has to take effect.
const FAST: Duration = Duration::from_millis(100);

/// So long nothing comes where nothing should.
const SILENCE: Duration = Duration::from_millis(150);

/// A directory of its own for each test, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let name = format!("manifests-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("manifests")).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join("manifests").join(name)
    }

    /// Writes a file beside the manifests and renames it in.
    fn rename_in(&self, name: &str, text: &str) {
        let beside = self.0.join("beside");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.path(name)).unwrap();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn options(paths: &[&Path]) -> Options {
    Options {
        paths: paths.iter().map(|path| path.to_path_buf()).collect(),
        node_name: "node-1".into(),
        service_cidrs: Vec::new(),
        node_port_range: NODE_PORT_RANGE,
        allocations: Allocations::default(),
        kept: None,
    }
}

/// Somebody who follows files.
struct Follower {
    updates: Receiver<Update>,
    world: World,
    last: Update,
    _following: Following,
}

impl Follower {
    fn new(paths: &[&Path]) -> Self {
        Self::with(options(paths))
    }

    fn with(options: Options) -> Self {
        let (sender, updates) = channel(16);
        let following = start(options, sender).unwrap();
        let mut follower = Self {
            updates,
            world: World::default(),
            last: Update::default(),
            _following: following,
        };
        assert!(follower.next(Duration::from_secs(10)));
        follower
    }

    /// Takes in the next update; false if none came in time.
    fn next(&mut self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            if let Ok(update) = self.updates.try_recv() {
                for change in update.changes.clone() {
                    self.world.apply(change);
                }
                self.last = update;
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }

    /// Takes in updates until the port of a Service is this; fails when that takes too long.
    #[track_caller]
    fn sees(&mut self, name: &str, port: Option<u16>) {
        let start = Instant::now();
        while self.port(name) != port {
            let left = FAST.saturating_sub(start.elapsed());
            assert!(self.next(left), "not seen in time: {:?}", self.last);
        }
    }

    fn port(&self, name: &str) -> Option<u16> {
        let service = self.world.service(&ObjectName::new("default", name))?;
        Some(service.ports[0].port)
    }
}

fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{clusterIP: 10.96.0.{}, ports: [{{port: {port}}}]}}\n",
        name.len()
    )
}

#[test]
fn files_that_are_renamed_in_written_or_removed_take_effect_at_once() {
    let directory = Directory::new("renamed");
    directory.rename_in("a.yaml", &service("a", 80));
    let mut follower = Follower::new(&[&directory.path("")]);
    assert_eq!(follower.port("a"), Some(80));
    assert!(follower.last.complete);
    for port in [81, 82, 83] {
        directory.rename_in("a.yaml", &service("a", port));
        follower.sees("a", Some(port));
    }
    directory.rename_in("b.json", &service("bb", 80));
    follower.sees("bb", Some(80));
    fs::write(directory.path("b.json"), service("bb", 90)).unwrap();
    follower.sees("bb", Some(90));
    fs::rename(directory.path("b.json"), directory.path("c.yml")).unwrap();
    assert!(!follower.next(SILENCE), "the same from another file");
    fs::remove_file(directory.path("c.yml")).unwrap();
    follower.sees("bb", None);
    assert_eq!(follower.port("a"), Some(83));
}

#[test]
fn what_is_no_manifest_is_no_matter() {
    let directory = Directory::new("others");
    let mut follower = Follower::new(&[&directory.path("")]);
    for name in [".a.yaml", "a.yaml~", "a.txt", "yaml"] {
        directory.rename_in(name, &service("a", 80));
    }
    fs::create_dir(directory.path(".below")).unwrap();
    fs::create_dir(directory.path("below.yaml")).unwrap();
    fs::write(directory.path(".below/b.yaml"), service("b", 80)).unwrap();
    symlink("nowhere", directory.path("c.yaml")).unwrap();
    assert!(!follower.next(SILENCE), "{:?}", follower.last);
}

#[test]
fn directories_below_are_followed_as_they_come_and_go() {
    let directory = Directory::new("below");
    fs::create_dir_all(directory.path("a/b")).unwrap();
    fs::write(directory.path("a/b/a.yaml"), service("a", 80)).unwrap();
    let mut follower = Follower::new(&[&directory.path("")]);
    assert_eq!(follower.port("a"), Some(80));
    fs::write(directory.path("a/b/a.yaml"), service("a", 81)).unwrap();
    follower.sees("a", Some(81));

    fs::create_dir_all(directory.path("c/d")).unwrap();
    fs::write(directory.path("c/d/b.yaml"), service("bb", 80)).unwrap();
    follower.sees("bb", Some(80));
    fs::write(directory.path("c/d/b.yaml"), service("bb", 81)).unwrap();
    follower.sees("bb", Some(81));
    fs::rename(directory.path("c"), directory.0.join("aside")).unwrap();
    follower.sees("bb", None);
    fs::rename(directory.0.join("aside"), directory.path("e")).unwrap();
    follower.sees("bb", Some(81));
    fs::remove_dir_all(directory.path("a")).unwrap();
    follower.sees("a", None);
}

#[test]
fn a_file_that_is_being_written_leaves_the_previous_state() {
    let directory = Directory::new("half");
    let whole = service("a", 80);
    fs::write(directory.path("a.yaml"), &whole).unwrap();
    let mut follower = Follower::new(&[&directory.path("")]);
    for end in 0..whole.len() - 40 {
        fs::write(directory.path("a.yaml"), &whole[..end]).unwrap();
    }
    while follower.next(SILENCE) {}
    assert_eq!(follower.port("a"), Some(80));
    let problem = follower.last.problems[0].to_string();
    assert!(problem.contains("a.yaml:"), "{problem}");
    fs::write(directory.path("a.yaml"), service("a", 81)).unwrap();
    follower.sees("a", Some(81));
    assert_eq!(follower.last.problems, []);
    // Cut to nothing, it is no different; removed, it is.
    fs::write(directory.path("a.yaml"), "").unwrap();
    assert!(follower.next(FAST));
    assert_eq!(follower.last.problems.len(), 1);
    assert_eq!(follower.port("a"), Some(81));
    fs::remove_file(directory.path("a.yaml")).unwrap();
    follower.sees("a", None);
    assert_eq!(follower.last.problems, []);
}

#[test]
fn a_mounted_config_map_is_swapped_as_a_whole() {
    let directory = Directory::new("swapped");
    for (version, port) in [("..1", 80), ("..2", 81)] {
        fs::create_dir(directory.path(version)).unwrap();
        let text = service("a", port);
        fs::write(directory.path(version).join("a.yaml"), text).unwrap();
    }
    symlink("..1", directory.path("..data")).unwrap();
    symlink("..data/a.yaml", directory.path("a.yaml")).unwrap();
    let mut of_directory = Follower::new(&[&directory.path("")]);
    let mut of_file = Follower::new(&[&directory.path("a.yaml")]);
    symlink("..2", directory.path("..data_tmp")).unwrap();
    fs::rename(directory.path("..data_tmp"), directory.path("..data")).unwrap();
    of_directory.sees("a", Some(81));
    of_file.sees("a", Some(81));
}

#[test]
fn a_named_path_that_vanishes_keeps_what_it_said_until_it_is_back() {
    let directory = Directory::new("vanished");
    fs::write(directory.path("a.yaml"), service("a", 80)).unwrap();
    let file = directory.0.join("b.yaml");
    fs::write(&file, service("bb", 80)).unwrap();
    let mut follower = Follower::new(&[&directory.path(""), &file]);
    let aside = directory.0.join("aside");
    fs::rename(directory.path(""), &aside).unwrap();
    fs::remove_file(&file).unwrap();
    while follower.next(SILENCE) {}
    assert_eq!(
        (follower.port("a"), follower.port("bb")),
        (Some(80), Some(80))
    );
    assert_eq!(
        follower.last.problems.len(),
        2,
        "{:?}",
        follower.last.problems
    );

    fs::create_dir(directory.path("")).unwrap();
    follower.sees("a", None);
    fs::write(directory.path("c.yaml"), service("ccc", 80)).unwrap();
    follower.sees("ccc", Some(80));
    fs::write(&file, service("bb", 81)).unwrap();
    follower.sees("bb", Some(81));
    assert_eq!(follower.last.problems, []);
}

#[test]
fn several_paths_are_read_together_and_one_that_is_missing_is_an_error() {
    let directory = Directory::new("several");
    fs::write(directory.path("a.yaml"), service("a", 80)).unwrap();
    let file = directory.0.join("services");
    fs::write(&file, service("bb", 80)).unwrap();
    let update = read_once(options(&[&directory.path(""), &file])).unwrap();
    assert_eq!(update.changes.len(), 2);
    assert!(update.complete);
    let missing = directory.0.join("missing");
    let error = read_once(options(&[&missing])).unwrap_err();
    assert!(matches!(error, Error::Missing { path, .. } if path == missing));
}

#[test]
fn many_objects_change_one_at_a_time_in_time() {
    let directory = Directory::new("many");
    let text: Vec<_> = (0..2_000)
        .map(|i| {
            format!(
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: service-{i}}}\n\
                 spec: {{clusterIP: 10.43.{}.{}, selector: {{app: app-{i}}}, \
                 ports: [{{port: 80}}]}}\n---\napiVersion: v1\nkind: Pod\n\
                 metadata: {{name: pod-{i}, labels: {{app: app-{i}}}}}\n\
                 status: {{podIP: 10.42.{}.{}}}\n",
                i / 250,
                i % 250 + 1,
                i / 250,
                i % 250 + 1
            )
        })
        .collect();
    fs::write(directory.path("many.yaml"), text.concat()).unwrap();
    let mut follower = Follower::new(&[&directory.path("")]);
    directory.rename_in("a.yaml", &service("a", 80));
    follower.sees("a", Some(80));
    assert_eq!(follower.last.changes.len(), 1);
}

#[test]
fn what_was_in_order_outlives_what_is_broken_at_the_next_start() {
    let directory = Directory::new("restart");
    let restarted = || {
        let options = options(&[&directory.path("")]);
        Follower::with(options.keeping(directory.0.join("kept")))
    };
    let write = |name, texts: &[String]| {
        fs::write(directory.path(name), texts.join("---\n")).unwrap();
    };
    let ports = |follower: &Follower| ["a", "bb", "ccc"].map(|name| follower.port(name));
    write("all.yaml", &[service("a", 80), service("bb", 80)]);
    assert_eq!(ports(&restarted()), [Some(80), Some(80), None]);

    let refused = service("a", 80).replace("10.96.0.1", "10.96.0.1000");
    write("all.yaml", &[refused, service("ccc", 80)]);
    let follower = restarted();
    assert_eq!(ports(&follower), [Some(80), None, Some(80)]);
    assert!(follower.last.complete && !follower.last.problems.is_empty());

    for broken in ["kind: [", ""] {
        write("all.yaml", &[broken.to_owned()]);
        let follower = restarted();
        assert_eq!(ports(&follower), [Some(80), Some(80), None], "{broken:?}");
        assert!(follower.last.complete && !follower.last.problems.is_empty());
    }

    write("new.yaml", &["kind: [".to_owned()]);
    let follower = restarted();
    assert!(!follower.last.complete, "nobody knows what was in it");

    fs::remove_file(directory.path("new.yaml")).unwrap();
    fs::remove_file(directory.path("all.yaml")).unwrap();
    drop(restarted());
    write("all.yaml", &["kind: [".to_owned()]);
    assert_eq!(
        ports(&restarted()),
        [None, None, None],
        "it was gone meanwhile"
    );
}
