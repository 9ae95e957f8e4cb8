//! How does a test run `lb`? On a node, with a pin directory, a cgroup and a state directory of its
//! own, so that any number of them run side by side.

mod pinned;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use self::pinned::{await_gone, map_bytes, pinned_ids};
use crate::command;
use crate::leftovers::{self, Guard};
use crate::manifests::Manifests;
use crate::program;
use crate::topology::{Node, Place, addresses};
use crate::wait;

/// A start takes far less; a slow machine is given time, and one with an emulated processor more.
const PATIENCE: Duration = Duration::from_mins(5);

/// `lb` on a node.
#[derive(Debug)]
pub struct Lb {
    place: Place,
    settings: Vec<(&'static str, String)>,
    /// What the daemon is started by; empty = by nothing.
    wrapper: Vec<String>,
    pins: Guard,
    state: Guard,
    cgroup: Guard,
    running: Option<Running>,
    traces: Traces,
}

#[derive(Debug)]
struct Running {
    child: Child,
    guard: Guard,
}

impl Lb {
    /// Makes everything that an instance on the node needs; `hooks` as for `--hooks`.
    ///
    /// # Errors
    /// The machine lacks something.
    pub fn new(node: &Node, manifests: &Manifests, hooks: &str) -> Result<Self> {
        let pins = leftovers::pin_dir(node.name())?;
        let state = leftovers::temporary_dir("state")?;
        let cgroup = leftovers::cgroup(node.name())?;
        // `lb` makes and removes this one itself.
        let pin_dir = pins.path().join("lb");
        let mut settings = vec![
            manifests.setting(),
            ("LB_NODE_NAME", node.name().to_owned()),
            ("LB_HOOKS", hooks.to_owned()),
            ("LB_PIN_DIR", pin_dir.display().to_string()),
            ("LB_STATE_DIR", state.path().display().to_string()),
            ("NO_COLOR", String::from("1")),
            ("LB_CGROUP", cgroup.path().display().to_string()),
        ];
        if !manifests.are_in_cluster() {
            // Objects of the API say it there.
            settings.push(("LB_CLUSTER_CIDR", addresses::PODS.join(",")));
            settings.push(("LB_SERVICE_CIDR", addresses::SERVICES.join(",")));
        }
        let traces = Traces::of(node.place())?;
        Ok(Self {
            place: node.place().in_cgroup(cgroup.path())?,
            settings,
            wrapper: Vec::new(),
            pins,
            state,
            cgroup,
            running: None,
            traces,
        })
    }

    /// [`Lb::new`], and started.
    ///
    /// # Errors
    /// As there, or it does not start; what it said is part of the error.
    pub fn started(node: &Node, manifests: &Manifests, hooks: &str) -> Result<Self> {
        let mut lb = Self::new(node, manifests, hooks)?;
        lb.start()?;
        Ok(lb)
    }

    /// Where the node's own processes are, in the cgroup that the socket hook serves.
    #[must_use]
    pub const fn node(&self) -> &Place {
        &self.place
    }

    /// The cgroup that the socket hook serves.
    #[must_use]
    pub fn cgroup(&self) -> &Path {
        self.cgroup.path()
    }

    /// The daemon's process.
    ///
    /// # Errors
    /// It does not run.
    pub fn pid(&self) -> Result<u32> {
        let running = self.running.as_ref().context("`lb run` does not run")?;
        Ok(running.child.id())
    }

    /// Bytes that its maps take in the kernel, as that counts them.
    ///
    /// # Errors
    /// bpftool fails.
    pub fn map_bytes(&self) -> Result<u64> {
        map_bytes(&pinned_ids(&self.pin_dir())?)
    }

    /// Adds a setting, by the name of its environment variable; it counts from the next start on.
    #[must_use]
    pub fn with(mut self, variable: &'static str, value: &str) -> Self {
        self.settings.retain(|(name, _)| *name != variable);
        self.settings.push((variable, value.to_owned()));
        self
    }

    /// As root with these capabilities alone (capabilities(7), in lower case); it counts for the
    /// daemon, from the next start on.
    #[must_use]
    pub fn confined(mut self, capabilities: &[&str]) -> Self {
        let bounds = capabilities.join(",+");
        self.wrapper = vec![
            "setpriv".to_owned(),
            format!("--bounding-set=-all,+{bounds}"),
            "--inh-caps=-all".to_owned(),
        ];
        self
    }

    /// In a mount namespace of its own, in which no BPF file system is mounted; it counts for the
    /// daemon, from the next start on.
    #[must_use]
    pub fn without_bpffs(self) -> Self {
        self.among_mounts("while umount --lazy /sys/fs/bpf 2>&-; do :; done")
    }

    /// In a mount namespace of its own, which these lines of shell arrange first; it counts for the daemon,
    /// from the next start on.
    #[must_use]
    pub fn among_mounts(mut self, arrangement: &str) -> Self {
        let script = format!("set -e\n{arrangement}\nexec \"$@\"");
        self.wrapper = ["unshare", "--mount", "sh", "-c", &script, "mounts"]
            .map(str::to_owned)
            .into();
        self
    }

    /// As [`Lb::among_mounts`], made of this process's: what is mounted where that is shared comes to both.
    #[must_use]
    pub fn among_mounts_of(self, process: u32, arrangement: &str) -> Self {
        let mut lb = self.among_mounts(arrangement);
        let enter = [
            "nsenter".to_owned(),
            format!("--mount=/proc/{process}/ns/mnt"),
        ];
        lb.wrapper.splice(0..0, enter);
        let unchanged = ["--propagation", "unchanged"].map(str::to_owned);
        lb.wrapper.splice(4..4, unchanged);
        lb
    }

    /// The daemon, to be run on the node.
    fn daemon(&self) -> Result<Command> {
        let daemon = self.command(&["run"])?;
        let Some((program, arguments)) = self.wrapper.split_first() else {
            return Ok(daemon);
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg(daemon.get_program())
            .args(daemon.get_args())
            .envs(self.settings.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// `lb` with these arguments and the instance's settings, to be run on the node.
    ///
    /// # Errors
    /// There is no binary.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(program::lb()?);
        command
            .args(arguments)
            .envs(self.settings.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Runs `lb` with these arguments to its end and returns its output.
    ///
    /// # Errors
    /// It failed; what it said is part of the error.
    pub fn output(&self, arguments: &[&str]) -> Result<String> {
        self.place.netns().output(&mut self.command(arguments)?)
    }

    /// Starts the daemon and waits until what the manifests say is in effect.
    ///
    /// # Errors
    /// It ends, or is not ready in time; what it said is part of the error.
    pub fn start(&mut self) -> Result<()> {
        let log = File::options().append(true).create(true).open(self.log())?;
        let mut command = self.daemon()?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = self.place.netns().run(|| {
            command
                .spawn()
                .with_context(|| format!("starting `{}`", command::show(&command)))
        })?;
        let guard = leftovers::process(child.id());
        self.running = Some(Running { child, guard });
        self.await_ready().with_context(|| self.said())
    }

    fn await_ready(&mut self) -> Result<()> {
        wait::until("`lb run` has written its state", PATIENCE, || {
            let child = &mut self.running.as_mut().context("not started")?.child;
            let pid = child.id();
            if let Some(status) = child.try_wait()? {
                self.forget();
                bail!("`lb run` ended: {status}");
            }
            Ok(self.state()?.is_some_and(|state| state["pid"] == pid))
        })
    }

    /// The state file, once it is there.
    ///
    /// # Errors
    /// It is no JSON.
    pub fn state(&self) -> Result<Option<serde_json::Value>> {
        match fs::read_to_string(self.state.path().join("lb.json")) {
            Ok(text) => Ok(Some(serde_json::from_str(&text)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What it has said so far, all starts together.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.state.path().join("log")
    }

    /// Where its pins are.
    #[must_use]
    pub fn pin_dir(&self) -> PathBuf {
        self.pins.path().join("lb")
    }

    /// Ends the daemon as `kill -9` does.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        Ok(())
    }

    /// Ends the daemon as a service manager does.
    ///
    /// # Errors
    /// It does not run, or does not end well.
    pub fn stop(&mut self) -> Result<()> {
        let status = self.signal(Signal::SIGTERM)?;
        ensure!(
            status.success(),
            "`lb run` ended with {status}\n{}",
            self.said()
        );
        Ok(())
    }

    /// Stops the daemon in its tracks, or lets it go on.
    ///
    /// # Errors
    /// It does not run.
    pub fn freeze(&self, is_frozen: bool) -> Result<()> {
        let running = self.running.as_ref().context("`lb run` does not run")?;
        let signal = if is_frozen {
            Signal::SIGSTOP
        } else {
            Signal::SIGCONT
        };
        kill(Pid::from_raw(running.child.id().cast_signed()), signal)?;
        Ok(())
    }

    /// Has the daemon read its settings again, as `systemctl reload` does.
    ///
    /// # Errors
    /// It does not run.
    pub fn hang_up(&self) -> Result<()> {
        let pid = Pid::from_raw(self.pid()?.cast_signed());
        Ok(kill(pid, Signal::SIGHUP)?)
    }

    fn signal(&mut self, signal: Signal) -> Result<std::process::ExitStatus> {
        let mut running = self.running.take().context("`lb run` does not run")?;
        kill(Pid::from_raw(running.child.id().cast_signed()), signal)?;
        let status = running.child.wait()?;
        running.guard.release();
        Ok(status)
    }

    fn forget(&mut self) {
        if let Some(running) = self.running.take() {
            running.guard.release();
        }
    }

    /// Removes it from the node, and checks that everything is as it was before the start: links,
    /// filters, qdiscs, programs, maps, pins.
    ///
    /// # Errors
    /// Something is left, or `lb uninstall` fails.
    pub fn uninstall(mut self) -> Result<()> {
        let ids = pinned_ids(&self.pin_dir())?;
        if self.running.is_some() {
            self.stop()?;
        }
        self.output(&["uninstall"])?;
        ensure!(
            !self.pin_dir().exists(),
            "{} is left",
            self.pin_dir().display()
        );
        let traces = Traces::of(&self.place)?;
        ensure!(
            traces == self.traces,
            "left on the node:\n{traces:#?}\nwhere there was\n{:#?}",
            self.traces
        );
        await_gone(&ids)
    }
}

impl Drop for Lb {
    fn drop(&mut self) {
        if self.running.is_some()
            && let Err(error) = self.kill()
        {
            eprintln!("{error:#}");
        }
        if self.pin_dir().exists() {
            // A test that failed: pins are removed by their guard, netlink attachments go with
            // the namespace.
            eprintln!("`lb run` said:\n{}", self.said());
        }
    }
}

/// What a node shows of programs that are attached to its links: its links may come and go.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    qdiscs: Vec<String>,
    attached: String,
}

impl Traces {
    fn of(place: &Place) -> Result<Self> {
        let run = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            place.netns().output(command.args(arguments))
        };
        let qdiscs = run("tc", &["qdisc", "show"])?;
        let special = qdiscs
            .lines()
            .filter(|line| !line.starts_with("qdisc noqueue"));
        Ok(Self {
            qdiscs: special.map(str::to_owned).collect(),
            attached: run("bpftool", &["net", "show"])?,
        })
    }
}
