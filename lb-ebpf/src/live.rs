//! The decision's read access, on the BPF maps.

use core::marker::PhantomData;
use core::ptr;

use aya_ebpf::{btf_maps::lpm_trie::Key, helpers::bpf_jiffies64};
use lb_common::{
    decide::Tables,
    layout::{Affinity, AffinityKey, Backend, Config, FrontendInfo, FrontendKey, FrontendRef},
};

use crate::maps::{self, Maps, RangeData};

/// The maps of one family.
pub(crate) struct Live<A> {
    config: &'static Config,
    family: PhantomData<A>,
}

impl<A: Maps> Live<A> {
    /// The maps, once userspace has written the configuration.
    #[inline(always)]
    pub(crate) fn new() -> Option<Self> {
        Some(Self {
            config: maps::config()?,
            family: PhantomData,
        })
    }

    /// Map `config`.
    #[inline(always)]
    pub(crate) fn config(&self) -> &'static Config {
        self.config
    }
}

/// Jiffies, low 32 bits.
#[inline(always)]
pub(crate) fn now() -> u32 {
    // SAFETY: the helper only reads the clock. Kernel 5.5.
    unsafe { bpf_jiffies64() as u32 }
}

impl<A: Maps> Tables<A> for Live<A> {
    #[inline(always)]
    fn flags(&self) -> u32 {
        self.config.flags
    }

    #[inline(always)]
    fn is_pod(&self, address: &A) -> bool {
        A::is_pod(self.config, address)
    }

    #[inline(always)]
    fn is_node(&self, address: &A) -> bool {
        A::nodes().get_ptr(address).is_some()
    }

    #[inline(always)]
    fn is_service(&self, address: &A) -> bool {
        A::is_service(self.config, address)
    }

    #[inline(always)]
    fn frontend(&self, key: &FrontendKey<A>) -> Option<FrontendRef> {
        let word = A::frontends().get_ptr(key)?.cast::<u64>();
        // SAFETY: the value is 8 bytes, aligned to 8; one volatile read takes it whole even while
        // the element is recycled.
        Some(FrontendRef::from_word(unsafe { ptr::read_volatile(word) }))
    }

    #[inline(always)]
    fn info(&self, index: u32) -> Option<&FrontendInfo<A>> {
        A::infos().get(index)
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<u32> {
        maps::slot(index)
    }

    #[inline(always)]
    fn backend(&self, id: u32) -> Option<&Backend<A>> {
        A::backends().get(id)
    }

    #[inline(always)]
    fn admits(&self, service_port: u32, source: &A) -> bool {
        let key = Key::new(
            32 + A::BITS,
            RangeData {
                service_port,
                network: *source,
            },
        );
        A::ranges().get(&key).is_some()
    }

    #[inline(always)]
    fn affinity(&self, key: &AffinityKey<A>, seconds: u32) -> Option<Affinity> {
        let affinity = A::affinities().get_ptr(key)?;
        // SAFETY: a recycled element is another client's affinity at worst: `decide` takes it only
        // if it names a backend of this service port.
        let affinity = unsafe { *affinity };
        affinity
            .holds(now(), seconds, self.config.hz)
            .then_some(affinity)
    }
}
