//! That freed memory goes back to the system where the allocator is glibc's.
//! A test binary of its own: what other tests hold would be counted too.

#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::{
    fs,
    sync::{Mutex, mpsc},
    thread,
};

/// Held by the test that runs: what the other holds would be counted too.
static ALONE: Mutex<()> = Mutex::new(());

fn resident_kib() -> u64 {
    let text = fs::read_to_string("/proc/self/smaps_rollup").expect("Linux tells it");
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap_or_default();
    line.trim().strip_suffix("kB").and_then(|kib| kib.trim().parse().ok()).expect("a number of KiB")
}

#[test]
fn what_was_freed_between_what_is_held_is_given_back() {
    const BLOCK: usize = 64 * 1024;
    const BLOCKS: usize = 1_000;
    let _alone = ALONE.lock();
    let before = resident_kib();
    let blocks: Vec<Vec<u8>> = (0..BLOCKS).map(|_| vec![1; BLOCK]).collect();
    // Every hundredth stays, so that no end of the heap is free.
    let held: Vec<Vec<u8>> = blocks.into_iter().step_by(100).collect();
    let kept = resident_kib().saturating_sub(before);
    devp2p::return_free_memory();
    let left = resident_kib().saturating_sub(before);
    assert!(kept > 32 * 1024 && left < 8 * 1024, "{kept} KiB kept, then {left}, of {} blocks", held.len());
}

#[test]
fn what_a_thread_has_freed_at_the_end_of_its_memory_is_given_back_while_it_lives() {
    let _alone = ALONE.lock();
    devp2p::return_free_memory();
    let before = resident_kib();
    let ((freed, hears), (go, waits)) = (mpsc::sync_channel(1), mpsc::sync_channel::<()>(1));
    let thread = thread::spawn(move || {
        // Each long buffer that is freed raises what the allocator would keep by itself.
        (1..=24).for_each(|mib| drop(std::hint::black_box(vec![1_u8; mib << 20])));
        // Nothing is allocated after these, or what is free would not be the end.
        drop((0..400).map(|_| vec![1_u8; 100 * 1024]).collect::<Vec<_>>());
        freed.send(()).expect("somebody hears");
        let _ = waits.recv();
    });
    hears.recv().expect("the thread lives");
    devp2p::return_free_memory();
    let left = resident_kib().saturating_sub(before);
    drop(go);
    thread.join().expect("it ends");
    assert!(left < 8 * 1024, "{left} KiB are left of what nobody has");
}
