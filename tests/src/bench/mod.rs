//! What does a packet cost in the kernel programs, beside the least that it could cost?
//!
//! Read in this order: `world` (what is in the maps), `case` (what is timed), `before` (what happened
//! before), `stage` (how one batch is timed), `rounds` (how batches become figures), `report` (how they are
//! shown).

mod before;
mod case;
mod chart;
mod connect;
pub mod connections;
pub mod control_plane;
mod flows;
pub mod latency;
mod load;
pub mod plan;
mod report;
mod rounds;
mod single;
mod stage;
mod subject;
mod world;

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use aya::Ebpf;
use lb_common::drops::Hook;
use lb_common::{Ip4, Ip6, limits};
use lb_userspace::bpf::netns_cookie;
use lb_userspace::tables::{PerFamily, Tables};

use crate::datapath::maps;
use crate::need;
use crate::netns::Netns;
use crate::topology::Family;
use before::{begin, begin_transit, fill, many};
use case::{Case, Entrance, Floor};
use load::Objects;
use report::{FloorRow, Row};
use rounds::{Series, interleave};
pub use subject::Flows;
use subject::{Outcome, Runs, Subject};

/// What `lb-bench datapath` is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often each program gets its turn.
    pub rounds: u32,
    /// How many Services the maps hold; each has two entries in the map of frontends.
    pub services: u16,
    /// How many flows take turns in the case of many.
    pub flows: Flows,
    /// Whether the sieve is in force.
    pub sieve: bool,
    /// The cases that are timed, by name; all of them if there is none.
    pub cases: Vec<String>,
    /// Where the rows go, too.
    pub json: Option<PathBuf>,
    /// The directory that pictures of them go to.
    pub svg: Option<PathBuf>,
}

impl Options {
    fn wants(&self, case: &str) -> bool {
        let is_asked_for = self.cases.is_empty() || self.cases.iter().any(|wanted| wanted == case);
        // Other cases are about tables of the usual size.
        let is_of_size = self.flows.room() == limits::FLOWS || case == self.flows.names()[0];
        is_asked_for && is_of_size
    }
}

/// Times the programs for packets, prints the tables and writes the rows.
///
/// # Errors
/// The programs cannot be loaded, or one of them did something else than its case says.
pub fn datapath(options: &Options) -> Result<()> {
    need::root();
    // A namespace of its own, so that a wrapper can be attached to its loopback.
    println!("{}", machine()?);
    let netns = Netns::new("bench")?;
    let uplink = world::make_uplink(&netns)?;
    let callers = connect::Callers::new(&netns)?;
    netns.run(|| time_all(options, uplink, &callers))
}

fn time_all(options: &Options, uplink: u32, callers: &connect::Callers) -> Result<()> {
    stage::stay_on_one_cpu()?;
    let here = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut objects = Objects::load(
        netns_cookie(here.as_fd())?,
        &world::room(options.services),
        options.flows.room(),
    )?;
    let _attached = objects.make_wrapper_known()?;
    let tables = world::tables(options.services)?;
    maps::write(&mut objects.ours, &tables)?;
    maps::put(
        &mut objects.ours,
        "links",
        [(load::LOOPBACK, world::link()), (uplink, world::uplink())],
    )?;
    if options.sieve {
        maps::write_sieves(&objects.ours, &tables, &[world::link(), world::uplink()])?;
    }
    enter_frontends::<Ip4>(&mut objects.floors, &tables)?;
    enter_frontends::<Ip6>(&mut objects.floors, &tables)?;
    let mut plan = Plan {
        flows: options.flows,
        ..Plan::default()
    };
    for hook in [Hook::Xdp, Hook::Tc] {
        plan.add::<Ip4>(&mut objects, hook, Family::V4)?;
        plan.add::<Ip6>(&mut objects, hook, Family::V6)?;
    }
    plan.keep(|case| options.wants(case));
    let results = plan.measure(&mut objects, options.rounds)?;
    let (floors, mut rows) = plan.rows(&results);
    rows.extend(connect::measure(
        &mut objects,
        callers,
        options.rounds,
        |case| options.wants(case),
    )?);
    ensure!(!rows.is_empty(), "no such case: {:?}", options.cases);
    println!("{}", report::table(&floors, &rows));
    println!("load at the end: {}", first_line("/proc/loadavg")?);
    if let Some(directory) = &options.svg {
        chart::write(directory, &rows)?;
    }
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&report::json(&rows))?;
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// The floors' maps of frontends hold what ours do.
fn enter_frontends<A: PerFamily>(floors: &mut Ebpf, tables: &Tables) -> Result<()> {
    let frontends = &A::of(tables).frontends;
    let entries = frontends.iter().map(|(key, value)| (*key, *value));
    maps::put(floors, A::MAPS.frontends, entries)
}

/// Everything that is timed.
#[derive(Default)]
struct Plan {
    flows: Flows,
    floors: Vec<(Floor, Family, Subject)>,
    cases: Vec<(Family, Case)>,
}

/// Results, in the order of [`Plan::subjects`].
type Results = Vec<Series>;

impl Plan {
    fn add<A: PerFamily>(
        &mut self,
        objects: &mut Objects,
        hook: Hook,
        family: Family,
    ) -> Result<()> {
        let entrance = Entrance::of(hook, family);
        let backend = begin(objects, &entrance)?;
        let remote = Entrance::remote(hook, family);
        let transit = begin_transit::<A>(objects, &remote)?;
        if hook == Hook::Xdp {
            let packets = many(family, self.flows).packets();
            flows::enter_many::<A>(objects, packets, &world::backends(family))?;
        }
        for (floor, subject) in case::floors(hook, family, self.flows, &transit) {
            if floor == Floor::Full {
                flows::enter_known::<A>(&mut objects.floors, &subject.packet, backend)?;
            }
            self.floors.push((floor, family, subject));
        }
        let mut cases = case::established(&entrance, backend);
        cases.extend(case::established_snat(&remote, &transit));
        cases.extend(case::many_flows(hook, family, self.flows));
        cases.extend(case::foreign(hook, family));
        cases.extend(case::new_flow(&entrance, family));
        self.cases
            .extend(cases.into_iter().map(|case| (family, case)));
        Ok(())
    }

    /// Keeps the cases that are wanted, and the floors that they are held against.
    fn keep(&mut self, is_wanted: impl Fn(&str) -> bool) {
        self.cases.retain(|(_, case)| is_wanted(case.name));
        let cases = &self.cases;
        self.floors.retain(|(_, family, subject)| {
            let key = (family, subject.hook, subject.runs);
            (cases.iter())
                .any(|(family, case)| key == (family, case.subject.hook, case.subject.runs))
        });
    }

    /// Floors first, then our own.
    fn subjects(&self) -> Vec<Subject> {
        let floors = self.floors.iter().map(|(.., subject)| subject);
        let cases = self.cases.iter().map(|(_, case)| &case.subject);
        floors.chain(cases).cloned().collect()
    }

    /// All that leave room in the flow tables first; then those that find them full.
    fn measure(&self, objects: &mut Objects, rounds: u32) -> Result<Results> {
        let subjects = self.subjects();
        let mut results = vec![Series::default(); subjects.len()];
        flows::enter_others::<Ip4>(objects, Family::V4)?;
        flows::enter_others::<Ip6>(objects, Family::V6)?;
        for is_full in [false, true] {
            let is_chosen = |subject: &Subject| (subject.runs == Runs::NewClient) == is_full;
            if is_full {
                if !subjects.iter().any(is_chosen) {
                    break;
                }
                flows::end_ours::<Ip4>(objects, many(Family::V4, self.flows).packets())?;
                flows::end_ours::<Ip6>(objects, many(Family::V6, self.flows).packets())?;
                flows::enter_too_many::<Ip4>(objects, Family::V4)?;
                flows::enter_too_many::<Ip6>(objects, Family::V6)?;
                self.enter_known_again(objects)?;
            }
            let chosen: Vec<usize> = (0..subjects.len())
                .filter(|i| is_chosen(&subjects[*i]))
                .collect();
            if is_full {
                for i in &chosen {
                    fill(objects, &subjects[*i], rounds)?;
                }
            }
            let measured = interleave(chosen.len(), rounds, |i, batch| {
                measure(objects, &subjects[chosen[i]], batch)
            })?;
            for (i, series) in chosen.iter().zip(measured) {
                results[*i] = series;
            }
            if !is_full {
                self.check_counts(objects, rounds)?;
                self.cross_check(objects)?;
            }
        }
        Ok(results)
    }

    /// What the floors look up, which their full table may have evicted for strangers.
    fn enter_known_again(&self, objects: &mut Objects) -> Result<()> {
        for (floor, family, subject) in &self.floors {
            if *floor == Floor::Full {
                let (floors, backend) = (&mut objects.floors, world::backends(*family)[0]);
                match family {
                    Family::V4 => flows::enter_known::<Ip4>(floors, &subject.packet, backend)?,
                    Family::V6 => flows::enter_known::<Ip6>(floors, &subject.packet, backend)?,
                }
            }
        }
        Ok(())
    }

    /// Every timed packet of a known connection must have been counted by its flow.
    fn check_counts(&self, objects: &mut Objects, rounds: u32) -> Result<()> {
        for (family, case) in &self.cases {
            if case.subject.outcome == Outcome::Untouched || case.subject.runs != Runs::Same {
                continue;
            }
            let packet = &case.subject.packet;
            let counted = match family {
                Family::V4 => flows::packets_of::<Ip4>(&mut objects.ours, packet)?,
                Family::V6 => flows::packets_of::<Ip6>(&mut objects.ours, packet)?,
            };
            let batches = u64::from(rounds) + 1;
            let timed = batches * u64::from(case.subject.runs.per_batch());
            // Those with which the connection began were not timed: two of the client's, one reply.
            ensure!(
                (timed + 1..=timed + 2).contains(&counted),
                "{}: {counted} packets counted of {timed}",
                case.subject.program
            );
        }
        Ok(())
    }

    /// Measures the first case in the other way as well, and says what came out.
    fn cross_check(&self, objects: &Objects) -> Result<()> {
        for hook in [Hook::Xdp, Hook::Tc] {
            let of_hook = |(_, case): &&(Family, Case)| {
                case.subject.hook == hook && case.name == "established_local"
            };
            let Some((_, case)) = self.cases.iter().find(of_hook) else {
                continue;
            };
            let floor = |floor| &self.floors[self.floor(floor, &case.subject)].2;
            let ratio = single::ratio(
                objects,
                floor(Floor::Empty),
                floor(case.floor),
                &case.subject,
            )?;
            println!(
                "cross-check by single runs: {} {}, {} costs {ratio:.2} × {}",
                hook.name(),
                case.name,
                case.subject.program,
                case.floor.name()
            );
        }
        Ok(())
    }

    fn rows(&self, results: &Results) -> (Vec<FloorRow>, Vec<Row>) {
        let (of_floors, of_cases) = results.split_at(self.floors.len());
        let net = |series: &Series, of: &Subject| {
            let empty = self.floor(Floor::Empty, of);
            series.net_of(&of_floors[empty]).spread()
        };
        let floors = self.floors.iter().zip(of_floors);
        let floors = floors.map(|((floor, family, subject), series)| FloorRow {
            hook: subject.hook,
            family: *family,
            floor: floor.name(),
            packets: subject.runs.name(),
            cost: if *floor == Floor::Empty {
                series.spread()
            } else {
                net(series, subject)
            },
        });
        let cases = self.cases.iter().zip(of_cases);
        let rows = cases.map(|((family, case), series)| {
            let floor = &of_floors[self.floor(case.floor, &case.subject)];
            Row {
                hook: case.subject.hook,
                family: *family,
                case: case.name,
                packets: case.packets,
                program: case.subject.program,
                cost: net(series, &case.subject),
                floor: case.floor.name(),
                floor_cost: net(floor, &case.subject),
                targets: [case.at_most, case.stretch],
            }
        });
        (floors.collect(), rows.collect())
    }

    /// Which of the floors was timed in the way that the subject was.
    fn floor(&self, floor: Floor, subject: &Subject) -> usize {
        let is_ipv4 = subject.packet.source.is_ipv4();
        let found = self.floors.iter().position(|(candidate, _, other)| {
            *candidate == floor
                && other.hook == subject.hook
                && other.packet.source.is_ipv4() == is_ipv4
                && other.runs == subject.runs
        });
        found.expect("every case's floor is timed at its hook")
    }
}

fn measure(objects: &mut Objects, subject: &Subject, batch: u32) -> Result<f64> {
    let nanoseconds = stage::time(objects, subject, batch)?;
    if subject.outcome != Outcome::Untouched {
        match Family::of(subject.packet.source.ip()) {
            Family::V4 => flows::settle::<Ip4>(objects, subject, batch)?,
            Family::V6 => flows::settle::<Ip6>(objects, subject, batch)?,
        }
    }
    Ok(nanoseconds)
}

/// What the figures were measured on.
fn machine() -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    Ok(format!(
        "kernel {}, {} × {model}, JIT {}, load {}",
        first_line("/proc/sys/kernel/osrelease")?,
        std::thread::available_parallelism()?,
        first_line("/proc/sys/net/core/bpf_jit_enable")?,
        first_line("/proc/loadavg")?
    ))
}

/// What is counted here is far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "as above")]
const fn float(count: u64) -> f64 {
    count as f64
}

fn first_line(file: &str) -> Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
