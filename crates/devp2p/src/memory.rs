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

    fn resident_kib() -> Option<u64> {
        let text = fs::read_to_string("/proc/self/smaps_rollup").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:"))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    }

    #[test]
    fn what_was_freed_between_what_is_held_is_given_back() {
        const BLOCK: usize = 64 * 1024;
        const BLOCKS: usize = 1_000;
        let resident = || resident_kib().expect("Linux tells it");
        let before = resident();
        let blocks: Vec<Vec<u8>> = (0..BLOCKS).map(|_| vec![1; BLOCK]).collect();
        // Every hundredth stays, so that no end of the heap is free.
        let held: Vec<Vec<u8>> =
            blocks.into_iter().enumerate().filter(|(n, _)| n % 100 == 0).map(|(_, block)| block).collect();
        let kept = resident().saturating_sub(before);
        return_free_memory();
        let left = resident().saturating_sub(before);
        assert!(kept > 32 * 1024 && left < 8 * 1024, "{kept} KiB kept, then {left}, of {}", held.len());
    }
}
