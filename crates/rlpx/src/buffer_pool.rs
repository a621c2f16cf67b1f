//! Memory for long messages that one has given back and the next needs: fresh memory costs a tenth of encrypting into it.
//! Shared by all sessions of a server without a lock. What lies here belongs to no peer and has a limit of its own; what
//! was not needed for a while is freed by whoever keeps time (`driver/trim.rs`).

use std::{
    mem::take,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;

use crate::config::{BufferLimits, MAX_READ_CHUNK, POOL_PROBES};

/// Buffers that wait for their next use; clones share them. The default keeps nothing: every buffer is allocated and freed.
///
/// Memory: at most 4 MiB in buffers of 64 KiB and 32 MiB in longer ones by default ([`BufferLimits`]). Call [`BufferPool::trim`] now and then, or they
/// stay.
#[derive(Clone, Debug, Default)]
pub struct BufferPool(Option<Arc<Shelves>>);

#[derive(Debug)]
struct Shelves {
    /// Of [`MAX_READ_CHUNK`], what a busy connection reads into.
    chunks: Shelf,
    long: Shelf,
}

#[derive(Debug)]
struct Shelf {
    buffers: ArrayQueue<Vec<u8>>,
    /// Bytes that lie here.
    len: AtomicUsize,
    max_len: usize,
    /// The fewest buffers that lay here since the last trim: they were not needed.
    fewest: AtomicUsize,
}

/// A payload in a buffer that goes back to its pool when nobody has the payload any more.
struct Lent {
    bytes: Vec<u8>,
    pool: BufferPool,
}

impl BufferPool {
    /// An empty pool.
    pub fn new() -> Self {
        Self::of(&BufferLimits::default())
    }

    /// An empty pool that keeps so much; at least a buffer of each kind.
    pub fn of(limits: &BufferLimits) -> Self {
        let (chunks, long_buffers) = (limits.chunks.max(1), limits.long_buffers.max(1));
        Self(Some(Arc::new(Shelves {
            chunks: Shelf::new(chunks, chunks.saturating_mul(MAX_READ_CHUNK)),
            long: Shelf::new(long_buffers, limits.long_len),
        })))
    }

    /// Frees what was not needed since the last call. Two calls without any use between them free everything.
    pub fn trim(&self) {
        if let Some(shelves) = &self.0 {
            shelves.chunks.trim();
            shelves.long.trim();
        }
    }

    /// Bytes that lie in the pool.
    pub fn free_len(&self) -> usize {
        self.0.as_ref().map_or(0, |shelves| shelves.chunks.len().saturating_add(shelves.long.len()))
    }

    /// A buffer with room for `len` bytes and at most a third more, with whatever its last use left in it. For less than three
    /// quarters of a chunk there is none.
    pub(crate) fn take(&self, len: usize) -> Option<Vec<u8>> {
        let shelves = self.0.as_ref().filter(|_| fills(len, MAX_READ_CHUNK))?;
        shelves.shelf(len).take(len)
    }

    /// As [`Self::take`], allocated when there is none: `len` bytes, of which the content is of no meaning.
    pub(crate) fn take_or_new(&self, len: usize) -> Vec<u8> {
        let Some(mut buffer) = self.take(len) else { return vec![0; len] };
        buffer.resize(len, 0);
        buffer
    }

    /// Gives a buffer back. One that is too small, or for which there is no room, is freed.
    pub(crate) fn give(&self, buffer: Vec<u8>) {
        if let (Some(shelves), MAX_READ_CHUNK..) = (&self.0, buffer.capacity()) {
            shelves.shelf(buffer.capacity()).give(buffer);
        }
    }

    /// The bytes as they are, in a buffer that comes back; copied out of one that they do not fill.
    pub(crate) fn lend(&self, mut bytes: Vec<u8>) -> Bytes {
        if !fills(bytes.len(), bytes.capacity()) {
            let fitting = Bytes::copy_from_slice(&bytes);
            self.give(bytes);
            return fitting;
        }
        if self.0.is_some() && bytes.capacity() >= MAX_READ_CHUNK {
            return Bytes::from_owner(Lent { bytes, pool: self.clone() });
        }
        bytes.shrink_to_fit();
        bytes.into()
    }
}

/// Whether so many bytes make three quarters of a buffer: it is then kept with them, and no message holds more memory than
/// its own and a third of it.
pub(crate) const fn fills(len: usize, capacity: usize) -> bool {
    len >= capacity / 4 * 3
}

impl Shelves {
    const fn shelf(&self, len: usize) -> &Shelf {
        if len <= MAX_READ_CHUNK { &self.chunks } else { &self.long }
    }
}

impl Shelf {
    fn new(count: usize, max_len: usize) -> Self {
        let buffers = ArrayQueue::new(count);
        Self { buffers, len: AtomicUsize::new(0), max_len, fewest: AtomicUsize::new(0) }
    }

    fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    fn pop(&self) -> Option<Vec<u8>> {
        let buffer = self.buffers.pop()?;
        self.len.fetch_sub(buffer.capacity(), Ordering::Relaxed);
        Some(buffer)
    }

    fn take(&self, len: usize) -> Option<Vec<u8>> {
        for _ in 0..POOL_PROBES.min(self.buffers.len()) {
            let buffer = self.pop()?;
            if buffer.capacity() >= len && fills(len, buffer.capacity()) {
                self.fewest.fetch_min(self.buffers.len(), Ordering::Relaxed);
                return Some(buffer);
            }
            self.give(buffer);
        }
        None
    }

    fn give(&self, buffer: Vec<u8>) {
        let len = buffer.capacity();
        if self.len.fetch_add(len, Ordering::Relaxed).saturating_add(len) > self.max_len
            || self.buffers.push(buffer).is_err()
        {
            self.len.fetch_sub(len, Ordering::Relaxed);
        }
    }

    fn trim(&self) {
        for _ in 0..self.fewest.load(Ordering::Relaxed) {
            drop(self.pop());
        }
        self.fewest.store(self.buffers.len(), Ordering::Relaxed);
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.pool.give(take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn buffer(len: usize) -> Vec<u8> {
        vec![7; len]
    }

    #[test]
    fn what_is_given_back_serves_the_next_of_its_length() {
        let pool = BufferPool::new();
        pool.give(buffer(MIB));
        pool.give(buffer(2 * MIB));
        assert_eq!(pool.free_len(), 3 * MIB);
        assert!(pool.take(MIB + 1).is_none() && pool.take(MIB / 2).is_none());
        assert_eq!(pool.take(2 * MIB).unwrap().capacity(), 2 * MIB);
        assert_eq!(pool.take(MIB / 4 * 3).unwrap().capacity(), MIB);
        assert_eq!((pool.free_len(), pool.take(MIB)), (0, None));
        // A short one is not worth it.
        pool.give(buffer(MAX_READ_CHUNK - 1));
        assert_eq!(pool.free_len(), 0);
        pool.give(buffer(MAX_READ_CHUNK));
        assert!(
            pool.take(MAX_READ_CHUNK / 4 * 3 - 1).is_none() && pool.take(MAX_READ_CHUNK / 4 * 3).is_some()
        );
    }

    #[test]
    fn f03_the_pool_has_an_end() {
        for limits in
            [BufferLimits::default(), BufferLimits { chunks: 2, long_buffers: 3, long_len: 4 * MIB }]
        {
            let pool = BufferPool::of(&limits);
            for len in [MAX_READ_CHUNK, MAX_READ_CHUNK + 1, MIB, 16 * MIB] {
                (0..200).for_each(|_| pool.give(buffer(len)));
                assert!(pool.free_len() <= limits.chunks * MAX_READ_CHUNK + limits.long_len);
            }
            let all = limits.chunks * MAX_READ_CHUNK + limits.long_buffers * (MAX_READ_CHUNK + 1);
            assert!(pool.free_len() >= all, "{}", pool.free_len());
        }
        // Without a pool everything is freed.
        let none = BufferPool::default();
        none.give(buffer(MIB));
        assert_eq!(none.free_len(), 0);
    }

    #[test]
    fn what_nobody_needs_is_freed_with_the_second_trim() {
        let pool = BufferPool::new();
        (0..4).for_each(|_| pool.give(buffer(MIB)));
        pool.trim();
        // Two of the four are in use now and then.
        let used = [pool.take(MIB).unwrap(), pool.take(MIB).unwrap()];
        used.into_iter().for_each(|buffer| pool.give(buffer));
        assert_eq!(pool.free_len(), 4 * MIB);
        pool.trim();
        assert_eq!(pool.free_len(), 2 * MIB);
        pool.trim();
        assert_eq!(pool.free_len(), 0);
    }

    #[test]
    fn a_lent_payload_comes_back_when_the_last_of_it_is_dropped() {
        let pool = BufferPool::new();
        let payload = pool.lend(buffer(MIB));
        let slice = payload.slice(10..20);
        drop(payload);
        assert_eq!((pool.free_len(), &slice[..]), (0, &[7; 10][..]));
        drop(slice);
        assert_eq!(pool.free_len(), MIB);
    }
}
