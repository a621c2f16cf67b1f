//! A global allocator that counts what each thread holds, for tests of what a peer's bytes may cost. A test binary takes
//! this file as a module by its path, and names the allocator. Other threads, the test harness's too, do not disturb.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part of it")]
#![expect(unsafe_code, reason = "a global allocator that counts can only be written so")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static TAKEN: Cell<isize> = const { Cell::new(0) };
}

/// Counts and passes on to the system's allocator.
pub struct Counting {
    /// Whether an allocation that grows or shrinks counts as one. Otherwise the old and the new place count side by side
    /// while one is copied to the other, which is the most it can take.
    pub grows_in_place: bool,
}

fn add(bytes: isize) {
    // A thread that is ending no longer counts.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
        let _ = TAKEN.try_with(|taken| taken.set(taken.get() + bytes.max(0)));
    });
}

// SAFETY: every call goes to the system's allocator unchanged; the counters never allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size().cast_signed());
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        add(-layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if self.grows_in_place {
            add(size.cast_signed() - layout.size().cast_signed());
        } else {
            add(size.cast_signed());
            add(-layout.size().cast_signed());
        }
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// The bytes that this thread was ever given.
pub fn taken() -> isize {
    TAKEN.get()
}

/// The bytes that this thread holds: fewer than none when it has freed what others allocated.
pub fn held() -> isize {
    HELD.get()
}

/// The most that this thread held since the last call.
pub fn peak() -> isize {
    PEAK.replace(held())
}

/// Does something on this thread: what came of it, and how much more was allocated meanwhile, at most.
pub fn cost<T>(action: impl FnOnce() -> T) -> (T, usize) {
    let before = held();
    peak();
    let result = action();
    (result, (peak() - before).cast_unsigned())
}
