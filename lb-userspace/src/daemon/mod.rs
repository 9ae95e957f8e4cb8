//! What does `lb run` do, in which order? It wires input, plan, dataplane and links together.
//!
//! Start: load, adopt what is pinned, wait for the input's first list, reconcile, attach; what was
//! adopted and is not wanted goes once a list was complete.
//! Stop: forwarding goes on.

mod audit;
mod error;
mod gone;
mod links;
mod names;
pub(crate) mod node;
mod ports;
mod prepare;
mod reporter;
mod reread;
mod served;
mod standby;
mod stop;
mod sweep;

use std::time::{Duration, Instant};

use lb_common::addr::{Ip4, Ip6};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

pub use error::DaemonError;
pub use reread::ReadSettings;

use crate::dataplane::kernel::KernelTables;
use crate::input::{self, Following, Trigger, Update};
use crate::loader::{Clock, Datapath, Options};
use crate::metrics::Standing;
use crate::model::{Change, Problem};
use crate::object;
use crate::plan::CompleteList;
use crate::reconcile::{Reconciler, Writes};
use crate::settings::Settings;
use crate::state::{self, Lock, State, StateError};
use audit::Audits;
use links::{Heard, Links};
use names::Names;
use reporter::{MustBe, Reporter};
use reread::Reread;
use served::Served;
use standby::Standby;
use stop::Stop;
use sweep::{Sweep, Timeouts};

/// Updates of the input that may wait for us.
const WAITING_UPDATES: usize = 16;
/// Time between two steps of the sweep of each family.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// What is wrong with attachments is looked at again after so long.
const ATTACH_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT; the datapath stays. What the configuration file says meanwhile is
/// `read` anew.
///
/// # Errors
/// [`DaemonError`]: only what nothing can be served with.
pub async fn run(settings: &Settings, read: ReadSettings) -> Result<(), DaemonError> {
    let state_file = settings.state_file();
    let _lock = Lock::take(&state_file)?;
    let before = match State::read(&state_file) {
        Ok(state) => state,
        Err(StateError::Missing(_)) => State::default(),
        Err(error) => {
            warn!(%error, "state not taken over");
            State::default()
        }
    };
    let (sender, mut updates) = mpsc::channel(WAITING_UPDATES);
    // First of all: without it nothing is touched.
    let kept = state::manifests_beside(&state_file);
    let following = input::start(settings, before.allocations.clone(), kept, sender).await?;
    prepare::prepare(settings)?;
    let datapath = Datapath::start(&Options::from(settings), object::embedded()?)?;
    let mut stop = Stop::new().map_err(DaemonError::Netlink)?;
    let mut reread = Reread::new(settings, read).map_err(DaemonError::Netlink)?;
    let mut links = Links::follow()?;
    let mut names = Names::new(settings);
    let mut daemon = Daemon::adopt(settings, datapath, before, &links)?;
    info!(node = settings.node_name(), pin_dir = %settings.pin_dir.display(), "started");

    let mut sweep = interval(SWEEP_EVERY);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut audit = Audits::every(settings.audit_interval);
    loop {
        tokio::select! {
            update = updates.recv() => match update {
                Some(update) => daemon.take_in(update, &links, &mut names),
                None => return Err(DaemonError::InputEnded),
            },
            heard = links.next() => daemon.links_changed(&heard?, &links),
            () = names.changed() => daemon.reporter.touch(),
            () = daemon.reporter.written() => daemon.reporter.finish(),
            () = daemon.served.changed() => daemon.reporter.touch(),
            () = daemon.due() => daemon.tick(&links),
            _ = sweep.tick() => daemon.sweep(&links),
            () = audit.tick() => daemon.audit(&links),
            () = reread.changed() => {
                daemon.settings = reread.follow(&daemon.settings);
                audit.follow(daemon.settings.audit_interval);
                daemon.node_changed(&links);
            }
            signal = stop.wait() => {
                info!(signal, "stopped; forwarding goes on");
                return Ok(());
            }
        }
        daemon.report(&names, &reread, &following);
    }
}

/// Everything that is kept between two events.
struct Daemon {
    settings: Settings,
    clock: Clock,
    datapath: Datapath,
    reconciler: Reconciler<KernelTables>,
    /// What the input said last, without its changes.
    said: Update,
    /// Whether the input has said anything, so that there is something to attach programs for.
    heard: bool,
    /// Whether the input has been read completely, so that what it does not name may go.
    complete: bool,
    attach_at: Option<Instant>,
    attach_problems: Vec<Problem>,
    sweep4: Sweep<Ip4>,
    sweep6: Sweep<Ip6>,
    reporter: Reporter,
    /// Writes that the state file knows of, or is going to.
    reported: Writes,
    served: Served,
    standby: Standby,
    started: Instant,
}

impl Daemon {
    /// Takes over what the maps hold; nothing of it changes yet.
    fn adopt(
        settings: &Settings,
        datapath: Datapath,
        before: State,
        links: &Links,
    ) -> Result<Self, DaemonError> {
        let clock = datapath.clock();
        let standby = Standby::look(settings, &links.facts);
        let base = node::base(settings, &Update::default(), &clock, links, &standby);
        let started = Instant::now();
        Ok(Self {
            settings: settings.clone(),
            clock,
            reconciler: Reconciler::adopt(KernelTables::open(&settings.pin_dir)?, base, 0)?,
            datapath,
            said: Update::default(),
            heard: false,
            complete: false,
            attach_at: None,
            attach_problems: Vec::new(),
            sweep4: Sweep::default(),
            sweep6: Sweep::default(),
            reporter: Reporter::new(settings, before),
            reported: Writes::default(),
            served: Served::start(settings)?,
            standby,
            started,
        })
    }

    /// Milliseconds on a clock that never goes back.
    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Follows the input.
    fn take_in(&mut self, mut update: Update, links: &Links, names: &mut Names) {
        let mut changes = std::mem::take(&mut update.changes);
        let triggers = std::mem::take(&mut update.triggers);
        let became_complete = update.complete && !self.complete;
        self.reporter.took_in(changes.len());
        self.complete |= update.complete;
        self.said = update;
        changes.insert(0, self.node_change(links));
        self.configure(links);
        let touched = names.touched(self.reconciler.planner().world(), &changes);
        self.write(changes, triggers, became_complete);
        if !self.heard {
            self.heard = true;
            self.attach(links);
        }
        names.follow(self.reconciler.planner().world(), &touched, self.complete);
        self.end_stale();
        self.reporter.touch();
    }

    /// Follows links and addresses.
    fn links_changed(&mut self, heard: &Heard, links: &Links) {
        let drift = self.datapath.filters_changed(&heard.filters);
        self.drifted(&drift);
        if heard.is_news() {
            self.node_changed(links);
        }
    }

    /// Follows what links, addresses and settings say of the node.
    fn node_changed(&mut self, links: &Links) {
        self.configure(links);
        let change = self.node_change(links);
        self.write(vec![change], Vec::new(), false);
        if self.heard {
            self.attach(links);
        }
        self.end_stale();
        self.reporter.touch();
    }

    /// Has the maps follow the changes, and then whoever answers for them.
    fn write(&mut self, changes: Vec<Change>, triggers: Vec<Trigger>, everything: bool) {
        let world = self.reconciler.planner().world();
        let touched = self.served.arrived(world, &changes, triggers);
        let (now, started) = (self.now(), Instant::now());
        if everything {
            self.reconciler.complete(CompleteList(changes), now);
        } else {
            self.reconciler.apply(changes, now);
        }
        let world = self.reconciler.planner().world();
        self.served.wrote(world, &touched, started.elapsed());
        self.caught_up();
    }

    /// Tells whoever measures when everything is written.
    fn caught_up(&mut self) {
        if !self.reconciler.is_behind() {
            self.served.caught_up();
        }
    }

    fn node_change(&self, links: &Links) -> Change {
        Change::Node(node::node(
            &self.settings,
            &self.said.node,
            &self.said.service_cidrs,
            &links.addresses(),
        ))
    }

    fn configure(&mut self, links: &Links) {
        let base = node::base(
            &self.settings,
            &self.said,
            &self.clock,
            links,
            &self.standby,
        );
        let now = self.now();
        self.reconciler.configure(base, now);
    }

    /// Makes attachments match what links there are; what is wrong is looked at again.
    fn attach(&mut self, links: &Links) {
        let primary = node::primary(&self.settings, &self.said.node, &links.addresses());
        let addresses = primary.into_iter().collect();
        let problems = self.datapath.attach(&links.facts, &addresses);
        self.attach_at = (!problems.is_empty()).then(|| Instant::now() + ATTACH_AGAIN_AFTER);
        if problems != self.attach_problems {
            self.attach_problems = problems;
            self.reporter.touch();
        }
    }

    /// Waits until [`Daemon::tick`] has something to do.
    async fn due(&self) {
        let reconcile = self
            .reconciler
            .next_tick()
            .map(|millis| self.started + Duration::from_millis(millis));
        let next = [reconcile, self.attach_at, self.reporter.due()]
            .into_iter()
            .flatten()
            .min();
        match next {
            Some(at) => sleep(at.saturating_duration_since(Instant::now())).await,
            None => std::future::pending().await,
        }
    }

    /// Does what the time has come for.
    fn tick(&mut self, links: &Links) {
        let now = self.now();
        self.reconciler.tick(now);
        self.caught_up();
        if self.attach_at.is_some_and(|at| at <= Instant::now()) {
            self.attach(links);
        }
    }

    /// Ends flows of backends that stopped serving, now that the new state is in the maps.
    fn end_stale(&mut self) {
        let stopped = self.reconciler.take_stopped();
        let tables = self.reconciler.dataplane();
        sweep::end_stale(tables, &stopped);
        if !self.settings.socket_connected_udp {
            return;
        }
        match gone::tell(tables, &stopped, self.settings.socket_scope()) {
            // `lb doctor` says so.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            Err(error) => warn!(%error, "sockets of backends that stopped serving were not told"),
            Ok(()) => {}
        }
    }

    fn sweep(&mut self, links: &Links) {
        if self.standby.look_again(&self.settings, &links.facts) {
            self.configure(links);
            self.reporter.touch();
        }
        // What was decided upon just before they stopped has begun meanwhile.
        let stopped = self.reconciler.take_stopped_again();
        sweep::end_stale(self.reconciler.dataplane(), &stopped);
        let tables = self.reconciler.dataplane();
        let planned = self.reconciler.planner().tables();
        let planned = (!self.reconciler.is_behind()).then_some(planned);
        let timeouts = Timeouts::new(&self.settings);
        let swept = self
            .sweep4
            .step(tables, planned, &self.clock, timeouts)
            .and_then(|()| self.sweep6.step(tables, planned, &self.clock, timeouts));
        if let Err(error) = swept {
            warn!(%error, "sweep");
        }
    }

    /// Says how it is; writes the state file if something is new and it was not just written.
    fn report(&mut self, names: &Names, reread: &Reread, following: &Following) {
        let planner = self.reconciler.planner();
        let writes = self.reconciler.writes();
        if writes != self.reported {
            self.reported = writes;
            self.reporter.touch();
        }
        let standing = Standing {
            tables: planner.tables(),
            services: planner.world().services().len(),
            is_behind: self.reconciler.is_behind(),
            is_ready: self.complete,
            writes: [writes.done, writes.failed],
        };
        self.served.beat(&standing, self.said.node.leaving);
        if self.reporter.is_due() {
            let mut problems = self.said.problems.clone();
            problems.extend(self.reconciler.problems());
            problems.extend(self.attach_problems.iter().cloned());
            problems.extend(names.problems());
            problems.extend(reread.problems());
            problems.extend(self.served.problems(&self.settings.node_name()));
            self.served.has_problems(&problems);
            following.announce(&problems, self.reconciler.planner().world());
            let must_be = MustBe {
                digests: self.reconciler.planner().tables().digests(),
                placed: self.datapath.placed(),
            };
            let world = self.reconciler.planner().world();
            self.reporter.write(problems, &self.said, world, must_be);
        }
    }
}
