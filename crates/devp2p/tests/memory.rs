//! That freed memory goes back to the system where the allocator is glibc's.
//! A test binary of its own: what other tests hold would be counted too.

#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::fs;

fn resident_kib() -> u64 {
    let text = fs::read_to_string("/proc/self/smaps_rollup").expect("Linux tells it");
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap_or_default();
    line.trim().strip_suffix("kB").and_then(|kib| kib.trim().parse().ok()).expect("a number of KiB")
}

#[test]
fn what_was_freed_between_what_is_held_is_given_back() {
    const BLOCK: usize = 64 * 1024;
    const BLOCKS: usize = 1_000;
    let before = resident_kib();
    let blocks: Vec<Vec<u8>> = (0..BLOCKS).map(|_| vec![1; BLOCK]).collect();
    // Every hundredth stays, so that no end of the heap is free.
    let held: Vec<Vec<u8>> = blocks.into_iter().step_by(100).collect();
    let kept = resident_kib().saturating_sub(before);
    devp2p::return_free_memory();
    let left = resident_kib().saturating_sub(before);
    assert!(kept > 32 * 1024 && left < 8 * 1024, "{kept} KiB kept, then {left}, of {} blocks", held.len());
}
