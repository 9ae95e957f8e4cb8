//! When is a mark set in the sieve, and when does it go? Set before whatever it stands for, and taken
//! back once nothing has needed it for a whole walk over the flow table.

use std::marker::PhantomData;
use std::mem::offset_of;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytemuck::Zeroable as _;
use lb_common::layout::{Config, Flow, FlowKey, Link, Sieve, SieveFrame};

use super::{OpenError, open};
use crate::bpf::Words;
use crate::tables::sieve::{
    frame, spot_of_config, spot_of_link, spot_of_row, spots_of_flow, spots_of_tables,
};
use crate::tables::{FamilyRow, PerFamily, Tables};

/// Map `sieve4|6`. Several processes may have it open; one of them, the daemon, walks.
#[derive(Debug)]
pub(super) struct KernelSieve<A> {
    words: Words,
    walk: Mutex<Option<Seen>>,
    family: PhantomData<A>,
}

/// What is needed, as far as the present walk over the flow table has come.
#[derive(Debug)]
struct Seen {
    /// The sieve's state when the walk began.
    state: u64,
    /// The marks that tables need, or needed since the walk began, and those of flows.
    marks: Vec<u64>,
}

impl Seen {
    fn add(&mut self, spot: usize) {
        self.marks[spot / 64] |= 1 << (spot % 64);
    }
}

impl<A: PerFamily> KernelSieve<A> {
    pub(super) fn open(pin_dir: &Path) -> Result<Self, OpenError> {
        let words = size_of::<Sieve<A>>() / size_of::<u64>();
        Ok(Self {
            words: open(pin_dir, A::SIEVE, |path| Words::open(path, words))?,
            walk: Mutex::new(None),
            family: PhantomData,
        })
    }

    fn state(&self) -> &AtomicU64 {
        &self.words.all()[0]
    }

    fn frame_words(&self) -> &[AtomicU64] {
        &self.words.all()[offset_of!(Sieve<A>, frame) / 8..offset_of!(Sieve<A>, marks) / 8]
    }

    fn marks(&self) -> &[AtomicU64] {
        &self.words.all()[offset_of!(Sieve<A>, marks) / 8..]
    }

    fn frame(&self) -> SieveFrame<A> {
        let mut frame = SieveFrame::zeroed();
        let bytes = bytemuck::bytes_of_mut(&mut frame).chunks_exact_mut(8);
        for (bytes, word) in bytes.zip(self.frame_words()) {
            bytes.copy_from_slice(&word.load(SeqCst).to_ne_bytes());
        }
        frame
    }

    fn walk(&self) -> MutexGuard<'_, Option<Seen>> {
        self.walk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether packets pass that are not marked.
    pub(super) fn is_in_force(&self) -> bool {
        self.state().load(SeqCst) & 1 != 0
    }

    /// What it holds now.
    pub(super) fn read(&self) -> Box<Sieve<A>> {
        let mut sieve: Box<Sieve<A>> = bytemuck::zeroed_box();
        sieve.state = self.state().load(SeqCst);
        sieve.frame = self.frame();
        for (to, from) in sieve.marks.iter_mut().zip(self.marks()) {
            *to = from.load(SeqCst);
        }
        sieve
    }

    /// Has every packet looked at until a walk that begins later has come to its end.
    fn suspend(&self) {
        let next = |state: u64| Some((state | 1).wrapping_add(1));
        let _always = self.state().fetch_update(SeqCst, SeqCst, next);
    }

    fn set(&self, spot: usize) {
        let (word, bit) = (&self.marks()[spot / 64], 1 << (spot % 64));
        // Programs on other CPUs need not fetch anew what does not change.
        if word.load(SeqCst) & bit == 0 {
            word.fetch_or(bit, SeqCst);
        }
    }

    fn mark(&self, spots: impl IntoIterator<Item = usize>) {
        let mut walk = self.walk();
        for spot in spots {
            self.set(spot);
            if let Some(seen) = walk.as_mut() {
                seen.add(spot);
            }
        }
    }

    /// To be called before these elements are written.
    pub(super) fn before_rows<'r>(&self, rows: impl Iterator<Item = &'r FamilyRow<A>>) {
        let frame = self.frame();
        self.mark(rows.filter_map(|row| spot_of_row(&frame, row)));
    }

    /// To be called before the configuration is written.
    pub(super) fn before_config(&self, config: &Config) {
        let frame = frame(config);
        if frame != self.frame() {
            // Marks of flows mean something else in it.
            self.suspend();
            let bytes = bytemuck::bytes_of(&frame).as_chunks().0.iter();
            for (word, bytes) in self.frame_words().iter().zip(bytes) {
                word.store(u64::from_ne_bytes(*bytes), SeqCst);
            }
        }
        self.mark([spot_of_config::<A>(config)]);
    }

    /// Writes a link of which the daemon's walk does not know.
    pub(super) fn with_link<T>(&self, link: &Link, write: impl FnOnce() -> T) -> T {
        match spot_of_link::<A>(link) {
            Some(spot) => self.beside_walks([spot], write),
            None => write(),
        }
    }

    /// Writes a flow of which the daemon's walk does not know.
    pub(super) fn with_flow<T>(
        &self,
        key: &FlowKey<A>,
        flow: &Flow<A>,
        write: impl FnOnce() -> T,
    ) -> T {
        self.beside_walks(spots_of_flow(self.frame(), key, flow), write)
    }

    /// A walk that is under way must not take back the marks: it may have passed the place already.
    fn beside_walks<T>(
        &self,
        spots: impl IntoIterator<Item = usize>,
        write: impl FnOnce() -> T,
    ) -> T {
        self.suspend();
        self.mark(spots);
        let written = write();
        self.suspend();
        written
    }

    /// A walk over all flows begins; `tables` and `links` are what there is now, and what went less than
    /// a second ago.
    pub(super) fn begin(&self, tables: &Tables, links: &[Link]) {
        let mut seen = Seen {
            state: self.state().load(SeqCst),
            marks: vec![0; self.marks().len()],
        };
        let of_links = links.iter().filter_map(spot_of_link::<A>);
        for spot in spots_of_tables::<A>(tables).chain(of_links) {
            seen.add(spot);
        }
        for (word, seen) in self.marks().iter().zip(&seen.marks) {
            word.fetch_or(*seen, SeqCst);
        }
        *self.walk() = Some(seen);
    }

    /// The walk has come by these flows.
    pub(super) fn saw<'f>(&self, flows: impl IntoIterator<Item = &'f (FlowKey<A>, Flow<A>)>) {
        let frame = self.frame();
        let mut walk = self.walk();
        let Some(seen) = walk.as_mut() else { return };
        for (key, flow) in flows {
            for spot in spots_of_flow(frame, key, flow) {
                seen.add(spot);
                self.set(spot);
            }
        }
    }

    /// The walk has come to its end, not less than a second after it came by the last flow: what was not
    /// seen is not needed, and packets pass that are not marked. If somebody suspended the sieve
    /// meanwhile, it was in vain.
    pub(super) fn end(&self) {
        let Some(seen) = self.walk().take() else {
            return;
        };
        if self.state().load(SeqCst) != seen.state {
            return;
        }
        for (word, seen) in self.marks().iter().zip(&seen.marks) {
            if word.load(SeqCst) & !seen != 0 {
                word.fetch_and(*seen, SeqCst);
            }
        }
        let in_force = seen.state | 1;
        let _suspended = (self.state()).compare_exchange(seen.state, in_force, SeqCst, SeqCst);
    }

    /// The walk ends here, and changes nothing.
    pub(super) fn give_up(&self) {
        *self.walk() = None;
    }
}
