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

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use std::fs;

    use super::*;

    fn resident_kib() -> u64 {
        let text = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
        line.trim().strip_suffix("kB").unwrap().trim().parse().unwrap()
    }

    #[test]
    fn what_was_freed_between_what_is_held_is_given_back() {
        const BLOCK: usize = 64 * 1024;
        const BLOCKS: usize = 1_000;
        let before = resident_kib();
        let blocks: Vec<Vec<u8>> = (0..BLOCKS).map(|_| vec![1; BLOCK]).collect();
        // Every hundredth stays, so that no end of the heap is free.
        let held: Vec<Vec<u8>> =
            blocks.into_iter().enumerate().filter(|(n, _)| n % 100 == 0).map(|(_, block)| block).collect();
        let kept = resident_kib().saturating_sub(before);
        return_free_memory();
        let left = resident_kib().saturating_sub(before);
        assert!(kept > 32 * 1024 && left < 8 * 1024, "{kept} KiB kept, then {left}, of {}", held.len());
    }
}
