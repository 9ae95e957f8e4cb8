//! What do `lb takeover` and `lb handback` have in common? Both name what stays, carry over the rest
//! while the daemon changes who serves what begins, and tell by their exit code whether all passed.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use lb_common::layout::CONFIG_STANDBY;

use super::error::CliError;
use super::print::{Format, Output, Printer};
use super::show::write;
use super::source::Source;
use super::view::{Clock, Index, PassengerRecord, passenger};
use crate::handover::{Carried, Circumstances, Handover, HandoverError, Passenger, Plan, Why};
use crate::settings::Settings;
use crate::state::Wish;

/// Exit code where something stays that was to pass.
const SOMETHING_STAYS: u8 = 3;
/// The daemon hears of a wish within a second, and does not do much else.
const PATIENCE: Duration = Duration::from_secs(30);
/// Handshakes that were under way come to an end, or their clients have given up.
const HANDSHAKES: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Between two looks whether the daemon has heard.
const HEARD_WITHIN: Duration = Duration::from_millis(20);
/// Netfilter sees packets that stay on a bridge where this is not 0.
const BRIDGED: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// What both are asked.
#[derive(Args, Clone, Debug)]
pub(super) struct Passing {
    /// Only show what would be done
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Show the connections that pass, too, not only those that stay
    #[arg(short, long)]
    all: bool,

    /// How to print: for people, or for programs
    #[arg(
        short,
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "table"
    )]
    output: Format,
}

/// From whom to whom connections pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From nf_conntrack to us.
    Take,
    /// From us to nf_conntrack.
    Give,
}

impl Direction {
    const fn wish(self) -> Wish {
        match self {
            Self::Take => Wish::Serve,
            Self::Give => Wish::StandBy,
        }
    }

    /// How many stay, and where they are.
    fn stay(self, whys: &[Why]) -> String {
        let all = whys.len();
        let in_ipvs = whys.iter().filter(|why| **why == Why::Ipvs).count();
        match self {
            Self::Give => format!("{all} stay in lb"),
            Self::Take if in_ipvs == 0 => format!("{all} stay in nf_conntrack"),
            Self::Take if in_ipvs == all => format!("{all} stay in IPVS"),
            Self::Take => format!(
                "{} stay in nf_conntrack and {in_ipvs} in IPVS",
                all - in_ipvs
            ),
        }
    }

    fn look(self, handover: &mut Handover<'_>, source: &Source) -> Result<Plan, CliError> {
        let bridged = std::fs::read_to_string(BRIDGED).is_ok_and(|text| text.trim() != "0");
        let circumstances = Circumstances {
            now: clock(source)?.now,
            bridged,
        };
        Ok(match self {
            Self::Take => handover.look_at_theirs(circumstances)?,
            Self::Give => handover.look_at_ours(circumstances)?,
        })
    }
}

impl Passing {
    /// Looks, says and, unless only that was asked for, does.
    pub(super) fn run(
        &self,
        settings: &Settings,
        direction: Direction,
    ) -> Result<ExitCode, CliError> {
        let source = Source::open(settings)?;
        if source.daemon().is_none() && !self.dry_run {
            return Err(CliError::NotRunning);
        }
        let mut handover = Handover::open(source.kernel())?;
        let plan = direction.look(&mut handover, &source)?;
        self.print(&source, &plan)?;
        let mut whys: Vec<Why> = plan.stay.iter().map(|(_, why)| *why).collect();
        if self.dry_run {
            let passing = plan.passing() + plan.later.len();
            eprintln!("{passing} would pass, {}.", direction.stay(&whys));
            return Ok(code(plan.stay.is_empty()));
        }
        let done = carry_all(&mut handover, &source, settings, direction, &plan)?;
        let named = |passenger: &Passenger| plan.stay.iter().any(|(named, _)| named == passenger);
        let unnamed: Vec<_> = done.stay.iter().filter(|(it, _)| !named(it)).collect();
        for (passenger, why) in &unnamed {
            eprintln!(
                "{} to {} stays: {why}",
                passenger.client, passenger.frontend
            );
        }
        whys.extend(unnamed.iter().map(|(_, why)| *why));
        eprintln!("{} passed, {}.", done.passed, direction.stay(&whys));
        Ok(code(plan.stay.is_empty() && unnamed.is_empty()))
    }

    fn print(&self, source: &Source, plan: &Plan) -> Result<(), CliError> {
        let tables = source.tables()?;
        let index = Index::new(&tables, source.state());
        let stay = plan.stay.iter();
        let mut records: Vec<PassengerRecord> = stay
            .map(|(it, why)| passenger(&index, it, Some(*why)))
            .collect();
        if self.all {
            let later = plan.later.iter().copied();
            records.extend(
                plan.passengers()
                    .chain(later)
                    .map(|it| passenger(&index, &it, None)),
            );
        }
        let output = Output {
            output: self.output,
            no_headers: false,
            watch: false,
        };
        Ok(write(&Printer::new(&output, false).list(&records)?)?)
    }
}

fn code(is_all: bool) -> ExitCode {
    if is_all {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(SOMETHING_STAYS)
    }
}

fn clock(source: &Source) -> Result<Clock, CliError> {
    source.clock()?.ok_or(CliError::NotRunning)
}

/// Carries over what the plan says, then what has come to be known meanwhile.
fn carry_all(
    handover: &mut Handover<'_>,
    source: &Source,
    settings: &Settings,
    direction: Direction,
    plan: &Plan,
) -> Result<Carried, CliError> {
    let now = || clock(source).map_or(0, |clock| clock.now);
    let mut done = Carried::default();
    if direction == Direction::Take {
        // As long as kube-proxy serves what begins, so that nothing waits that is not TCP, either.
        done = handover.carry(plan, now)?;
    } else {
        handover.announce(plan)?;
    }
    tell(source, settings, direction.wish(), || {
        if direction == Direction::Give {
            // What is over goes before kube-proxy gives its ports to what begins.
            let plan = direction.look(handover, source)?;
            handover.forget_over(&plan)?;
        }
        Ok(())
    })?;
    let told = Instant::now();
    loop {
        let plan = direction.look(handover, source)?;
        let stays = |passenger: &Passenger| done.stay.iter().any(|(it, _)| it == passenger);
        let is_done = plan.passengers().all(|it| stays(&it)) && plan.later.is_empty();
        done.add(handover.carry(&plan, now)?);
        if is_done || told.elapsed() > HANDSHAKES {
            let later = plan.later.iter().map(|it| (*it, Why::Opening));
            done.stay.extend(later);
            done.stay.extend(plan.stay);
            done.stay.sort_unstable();
            done.stay.dedup_by_key(|(passenger, _)| *passenger);
            return Ok(done);
        }
        sleep(LOOK_EVERY);
    }
}

/// Tells the daemon who shall serve what begins, and waits until the programs know.
fn tell(
    source: &Source,
    settings: &Settings,
    wish: Wish,
    mut meanwhile: impl FnMut() -> Result<(), CliError>,
) -> Result<(), CliError> {
    wish.write(&settings.state_file())?;
    let told = Instant::now();
    loop {
        meanwhile()?;
        let flags = source.kernel().config()?.flags;
        if (flags & CONFIG_STANDBY != 0) == (wish == Wish::StandBy) {
            return Ok(());
        }
        if told.elapsed() > PATIENCE {
            return Err(CliError::NotHeard);
        }
        sleep(HEARD_WITHIN);
    }
}

impl From<HandoverError> for CliError {
    fn from(error: HandoverError) -> Self {
        Self::Handover(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_stay_are_told_where_they_are() {
        let (ipvs, other) = (Why::Ipvs, Why::OfNode);
        for (direction, whys, told) in [
            (Direction::Take, &[][..], "0 stay in nf_conntrack"),
            (Direction::Take, &[other, other], "2 stay in nf_conntrack"),
            (Direction::Take, &[ipvs], "1 stay in IPVS"),
            (
                Direction::Take,
                &[ipvs, other, ipvs],
                "1 stay in nf_conntrack and 2 in IPVS",
            ),
            (Direction::Give, &[other], "1 stay in lb"),
        ] {
            assert_eq!(direction.stay(whys), told);
        }
    }
}
