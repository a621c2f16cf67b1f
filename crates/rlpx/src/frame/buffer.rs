//! The buffers of a connection: one that is read into and decrypted in place, one that is written from.
//! Both grow with what is in them and shrink when it is gone; long ones come from a pool and go back to it.

use std::mem::{replace, take};

use bytes::Bytes;

use crate::{
    buffer_pool::{BufferPool, fills},
    config::{MAX_READ_CHUNK, MAX_WRITE_KEPT, MIN_READ_CHUNK},
};

/// From this length on an uncompressed payload is handed on with the buffer it came in, if it fills three quarters of it;
/// others are copied out. So no message holds more memory than its own and a third of it, and nothing is lost: handed on
/// as slices, messages of 64 bytes and of 1 KiB took 1 to 2 % longer, since memory that is still held has to be made anew.
const HAND_ON_LEN: usize = 16 * 1024;

/// Bytes read and not yet handled.
///
/// Memory: at most 64 KiB more than twice what has been received of the message in it, and at most 64 KiB between
/// messages. A buffer that lay in the pool may be longer: it has cost its memory already.
#[derive(Debug, Default)]
pub(crate) struct ReadBuffer {
    /// `start..end` is filled, `end..` is room.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// What the next read offers: doubled when a read fills it, halved when one leaves most of it.
    chunk: usize,
    /// What the last call for room offered.
    offered: usize,
    pool: BufferPool,
}

impl ReadBuffer {
    pub(crate) fn new(pool: BufferPool) -> Self {
        Self { pool, ..Self::default() }
    }

    /// Room to read into; `unit_len` is the length of what is being read, as far as it is known. Of a long unit no more
    /// than its rest is offered, so that it can be handed on with its buffer.
    pub(crate) fn room(&mut self, unit_len: usize) -> &mut [u8] {
        let filled = self.filled().len();
        let chunk = self.chunk.clamp(MIN_READ_CHUNK, MAX_READ_CHUNK);
        if unit_len <= MAX_READ_CHUNK {
            return self.room_up_to(chunk.max(unit_len));
        }
        let there = self.bytes.len() - self.start;
        let enough = filled.saturating_add(chunk).min(unit_len);
        if there < enough
            && let Some(buffer) = self.pool.take(unit_len)
        {
            self.move_to(buffer);
            return self.room_up_to(unit_len);
        }
        let grown = filled.saturating_add(filled.max(MAX_READ_CHUNK));
        self.room_up_to(if there >= enough { there.min(unit_len) } else { grown.min(unit_len) })
    }

    /// Room for the rest of `unit_len` bytes and not one more: before there are secrets nothing is read ahead.
    pub(crate) fn exact_room(&mut self, unit_len: usize) -> &mut [u8] {
        self.room_up_to(unit_len)
    }

    /// `len` bytes of the room have been filled.
    pub(crate) fn fill(&mut self, len: usize) {
        let len = len.min(self.offered);
        self.end = self.end.saturating_add(len).min(self.bytes.len());
        let chunk = self.chunk.clamp(MIN_READ_CHUNK, MAX_READ_CHUNK);
        self.chunk = match len {
            // A handshake asks for no more than what is missing: that it comes says nothing.
            len if len == self.offered && len >= chunk / 2 => chunk.saturating_mul(2),
            len if len < chunk / 4 => chunk / 2,
            _ => chunk,
        };
        self.offered = 0;
    }

    /// What is filled.
    pub(crate) fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// What is filled, to be decrypted in place.
    pub(crate) fn filled_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Forgets the first `len` bytes, and memory that only a long message needed.
    pub(crate) fn consume(&mut self, len: usize) {
        self.start = self.start.saturating_add(len).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.bytes.len() > MAX_READ_CHUNK && self.filled().len() <= MAX_READ_CHUNK {
            let rest = self.filled().to_vec();
            (self.start, self.end) = (0, rest.len());
            self.pool.give(replace(&mut self.bytes, rest));
        }
    }

    /// The bytes `from..to`, counted from the front, as a message's payload, after which `len` bytes are forgotten.
    pub(crate) fn take(&mut self, from: usize, to: usize, len: usize) -> Bytes {
        let payload = self.filled().get(from..to).unwrap_or_default();
        if payload.len() < HAND_ON_LEN || !fills(payload.len(), self.bytes.capacity()) {
            let payload = Bytes::copy_from_slice(payload);
            self.consume(len);
            return payload;
        }
        let rest = self.filled().get(len..).unwrap_or_default().to_vec();
        let (first, last) = (self.start.saturating_add(from), self.start.saturating_add(to));
        (self.start, self.end) = (0, rest.len());
        self.pool.lend(replace(&mut self.bytes, rest)).slice(first..last)
    }

    /// Frees everything when nothing is filled.
    pub(crate) fn shrink(&mut self) {
        if self.filled().is_empty() {
            let pool = take(&mut self.pool);
            pool.give(take(&mut self.bytes));
            *self = Self::new(pool);
        }
    }

    /// Bytes allocated.
    pub(crate) const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Where long buffers come from.
    pub(crate) const fn pool(&self) -> &BufferPool {
        &self.pool
    }

    /// Goes on in `buffer`.
    fn move_to(&mut self, mut buffer: Vec<u8>) {
        let filled = self.filled();
        buffer.resize(buffer.len().max(filled.len()), 0);
        if let Some(front) = buffer.get_mut(..filled.len()) {
            front.copy_from_slice(filled);
        }
        (self.start, self.end) = (0, filled.len());
        self.pool.give(replace(&mut self.bytes, buffer));
    }

    /// Room that brings what is filled to `total` bytes. The buffer never becomes longer than that.
    fn room_up_to(&mut self, total: usize) -> &mut [u8] {
        let want = total.saturating_sub(self.filled().len());
        if self.bytes.len() - self.end < want {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if total == MAX_READ_CHUNK
            && self.bytes.capacity() < total
            && let Some(buffer) = self.pool.take(total)
        {
            self.move_to(buffer);
        }
        if self.bytes.len() < total {
            // Exact, or doubling by the vector would break the growth rule.
            self.bytes.reserve_exact(total - self.bytes.len());
            self.bytes.resize(total, 0);
        }
        self.offered = want;
        let end = self.end;
        self.bytes.get_mut(end..end.saturating_add(want)).unwrap_or_default()
    }
}

/// Bytes to be written, encrypted already.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    bytes: Vec<u8>,
    start: usize,
    /// Bytes ever written to the socket.
    written: u64,
    /// The buffer, while its last frame is sealed elsewhere.
    away: Option<Away>,
    pool: BufferPool,
}

/// A buffer that will come back.
#[derive(Debug)]
struct Away {
    /// What will then wait to be written, in bytes.
    len: usize,
    capacity: usize,
}

impl WriteBuffer {
    pub(crate) fn new(pool: BufferPool) -> Self {
        Self { pool, ..Self::default() }
    }

    /// What waits to be written.
    pub(crate) fn waiting(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Where `len` bytes more are appended.
    pub(crate) fn tail(&mut self, len: usize) -> &mut Vec<u8> {
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        let total = self.bytes.len().saturating_add(len);
        if total > self.bytes.capacity() {
            let total = total.max(MAX_WRITE_KEPT.min(self.bytes.capacity().saturating_mul(2)));
            if let Some(mut buffer) = self.pool.take(total) {
                buffer.clear();
                buffer.extend_from_slice(&self.bytes);
                self.pool.give(replace(&mut self.bytes, buffer));
            } else {
                self.bytes.reserve_exact(total - self.bytes.len());
            }
        }
        &mut self.bytes
    }

    /// Bytes that wait to be written, those of a buffer that is away among them.
    pub(crate) fn len(&self) -> usize {
        self.away.as_ref().map_or(self.waiting().len(), |away| away.len)
    }

    /// Whether the buffer is away: nothing can be appended.
    pub(crate) const fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// The buffer was taken out of [`Self::tail`] as `bytes`, and will come back with `more` bytes in it.
    pub(crate) fn lend(&mut self, bytes: &[u8], capacity: usize, more: usize) {
        let len = bytes.len().saturating_sub(self.start).saturating_add(more);
        self.away = Some(Away { len, capacity });
    }

    /// The buffer that was lent is back; it is dropped when what waited was dropped meanwhile.
    pub(crate) fn take_back(&mut self, bytes: Vec<u8>) {
        if self.away.take().is_some() {
            self.bytes = bytes;
        }
    }

    /// The first `len` bytes have been written.
    pub(crate) fn advance(&mut self, len: usize) {
        let len = len.min(self.waiting().len());
        self.start = self.start.saturating_add(len);
        self.written = self.written.saturating_add(len as u64);
        if self.len() == 0 {
            self.start = 0;
            if self.bytes.capacity() > MAX_WRITE_KEPT {
                self.pool.give(take(&mut self.bytes));
            }
            self.bytes.clear();
        }
    }

    /// Bytes ever written.
    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    /// Bytes ever appended: what [`Self::written`] will be when all that waits now is out.
    pub(crate) fn queued(&self) -> u64 {
        self.written.saturating_add(self.len() as u64)
    }

    /// Drops what waits.
    pub(crate) fn clear(&mut self) {
        self.bytes = Vec::new();
        self.start = 0;
        self.away = None;
    }

    /// Bytes allocated.
    pub(crate) fn capacity(&self) -> usize {
        self.away.as_ref().map_or(self.bytes.capacity(), |away| away.capacity)
    }

    /// Frees everything when nothing waits.
    pub(crate) fn shrink(&mut self) {
        if self.len() == 0 {
            self.clear();
        }
    }
}
