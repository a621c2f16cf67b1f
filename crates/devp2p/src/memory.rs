//! Memory that was freed, given back to the system. The allocator of glibc keeps what it was once given, up to 64 MiB in one
//! piece and any number of holes, for whoever asks next: after a burst of long messages a node would stay as large as it
//! was then. Why it is sound: `malloc_trim` takes a number, touches free memory alone, and may be called from any thread.

#![expect(unsafe_code, reason = "the C library has no other way to say it")]

/// Gives back to the system whatever the allocator holds free, where the allocator is glibc's; elsewhere it does nothing.
/// Takes some 30 µs when there is little, and a millisecond for some MiB. For programs: call it now and then.
pub fn return_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: no pointer goes in or comes out, and no memory that is in use is touched (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}
