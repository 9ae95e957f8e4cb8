//! The kernel programs inside this binary: the bytes of the BPF object, or why they are not here.

/// The binary was built without the BPF object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectMissing {
    /// There was no object when the binary was built.
    #[error("this `lb` holds no kernel programs: build it with `cargo xtask build`")]
    NotBuilt,
    /// There was one, made from other sources than the binary.
    #[error(
        "this `lb` holds no kernel programs, as those at hand were older than their sources: build it with `cargo xtask build`"
    )]
    Stale,
}

/// The BPF object (64-bit little-endian ELF), aligned to the 8 bytes that reading it in place needs.
///
/// # Errors
/// [`ObjectMissing`] when the binary was built by plain `cargo build` with no object, or an outdated one, at hand.
pub fn embedded() -> Result<&'static [u8], ObjectMissing> {
    #[cfg(bpf_object = "current")]
    return Ok(&OBJECT.0);
    #[cfg(bpf_object = "stale")]
    return Err(ObjectMissing::Stale);
    #[cfg(bpf_object = "missing")]
    return Err(ObjectMissing::NotBuilt);
}

/// Bytes that begin at a multiple of 8.
#[cfg(bpf_object = "current")]
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

#[cfg(bpf_object = "current")]
static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/lb.o")));
