//! How is memory of our own given back to the kernel?

/// Gives memory back that was freed, wherever in the heap it is. glibc keeps it until it is asked, musl
/// does not. It may take some milliseconds, in which others wait that want memory.
pub fn give_freed_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: nothing is touched but what nobody has.
    unsafe {
        libc::malloc_trim(0);
    }
}
