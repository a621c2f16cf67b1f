//! Memory that was freed, given back to the system. The allocator of glibc keeps what it was once given, up to 64 MiB in one
//! piece and any number of holes, for whoever asks next: after a burst of long messages a node would stay as large as it
//! was then. Why it is sound: `malloc_trim` and `mallopt` take numbers, touch free memory alone, and may be called from any
//! thread.

#![expect(unsafe_code, reason = "the C library has no other way to say it")]

/// What the allocator may keep at the end of a thread's memory, in bytes: its own first value. Left alone it would raise it with
/// each long buffer that is freed, to 64 MiB, which `malloc_trim` does not reach.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAX_KEPT: i32 = 128 * 1024;

/// Gives back to the system whatever the allocator holds free, where the allocator is glibc's, and has it hold little from now on;
/// elsewhere it does nothing. Takes some 30 µs when there is little, and a millisecond for some MiB. For programs: call it
/// at the start and now and then.
pub fn return_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: no pointer goes in or comes out, and no memory that is in use is touched (malloc_trim(3), mallopt(3)).
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, MAX_KEPT);
        libc::malloc_trim(0);
    }
}
