//! What exactly does a packet cost: which maps are asked how often, which helpers are called, how many
//! instructions run? The object's own programs, interpreted on plain tables, without a kernel.
//!
//! So the figures are the same on every machine, as long as the same compiler made the object. They say
//! nothing of time; `cargo xtask bench` does that.

mod context;
mod helpers;
mod machine;
mod memory;
mod tables;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use aya_obj::Object;
use aya_obj::generated::bpf_insn;
use bytemuck::{Pod, bytes_of};
use lb_common::layout::{LINK_POD, LINK_UPLINK, LINK_XDP, Link};
use lb_common::{Ip4, Ip6};
use lb_userspace::model::Protocol;
use lb_userspace::tables::sieve::sieve;
use lb_userspace::tables::{PerFamily, Tables};

use self::context::Place;
use self::memory::Memory;
use self::tables::Table;
use super::{kernel, verifier};
use crate::packet::Packet;

/// The links' indices.
const UPLINK: u32 = 2;
const POD: u32 = 3;
/// What fits into an Ethernet frame.
const MTU: u32 = 1_500;
/// Any time but the beginning of it.
const JIFFIES: u64 = 1_000_000;

/// What was asked of a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Calls {
    look_ups: u32,
    updates: u32,
    deletes: u32,
    pushes: u32,
    pops: u32,
}

/// What one run of a program came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By map.
    maps: BTreeMap<String, Calls>,
    /// Bytes of keys of hash maps, each of which the kernel hashes.
    hashed: u32,
    /// Calls of helpers that are about no map.
    helpers: BTreeMap<&'static str, u32>,
    /// Instructions.
    instructions: u32,
}

/// What a program does with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it returned.
    pub code: u32,
    /// The packet that it left.
    pub packet: Vec<u8>,
}

/// Where a program finds everything but its registers.
#[derive(Clone, Debug, Default)]
struct State {
    memory: Memory,
    /// By descriptor; none where data are.
    tables: Vec<Option<Table>>,
    /// What the object's sections of data hold, by descriptor.
    sections: BTreeMap<i32, u64>,
    jiffies: u64,
    place: Option<Place>,
    /// Where the packet begins.
    data: u64,
}

impl State {
    fn data_of(&self, fd: i32) -> Result<u64> {
        let found = self.sections.get(&fd);
        found.copied().context("data that the object does not have")
    }

    fn table(&mut self, name: &str) -> Result<(&mut Table, &mut Memory)> {
        let mut tables = self.tables.iter_mut().flatten();
        let found = tables.find(|table| table.name == name);
        Ok((
            found.with_context(|| format!("the object has no map {name}"))?,
            &mut self.memory,
        ))
    }

    fn put(&mut self, name: &str, key: &[u8], value: &[u8]) -> Result<()> {
        let (table, memory) = self.table(name)?;
        let answer = table.update(key, value, 0, memory)?;
        anyhow::ensure!(answer == 0, "map {name} refuses an element: {answer}");
        Ok(())
    }
}

/// The object's programs, on tables of their own.
#[derive(Clone)]
pub struct Counted {
    programs: BTreeMap<String, Vec<bpf_insn>>,
    state: State,
}

impl Counted {
    /// The programs as they are shipped, with empty maps.
    ///
    /// # Errors
    /// There is no object, or it has what is new here.
    pub fn load() -> Result<Self> {
        let mut object = Object::parse(&kernel::object()?)?;
        let mut state = State {
            jiffies: JIFFIES,
            ..State::default()
        };
        let mut names: Vec<_> = object.maps.keys().cloned().collect();
        names.sort();
        let mut descriptors = BTreeMap::new();
        for (fd, name) in names.iter().enumerate() {
            let (fd, map) = (i32::try_from(fd)?, &object.maps[name]);
            descriptors.insert(name.as_str(), fd);
            if map.data().is_empty() {
                state.tables.push(Some(Table::new(name, map)?));
            } else {
                state.tables.push(None);
                let place = state.memory.add(map.data().to_vec());
                state.sections.insert(fd, place);
            }
        }
        verifier::link(&mut object, &descriptors)?;
        let code = |(name, program): (&String, &aya_obj::Program)| {
            let function = &object.functions[&program.function_key()];
            (name.clone(), function.instructions.clone())
        };
        let programs = object.programs.iter().map(code).collect();
        let mut counted = Self { programs, state };
        let links = [(UPLINK, LINK_UPLINK | LINK_XDP), (POD, LINK_POD)];
        for (index, flags) in links {
            let link = Link {
                mtu: MTU,
                flags,
                ..Link::default()
            };
            counted
                .state
                .put("links", bytes_of(&index), bytes_of(&link))?;
        }
        Ok(counted)
    }

    /// Writes all tables.
    ///
    /// # Errors
    /// They are larger than the maps.
    pub fn write(&mut self, tables: &Tables) -> Result<()> {
        self.state
            .put("config", &[0; 4], bytes_of(&tables.config))?;
        self.put_all("slots", &tables.slots)?;
        self.write_family::<Ip4>(tables)?;
        self.write_family::<Ip6>(tables)
    }

    fn write_family<A: PerFamily>(&mut self, tables: &Tables) -> Result<()> {
        let (names, family) = (A::MAPS, A::of(tables));
        self.put_all(names.backends, &family.backends)?;
        self.put_all(names.info, &family.info)?;
        self.put_all(names.frontends, &family.frontends)?;
        for address in &family.nodes {
            self.state
                .put(names.nodes, bytes_of(address), &1_u32.to_le_bytes())?;
        }
        for range in &family.ranges {
            self.state
                .put(names.ranges, bytes_of(range), &1_u32.to_le_bytes())?;
        }
        let sieve = sieve::<A>(tables, &[]);
        self.state.put(A::SIEVE, &[0; 4], bytes_of(&*sieve))
    }

    fn put_all<'t, K: Pod, V: Pod>(
        &mut self,
        name: &str,
        entries: impl IntoIterator<Item = (&'t K, &'t V)>,
    ) -> Result<()> {
        for (key, value) in entries {
            self.state.put(name, bytes_of(key), bytes_of(value))?;
        }
        Ok(())
    }

    /// Gives a map room for so many elements.
    ///
    /// # Errors
    /// There is no such map.
    pub fn limit(&mut self, map: &str, elements: usize) -> Result<()> {
        self.state.table(map)?.0.max_entries = elements;
        Ok(())
    }

    /// How many elements a map has.
    ///
    /// # Errors
    /// There is no such map.
    pub fn elements(&mut self, map: &str) -> Result<usize> {
        Ok(self.state.table(map)?.0.len())
    }

    /// Runs a program over a packet at the link where it would be: what becomes of it, and what that
    /// took.
    ///
    /// # Errors
    /// There is no such program, or it does what is new here.
    pub fn run(&mut self, program: &str, packet: &Packet) -> Result<(Outcome, Counts)> {
        let (place, link) = match program {
            "xdp_uplink" => (Place::Xdp, UPLINK),
            "tc_uplink_in" | "tc_uplink_out" => (Place::Tc, UPLINK),
            "tc_pod_in" | "tc_pod_out" => (Place::Tc, POD),
            _ => bail!("{program} is not for packets"),
        };
        let context = context::of_packet(place, link, &packet.bytes(), &mut self.state)?;
        let (code, counts) = self.run_on(program, context)?;
        let packet = context::packet(context, &self.state)?;
        Ok((Outcome { code, packet }, counts))
    }

    /// Runs a program for a socket of the node that names an address: what it returns, whom the call
    /// names then, and what that took.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn call(
        &mut self,
        program: &str,
        protocol: Protocol,
        to: SocketAddr,
    ) -> Result<(u32, SocketAddr, Counts)> {
        let context = context::of_call(protocol, to, &mut self.state);
        let (code, counts) = self.run_on(program, context)?;
        let named = context::named(context, to.is_ipv4(), &self.state)?;
        Ok((code, named, counts))
    }

    fn run_on(&mut self, program: &str, context: u64) -> Result<(u32, Counts)> {
        let code = self.programs.get(program);
        let code = code.with_context(|| format!("no program {program}"))?;
        let mut counts = Counts::default();
        let result = machine::run(code, context, &mut self.state, &mut counts);
        let result = result.with_context(|| format!("interpreting {program}"))?;
        Ok((result as u32, counts))
    }

    /// How large each program is: its instructions, and from where it calls which helper.
    #[must_use]
    pub fn sizes(&self) -> Vec<(String, u32, String)> {
        const CALL: u8 = 0x85;
        let size = |(name, code): (&String, &Vec<bpf_insn>)| {
            let mut calls = BTreeMap::<_, u32>::new();
            for call in code
                .iter()
                .filter(|one| one.code == CALL && one.src_reg() == 0)
            {
                let number = call.imm.cast_unsigned();
                let name = helpers::name(number).map_or_else(|| number.to_string(), str::to_owned);
                *calls.entry(name).or_default() += 1;
            }
            let calls = calls.iter().map(|(name, count)| format!("{name} {count}"));
            (
                name.clone(),
                code.len() as u32,
                calls.collect::<Vec<_>>().join(", "),
            )
        };
        self.programs.iter().map(size).collect()
    }
}

impl Counts {
    /// Instructions that ran.
    #[must_use]
    pub const fn instructions(&self) -> u32 {
        self.instructions
    }

    /// All else, in a few lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let maps: Vec<_> = self
            .maps
            .iter()
            .map(|(name, calls)| calls.told(name))
            .collect();
        let mut lines = vec![
            format!("maps: {}", maps.join("; ")),
            format!("bytes hashed: {}", self.hashed),
        ];
        if !self.helpers.is_empty() {
            let helpers = self
                .helpers
                .iter()
                .map(|(name, count)| format!("{name} {count}"));
            lines.push(format!(
                "helpers: {}",
                helpers.collect::<Vec<_>>().join(", ")
            ));
        }
        lines
    }
}

impl Calls {
    fn told(&self, map: &str) -> String {
        let kinds = [
            ("look-up", self.look_ups),
            ("update", self.updates),
            ("delete", self.deletes),
            ("push", self.pushes),
            ("pop", self.pops),
        ];
        let told = kinds.iter().filter(|(_, count)| *count > 0);
        let told = told.map(|(kind, count)| format!("{kind} {count}"));
        format!("{map} {}", told.collect::<Vec<_>>().join(", "))
    }
}
